import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { knows } from "../harness/postgres-versions.ts";
import { query } from "../harness/raw-client.ts";
import { Listening } from "./listening.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * Statements that once told of people whom nobody counted. Customer 7 is counted, and nobody else.
 */

const POLICY = `
version: 1
classes:
  name: { mask: initials }
tables:
  public.customers: { subject: id, columns: { name: name } }
  public.tickets: { subject: customer_id, columns: { subject: name } }
roles:
  agent: { users: [anna], reads: all, writes: [public.tickets, public.refs], sees: [name], budget: { 1d: 1000 } }
  poor: { users: [ben, cleo, metabase], reads: all, writes: [public.tickets], sees: [name], budget: { 1d: 3 } }
unknown_users: refuse
`;

const PERSON = 256;

let world: World;
let store: Listening;
let anna: pg.Client;

beforeAll(async () => {
  store = new Listening();
  world = await makeWorld("npm", { policy: POLICY, store });
  await world.database.query(`
    CREATE UNIQUE INDEX tickets_subject_unique ON tickets (subject);
    CREATE TABLE refs (id bigint, subject text REFERENCES tickets (subject)); GRANT ALL ON refs TO anna;`);
  anna = await world.sluice.connect("anna");
  await anna.query("SELECT name FROM customers WHERE id = 7");
});
afterAll(async () => {
  await anna?.end();
  await world?.close();
});
beforeEach(() => {
  store.asked.length = 0;
});

const codeOf = (failing: Promise<unknown>) =>
  failing.then(
    () => undefined,
    (error: pg.DatabaseError) => error,
  );
/** People other than the counted one, in units: named ones and unknown ones. */
const charged = () => store.units + PERSON * store.named.filter((each) => each !== "7").length;

describe("a statement that is not pinned, though it looks so", () => {
  test("whose string goes on behind more white space than anybody writes", async () => {
    for (const between of [`\n${" ".repeat(5_000)}`, `${"\n".repeat(300)}\t`]) {
      store.asked.length = 0;
      const { rows } = await anna.query<{ max: string }>(
        `SELECT max(name) FROM customers WHERE id = '7'${between}'1'`,
      );
      expect(rows[0]?.max).toMatch(/ 71$/);
      expect(charged()).toBeGreaterThanOrEqual(PERSON);
    }
  });

  test("whose FULL JOIN gives rows that its condition does not hold for", async () => {
    await anna.query(
      "SELECT max(t.subject) FROM (customers c JOIN pg_catalog.pg_am a ON c.id = 7) FULL JOIN tickets t ON t.customer_id = c.id",
    );
    expect(charged()).toBeGreaterThanOrEqual(PERSON);
  });

  test("whose parameter is of a type that rounds", async () => {
    const least = 2n ** 54n;
    await world.database.query(
      `INSERT INTO customers SELECT ${least} + g, 'Large ' || g, 'large' || g || '@example.com', null, null, null, 'XX', now()
       FROM generate_series(0, 2) g`,
    );
    await anna.query("SELECT name FROM customers WHERE id = $1", [String(least)]);
    store.asked.length = 0;
    const text = "SELECT string_agg(name, ',') FROM customers WHERE id = $1";
    expect(await answerTo(anna, text, FLOAT8, String(least))).toMatch(/Large 0.*Large [12]/);
    expect(charged()).toBeGreaterThanOrEqual(2 * PERSON);
    store.asked.length = 0;
    // The first place decides which type it has.
    await anna.query(
      "SELECT count(*), string_agg(name, ',') FROM customers WHERE extract(epoch FROM created_at)::float8 <> $1 AND id = $1",
      [String(least)],
    );
    expect(charged()).toBeGreaterThan(0);
  });

  test("but one parameter may hold several tables", async () => {
    await anna.query(
      "SELECT c.name, t.subject FROM customers c JOIN tickets t ON t.customer_id = $1 WHERE c.id = $1",
      [7],
    );
    expect(store.asked).toEqual([]);
  });
});

const FLOAT8 = 701;

