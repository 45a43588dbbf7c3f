import { z } from "zod";
import { isSafe } from "../keys/kms/kms-request.ts";
import { parseSecret } from "../keys/secret.ts";
import { parseTokenRing } from "../keys/token-keys.ts";
import { parseNetwork } from "../policy/networks.ts";
import { parseUpstream } from "../wire/upstream-uri.ts";

/** One setting of `serve`: its flag, environment variable and key of sluice.yaml all follow from its name. */
export interface Setting<T> {
  /**
   * Parses the text of a flag, a variable or a YAML scalar. Its message completes `"…" is not`; for secrets it is the
   * whole message.
   */
  readonly value: z.ZodType<T, string>;
  readonly default: string | undefined;
  /** The name of the value in `--help`. */
  readonly placeholder: string;
  readonly what: string;
  /** A relative path in sluice.yaml starts at that file's folder, elsewhere at the working directory. */
  readonly path?: true;
  /**
   * Never repeated in a message, and readable from a file. "file": a flag would show the value in the process list, so
   * only the file has a flag.
   */
  readonly secret?: "uri" | "file";
  /** The flag may have no value, and then means "on". */
  readonly isSwitch?: true;
  /** The flag may be repeated, and sluice.yaml may hold a sequence: the values are joined with commas. */
  readonly isList?: true;
}

/** A host and port to listen on, or the directory of a Unix socket. IPv6 hosts are without brackets. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** At least one address. */
export type Addresses = readonly [Address, ...Address[]];

/** Whether the address is a Unix socket, in a directory. */
export function isUnixSocket({ host }: Address): boolean {
  return host.startsWith("/");
}

function value<T>(expected: string, read: (text: string) => T | undefined): z.ZodType<T, string> {
  return z.string().transform((text, context) => {
    const result = read(text.trim());
    if (result !== undefined) return result;
    context.addIssue({ code: "custom", message: expected });
    return z.NEVER;
  });
}

const path = value("a path", (given) => given || undefined);
const address = value("a host and a port, such as 127.0.0.1:6432 or [::1]:6432", parseAddress);
/** Parses a list; each invalid address is reported separately. */
const listenAddresses = z.string().transform((text, context) => {
  const addresses: Address[] = [];
  const refuse = (message: string) => context.addIssue({ code: "custom", message });
  for (const word of text.split(",").map((one) => one.trim())) {
    const read = parseListen(word);
    if (read === undefined)
      refuse(`${text.includes(",") ? `a list: "${word}" is not ` : ""}${LISTEN_EXPECTED}`);
    else if (addresses.some(({ host, port }) => port !== 0 && host === read.host && port === read.port))
      refuse(`a list of different addresses: ${word} is given twice`);
    else addresses.push(read);
  }
  const [first, ...others] = addresses;
  return first === undefined ? z.NEVER : ([first, ...others] satisfies Addresses as Addresses);
});
const LISTEN_EXPECTED =
  "a host and a port, such as 127.0.0.1:6432 or [::1]:6432, or the folder of a Unix socket and a port, such as /run/sluice:6432";
