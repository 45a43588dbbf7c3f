/** The address of a server. */
export interface Host {
  /** A name, an address, or the directory of a Unix socket if it begins with a slash. */
  readonly host: string;
  readonly port: number;
}

/** Which of several hosts to use (libpq docs, "target_session_attrs"). */
const SESSION_ATTRS = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"] as const;
export type TargetSessionAttrs = (typeof SESSION_ATTRS)[number];

/** The server and how to connect to it: the content of a libpq connection string (libpq docs, "Connection Strings"). */
export interface Upstream extends Host {
  /** All named hosts, tried in this order; the first one's values are also in `host` and `port`. */
  readonly hosts: readonly Host[];
  readonly targetSessionAttrs: TargetSessionAttrs;
  /** Undefined: the database that the client asks for. */
  readonly database: string | undefined;
  readonly user: string | undefined;
  /** A function, so that logging a target does not log the password. */
  readonly password: () => string | undefined;
  readonly sslmode: Sslmode;
  readonly sslnegotiation: "postgres" | "direct";
  /** "system" means the runtime's own list of authorities. */
  readonly sslrootcert: string | undefined;
  readonly sslcert: string | undefined;
  readonly sslkey: string | undefined;
  /** Milliseconds for connection and TLS. */
  readonly connectTimeout: number;
  /** For one of several hosts: the target that names them all. They share its TLS files, read once. */
  readonly origin?: Upstream;
  /** Milliseconds of silence after which TCP checks whether the server is still there. */
  readonly keepalivesIdle: number;
}

const SSLMODES = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const;
export type Sslmode = (typeof SSLMODES)[number];

export type UpstreamResult =
  | { readonly ok: true; readonly upstream: Upstream }
  /** Never repeats the text, which may contain a password. */
  | { readonly ok: false; readonly problem: string };

const DEFAULT_TIMEOUT = 10_000;

const KNOWN = new Set([
  "host",
  "port",
  "dbname",
  "user",
  "password",
  "sslmode",
  "sslnegotiation",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "connect_timeout",
  "keepalives_idle",
  "target_session_attrs",
]);
/** Parameters of libpq that are accepted only with the value that they would have anyway. */
const FIXED: ReadonlyMap<string, readonly string[]> = new Map([
  ["gssencmode", ["disable", "prefer"]],
  ["channel_binding", ["disable", "prefer"]],
  ["keepalives", ["1"]],
  ["tcp_user_timeout", ["0"]],
  ["sslcompression", ["0"]],
  ["sslsni", ["1"]],
  ["sslcertmode", ["allow"]],
  ["load_balance_hosts", ["disable"]],
  ["client_encoding", ["auto", "utf8", "UTF8", "utf-8", "UTF-8"]],
  ["ssl_min_protocol_version", ["TLSv1.2"]],
  ["ssl_max_protocol_version", ["TLSv1.3"]],
  ["min_protocol_version", ["3.0"]],
  ["max_protocol_version", ["3.0", "3.2", "latest"]],
  ["replication", ["false", "off", "no", "0"]],
]);

/** Parameters of libpq that a proxy does not accept, and what to do instead. */
const INSTEAD: ReadonlyMap<string, string> = new Map([
  ["application_name", "clients' own names reach the database"],
  ["fallback_application_name", "clients' own names reach the database"],
  ["options", "settings of sessions are the clients' own; for all of a user's: ALTER ROLE … SET"],
  ["passfile", "the password is in the URI (--upstream-file) or in PGPASSWORD"],
  ["service", "copy the settings out of the service's file"],
  ["servicefile", "copy the settings out of the service's file"],
  ["hostaddr", "name the address as the host; with sslmode=verify-full the certificate must name it"],
  ["keepalives_interval", "the system's own is used (tcp_keepalive_intvl)"],
  ["keepalives_count", "the system's own is used (tcp_keepalive_probes)"],
  ["sslpassword", "keep the key in a file without a passphrase that others may not read"],
  ["sslcrl", "revocation lists are not read"],
  ["sslcrldir", "revocation lists are not read"],
  ["sslkeylogfile", "keys of sessions are not written to files"],
  ["krbsrvname", "GSSAPI is not spoken"],
  ["gsslib", "GSSAPI is not spoken"],
  ["gssdelegation", "GSSAPI is not spoken"],
  ["requirepeer", "the folder of the socket must be the server's alone"],
  ["require_auth", "the server's pg_hba.conf decides; SCRAM proves the server as well"],
  ["requiressl", "write sslmode=require"],
  ...["scram_client_key", "scram_server_key", "oauth_issuer", "oauth_client_id"].map(
    (name) => [name, "logins here are by password or certificate"] as const,
  ),
  ["oauth_client_secret", "logins here are by password or certificate"],
  ["oauth_scope", "logins here are by password or certificate"],
  // Parameters of drivers and object mappers.
  ["schema", "clients name it: it is theirs"],
  ["pgbouncer", "it is a driver's parameter, for its own connection string"],
  ["connection_limit", "it is a driver's parameter, for its own connection string"],
  ["pool_timeout", "it is a driver's parameter, for its own connection string"],
  ["uselibpqcompat", "sslmode has libpq's meaning here anyway"],
]);

