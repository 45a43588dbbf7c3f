import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  concernsPeople,
  rowsInserted,
  toldByWrite,
  valuesAssigned,
} from "../../../proxy/sql/rules/write-choice.ts";
import type { SupportUser } from "../../harness/postgres.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id }
roles:
  mapper: { users: [ben], reads: all, writes: all, sees: all, budget: { 1d: 300 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY,
    setup: `
      CREATE TABLE notes (id int PRIMARY KEY, a int, b int, UNIQUE (a, b));
      CREATE TABLE places (id int PRIMARY KEY DEFERRABLE, place int UNIQUE DEFERRABLE INITIALLY DEFERRED, code int UNIQUE);
      CREATE TABLE parents (id int PRIMARY KEY, code int UNIQUE);
      CREATE TABLE children (PRIMARY KEY (id)) INHERITS (parents);`,
  });
});
afterAll(() => judged?.close());

function write(sql: string, user: SupportUser = "ben") {
  const { statement, ...given } = ruleInput(judged, user, sql);
  const query = statement.queries.find((each) => each.write !== undefined);
  if (query === undefined) throw new Error(`no write: ${sql}`);
  return { statement, given, query };
}

describe("how a write chooses its rows", () => {
  const none = "INSERT INTO customers (id, email) VALUES (1, 'a')";
  test.each([
    [none, "new"],
    [`${none} ON CONFLICT DO NOTHING`, "one"],
    [`${none}, (2, 'b') ON CONFLICT DO NOTHING`, { tries: 2 }],
    ["INSERT INTO customers (id, email) VALUES (1, DEFAULT), (2, DEFAULT) ON CONFLICT DO NOTHING", "many"],
    [
      "INSERT INTO customers (id, email) SELECT id, body FROM tickets ON CONFLICT DO NOTHING",
      { tries: undefined },
    ],
    ["INSERT INTO tickets (id) VALUES (1), (2) ON CONFLICT (id) DO NOTHING", "many"],
    ["UPDATE customers SET country = 'x' WHERE id = $1::text::bigint", "one"],
    ["UPDATE places SET code = 1 WHERE code = 7 AND place = 1", "one"],
    // Until the transaction ends, all rows may have the same.
    ["UPDATE places SET code = 1 WHERE id = 7", "many"],
    ["UPDATE places SET code = 1 WHERE place = 7", "many"],
    ["UPDATE parents SET code = 1 WHERE id = 7", "one"],
    // The index of the parent does not cover its children.
    ["UPDATE parents SET code = 1 WHERE code = 7", "many"],
    ["UPDATE ONLY customers SET country = 'x' WHERE email = 'a'", "many"],
    ["UPDATE notes SET a = 1 WHERE a = 1 AND b IN (2)", "one"],
    ["UPDATE notes SET a = 1 WHERE a = 1", "many"],
    ["UPDATE notes SET a = 1 WHERE id = 1 OR a = 1", "many"],
    ["UPDATE notes SET a = 1 WHERE id = ANY ($1)", "many"],
    ["UPDATE notes n SET a = 1 FROM tickets t WHERE n.id = t.id AND t.id = 7", "many"],
    ["DELETE FROM notes WHERE id IN (7, 8)", "many"],
    ["MERGE INTO notes n USING (VALUES (1)) v (i) ON n.id = 7 WHEN MATCHED THEN DELETE", "many"],
  ])("%s: %s", (sql, choice) => {
    const { statement, given, query } = write(sql);
    expect(toldByWrite(statement, given, query).choice).toEqual(choice);
  });
});

test.each([
  ["INSERT INTO notes VALUES (1), (2)", 2],
  ["INSERT INTO notes DEFAULT VALUES", 1],
  ["INSERT INTO notes SELECT 1", 1],
  ["INSERT INTO notes VALUES (generate_series(1, 3))", undefined],
  ["INSERT INTO notes SELECT unnest($1::int[])", undefined],
  ["INSERT INTO notes SELECT 1 UNION SELECT 2", undefined],
  ["INSERT INTO notes SELECT id FROM tickets", undefined],
])("rows of %s: %s", (sql, rows) => {
  expect(rowsInserted(write(sql).query)).toBe(rows);
});

