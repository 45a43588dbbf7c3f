import type { SessionInfo } from "../../fleet/session-registry.ts";
import type { NamedPool } from "../../pool/pools.ts";
import type { Operations } from "../operations.ts";
import type { Totals } from "../recent.ts";
import { type Show, type Table, table, type Value } from "./show-table.ts";

/*
 * SHOW commands that pgbouncer has, with pgbouncer 1.18's columns: exporters and scripts read them by name.
 * Without --pool each client has a server connection of its own, so both sides show the same number, nobody waits,
 * and what only a pool has is 0. With it pools and servers are those of this process.
 */

const PEERS =
  "type user database state addr port# local_addr local_port# connect_time request_time wait# wait_us# " +
  "close_needed# ptr link remote_pid# tls application_name";

export const SHOWN_AS_PGBOUNCER: readonly (readonly [string, Show])[] = [
  [
    "clients",
    async (operations) =>
      table(
        PEERS,
        (await operations.sessions()).map((one) => peer("C", one)),
        "int4",
      ),
  ],
  [
    "servers",
    async (operations) =>
      table(
        PEERS,
        operations.pools()?.flatMap(serversOf) ?? (await operations.sessions()).map((one) => peer("S", one)),
        "int4",
      ),
  ],
  ["pools", pools],
  ["databases", databases],
  ["users", users],
  ["lists", lists],
  ["config", config],
  [
    "state",
    () =>
      table("key value", [
        ["active", "yes"],
        ["paused", "no"],
        ["suspended", "no"],
      ]),
  ],
  ["stats", stats],
  ["totals", sums],
  // Scripts that ask all of them find their columns, and nothing to tell.
  ["mem", () => table("name size# used# free# memtotal#", [], "int4")],
  ["dns_hosts", () => table("hostname ttl# addrs", [])],
  ["stats_totals", (operations) => table(`database ${SUMS}`, perDatabase(operations, totals), "numeric")],
  ["stats_averages", (operations) => table(`database ${SUMS}`, perDatabase(operations, averages), "numeric")],
];

function peer(type: "C" | "S", session: SessionInfo): readonly Value[] {
  const { id, user, database, address, application, since } = session;
  const at = pgbouncerTime(since);
  return [
    ...[type, user, database, "active", type === "C" ? address : "", 0, "", 0, at, at, 0, 0, 0],
    ...[id, id, 0, "", type === "C" ? application : ""],
  ];
}

/** Which of them a client has changes with each transaction: only how many are at work is shown. */
function serversOf({ user, database, serversActive, servers }: NamedPool): readonly (readonly Value[])[] {
  return servers.map((since, i) => {
    const at = pgbouncerTime(since);
    const state = i < serversActive ? "active" : "idle";
    return [...["S", user, database, state, "", 0, "", 0, at, at, 0, 0, 0], ...["", "", 0, "", ""]];
  });
}

/** As pgbouncer writes times, in UTC. */
function pgbouncerTime(time: number): string {
  return `${new Date(time).toISOString().slice(0, 19).replace("T", " ")} UTC`;
}

const POOLS =
  "database user cl_active# cl_waiting# cl_active_cancel_req# cl_waiting_cancel_req# sv_active# " +
  "sv_active_cancel# sv_being_canceled# sv_idle# sv_used# sv_tested# sv_login# maxwait# maxwait_us# pool_mode";

function poolRow(pool: NamedPool): readonly Value[] {
  const { database, user, clientsActive, clientsWaiting, serversActive, serversIdle, waitedSeconds } = pool;
  const whole = Math.floor(waitedSeconds);
  const rest = Math.floor((waitedSeconds - whole) * 1e6);
  return [
    ...[database, user, clientsActive, clientsWaiting, 0, 0, serversActive, 0, 0, serversIdle, 0, 0, 0],
    ...[whole, rest, "transaction"],
  ];
}

async function pools(operations: Operations): Promise<Table> {
  const pooled = operations.pools();
  if (pooled !== undefined) return table(POOLS, pooled.map(poolRow), "int4");
  const counts = new Map<string, { user: string; database: string; count: number }>();
  for (const { user, database } of await operations.sessions()) {
    const key = JSON.stringify([database, user]);
    const pool = counts.get(key);
    if (pool === undefined) counts.set(key, { user, database, count: 1 });
    else pool.count += 1;
  }
  return table(
    POOLS,
    [...counts.values()].map(({ user, database, count }) => [
      ...[database, user, count, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0, 0],
      "session",
    ]),
    "int4",
  );
}