class BadString extends Error {}

/** Reads a libpq URI or a keyword/value string. PGPASSWORD may hold the password instead. */
export function parseUpstream(
  text: string,
  env: { readonly [name: string]: string | undefined },
): UpstreamResult {
  try {
    const isUri = /^postgres(ql)?:\/\//.test(text);
    return { ok: true, upstream: build(isUri ? readUri(text) : readKeywords(text), env) };
  } catch (error) {
    if (error instanceof BadString) return { ok: false, problem: error.message };
    throw error;
  }
}

type Given = ReadonlyMap<string, string>;

/** `postgresql://[user[:password]@][host][:port][,…][/dbname][?name=value&…]` */
const URI = /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/;
const URI_HOST = /^(\[[^\]]+\]|[^[\]:]*)(?::([^[\]:]*))?$/;

function readUri(text: string): Given {
  const match = URI.exec(text);
  const hosts = match?.[3]?.split(",").map((host) => URI_HOST.exec(host));
  if (!match || !hosts?.every((host) => host !== null)) {
    throw new BadString(
      "not a libpq URI; write postgresql://user:password@host:5432/database, and @ : / ? # % inside a name or password as %40 %3A %2F %3F %23 %25",
    );
  }
  const [, user, password, , database, query] = match;
  const given = new Map<string, string>();
  const add = (name: string, value: string | undefined) => {
    if (value) given.set(name, decode(value, name));
  };
  add("user", user);
  add("password", password);
  add("host", hosts.map(([, host = ""]) => host.replace(/^\[(.*)\]$/, "$1")).join(","));
  const ports = hosts.map(([, , port = ""]) => port);
  if (ports.some((port) => port !== "")) add("port", ports.join(","));
  add("dbname", database);
  for (const pair of query?.split("&") ?? []) {
    const [name = "", value] = pair.split("=", 2);
    if (pair === "") continue;
    if (value === undefined) throw new BadString("a parameter of the URI has no value");
    given.set(decode(name, "parameter"), decode(value, name));
  }
  // JDBC's spelling, which libpq also accepts.
  if (given.get("ssl") === "true" && given.delete("ssl")) given.set("sslmode", "require");
  return given;
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new BadString(
      `${what}: a percent sign must be followed by two hexadecimal digits (itself it is %25)`,
    );
  }
}

/** `host=… port=…`: values with blanks are in single quotes; a backslash precedes a quote or backslash. */
function readKeywords(text: string): Given {
  const given = new Map<string, string>();
  const pair = /\s*([A-Za-z_]+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)(?=\s|$)\s*/gsy;
  while (pair.lastIndex < text.length) {
    const match = pair.exec(text);
    if (!match?.[1]) {
      throw new BadString("neither a libpq URI nor pairs such as host=localhost port=5432 dbname=support");
    }
    const quoted = match[2] ?? "";
    const value = quoted.startsWith("'") ? quoted.slice(1, -1) : quoted;
    given.set(match[1], value.replace(/\\(.)/gs, "$1"));
  }
  return given;
}