/** The one value of one row, asked for with a parameter of a type of the client's choice. */
function answerTo(client: pg.Client, text: string, type: number, value: string): Promise<string | undefined> {
  class Typed extends pg.Query {
    prepare(connection: pg.Connection): void {
      connection.parse({ name: "", text, types: [type] } as never, true);
      connection.bind({ portal: "", statement: "", values: [value] } as never, true);
      connection.describe({ type: "P", name: "" }, true);
      connection.execute({ portal: "", rows: "" }, true);
      connection.sync();
    }
  }
  return new Promise((resolve, reject) => {
    const query = new Typed({ text, values: [value] });
    query.on("row", (row: Record<string, unknown>) => resolve(String(Object.values(row)[0])));
    query.on("error", reject);
    client.query(query);
  });
}

describe("a FETCH whose cursor has become another one on the way", () => {
  const cheap = "DECLARE k CURSOR FOR SELECT name FROM customers WHERE id = 7";
  const search = "DECLARE k CURSOR FOR SELECT id FROM customers WHERE name LIKE 'nobody%'";
  const steps = (sql: string) => [
    parseMessage("", Buffer.from(sql)),
    bindMessage("", ""),
    executeMessage("", 0),
  ];

  test.each([
    ["queries", ["CLOSE k", search, "FETCH k"].map(query)],
    ["one pipeline", [...["CLOSE k", search, "FETCH k"].flatMap(steps), syncMessage]],
  ])("costs what that one does: %s", async (_, messages) => {
    const raw = await world.sluice.raw("anna");
    for (const sql of ["BEGIN", cheap]) await raw.send(query(sql)).answer();
    raw.send(...messages);
    let answer = "";
    while (!answer.includes("FETCH 0")) answer = await raw.answer();
    // The FETCH, and 1 for DECLARE: planning LIKE can fail by what statistics hold.
    expect(charged()).toBe(16 + 1);
    raw.socket.destroy();
  });
});

describe("a row that somebody is left out of", () => {
  const others = "generate_series(128 * 50, 128 * 59) v LEFT JOIN customers c ON c.id = v / 128";

  test.each([
    [
      "in a gathering",
      `SELECT array_agg(v) FROM ${others} AND ascii(c.name) <> v % 128 WHERE c.id IS NULL AND v % 128 > 32`,
    ],
    [
      "in groups",
      `SELECT v FROM ${others} AND ascii(c.name) <> v % 128 WHERE v % 128 > 32 GROUP BY v HAVING count(c.id) = 0`,
    ],
  ])("counts %s", async (_, sql) => {
    await anna.query(sql);
    expect(charged()).toBeGreaterThanOrEqual(9 * PERSON);
  });

  test("costs nothing where no protected column decides it", async () => {
    await anna.query(
      "SELECT c.country, count(t.id) FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id AND t.id < 0 WHERE c.id < 900 GROUP BY 1",
    );
    expect(charged()).toBe(16);
  });

  test("counts, if it is by a single protected column", async () => {
    await anna.query(
      "SELECT t.id FROM tickets t LEFT JOIN customers c ON c.name = t.subject WHERE t.customer_id = 7 AND c.id IS NULL",
    );
    expect(charged()).toBe(16 + 2 * PERSON);
  });
});

describe("a row of a counted person", () => {
  test("with a sum over everybody beside that person", async () => {
    const { rows } = await anna.query<{ digits: string }>(
      "SELECT id, (sum(ascii(name)::numeric * 10::numeric ^ (id % 50 * 3)::numeric) OVER ())::text AS digits FROM customers ORDER BY id = 7 DESC LIMIT 1",
    );
    expect(charged()).toBeGreaterThanOrEqual((PERSON * (rows[0]?.digits.length ?? 0)) / 4);
  });

  test.each([
    [
      "a rank",
      "SELECT id, rank() OVER (ORDER BY name) FROM customers ORDER BY id = 7 DESC LIMIT 1",
      16 + 256,
    ],
    [
      "a total",
      "SELECT id, count(*) OVER () FROM customers WHERE name LIKE 'A%' ORDER BY id = 7 DESC LIMIT 1",
      144 + 240,
    ],
    ["a plain rank", "SELECT id, rank() OVER (ORDER BY id) FROM customers ORDER BY id = 7 DESC LIMIT 1", 16],
  ])("with %s among everybody", async (_, sql, price) => {
    await anna.query(sql);
    expect(charged()).toBe(price);
  });

  test("with another one's name, beside a WITH query that nothing refers to", async () => {
    const idle = "x AS (SELECT 1 FROM tickets t WHERE t.customer_id = c.id)";
    await anna.query(
      `SELECT c.id, (WITH ${idle} SELECT d.name FROM customers d WHERE d.id = c.id + 60) FROM customers c WHERE c.id = 7`,
    );
    expect(charged()).toBe(16 + PERSON);
  });
});

