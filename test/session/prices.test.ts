import type pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { Listening } from "./listening.ts";
import { makeWorld, type World } from "./world.ts";

const POLICY = `
version: 1
classes:
  name: { mask: initials }
  email: { mask: email }
tables:
  public.customers: { subject: id, columns: { name: name, email: email } }
  public.tickets: { subject: customer_id, columns: { subject: name } }
roles:
  agent:
    users: [anna]
    reads: all
    writes: [public.tickets]
    sees: [name]
    budget: { 1d: 1000 }
  poor:
    users: [ben]
    reads: all
    sees: [name]
    budget: { 1d: 1 }
unknown_users: refuse
`;

let world: World;
let store: Listening;
let anna: pg.Client;

beforeAll(async () => {
  store = new Listening();
  world = await makeWorld("npm", { policy: POLICY, store });
  anna = await world.sluice.connect("anna");
});
afterAll(async () => {
  await anna?.end();
  await world?.close();
});
beforeEach(() => {
  store.asked.length = 0;
});

const units = () => store.units;
const named = () => store.named;
const codeOf = (failing: Promise<unknown>) =>
  failing.then(
    () => undefined,
    (error: pg.DatabaseError) => error,
  );

describe("a statement that is pinned to people", () => {
  test.each([
    ["a literal", "SELECT name FROM customers WHERE id = 21", []],
    ["a quoted literal", "SELECT name FROM customers WHERE id = '021'", []],
    ["a parameter", "SELECT name FROM customers WHERE id = $1", [21]],
    ["a parameter with a cast", "SELECT name FROM customers WHERE id = $1::bigint", ["21"]],
    [
      "a join",
      "SELECT c.name, t.subject FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id WHERE c.id = $1",
      [21],
    ],
    [
      "a subquery",
      "SELECT c.name, (SELECT count(*) FROM tickets t WHERE t.customer_id = c.id) FROM customers c WHERE c.id = $1",
      [21],
    ],
    ["a count", "SELECT count(*) FROM tickets WHERE customer_id = $1", [21]],
    ["an array", "SELECT array_agg(subject) FROM tickets WHERE customer_id = $1", [21]],
  ])("costs those and nothing else: %s", async (_, text, values) => {
    await anna.query(text, [...values]);
    expect(new Set(named())).toEqual(new Set(store.asked.length === 0 ? [] : ["21"]));
    expect(units()).toBe(0);
  });

  test("charges them before it runs, and is refused unsent where they have no room", async () => {
    const ben = await world.sluice.connect("ben");
    await ben.query("SELECT name FROM customers WHERE id = $1", [1]);
    expect(await codeOf(ben.query("SELECT name FROM customers WHERE id = $1", [2]))).toMatchObject({
      code: "53400",
    });
    // A condition that can fail tells of others by its errors: that has a price, and there is no room for it.
    for (const sql of [
      "SELECT 1 FROM customers WHERE id = 1 AND name LIKE 'A%'",
      "SELECT 1 FROM customers WHERE id IN (1, 2) AND (id = 1 OR name LIKE 'A%') LIMIT 2",
      "SELECT count(*) FROM customers",
      "SELECT name FROM customers WHERE id = 1 OR id = 1",
      "EXPLAIN SELECT 1 FROM tickets",
    ])
      expect(await codeOf(ben.query(sql)), sql).toMatchObject({ code: "53400" });
    // Of whom is counted nothing new can be learned.
    expect((await ben.query("SELECT name FROM customers WHERE id = $1", [1])).rows).toHaveLength(1);
    expect((await ben.query("SELECT count(*) FROM tickets WHERE customer_id = 1")).rows).toHaveLength(1);
    await ben.end();
  });
});