const upstream = z.string().transform((text, context) => {
  const read = parseUpstream(text, {});
  if (read.ok) return text;
  context.addIssue({ code: "custom", message: read.problem });
  return z.NEVER;
});
/** Words of the form `name=URI`; a libpq URI contains no blank. */
const databases = z.string().transform((text, context) => {
  const targets = new Map<string, string>();
  for (const word of text.split(/\s+/).filter((one) => one !== "")) {
    const [, name = "", uri = ""] = /^([^=]+)=(postgres(?:ql)?:.*)$/.exec(word) ?? [];
    const read = parseUpstream(uri, {});
    const problem =
      name === ""
        ? "write name=postgresql://host, and a blank before the next one"
        : !read.ok
          ? `${name}: ${read.problem}`
          : (read.upstream.database ?? name) !== name
            ? `${name}: the URI names another database; clients, policies and the server use one name`
            : targets.has(name)
              ? `${name}: given twice`
              : undefined;
    if (problem === undefined) targets.set(name, uri);
    else context.addIssue({ code: "custom", message: problem });
  }
  return targets as ReadonlyMap<string, string>;
});
const redisUri = value("not a Redis address, such as redis://host:6379 or rediss://host:6380", (given) =>
  /^rediss?(\+cluster|\+sentinel)?:\/\/./.test(given) ? given : undefined,
);
const key = z.string().transform((text, context) => {
  const read = parseSecret(Buffer.from(text), "the secret");
  if (read.ok) return read.secret;
  context.addIssue({ code: "custom", message: read.problem });
  return z.NEVER;
});
const tokenKeys = z.string().transform((text, context) => {
  const read = parseTokenRing(text);
  if (read.ok) return read.ring;
  context.addIssue({ code: "custom", message: read.problem });
  return z.NEVER;
});
const secretText = value("not a text", (given) => given || undefined);
const kmsEndpoint = value(
  "an address, such as https://kms.internal (http:// only on 127.0.0.1 or localhost)",
  (given) => (URL.canParse(given) && isSafe(new URL(given)) ? given : undefined),
);
function roleNamed(name: string | undefined): "viewer" | "dba" | "officer" {
  return name === "viewer" || name === "dba" ? name : "officer";
}
/** Words of the form `token`, `name:token` or `role/name:token`; `openssl rand` prints suitable tokens in hexadecimal or base64. */
const consoleTokens = z.string().transform((text, context) => {
  const tokens = text
    .split(/\s+/)
    .filter((word) => word !== "")
    .map((word) => /^(?:(?:(viewer|dba|officer)\/)?([\w.@-]{1,64}):)?([\w+/=.~-]{24,256})$/.exec(word));
  const good = tokens.flatMap((match) =>
    match ? [{ name: match[2], token: match[3] ?? "", role: roleNamed(match[1]) }] : [],
  );
  if (good.length === tokens.length && good.length > 0) return good;
  const message = "each token needs 24 characters or more (openssl rand -hex 24), a name goes before a colon";
  context.addIssue({ code: "custom", message });
  return z.NEVER;
});
/** Words of the form `group=role`, as claims of an ID token are mapped to roles of the console. */
const oidcRoles = value(
  "a list of values of the claim and roles, such as security=officer,dbas=dba,support-leads=viewer",
  (given) => {
    const roles = new Map<string, "viewer" | "dba" | "officer">();
    for (const word of given.split(",").map((one) => one.trim())) {
      const [, group = "", role] = /^([^=]{1,200})=(viewer|dba|officer)$/.exec(word) ?? [];
      if (role === undefined || roles.has(group)) return undefined;
      roles.set(group, roleNamed(role));
    }
    return roles as ReadonlyMap<string, "viewer" | "dba" | "officer">;
  },
);
/** An ID token's issuer; without TLS only on this machine, for a trial. */
const oidcIssuer = value(
  "an issuer, such as https://login.example.com/realms/staff (http:// only on 127.0.0.1 or localhost)",
  (given) => {
    if (!isWebUri(given)) return undefined;
    const { protocol, hostname, search, hash } = new URL(given);
    if (search !== "" || hash !== "") return undefined;
    const isHere = ["127.0.0.1", "localhost", "[::1]"].includes(hostname);
    return protocol === "https:" || isHere ? given : undefined;
  },
);
const hostNames = value("a list of host names, such as sluice.internal,sluice.example.com", (given) => {
  const names = given.split(",").map((name) => name.trim().toLowerCase());
  return names.every((name) => /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$/.test(name)) ? names : undefined;
});
/** `fetch` does not accept credentials in an address. */
function isWebUri(given: string): boolean {
  if (!URL.canParse(given)) return false;
  const { protocol, username, password } = new URL(given);
  return /^https?:$/.test(protocol) && username === "" && password === "";
}
const webUri = value(
  "not a web address without user and password, such as https://alerts.example.com/sluice",
  (given) => (isWebUri(given) ? given : undefined),
);
const syslogUri = value("a receiver of syslog over TLS, such as tls://logs.internal:6514", (given) => {
  const [, host = "", port = "6514"] =
    /^tls:\/\/(\[[0-9a-f:]+\]|[\w.-]+)(?::(\d{1,5}))?\/?$/i.exec(given) ?? [];
  if (host === "" || Number(port) > 65_535) return undefined;
  return { host: host.replaceAll(/[[\]]/g, ""), port: Number(port) };
});
const kafkaUri = value(
  "brokers and a topic, such as kafka+tls://one.internal:9093,two.internal:9093/sluice-audit",
  (given) => {
    const [, tls, hosts = "", topic = ""] = /^kafka(\+tls)?:\/\/([^/]+)\/([\w.-]{1,249})$/.exec(given) ?? [];
    const brokers = hosts.split(",").map((one) => one.trim());
    const isGood = topic !== "" && brokers.every((one) => parseAddress(one) !== undefined);
    return isGood ? { brokers, topic, tls: tls !== undefined } : undefined;
  },
);
const kafkaLogin = value("not a user and a password with a colon between them", (given) => {
  const [, username, password] = /^([^:\s]{1,255}):(.{1,1000})$/.exec(given) ?? [];
  return username === undefined || password === undefined ? undefined : { username, password };
});
const bearerToken = value("not a bearer token (RFC 6750)", (given) =>
  /^[\w.~+/=-]{1,4096}$/.test(given) ? given : undefined,
);
const routingKey = value("not an integration key of PagerDuty, which has 32 letters and digits", (given) =>
  /^\w{32}$/.test(given) ? given : undefined,
);
const size = value("a size, such as 64MB or 512kB", (given) => {
  const match = /^(\d{1,9})\s*(B|kB|MB|GB)?$/i.exec(given);
  return match ? scaled(match, { b: 1, kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30 }, "b") : undefined;
});
const duration = value("a duration, such as 60s, 250ms or 5m", (given) => {
  const match = /^(\d{1,9})\s*(ms|s|m|h)$/.exec(given);
  return match ? scaled(match, { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }, "ms") : undefined;
});
const durationOrNone = value("a duration, such as 5s or 0s", (given) =>
  /^0+\s*(ms|s|m|h)?$/.test(given) ? 0 : duration.safeParse(given).data,
);
const networks = value("a list of networks, such as 10.0.0.0/24,2001:db8::/32", (given) => {
  const read = given.split(",").map((text) => parseNetwork(text.trim()));
  const good = read.flatMap((one) => (one.ok ? [one.network] : []));
  return good.length === read.length ? good : undefined;
});
const days = value("a number of days, such as 400d", (given) =>
  /^[1-9]\d{0,4}\s*d$/.test(given) ? Number.parseInt(given, 10) : undefined,
);
const count = value("a whole number above 0", (given) =>
  /^[1-9]\d{0,8}$/.test(given) ? Number(given) : undefined,
);
const onOrOff = value("on or off", (given) => {
  if (/^(on|yes|true)$/i.test(given)) return true;
  return /^(off|no|false)$/i.test(given) ? false : undefined;
});
const countOrNone = value("a whole number", (given) => (given === "0" ? 0 : count.safeParse(given).data));