test("all rows of groups come", async () => {
  const groups = "SELECT country, count(*)::int FROM customers WHERE id <= 1000 GROUP BY 1 ORDER BY 1";
  const { rows } = await world.database.query(groups);
  expect(rows.length).toBeGreaterThan(3);
  expect((await anna.query(groups)).rows).toEqual(rows);
});

test("an answer that was held back is not cheap the next time", async () => {
  const ben = await world.sluice.connect("ben");
  const names =
    "SELECT string_agg(upper(name), ',') FROM (SELECT name FROM customers WHERE id BETWEEN 100 AND 140) q";
  expect(await codeOf(ben.query(names))).toMatchObject({ code: "53400" });
  expect(await codeOf(ben.query(names))).toMatchObject({ code: "53400" });
  await ben.end();
});

test("how dear a row is that was held back, is not told", async () => {
  const cleo = await world.sluice.connect("cleo");
  for (const id of [1, 2]) await cleo.query("SELECT name FROM customers WHERE id = $1", [id]);
  const [short, long] = [
    await codeOf(cleo.query("SELECT max(left(name, 2)) FROM customers WHERE id > 500")),
    await codeOf(cleo.query("SELECT max(left(name, 6)) FROM customers WHERE id > 500")),
  ];
  expect(short).toMatchObject({ code: "53400", detail: expect.stringContaining("2 of 3 people") });
  expect(long?.detail).toBe(short?.detail);
  await cleo.end();
});

test("a statement that fails near the end of a budget says so, not that it was never run", async () => {
  const metabase = await world.sluice.connect("metabase");
  for (const id of [1, 2]) await metabase.query("SELECT name FROM customers WHERE id = $1", [id]);
  // Room for fourteen executions, each a sixteenth; an error costs four more.
  for (let i = 0; i < 14; i++)
    await metabase.query("SELECT id FROM customers WHERE name LIKE $1", [`nobody ${i}%`]);
  expect(await codeOf(metabase.query("UPDATE tickets SET region = NULL WHERE id = 6"))).toMatchObject({
    code: "53400",
    message: expect.stringMatching(/^the statement failed, and the budget of 3 people in 1d has no room/),
    detail: expect.stringContaining("Nothing of the statement was done."),
  });
  expect(await codeOf(metabase.query("UPDATE tickets SET region = '' WHERE region = 'x'"))).toMatchObject({
    code: "53400",
    message: "budget of 3 people in 1d has no room for the next write",
  });
  await metabase.end();
});

test("each guess at a protected value that ON CONFLICT passes over has a price", async () => {
  const row = (id: number) => `(${id}, 7, 'Ticket ${id} of customer 8', '', '', '', now())`;
  const insert = "INSERT INTO tickets (id, customer_id, subject, body, status, region, created_at)";
  const rows = Array.from({ length: 40 }, (_, i) => row(900_000 + i));
  await anna.query(`${insert} VALUES ${rows.join()} ON CONFLICT DO NOTHING`);
  expect(charged()).toBe(16 * 40);
  const unknown = `${insert} SELECT g, 7, 'Ticket ' || g, '', '', '', now() FROM generate_series(1, 9) g ON CONFLICT DO NOTHING`;
  const single = `${insert} VALUES (generate_series(1, 9), 7, unnest(ARRAY['a', 'b']), '', '', '', now()) ON CONFLICT DO NOTHING`;
  for (const sql of [unknown, single]) expect(await codeOf(anna.query(sql))).toMatchObject({ code: "42501" });
});