describe("a cursor that is pinned to people", () => {
  const declare = "DECLARE k SCROLL CURSOR FOR SELECT name FROM customers WHERE id = 41";

  test("costs them, as its query does", async () => {
    await anna.query("BEGIN");
    await anna.query(declare);
    for (const sql of ["FETCH k", "MOVE LAST FROM k", "FETCH ABSOLUTE 1 FROM k", "FETCH PRIOR FROM k"])
      await anna.query(sql);
    await anna.query({ text: "FETCH ALL FROM k", name: "all" });
    await anna.query(
      "CLOSE k; DECLARE k CURSOR FOR SELECT name FROM customers WHERE id = 41; FETCH ALL FROM k",
    );
    await anna.query("COMMIT");
    expect([new Set(named()), units()]).toEqual([new Set(["41"]), 0]);
    store.asked.length = 0;
    // For COMMIT to run it costs as any execution.
    await anna.query(declare.replace("CURSOR", "CURSOR WITH HOLD"));
    await anna.query("FETCH ALL FROM k");
    await anna.query("CLOSE k");
    expect([new Set(named()), units()]).toEqual([new Set([]), 16]);
  });

  test("but not where the constant comes with Bind, or conditions can fail", async () => {
    await anna.query("BEGIN");
    await anna.query(declare.replace("41", "$1"), [41]);
    await anna.query("FETCH k");
    expect(units()).toBe(16);
    await anna.query(`CLOSE k; ${declare} AND name LIKE 'A%'`);
    store.asked.length = 0;
    await anna.query("FETCH k");
    expect(units()).toBe(16);
    await anna.query("COMMIT");
  });
});

describe("what an execution costs", () => {
  test.each([
    ["a search without a hit", "SELECT id FROM customers WHERE name LIKE 'nobody%'", 16],
    [
      "a place that nothing protected decides",
      "SELECT id FROM customers WHERE id = -1 OR id = -2 OFFSET 3",
      16,
    ],
    [
      "a place that others decide",
      "SELECT id FROM customers WHERE (id = -1 OR id = -2) AND name <> 'x' OFFSET 3",
      16 + 240,
    ],
    [
      "a place by an order",
      "SELECT id FROM customers WHERE id = -1 OR id = -2 ORDER BY name LIMIT 1",
      16 + 128,
    ],
    ["one number of everybody", "SELECT count(*) FROM customers WHERE country IS NOT NULL", 16],
    ["groups of many", "SELECT status, count(*) FROM tickets GROUP BY status", 16],
    ["distinct values that many share", "SELECT DISTINCT country FROM customers ORDER BY country", 16],
    [
      "distinct values of a join",
      "SELECT DISTINCT c.country, t.status FROM customers c JOIN tickets t ON t.customer_id = c.id",
      16,
    ],
    [
      "distinct values that are one person's",
      "SELECT DISTINCT id FROM tickets WHERE id IN (1, 2, 3)",
      16 + 3 * 256,
    ],
    ["distinct protected values", "SELECT DISTINCT left(name, 1) FROM customers WHERE id < 3", 16 + 2 * 256],
    ["a bit of everybody's names", "SELECT bool_or(name LIKE 'A%') FROM customers", 16 + 256],
    ["a condition on names", "SELECT count(*) FROM customers WHERE name LIKE '%n%'", 16 + 256],
    ["a plan", "EXPLAIN (COSTS OFF) SELECT 1 FROM tickets WHERE subject = 'x'", 80],
    ["a write by its key", "UPDATE tickets SET status = status WHERE id = 1", 16],
    ["a write of many", "UPDATE tickets SET status = status WHERE status = 'nothing'", 256],
  ])("%s", async (_, sql, price) => {
    await anna.query(sql);
    expect(units()).toBe(price);
    expect(named()).toEqual([]);
  });

  test("a sum of many digits costs its size", async () => {
    const { rows } = await anna.query<{ sum: string }>(
      "SELECT sum((lpad(ascii(name)::text, 3, '0') || 'e' || (id * 4)::text)::numeric)::text FROM customers WHERE id < 60",
    );
    const digits = rows[0]?.sum.length ?? 0;
    expect(digits).toBeGreaterThan(200);
    // One byte more for the field; the 59 people behind it would cost more than its 60 times four bytes.
    expect(units()).toBe(16 + 256 * Math.min(59, Math.ceil((digits + 1) / 4)));
    store.asked.length = 0;
    const few =
      "SELECT sum((lpad(ascii(name)::text, 3, '0') || 'e' || (id * 90)::text)::numeric) FROM customers WHERE id < 5";
    await anna.query(few);
    expect(units()).toBe(16 + 256 * 4);
  });

  test("rows that others are gathered in name them", async () => {
    await anna.query("SELECT array_agg(name) FROM customers WHERE id BETWEEN 31 AND 35");
    expect(named()).toEqual(["31", "32", "33", "34", "35"]);
    expect(units()).toBe(16);
    expect(world.sluice.statements().at(-1)).toMatchObject({ people: 5 });
  });
});

test("distinct values that a protected one chooses cost one person a row, as before", async () => {
  const { rowCount } = await anna.query("SELECT DISTINCT country FROM customers WHERE name LIKE '%a%'");
  expect(rowCount).toBeGreaterThan(3);
  expect(units()).toBe(16 + 256 * (rowCount ?? 0));
});