async function databases(operations: Operations): Promise<Table> {
  const open = await operations.sessions();
  return table(
    "name host port# database force_user pool_size# min_pool_size# reserve_pool# pool_mode max_connections# " +
      "current_connections# paused# disabled#",
    operations.databases().map((name) => {
      const count = open.filter(({ database }) => database === name).length;
      return [name, null, 0, name, null, 0, 0, 0, "session", 0, count, 0, 0];
    }),
    "int4",
  );
}

async function users(operations: Operations): Promise<Table> {
  const names = new Set((await operations.sessions()).map(({ user }) => user));
  return table(
    "name pool_mode",
    [...names].sort().map((name) => [name, null]),
  );
}

async function lists(operations: Operations): Promise<Table> {
  const open = await operations.sessions();
  const users = new Set(open.map(({ user }) => user)).size;
  const pools = new Set(open.map(({ user, database }) => JSON.stringify([user, database]))).size;
  return table(
    "list items#",
    [
      ["databases", operations.databases().length],
      ["users", users],
      ["pools", pools],
      ["free_clients", 0],
      ["used_clients", open.length],
      ["login_clients", 0],
      ["free_servers", 0],
      ["used_servers", open.length],
      ["dns_names", 0],
      ["dns_zones", 0],
      ["dns_queries", 0],
      ["dns_pending", 0],
    ],
    "int4",
  );
}

function config(operations: Operations): Table {
  return table("key value default changeable", [
    ["pool_mode", "session", "session", "no"],
    ["max_client_conn", String(operations.maxClients), "1000", "no"],
  ]);
}

/** The sums of all databases, by their names in STATS. */
function sums(operations: Operations): Table {
  const { columns, rows } = stats(operations);
  return table(
    "name value#",
    columns
      .slice(1)
      .map(({ name }, i) => [
        TOTALS_NAMES.get(name) ?? name,
        rows.reduce((sum, row) => sum + Number(row[i + 1]), 0),
      ]),
    "numeric",
  );
}

/** What pgbouncer's admin_show_totals calls otherwise. */
const TOTALS_NAMES = new Map([
  ["total_received", "total_client_bytes"],
  ["total_sent", "total_server_bytes"],
  ["avg_recv", "avg_client_bytes"],
  ["avg_sent", "avg_server_bytes"],
]);

const SUMS = "xact_count# query_count# bytes_received# bytes_sent# xact_time# query_time# wait_time#";

function stats(operations: Operations): Table {
  return table(
    "database total_xact_count# total_query_count# total_received# total_sent# total_xact_time# " +
      "total_query_time# total_wait_time# avg_xact_count# avg_query_count# avg_recv# avg_sent# avg_xact_time# " +
      "avg_query_time# avg_wait_time#",
    perDatabase(operations, (sums, seconds) => [...totals(sums), ...averages(sums, seconds)]),
    "numeric",
  );
}

function perDatabase(
  { recent, startedAt, databases: names }: Operations,
  figures: (sums: Totals, seconds: number) => readonly number[],
): readonly (readonly Value[])[] {
  const seconds = Math.max(1, (Date.now() - startedAt) / 1000);
  const known = recent.totals();
  return [...new Set([...names(), ...known.keys()])].map((name) => [
    name,
    ...figures(known.get(name) ?? { statements: 0, bytes: 0, duration: 0 }, seconds),
  ]);
}

/** Transactions are not counted apart: a statement counts as one. Times are microseconds. */
function totals({ statements, bytes, duration }: Totals): readonly number[] {
  const time = Math.round(duration * 1000);
  return [statements, statements, 0, bytes, time, time, 0];
}

/** A second, since the process began; times are of one statement. */
function averages({ statements, bytes, duration }: Totals, seconds: number): readonly number[] {
  const rate = Math.round(statements / seconds);
  const time = statements === 0 ? 0 : Math.round((duration * 1000) / statements);
  return [rate, rate, 0, Math.round(bytes / seconds), time, time, 0];
}
