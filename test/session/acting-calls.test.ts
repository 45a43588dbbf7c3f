import type pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { queryMessage } from "../../proxy/wire/frontend-messages.ts";
import { Listening } from "./listening.ts";
import { makeWorld, type World } from "./world.ts";

/* A function under `calls:` that writes: a call that is refused leaves nothing behind. */

const SETUP = `
  CREATE TABLE calls (who text, what bigint); GRANT ALL ON calls TO PUBLIC;
  CREATE FUNCTION take(what bigint) RETURNS void LANGUAGE sql SECURITY DEFINER
    AS 'INSERT INTO calls VALUES (session_user, what)';
  CREATE FUNCTION take_many(many bigint) RETURNS SETOF bigint LANGUAGE sql SECURITY DEFINER
    AS 'INSERT INTO calls SELECT session_user, g FROM generate_series(1, many) g RETURNING what';
`;
const CALLS = "calls: [public.take, { public.take_many: shown }]";
const POLICY = `
version: 1
classes: { name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { name: name } }
  public.calls: { subject: what }
roles:
  agent: { users: [anna], reads: all, writes: [public.calls], sees: [name], ${CALLS}, budget: { 1d: 1000 } }
  spent: { users: [ben], extends: agent, budget: { 1d: 1 } }
  some: { users: [cleo], extends: agent, budget: { 1d: 4 } }
  narrow: { users: [metabase], reads: all, sees: [name], ${CALLS}, rows: 4 }
`;

let world: World;
let store: Listening;

beforeAll(async () => {
  store = new Listening();
  world = await makeWorld("npm", { policy: POLICY, store });
  await world.database.query(SETUP);
});
afterAll(() => world?.close());
beforeEach(async () => {
  store.asked.length = 0;
  await world.database.query("TRUNCATE calls");
});

const calls = async () => (await world.database.query("SELECT count(*)::int AS n FROM calls")).rows[0]?.n;
const codeOf = (failing: Promise<unknown>) =>
  failing.then(
    () => undefined,
    (error: pg.DatabaseError) => error.code,
  );

test("a call is paid for before it runs, and its row then costs nothing more", async () => {
  const anna = await world.sluice.connect("anna");
  await anna.query("SELECT take(1)");
  expect(store.units).toBe(16 + 256);
  expect(world.sluice.statements().at(-1)).toMatchObject({ people: 1 });
  store.asked.length = 0;
  // Each time it does something: the same answer is no reason to charge less.
  await anna.query("SELECT take(1)");
  expect(store.units).toBe(16 + 256);
  expect(await calls()).toBe(2);
  store.asked.length = 0;
  await anna.query("SELECT take_many(3)");
  expect(store.units).toBe(16 + 3 * 256);
  await anna.end();
});

test.each([
  ["a simple query", (ben: pg.Client) => ben.query("SELECT take(1)")],
  ["a prepared one", (ben: pg.Client) => ben.query("SELECT take($1)", [1])],
  [
    "EXECUTE",
    (ben: pg.Client) => ben.query("PREPARE p AS SELECT take(1)").then(() => ben.query("EXECUTE p")),
  ],
  ["as a table", (ben: pg.Client) => ben.query("SELECT * FROM take(1)")],
  [
    "a cursor that COMMIT runs",
    (ben: pg.Client) => ben.query("DECLARE c CURSOR WITH HOLD FOR SELECT take(1)"),
  ],
  ["COPY", (ben: pg.Client) => ben.query("COPY (SELECT take(1)) TO STDOUT")],
  [
    "a write inside COPY",
    (ben: pg.Client) => ben.query("COPY (INSERT INTO calls VALUES ('ben', 1) RETURNING what) TO STDOUT"),
  ],
])("without room in the budget it does not run: %s", async (_, call) => {
  const ben = await world.sluice.connect("ben");
  // There is room for the execution, not for the row as well.
  expect(await codeOf(call(ben))).toMatch(/53400|42501/);
  expect(await calls()).toBe(0);
  await ben.end();
});

test.each([
  ["of the budget", "cleo", "53400"],
  ["of rows", "metabase", "54000"],
] as const)("a call whose rows go past a limit is taken back: %s", async (_, user, code) => {
  const client = await world.sluice.connect(user);
  for (const [sql, values] of [
    ["SELECT take_many(20)", undefined],
    ["SELECT take_many($1)", [20]],
    ["SELECT * FROM take_many($1)", [20]],
    ["SELECT take_many(n) FROM generate_series(1, 20) n", undefined],
    ["SELECT take_many(n) FROM generate_series(1, $1::int) n", [20]],
  ] as const) {
    expect(await codeOf(client.query(sql, values && [...values])), sql).toBe(code);
    expect(await calls(), sql).toBe(0);
  }
  await client.end();
});

test("nor does it stand beside others in one message, which would commit it", async () => {
  const raw = await world.sluice.raw("metabase");
  for (const text of ["SELECT take_many(20); SELECT 1", "SELECT take(1); SELECT name FROM customers"]) {
    expect(await raw.send(queryMessage(Buffer.from(text))).answer(), text).toMatch(/^E\(42501\) Z\(I\)$/);
    expect(await calls(), text).toBe(0);
  }
  raw.socket.destroy();
});