test.each([
  "SELECT DISTINCT country FROM customers WHERE id > 5 ORDER BY country DESC LIMIT 3",
  "SELECT DISTINCT c.country, t.status AS s FROM customers c JOIN tickets t ON t.customer_id = c.id ORDER BY 2, 1;",
  "SELECT DISTINCT status FROM tickets ORDER BY status FETCH FIRST 2 ROWS ONLY",
  "SELECT DISTINCT customers.country FROM public.customers ORDER BY 1 -- a comment",
  "SELECT DISTINCT country, country AS again FROM customers ORDER BY again",
])("distinct rows are those that the server gives: %s", async (sql) => {
  const [told, real] = [await anna.query(sql), await world.database.query(sql)];
  expect([told.rows, told.fields.map(({ name }) => name)]).toEqual([
    real.rows,
    real.fields.map(({ name }) => name),
  ]);
});

test("each row of a result of groups arrives, whether its price is its people or nothing", async () => {
  for (const sql of [
    "SELECT country, count(*) FROM customers GROUP BY country",
    "SELECT left(name, 1), count(*) FROM customers GROUP BY 1",
    "SELECT country, array_agg(id) FROM customers WHERE id < 20 GROUP BY country",
  ]) {
    for (const text of [sql, `${sql} LIMIT 1000`]) {
      const { rows, rowCount } = await anna.query(text);
      expect(rowCount).toBeGreaterThan(3);
      expect(rows).toHaveLength(rowCount ?? 0);
    }
  }
});

describe("an error", () => {
  test.each([
    ["get_bit('\\x00'::bytea, 100 + ascii(name))", "2202E"],
    ["chr(1114112 + ascii(name))", "54000"],
    ["name::int", "22P02"],
    ["1 / (ascii(name) - ascii(name))", "22012"],
  ])("has a price, a fixed text and nothing else: %s", async (expression, code) => {
    const error = await codeOf(
      anna.query(`SELECT ${expression} FROM customers WHERE name LIKE '%' /* Alice */`),
    );
    expect(error).toMatchObject({ code, message: expect.stringContaining("withheld") });
    expect(error).toMatchObject({
      detail: undefined,
      hint: undefined,
      where: undefined,
      position: undefined,
    });
    expect(error).toMatchObject({ routine: undefined, line: undefined, file: undefined });
    expect(units()).toBe(16 + 64);
  });

  test("of the parser costs nothing and is told", async () => {
    const error = await codeOf(anna.query("SELECT nope FROM customers"));
    expect(error).toMatchObject({ code: "42703", message: 'column "nope" does not exist', position: "8" });
    expect(units()).toBe(16);
  });
});

describe("the same answer to the same question", () => {
  const list = "SELECT id, status FROM tickets WHERE status = 'open' ORDER BY id LIMIT 5";

  test("costs next to nothing, in rows and in numbers", async () => {
    const number = "SELECT count(*) FROM customers WHERE name LIKE '%e%'";
    const first = [await anna.query(list), await anna.query(number)];
    store.asked.length = 0;
    const again = [await anna.query(list), await anna.query(number)];
    expect(again.map(({ rows }) => rows)).toEqual(first.map(({ rows }) => rows));
    expect(units()).toBe(2);
  });

  test("and another answer costs the whole price, before it leaves", async () => {
    const number = "SELECT count(*) FROM tickets WHERE subject LIKE '%' AND id < $1";
    await anna.query(number, [50]);
    await world.database.query(
      "DELETE FROM ticket_messages WHERE ticket_id = 49; DELETE FROM tickets WHERE id = 49",
    );
    store.asked.length = 0;
    await anna.query(number, [50]);
    // The planner may evaluate LIKE on statistics, so that Bind can fail: 1.
    expect(units()).toBe(16 + 32 + 256 + 1);
  });
});

test("no notice comes of a statement that touches people", async () => {
  const notices: unknown[] = [];
  const listen = (notice: unknown) => notices.push(notice);
  anna.on("notice", listen);
  await anna.query(
    "SELECT count(*) FROM (SELECT name FROM customers WHERE id < 20 OFFSET 0) q WHERE to_tsvector('simple', repeat('x', 3000) || name)::text <> ''",
  );
  expect(notices).toEqual([]);
  await anna.query("SELECT to_tsvector('simple', repeat('x', 3000))");
  expect(notices).toHaveLength(1);
  anna.off("notice", listen);
});