test("an UPDATE tests one value if it is the same for all rows", () => {
  expect(valuesAssigned(write("UPDATE notes SET a = $1::int, b = DEFAULT").query)).toBe(1);
  expect(valuesAssigned(write("UPDATE notes SET a = b").query)).toBeUndefined();
});

test("the success of a write reveals other people's values", () => {
  const tells = (sql: string) => {
    const { statement, given, query } = write(sql);
    return toldByWrite(statement, given, query).tells;
  };
  expect(tells("INSERT INTO customers (id, email) VALUES (1, 'a')")).toBe(true);
  expect(tells("INSERT INTO customers (id, email) VALUES (1, DEFAULT)")).toBe(false);
  expect(tells("UPDATE customers SET email = 'a' WHERE id = 7")).toBe(true);
  expect(tells("UPDATE customers SET country = 'a' WHERE id = 7")).toBe(false);
  expect(tells("DELETE FROM customers WHERE id = 7")).toBe(false);
  expect(tells("COPY customers FROM STDIN")).toBe(true);
  expect(tells("COPY customers (id) FROM STDIN")).toBe(false);
});

test("a write concerns people in its target, its other relations or its source", () => {
  const concerns = (sql: string) => {
    const { statement, given, query } = write(sql);
    return concernsPeople(statement, given, query);
  };
  expect(concerns("UPDATE notes SET a = 1")).toBe(false);
  expect(concerns("UPDATE tickets SET status = 'x'")).toBe(true);
  expect(concerns("UPDATE notes n SET a = 1 WHERE EXISTS (SELECT FROM tickets)")).toBe(true);
  expect(concerns("WITH t AS (TABLE tickets) INSERT INTO notes SELECT id FROM t")).toBe(true);
});

/** Units for each execution. */
function price(sql: string): number | undefined {
  const verdict = judged.judge("ben", sql);
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  return verdict.statements[0]?.metering?.price?.execution;
}

describe("a write in WITH costs what it costs on its own, even if nothing refers to it", () => {
  const tries = `INSERT INTO customers (id, email) VALUES ${Array.from({ length: 50 }, (_, n) => `(${n}, 'p${n}')`).join()} ON CONFLICT DO NOTHING`;
  test.each([
    tries,
    "UPDATE customers SET country = 'x' WHERE id = 7",
    "UPDATE tickets SET status = 'x' WHERE customer_id = 7",
    "DELETE FROM tickets WHERE customer_id IN (7, 8)",
  ])("%s", (sql) => {
    const alone = price(sql) ?? 0;
    expect(alone).toBeGreaterThan(0);
    expect(price(`WITH w AS (${sql}) SELECT 1`)).toBe(16 + alone);
    expect(price(`WITH w AS (${sql} RETURNING id) SELECT count(*) FROM w`)).toBeGreaterThanOrEqual(
      16 + alone,
    );
    expect(price(`WITH w AS (${sql}) UPDATE notes SET a = 1 WHERE id = 7`)).toBe(16 + alone);
  });

  test("but the success of the whole statement is charged once", () => {
    const insert = "INSERT INTO customers (id, email) VALUES (1, 'a')";
    expect(price(insert)).toBe(16);
    expect(price(`WITH w AS (${insert}) SELECT 1`)).toBe(16);
    expect(price(`WITH w AS (${insert}) INSERT INTO tickets (id) VALUES (1)`)).toBe(16);
    expect(price(`WITH w AS (${insert}) ${insert}`)).toBe(16);
  });

  test("and has no price if it does not concern people", () => {
    expect(price("WITH w AS (UPDATE notes SET a = 1) SELECT 1")).toBeUndefined();
    expect(price("WITH w AS (UPDATE notes SET a = 1) SELECT id FROM tickets WHERE customer_id = 7")).toBe(16);
  });
});