function oneOf<const T extends string>(...names: readonly T[]): z.ZodType<T, string> {
  return value(`one of ${names.join(", ")}`, (given) => names.find((name) => name === given));
}

function listOf<const T extends string>(...names: readonly T[]): z.ZodType<readonly T[], string> {
  return value(`a list of ${names.join(", ")}`, (given) => {
    const words = given.split(",").map((word) => names.find((name) => name === word.trim()));
    const known = words.filter((word) => word !== undefined);
    return known.length === words.length ? [...new Set(known)] : undefined;
  });
}

function setting<T>(row: Omit<Setting<T>, "default"> & { readonly default: string }): Setting<T>;
function setting<T>(row: Omit<Setting<T>, "default">): Setting<T | undefined>;
function setting<T>(
  row: Omit<Setting<T>, "default"> & { readonly default?: string },
): Setting<T | undefined> {
  return { default: undefined, ...row };
}

/** The one table that flags, variables, keys of sluice.yaml, `--help` and docs/settings.md are derived from. */
export const SETTINGS = {
  listen: setting({
    value: listenAddresses,
    default: "127.0.0.1:6432",
    placeholder: "HOST:PORT",
    what: "where clients connect; /FOLDER:PORT is a Unix socket, as libpq's host=/FOLDER port=PORT finds it. Several: give it several times, or a list with commas (in sluice.yaml a sequence, too)",
    isList: true,
  }),
  upstream: setting({
    value: upstream,
    placeholder: "URI",
    what: "the database, a libpq URI (sslmode and sslrootcert too); required",
    secret: "uri",
  }),
  databases: setting({
    value: databases,
    placeholder: "LIST",
    what: 'databases on other servers than --upstream: "sales=postgresql://host hr=postgresql://other"; in sluice.yaml one a line, as a mapping',
    secret: "uri",
  }),
  policy: setting({
    value: path,
    default: "policies/",
    placeholder: "PATH",
    what: "a policy file or a folder of them, read again when it changes and at SIGHUP",
    path: true,
  }),
  redis: setting({
    value: redisUri,
    placeholder: "URI",
    what: "where the proxies of a fleet keep their counters; without it each process counts for itself",
    secret: "uri",
  }),
  redisCa: setting({
    value: path,
    placeholder: "FILE",
    what: "authorities (PEM) that sign the certificate of a rediss:// Redis, in place of the well-known ones; read again at SIGHUP",
    path: true,
  }),
  admin: setting({
    value: address,
    default: "127.0.0.1:9432",
    placeholder: "HOST:PORT",
    what: "HTTP: /metrics, /healthz, /readyz, /console",
  }),
  adminTlsCert: setting({
    value: path,
    placeholder: "FILE",
    what: "certificate chain (PEM) for TLS on --admin, which then speaks nothing else: health checks and Prometheus too",
    path: true,
  }),
  adminTlsKey: setting({
    value: path,
    placeholder: "FILE",
    what: "private key (PEM) of --admin-tls-cert",
    path: true,
  }),
  adminTlsClientCa: setting({
    value: path,
    placeholder: "FILE",
    what: "holders of a certificate signed by one of these (PEM) may log in to the console without a token, under its common name",
    path: true,
  }),
  consoleToken: setting({
    value: consoleTokens,
    placeholder: "TOKEN",
    what: "with what one logs in to the console of --admin, 24 characters or more; in a file one a line, each may be name:token, and the audit log then names who ordered, or viewer/name:token and dba/name:token for those who may do less than an officer (docs/console.md). Without it and --admin-tls-client-ca the console is off",
    secret: "file",
  }),
  consoleHosts: setting({
    value: hostNames,
    placeholder: "LIST",
    what: "names under which browsers reach the console, in addition to localhost and IP addresses: sluice.internal,…",
  }),
  consoleOidc: setting({
    value: oidcIssuer,
    placeholder: "URI",
    what: "the OpenID Connect issuer whose accounts log in to the console (docs/console.md); needs --console-oidc-client, --console-oidc-roles and --console-url",
  }),
  consoleOidcClient: setting({
    value: value("a client id", (given) => given || undefined),
    placeholder: "ID",
    what: "the client that the console is for --console-oidc; its redirect URI is --console-url with /console/oidc",
  }),
  consoleOidcSecret: setting({
    value: value("not a secret of 8 to 1,000 printable characters", (given) =>
      /^[\x20-\x7e]{8,1000}$/.test(given) ? given : undefined,
    ),
    placeholder: "SECRET",
    what: "that client's secret; left out, it is a public client",
    secret: "file",
  }),
  consoleOidcRoles: setting({
    value: oidcRoles,
    placeholder: "LIST",
    what: "which values of the claim have which role in the console: security=officer,dbas=dba,leads=viewer. Accounts with none of them do not get in",
  }),
  consoleOidcClaim: setting({
    value: value("the name of a claim", (given) => (/^[\w:./-]{1,200}$/.test(given) ? given : undefined)),
    default: "groups",
    placeholder: "NAME",
    what: "the claim of the ID token that --console-oidc-roles looks at: a text or a list of texts",
  }),
  consoleUpstream: setting({
    value: upstream,
    placeholder: "URI",
    what: "a login to the database that may read the table of people, by which the console finds those of a leaked list by email address or telephone number and draws people to compare them with; without it lists have ids",
    secret: "uri",
  }),
  adminDatabase: setting({
    value: value("a database name", (given) => given || undefined),
    default: "sluice",
    placeholder: "NAME",
    what: "the database in which admins and auditors of the policy find SHOW SESSIONS and the like (pgbouncer is the same); none: there is no such database",
  }),
  audit: setting({
    value: path,
    default: "audit/",
    placeholder: "FOLDER",
    what: "folder of the audit log",
    path: true,
  }),
  auditDurability: setting({
    value: oneOf("before", "after"),
    default: "before",
    placeholder: "WHEN",
    what: "before: what a guarded role reads or writes is answered only when its event is on disk; after: the event follows within 50 ms. Roles that see all never wait",
  }),
  onAuditLoss: setting({
    value: oneOf("closed", "open"),
    default: "closed",
    placeholder: "WHAT",
    what: "while the audit log cannot be written: closed refuses what guarded roles read or write (58000), open lets it pass and counts what is lost",
  }),
  auditSegment: setting({
    value: size,
    default: "64MB",
    placeholder: "SIZE",
    what: "a longer file of the audit log is closed, signed and compressed",
  }),
  auditRetention: setting({
    value: days,
    placeholder: "DAYS",
    what: "closed files of the audit log that are older are dropped, with a signed record; kept for ever if left out",
  }),
  auditSink: setting({
    value: listOf("none", "stdout", "redis", "syslog", "otlp", "kafka"),
    default: "none",
    placeholder: "LIST",
    what: "where events go besides the files: stdout (JSON lines), redis (the stream sluice:audit of --redis), syslog (--syslog), otlp (--otlp), kafka (--kafka), or several: stdout,redis",
  }),
  syslog: setting({
    value: syslogUri,
    placeholder: "URI",
    what: "the receiver of --audit-sink syslog, over TLS: tls://logs.internal:6514",
  }),
  syslogCa: setting({
    value: path,
    placeholder: "FILE",
    what: "authorities (PEM) that sign the receiver's certificate, in place of the well-known ones",
    path: true,
  }),
  otlp: setting({
    value: webUri,
    placeholder: "URI",
    what: "the collector's address for logs, of --audit-sink otlp: https://collector.internal:4318/v1/logs",
  }),
  otlpToken: setting({
    value: bearerToken,
    placeholder: "TOKEN",
    what: "sent to --otlp as a bearer token",
    secret: "file",
  }),
  kafka: setting({
    value: kafkaUri,
    placeholder: "URI",
    what: "brokers and topic of --audit-sink kafka: kafka+tls://one.internal:9093,two.internal:9093/sluice-audit; kafka:// is without TLS. The topic must exist",
  }),
  kafkaCa: setting({
    value: path,
    placeholder: "FILE",
    what: "authorities (PEM) that sign the brokers' certificates, in place of the well-known ones",
    path: true,
  }),
  kafkaLogin: setting({
    value: kafkaLogin,
    placeholder: "USER:PASSWORD",
    what: "how --audit-sink kafka logs in to the brokers, with SASL",
    secret: "file",
  }),
  kafkaSasl: setting({
    value: oneOf("scram-sha-512", "scram-sha-256", "plain"),
    default: "scram-sha-512",
    placeholder: "MECHANISM",
    what: "SASL's mechanism for --kafka-login-file: scram-sha-512, scram-sha-256, or plain, which sends the password itself and needs TLS",
  }),
  auditSinkWait: setting({
    value: duration,
    default: "100ms",
    placeholder: "TIME",
    what: "the longest time that a statement waits for a sink whose buffer is half full; events that then find no room are dropped and counted",
  }),
  auditStreamLength: setting({
    value: count,
    default: "1000000",
    placeholder: "NUMBER",
    what: "about how many events the Redis stream keeps",
  }),
  auth: setting({
    value: oneOf("passthrough", "scram"),
    default: "passthrough",
    placeholder: "MODE",
    what: "passthrough relays the server's own login; scram checks users against --users and logs in upstream with the credentials of --upstream",
  }),
  users: setting({
    value: path,
    placeholder: "FILE",
    what: 'users and their SCRAM verifiers for --auth scram ("sluice scram" makes them)',
    path: true,
  }),
  tlsCert: setting({
    value: path,
    placeholder: "FILE",
    what: "certificate chain (PEM) for TLS towards clients. With --auth passthrough and TLS towards the database it should be the database's own: only then can SCRAM with channel binding, libpq's default, be relayed",
    path: true,
  }),
  tlsKey: setting({ value: path, placeholder: "FILE", what: "private key (PEM) of --tls-cert", path: true }),
  tlsClientCa: setting({
    value: path,
    placeholder: "FILE",
    what: "clients must show a certificate signed by one of these (PEM)",
    path: true,
  }),
  tlsRequired: setting({
    value: onOrOff,
    default: "off",
    placeholder: "[on|off]",
    what: "clients without TLS are refused; needs --tls-cert. Without it libpq's default, sslmode=prefer, continues without TLS if a login with TLS fails",
    isSwitch: true,
  }),
  control: setting({
    value: upstream,
    placeholder: "URI",
    what: "the user who reads the catalog for Sluice; the user of --upstream if left out",
    secret: "uri",
  }),
  key: setting({
    value: key,
    placeholder: "SECRET",
    what: "the fleet's one secret: keys of token masks, counters and audit come from it; needed with --redis and with token masks",
    secret: "file",
  }),
  tokenKeys: setting({
    value: tokenKeys,
    placeholder: "KEYS",
    what: 'the key ring of classes with stored: token (docs/tokens.md); in a file one key a line, which "sluice tokens key" makes; read again at SIGHUP. What is sealed under a lost key is lost',
    secret: "file",
  }),
  kmsCredentials: setting({
    value: secretText,
    placeholder: "SECRET",
    what: "for keys of --token-keys-file that a KMS has wrapped: a token of Vault or GCP, or AWS's credentials file. Without it VAULT_TOKEN, AWS_ACCESS_KEY_ID and its like, or GCP's metadata server; read again at SIGHUP",
    secret: "file",
  }),
  kmsCa: setting({
    value: path,
    placeholder: "FILE",
    what: "authorities (PEM) that sign the KMS's certificate, in place of the well-known ones",
    path: true,
  }),
  kmsEndpoint: setting({
    value: kmsEndpoint,
    placeholder: "URL",
    what: "the address of AWS KMS or GCP KMS, if it is not the public one, such as that of a VPC endpoint",
  }),
  alertWebhook: setting({
    value: webUri,
    placeholder: "URI",
    what: "where alerts about users who read as they never do are posted, signed with --alert-key-file",
    secret: "uri",
  }),
  alertKey: setting({
    value: key,
    placeholder: "SECRET",
    what: "what alerts are signed with; shared with their receiver, and not the fleet's secret",
    secret: "file",
  }),
  alertFormat: setting({
    value: oneOf("json", "slack", "pagerduty"),
    default: "json",
    placeholder: "FORMAT",
    what: "how alerts are put: json, signed; slack, for an incoming webhook; pagerduty, for its Events API v2 (https://events.pagerduty.com/v2/enqueue)",
  }),
  alertRoutingKey: setting({
    value: routingKey,
    placeholder: "KEY",
    what: "the integration key of the service in PagerDuty",
    secret: "file",
  }),
  consoleUrl: setting({
    value: webUri,
    placeholder: "URI",
    what: "where officers reach the console (--admin), for links in alerts",
  }),
  maxMessage: setting({
    value: size,
    placeholder: "SIZE",
    what: "longest message that a client may send; if left out 64MB, and 1GB (as the server has it) for roles that see all and are not watched; COPY data may be longer",
  }),
  pool: setting({
    value: oneOf("session", "transaction"),
    default: "session",
    placeholder: "MODE",
    what: "session gives each client a server connection of its own; transaction lends one for a transaction at a time (docs/pooling.md; needs --auth scram)",
  }),
  poolSize: setting({
    value: count,
    default: "20",
    placeholder: "NUMBER",
    what: "with --pool transaction: server connections of one user of one database at most, in each process",
  }),
  poolWait: setting({
    value: duration,
    default: "120s",
    placeholder: "TIME",
    what: "with --pool transaction: a client that has waited so long for a server connection is disconnected",
  }),
  maxClients: setting({
    value: count,
    default: "1000",
    placeholder: "NUMBER",
    what: "how many clients may be connected at a time",
  }),
  maxClientsPerUser: setting({
    value: count,
    placeholder: "NUMBER",
    what: "how many sessions one user may have at a time; no limit of its own if left out",
  }),
  workers: setting({
    value: count,
    default: "1",
    placeholder: "NUMBER",
    what: "processes that share the work; more than one needs --redis. Limits of clients hold for all together",
  }),
  proxyProtocolFrom: setting({
    value: networks,
    placeholder: "LIST",
    what: "load balancers (10.0.0.0/24,…) whose connections must begin with a PROXY header, version 1 or 2; from others it is refused",
  }),
  tcpKeepalive: setting({
    value: duration,
    default: "60s",
    placeholder: "TIME",
    what: "silence after which a client is probed by TCP (the database: keepalives_idle in --upstream)",
  }),
  loginTimeout: setting({
    value: duration,
    default: "60s",
    placeholder: "TIME",
    what: "a client that has not logged in by then is disconnected",
  }),
  idleSessionTimeout: setting({
    value: durationOrNone,
    default: "0s",
    placeholder: "TIME",
    what: "a session that is idle for longer, with no transaction open, ends with 57P05; 0s: no limit",
  }),
  idleInTransactionTimeout: setting({
    value: durationOrNone,
    default: "0s",
    placeholder: "TIME",
    what: "a session that is idle for longer while a transaction is open ends with 25P03; 0s: no limit",
  }),
  statementTimeout: setting({
    value: durationOrNone,
    default: "0s",
    placeholder: "TIME",
    what: "a statement that runs longer is cancelled (57014), whatever the client sets; 0s: no limit of the proxy's",
  }),
  commandTimeout: setting({
    value: duration,
    default: "500ms",
    placeholder: "TIME",
    what: "how long Redis may take to answer before the counters count as unreachable",
  }),
  drainDelay: setting({
    value: durationOrNone,
    default: "0s",
    placeholder: "TIME",
    what: "how long clients may still connect after SIGTERM, while /readyz asks load balancers to send none",
  }),
  drainTimeout: setting({
    value: duration,
    default: "30s",
    placeholder: "TIME",
    what: "how long open transactions may go on after SIGTERM",
  }),
  metricsUsers: setting({
    value: countOrNone,
    default: "0",
    placeholder: "NUMBER",
    what: "how many users /metrics names with the share of their budgets that they have used, those nearest the end",
  }),
  logLevel: setting({
    value: oneOf("trace", "debug", "info", "warn", "error", "fatal", "silent"),
    default: "info",
    placeholder: "LEVEL",
    what: "least level of the operational log, which goes to standard error",
  }),
} as const;