describe("that a write succeeds tells of a value that the role sees for each person alone, and has a price", () => {
  const insert = "INSERT INTO tickets (id, customer_id, subject, body, status, region, created_at)";
  const row = (id: number) => `(${id}, 7, 'Guess ${id}', '', '', '', now())`;

  test.each([
    ["a unique value", `${insert} VALUES ${row(910_001)}`],
    ["a parameter", `${insert} VALUES (910002, 7, $1, '', '', '', now())`, ["another guess"]],
    ["several, stored or refused together", `${insert} VALUES ${row(910_003)}, ${row(910_004)}`],
    [
      "a SELECT",
      `${insert} SELECT g, 7, 'Guess ' || g, '', '', '', now() FROM generate_series(910005, 910009) g`,
    ],
    ["inside WITH", `WITH w AS (${insert} VALUES ${row(910_010)}) SELECT 1`],
    ["a foreign key", "INSERT INTO refs VALUES (1, 'Guess 910001')"],
    ["a foreign key, changed", "UPDATE refs SET subject = 'Guess 910003' WHERE id = 1", [], 16 + 240],
  ] as const)("%s", async (_, sql, values: readonly string[] = [], price = 16) => {
    await anna.query(sql, [...values]);
    expect(charged()).toBe(price);
  });

  test("as COPY, whose rows are stored or refused together", async () => {
    const raw = await world.sluice.raw("anna");
    const copy = "COPY tickets (id, customer_id, subject, body, status, region, created_at) FROM STDIN";
    raw.send(queryMessage(Buffer.from(copy)));
    await raw.until("G");
    raw.send(message(Frontend.CopyData, Buffer.from("910011\t7\tGuess\t\t\t\t2024-01-01\n")));
    raw.send(message(Frontend.CopyDone));
    expect(await raw.answer()).toBe("C(COPY 1) Z(I)");
    expect(charged()).toBe(16);
    raw.socket.destroy();
  });

  test("and is refused unsent where there is no room", async () => {
    const ben = await world.sluice.connect("ben");
    for (const id of [1, 2, 3]) await ben.query("SELECT name FROM customers WHERE id = $1", [id]);
    expect(await codeOf(ben.query(`${insert} VALUES ${row(910_020)}`))).toMatchObject({ code: "53400" });
    await ben.end();
  });

  test("but not where the value is not protected, or left out", async () => {
    await anna.query("INSERT INTO refs (id) VALUES (9)");
    await anna.query("UPDATE tickets SET status = 'open' WHERE id = 6");
    expect(charged()).toBe(16);
  });
});

const STORING: readonly string[] = [
  "UPDATE tickets SET status = left(subject, 20) WHERE id = 6",
  "UPDATE tickets SET status = 'x' WHERE subject LIKE '%1'",
  "DELETE FROM tickets WHERE subject LIKE '%1'",
  "MERGE INTO tickets t USING (VALUES ('a')) v (s) ON t.subject = v.s WHEN MATCHED THEN UPDATE SET status = 'x'",
];

test.each(STORING.filter((each) => knows(each)))(
  "no protected value is stored where plain groups show it: %s",
  async (sql) => {
    expect(await codeOf(anna.query(sql))).toMatchObject({ code: "42501" });
  },
);

test.each([
  "UPDATE tickets SET subject = subject || ' (again)' WHERE id = 6",
  "UPDATE tickets SET status = 'x' WHERE id = 6 AND subject <> ''",
  "UPDATE tickets SET status = 'x' WHERE status = 'nothing'",
])("other writes are as they were: %s", async (sql) => {
  expect(await codeOf(anna.query(sql))).toBeUndefined();
});

test("the grammar's words about a value are not told, and cost as any error", async () => {
  const error = await codeOf(
    anna.query("SELECT ('x \"' || name || '\"')::regtype FROM customers WHERE id = 71"),
  );
  expect(error).toMatchObject({
    code: "42601",
    message: expect.stringContaining("withheld"),
    position: undefined,
  });
  expect(store.units).toBe(64);
});

test("a plan costs more the more references it has", async () => {
  const one = "SELECT 1 FROM tickets WHERE subject < 'x'";
  await anna.query(`EXPLAIN SELECT (${one}), (${one}), (${one})`);
  expect(charged()).toBe(16 + 3 * 64);
});

describe("a cursor WITH HOLD, which COMMIT runs to its end", () => {
  const declare =
    "DECLARE held CURSOR WITH HOLD FOR SELECT 1 / (ascii(name) - 1) FROM customers WHERE id = 8";

  test.each([[declare], ["BEGIN", declare, "COMMIT"]])(
    "has a price where nothing is fetched: %s",
    async (...texts) => {
      for (const text of texts) await anna.query(text);
      expect(charged()).toBeGreaterThanOrEqual(16);
      await anna.query("CLOSE held");
    },
  );

  test("has none in a block that is rolled back, if it is not held", async () => {
    for (const text of ["BEGIN", declare.replace("WITH HOLD", ""), "ROLLBACK"]) await anna.query(text);
    expect(charged()).toBe(0);
  });
});
