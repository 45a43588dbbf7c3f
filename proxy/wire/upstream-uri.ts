/** Which server, and how: what libpq's connection string says (libpq docs, "Connection Strings"). */
export interface Upstream {
  /** A name, an address, or the folder of a Unix socket when it begins with a slash. */
  readonly host: string;
  readonly port: number;
  /** Undefined: the one that the client asks for. */
  readonly database: string | undefined;
  readonly user: string | undefined;
  /** A function, so that no log line that shows a target shows it. */
  readonly password: () => string | undefined;
  readonly sslmode: Sslmode;
  readonly sslnegotiation: "postgres" | "direct";
  /** "system" for the runtime's own list of authorities. */
  readonly sslrootcert: string | undefined;
  readonly sslcert: string | undefined;
  readonly sslkey: string | undefined;
  /** Milliseconds for connection and TLS. */
  readonly connectTimeout: number;
  /** Milliseconds of silence after which TCP asks whether the server is still there. */
  readonly keepalivesIdle: number;
}

/** Without `allow`, which tries TLS only after the server turned the log-in away: a proxy is not the one who logs in. */
const SSLMODES = ["disable", "prefer", "require", "verify-ca", "verify-full"] as const;
export type Sslmode = (typeof SSLMODES)[number];

export type UpstreamResult =
  | { readonly ok: true; readonly upstream: Upstream }
  /** Never repeats the text, which may hold a password. */
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
]);
/** libpq knows these too; only what they would be anyhow is taken. */
const FIXED: ReadonlyMap<string, readonly string[]> = new Map([
  ["gssencmode", ["disable", "prefer"]],
  ["channel_binding", ["disable", "prefer"]],
  ["target_session_attrs", ["any"]],
]);

class BadString extends Error {}

/** Reads a libpq URI or a keyword/value string. The password may stand in PGPASSWORD instead. */
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

/** `postgresql://[user[:password]@][host][:port][/dbname][?name=value&…]` */
const URI =
  /^postgres(?:ql)?:\/\/(?:([^:@/?#]*)(?::([^@/?#]*))?@)?(\[[^\]/?#]+\]|[^[\]:/?#@]*)(?::([^/?#@]*))?(?:\/([^?#]*))?(?:\?([^#]*))?$/;

function readUri(text: string): Given {
  const match = URI.exec(text);
  if (match?.[4]?.includes(",")) throw severalHosts();
  if (!match) {
    throw new BadString(
      "not a libpq URI; write postgresql://user:password@host:5432/database, and @ : / ? # % inside a name or password as %40 %3A %2F %3F %23 %25",
    );
  }
  const [, user, password, host, port, database, query] = match;
  const given = new Map<string, string>();
  const add = (name: string, value: string | undefined) => {
    if (value) given.set(name, decode(value, name));
  };
  add("user", user);
  add("password", password);
  add("host", host?.replace(/^\[(.*)\]$/, "$1"));
  add("port", port);
  add("dbname", database);
  for (const pair of query?.split("&") ?? []) {
    const [name = "", value] = pair.split("=", 2);
    if (pair === "") continue;
    if (value === undefined) throw new BadString("a parameter of the URI has no value");
    given.set(decode(name, "parameter"), decode(value, name));
  }
  // JDBC's spelling, which libpq takes too.
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

/** `host=… port=…`, values with blanks in single quotes, backslash before a quote or backslash. */
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
  const host = given.get("host") || "localhost";
  if (host.includes(",")) throw severalHosts();
  const sslmode = SSLMODES.find((mode) => mode === (given.get("sslmode") || "prefer"));
  if (sslmode === undefined) throw new BadString(`sslmode: must be one of ${SSLMODES.join(", ")}`);
  const sslnegotiation = given.get("sslnegotiation") || "postgres";
  if (sslnegotiation !== "postgres" && sslnegotiation !== "direct") {
    throw new BadString("sslnegotiation: must be postgres or direct");
  }
  const password = given.get("password") || env.PGPASSWORD || undefined;
  const upstream: Upstream = {
    host,
    port: whole(given.get("port") || "5432", "port", 1, 65_535),
    database: given.get("dbname") || undefined,
    user: given.get("user") || undefined,
    password: () => password,
    sslmode,
    sslnegotiation,
    sslrootcert: given.get("sslrootcert") || undefined,
    sslcert: given.get("sslcert") || undefined,
    sslkey: given.get("sslkey") || undefined,
    // libpq waits for ever when nothing is said; a session that hangs helps nobody here.
    connectTimeout:
      whole(given.get("connect_timeout") || "0", "connect_timeout", 0, 3600) * 1000 || DEFAULT_TIMEOUT,
    // The system's own default, two hours, is longer than anybody waits for a lost server.
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
  // A stray piece of a password can look like a name.
  throw new BadString(`there is a parameter other than ${[...KNOWN].join(", ")}`);
}

function contradictions({ sslmode, sslnegotiation, sslrootcert, sslcert, sslkey }: Upstream): void {
  const verifies = sslmode === "verify-ca" || sslmode === "verify-full";
  if (verifies && sslrootcert === undefined) {
    throw new BadString(`sslmode=${sslmode}: give sslrootcert as well, a PEM file or "system"`);
  }
  if (sslrootcert === "system" && sslmode !== "verify-full") {
    throw new BadString(
      "sslrootcert=system: needs sslmode=verify-full, for anybody can have such a certificate",
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

function severalHosts(): BadString {
  return new BadString("several hosts are not served yet: give one");
}
