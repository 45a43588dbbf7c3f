import { quoteIdentifier, quoteLiteral } from "../pg/quote.ts";
import type { Leaves } from "../pg/statements.ts";
import { queryMessage } from "../wire/frontend-messages.ts";

/**
 * Settings that a client has changed, by name, with the values that the server told. All texts here hold one
 * character a byte, as they travel: nothing is lost, whatever they mean.
 */
export type SyncedParameters = ReadonlyMap<string, string>;

/**
 * What SET cannot change, or what means something only while the server begins a session (Postgres docs, "Server
 * Configuration"), and what texts are read by: connections are opened with these.
 */
const OF_CONNECTION: ReadonlySet<string> = new Set([
  ...["client_encoding", "standard_conforming_strings"],
  ...["local_preload_libraries", "session_preload_libraries"],
  ...["ignore_system_indexes", "jit_debugging_support", "jit_profiling_support", "post_auth_delay"],
  ...["log_connections", "log_disconnections"],
  ...["transaction_isolation", "transaction_read_only", "transaction_deferrable"],
]);

/**
 * Whether a setting of the startup packet can be carried from one connection to the next. Names with a dot cannot: once one
 * is set, no command makes it unknown again, as it is to clients that did not ask for it.
 */
export function isSynced(name: string): boolean {
  return !OF_CONNECTION.has(name) && !name.includes(".");
}

/** Ends a session that is idle: what is idle in a pool is nobody's session. */
export const IDLE_TIMEOUT = "idle_session_timeout";

/** As DISCARD ALL, less what costs the next client its plans. */
const TAKE_BACK = [
  "CLOSE ALL",
  "SET SESSION AUTHORIZATION DEFAULT",
  "RESET ALL",
  "RESET ROLE",
  "UNLISTEN *",
  "SELECT pg_catalog.pg_advisory_unlock_all()",
  "DISCARD TEMP",
  "DISCARD SEQUENCES",
].join("; ");

/** What takes away that which the last client's transactions have left; undefined: nothing. */
export function resetFor(leaves: Leaves): Buffer | undefined {
  switch (leaves) {
    case "nothing":
      return undefined;
    case "traces":
      return query(TAKE_BACK);
    case "anything":
      return query("DISCARD ALL");
  }
}

/** What makes a connection's settings those of the client; undefined: they are. */
export function applying(wanted: SyncedParameters, applied: SyncedParameters): Buffer | undefined {
  const statements = [...applied.keys()]
    .filter((name) => !wanted.has(name))
    .map((name) => `RESET ${name.split(".").map(quoteIdentifier).join(".")}`);
  const calls = [...wanted]
    .filter(([name, value]) => applied.get(name) !== value)
    .map(([name, value]) => `pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false)`);
  if (calls.length > 0) statements.push(`SELECT ${calls.join(", ")}`);
  return statements.length === 0 ? undefined : query(statements.join("; "));
}

/** Asks the server for settings: whether a SET has held or was rolled back, it knows best. */
export function asking(names: readonly string[]): Buffer {
  return query(
    `SELECT ${names.map((name) => `pg_catalog.current_setting(${quoteLiteral(name)}, true)`).join(", ")}`,
  );
}

/**
 * Gives settings back their values where they have the server's defaults; what a client has set since stays. The server
 * itself would do so for what stood in the startup packet.
 */
export function restoring(settings: SyncedParameters): Buffer {
  const values = [...settings].map(([name, value]) => `(${quoteLiteral(name)}, ${quoteLiteral(value)})`);
  return query(
    `SELECT pg_catalog.set_config(s.name, v.value, false)
     FROM pg_catalog.pg_settings s, (VALUES ${values.join(", ")}) v(name, value)
     WHERE pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) v.name AND s.source OPERATOR(pg_catalog.<>) 'session'`,
  );
}

/** Asks with which settings the server begins sessions of this user in this database, beside those of its configuration. */
export const askingDefaults: Buffer = query(
  `SELECT pg_catalog.string_agg(pg_catalog.concat_ws(' ', s.setdatabase, s.setrole, s.setconfig), ' ' ORDER BY s.setdatabase, s.setrole)
   FROM pg_catalog.pg_db_role_setting s, pg_catalog.pg_database d, pg_catalog.pg_roles r
   WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database() AND r.rolname OPERATOR(pg_catalog.=) session_user
     AND (s.setdatabase OPERATOR(pg_catalog.=) d.oid OR s.setdatabase OPERATOR(pg_catalog.=) 0::pg_catalog.oid)
     AND (s.setrole OPERATOR(pg_catalog.=) r.oid OR s.setrole OPERATOR(pg_catalog.=) 0::pg_catalog.oid)`,
);

/** What is idle in the pool must not be ended by what a client wished for its session. */
export const withoutIdleTimeout: Buffer = query(`RESET ${IDLE_TIMEOUT}`);

/** A name or a value out of parsed text, as it travels. */
export function asBytes(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function query(sql: string): Buffer {
  return queryMessage(Buffer.from(sql, "latin1"));
}
