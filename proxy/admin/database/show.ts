import type { SessionInfo } from "../../fleet/session-registry.ts";
import { measureText } from "../../policy/policy.ts";
import type { Operations } from "../operations.ts";
import { SHOWN_AS_PGBOUNCER } from "./pgbouncer.ts";
import { type Show, type Table, table } from "./show-table.ts";

/** By name, as it is typed after SHOW. */
export const SHOWN: ReadonlyMap<string, Show> = new Map<string, Show>([
  ["sessions", async (operations) => sessions(await operations.sessions())],
  ["budgets", budgets],
  ["alerts", alerts],
  ["statements", statements],
  ["suspended", suspended],
  ["policy", policy],
  ["version", ({ version }) => table("version", [[`Sluice ${version}`]])],
  ...SHOWN_AS_PGBOUNCER,
]);

export const HELP = `SHOW SESSIONS | BUDGETS [user] | ALERTS | STATEMENTS [session] | SUSPENDED | POLICY | VERSION
SHOW CLIENTS | SERVERS | POOLS | DATABASES | USERS | LISTS | CONFIG | STATE
SHOW STATS | STATS_TOTALS | STATS_AVERAGES | TOTALS | MEM | DNS_HOSTS
EXPLAIN AS user statement
SUSPEND user 'why'
RESUME user ['why']
KILL session
RELOAD`;

function sessions(open: readonly SessionInfo[]): Table {
  return table(
    "session user role database address application since",
    open.map(({ id, user, role, database, address, application, since }) => [
      ...[id, user, role, database, address, application],
      isoTime(since),
    ]),
  );
}

async function budgets(operations: Operations, user: string | undefined): Promise<Table> {
  const readings = await operations.readings();
  const wanted = readings.filter((reading) => user === undefined || reading.user === user);
  return table(
    "user role database scope window what used# allowed#",
    wanted.flatMap(({ user: name, role, database, uses }) =>
      uses === undefined
        ? [[name, role, database, null, null, "counters cannot be reached", null, null]]
        : uses.map(({ window, used, limited }) => [
            ...[name, role, database, window.scope ?? "user", window.name, measureText(window)],
            used,
            limited ? window.limit : null,
          ]),
    ),
    // A fraction of a person is charged for what names nobody.
    "numeric",
  );
}

async function alerts(operations: Operations): Promise<Table> {
  const { items } = await operations.notables();
  return table(
    "time kind user role database address sqlstate rule text",
    items.map(({ time, kind, user, role, database, client, sqlstate, rule, text }) => [
      isoTime(time),
      ...[kind, user, role, database, client, sqlstate, rule, text],
    ]),
  );
}

async function statements(operations: Operations, session: string | undefined): Promise<Table> {
  const { items } = await operations.statements(session === undefined ? {} : { session });
  return table(
    "time session user role decision rows# people# sqlstate rule statement",
    items.map((one) => [
      ...[isoTime(one.time), one.session, one.user, one.role, one.decision, one.rows, one.people],
      ...[one.sqlstate ?? null, one.rule ?? null, one.statement],
    ]),
  );
}

function suspended(operations: Operations): Table {
  return table(
    "user since by why",
    operations.suspended().map(({ user, at, by, why }) => [user, isoTime(at), by, why]),
  );
}

function policy({ policies, databases }: Operations): Table {
  const set = policies();
  return table(
    "database version mode tables# roles# files",
    databases().map((database) => {
      const one = set.forDatabase(database);
      return [database, one.version, one.mode, one.tables.size, one.roles.size, set.files.join(", ")];
    }),
  );
}

function isoTime(time: number): string {
  return new Date(time).toISOString();
}
