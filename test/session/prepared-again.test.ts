import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { type Message, query, Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, POLICY, type World } from "./world.ts";

/* A statement may have to be prepared again under another search_path, where that fails as well as where it does not. */

const WATCHED = POLICY.replace("sees: all, budget: none", "sees: all, watch: true, budget: { 1h: 1000000 }");

let world: World;
const sluices = new Map<string, TestProxy>();
beforeAll(async () => {
  world = await makeWorld();
  await world.database.query("grant create on schema public to public");
  for (const pool of [undefined, { size: 1 }]) {
    const sluice = await startProxy(world.database, { policy: WATCHED, ...(pool && { pool }) });
    sluices.set(pool === undefined ? "session" : "pool", sluice);
  }
});
afterAll(async () => {
  for (const sluice of sluices.values()) await sluice.close();
  await world?.close();
});

const prepare = (name: string) =>
  parseMessage(name, Buffer.from("select name from customers where id < 3 order by id"));
const run = (name: string) => [bindMessage("", name), executeMessage("", 0), syncMessage];
const describeIt = [describeMessage({ target: "statement", name: "s" }), syncMessage];
const elsewhere = query("set search_path to nowhere");
const back = query("reset search_path");

const CASES: readonly (readonly [string, readonly Buffer[]])[] = [
  ["where its table is out of sight", [elsewhere, ...run("s"), back, ...run("s")]],
  ["behind a description where its table is out of sight", [elsewhere, ...run("s"), back, ...describeIt]],
  ["at its description where its table is out of sight", [elsewhere, ...describeIt, back, ...describeIt]],
  [
    "without Sync behind it",
    [elsewhere, bindMessage("", "s"), query("select 1"), syncMessage, back, ...run("s")],
  ],
  [
    "in a failed block",
    [
      query("set search_path to nowhere, public"),
      query("begin"),
      query("select 1/0"),
      ...run("s"),
      query("rollback"),
      ...run("s"),
    ],
  ],
  [
    "in a block that takes the path back",
    [
      query("begin"),
      query("savepoint a"),
      elsewhere,
      ...run("s"),
      query("rollback to a"),
      ...run("s"),
      query("commit"),
    ],
  ],
];

/** They are refused in a pool, and to a guarded role. */
const BY_SQL: typeof CASES = [
  ["by EXECUTE", [...run("s"), elsewhere, query("execute s"), back, query("execute s")]],
  ["by EXPLAIN EXECUTE", [...run("s"), elsewhere, query("explain execute s"), back, query("execute s")]],
  [
    "by CREATE TABLE AS EXECUTE",
    [
      ...run("s"),
      query("create table made as execute s"),
      query("select * from made"),
      query("drop table made"),
    ],
  ],
  [
    "by EXPLAIN EXECUTE in a failed block",
    [
      ...run("s"),
      query("begin"),
      query("select 1/0"),
      query("explain execute s"),
      query("rollback"),
      ...run("s"),
    ],
  ],
];

async function answers(port: number, user: string, sent: readonly Buffer[]): Promise<string> {
  const client = await Raw.logIn(port, user, world.database.database);
  client.send(prepare("s"), syncMessage, ...sent, query("select 'the end'"));
  const seen: Message[] = [];
  while (!seen.some(({ type, bytes }) => type === "D" && bytes.includes("the end"))) {
    const next = await client.next();
    if (next === undefined) return `${shortOf(seen)} closed`;
    seen.push(next);
  }
  client.socket.destroy();
  return seen
    .filter(({ type }) => type !== "S")
    .map((each) => shortOf([each]))
    .join(" ");
}

describe.each([
  ["watched", "helpdesk_app", "session", [...CASES, ...BY_SQL]],
  ["watched", "helpdesk_app", "pool", CASES],
  ["guarded", "anna", "session", CASES],
  ["guarded", "anna", "pool", CASES],
] as const)("a prepared statement of a role that is %s (%s, %s)", (_, user, way, cases) => {
  test.each(cases)("is the server's %s, and afterwards as before", async (__, sent) => {
    const port = sluices.get(way)?.port ?? 0;
    expect(await answers(port, user, sent)).toBe(await answers(world.server.port, user, sent));
  });
});