function build(given: Given, env: { readonly [name: string]: string | undefined }): Upstream {
  for (const [name, value] of given) check(name, value);
  const hosts = hostsOf(given);
  const [{ host, port }] = hosts;
  const targetSessionAttrs = SESSION_ATTRS.find(
    (attrs) => attrs === (given.get("target_session_attrs") || "any"),
  );
  if (targetSessionAttrs === undefined) {
    throw new BadString(`target_session_attrs: must be one of ${SESSION_ATTRS.join(", ")}`);
  }
  const sslmode = SSLMODES.find((mode) => mode === (given.get("sslmode") || "prefer"));
  if (sslmode === undefined) throw new BadString(`sslmode: must be one of ${SSLMODES.join(", ")}`);
  const sslnegotiation = given.get("sslnegotiation") || "postgres";
  if (sslnegotiation !== "postgres" && sslnegotiation !== "direct") {
    throw new BadString("sslnegotiation: must be postgres or direct");
  }
  const password = given.get("password") || env.PGPASSWORD || undefined;
  const upstream: Upstream = {
    host,
    port,
    hosts,
    targetSessionAttrs,
    database: given.get("dbname") || undefined,
    user: given.get("user") || undefined,
    password: () => password,
    sslmode,
    sslnegotiation,
    sslrootcert: given.get("sslrootcert") || undefined,
    sslcert: given.get("sslcert") || undefined,
    sslkey: given.get("sslkey") || undefined,
    // libpq waits forever by default; here a session that hangs would be of no use.
    connectTimeout:
      whole(given.get("connect_timeout") || "0", "connect_timeout", 0, 3600) * 1000 || DEFAULT_TIMEOUT,
    // The system's default of two hours is too long to wait for a lost server.
    keepalivesIdle: whole(given.get("keepalives_idle") || "60", "keepalives_idle", 1, 32_767) * 1000,
  };
  contradictions(upstream);
  return upstream;
}

function check(name: string, value: string): void {
  if (KNOWN.has(name)) return;
  const fixed = FIXED.get(name);
  if (fixed?.includes(value)) return;
  if (fixed) throw new BadString(`${name}: only ${fixed.join(" and ")} can be served`);
  const instead = INSTEAD.get(name);
  if (instead !== undefined) throw new BadString(`${name}: leave it out; ${instead}`);
  // Part of a password could look like a name, so it is not repeated.
  throw new BadString(`there is a parameter other than ${[...KNOWN].join(", ")}`);
}

function contradictions({ sslmode, sslnegotiation, sslrootcert, sslcert, sslkey }: Upstream): void {
  const verifies = sslmode === "verify-ca" || sslmode === "verify-full";
  if (verifies && sslrootcert === undefined) {
    throw new BadString(`sslmode=${sslmode}: give sslrootcert as well, a PEM file or "system"`);
  }
  if (sslrootcert === "system" && sslmode !== "verify-full") {
    throw new BadString(
      "sslrootcert=system: needs sslmode=verify-full, because anyone can get such a certificate",
    );
  }
  if (sslnegotiation === "direct" && !verifies && sslmode !== "require") {
    throw new BadString("sslnegotiation=direct: needs sslmode=require or stricter");
  }
  if ((sslcert === undefined) !== (sslkey === undefined)) {
    throw new BadString("sslcert and sslkey: give both or none");
  }
}

function whole(text: string, name: string, least: number, most: number): number {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= least && value <= most) return value;
  throw new BadString(`${name}: must be a whole number from ${least} to ${most}`);
}

/** Either as many ports as hosts, or one port for all hosts. */
function hostsOf(given: Given): readonly [Host, ...Host[]] {
  const names = (given.get("host") ?? "").split(",").map((name) => name || "localhost");
  const ports = (given.get("port") ?? "").split(",").map((text) => whole(text || "5432", "port", 1, 65_535));
  if (ports.length !== 1 && ports.length !== names.length) {
    throw new BadString(`port: there are ${ports.length} ports for ${names.length} hosts`);
  }
  const [first, ...others] = names.map((host, i) => ({ host, port: ports[i] ?? ports[0] ?? 5432 }));
  if (first === undefined) throw new BadString("host: missing");
  return [first, ...others];
}