type SettingValue<S> = S extends Setting<infer T> ? T : never;

/** The checked settings of one `serve`. Durations are in milliseconds, sizes in bytes. */
export type Settings = Omit<
  { readonly [Name in keyof typeof SETTINGS]: SettingValue<(typeof SETTINGS)[Name]> },
  "upstream"
> & { readonly upstream: string };

export type SettingName = keyof typeof SETTINGS;
export const SETTING_NAMES = Object.keys(SETTINGS) as readonly SettingName[];

/** One way to give a setting: directly, or (for secrets) as a file that holds it. */
export interface Form {
  readonly name: SettingName;
  readonly inFile: boolean;
  readonly flag: string | undefined;
  readonly variable: string;
  readonly key: string | undefined;
}

/** All forms in which a setting can be given. */
export function formsOf(name: SettingName): readonly Form[] {
  const { secret } = SETTINGS[name] as Setting<unknown>;
  const words = name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`).split(" ");
  const form = (inFile: boolean): Form => {
    const parts = inFile ? [...words, "file"] : words;
    const hidden = secret === "file" && !inFile;
    return {
      name,
      inFile,
      flag: hidden ? undefined : parts.join("-"),
      variable: `SLUICE_${parts.join("_").toUpperCase()}`,
      key: hidden ? undefined : parts.join("_"),
    };
  };
  return secret ? [form(false), form(true)] : [form(false)];
}

/** Every form of every setting, in the table's order. */
export function allForms(): readonly Form[] {
  return SETTING_NAMES.flatMap(formsOf);
}

function parseListen(given: string): Address | undefined {
  const [, folder, port] = /^(\/[^:]*):(\d{1,5})$/.exec(given) ?? [];
  if (folder === undefined) return parseAddress(given);
  return Number(port) <= 65_535 ? { host: folder.replace(/(?<=.)\/+$/, ""), port: Number(port) } : undefined;
}

function parseAddress(given: string): Address | undefined {
  const match = /^(?:\[([0-9a-fA-F:.%\w]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(given);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  return host !== undefined && port <= 65_535 ? { host, port } : undefined;
}

function scaled(match: RegExpExecArray, units: Record<string, number>, plain: string): number | undefined {
  const factor = units[(match[2] ?? plain).toLowerCase()];
  return factor === undefined ? undefined : Number(match[1]) * factor || undefined;
}
