import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { knows } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { codeIn, functionCall, type Message, query, type Raw } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { watchedApp } from "./watched-app.ts";

/*
 * What a watched role stores elsewhere counts as read. A thief stores without naming a value: by which rows there are, by what a
 * call leaves behind, by what no tag counts, in a text that cannot be read; and learns from numbers, plans and failures.
 */

const POLICY = `
version: 1
classes: { email: { mask: email }, name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { email: email, name: name } }
  public.calls: { subject: customer, columns: { said: name } }
${watchedApp("{ 1h: 50 }")}`;

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE notes (id int, t text);
    INSERT INTO notes SELECT i, '' FROM generate_series(1, 500) i;
    CREATE TABLE letters (id int, i int, n int);
    INSERT INTO letters SELECT c, i, n FROM generate_series(1, 100) c, generate_series(1, 2) i, generate_series(97, 122) n;
    CREATE TABLE marks (id int PRIMARY KEY, t text);
    INSERT INTO marks SELECT i, '' FROM generate_series(1, 500) i;
    CREATE TABLE calls (id int PRIMARY KEY, customer int, said text);
    INSERT INTO calls SELECT i, i, 'call ' || i FROM generate_series(1, 500) i;
    ALTER TABLE customers ADD COLUMN score int;
    CREATE SEQUENCE numbers;
    CREATE VIEW threes AS SELECT a.id, a.email || b.email || c.email AS e
      FROM customers a JOIN customers b ON b.id = a.id + 1 JOIN customers c ON c.id = a.id + 2;
    CREATE SCHEMA desk;
    CREATE VIEW desk.countries AS SELECT id, country AS t FROM customers;
    CREATE VIEW desk.more AS SELECT id, country AS t FROM customers;
    ANALYZE customers;
    GRANT ALL ON SCHEMA desk TO helpdesk_app;
    GRANT ALL ON ALL TABLES IN SCHEMA public, desk TO helpdesk_app;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO helpdesk_app;
    ALTER VIEW desk.countries OWNER TO helpdesk_app;
    ALTER VIEW desk.more OWNER TO helpdesk_app;
    GRANT CREATE ON SCHEMA public TO helpdesk_app;
  `);
  sluice = await startProxy(world.database, { policy: POLICY });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
});

let thieves = 0;

/** Each has a budget of their own. */
async function asThief(work: (raw: Raw, charged: () => number) => Promise<void>): Promise<void> {
  const name = `thief-${thieves++}`;
  const raw = await sluice.raw("helpdesk_app");
  await raw.ask(query(`SET app.agent = '${name}'`));
  await work(raw, () => sluice.chargedTo(name));
  raw.socket.destroy();
}

const LETTERS =
  "customers c, generate_series(1, 3) i, generate_series(45, 122) n WHERE c.id <= 400 AND ascii(substr(c.email, i, 1)) = n";

/** One row of 2^n people, by WITH queries that are named twice. */
function doubled(n: number): string {
  const steps = Array.from(
    { length: n },
    (_, k) =>
      `, x${k + 1} AS (SELECT a.id, a.e || b.e AS e FROM x${k} a JOIN x${k} b ON b.id = a.id + ${2 ** k})`,
  );
  return `WITH x0 AS (SELECT id, email AS e FROM customers)${steps.join("")}`;
}

const OFF = "SET standard_conforming_strings = off";
const GLUED = "string_agg(email, ',')";

/** What comes before it, and the statement that stores. */
const STORED: readonly (readonly [...string[], string])[] = [
  // Which rows are stored, changed or gone says what is in others.
  [`INSERT INTO letters SELECT c.id, i, n FROM ${LETTERS}`],
  [`CREATE TABLE taken AS SELECT c.id, i, n FROM ${LETTERS}`],
  ["DELETE FROM letters l USING customers c WHERE c.id = l.id AND ascii(substr(c.email, l.i, 1)) <> l.n"],
  [
    "MERGE INTO letters l USING customers c ON c.id = l.id WHEN MATCHED AND ascii(substr(c.email, l.i, 1)) <> l.n THEN DELETE",
  ],
  ["UPDATE notes SET t = 'a' FROM customers c WHERE c.id = notes.id AND c.email LIKE 'a%'"],
  [
    "INSERT INTO marks SELECT i, 'q' FROM generate_series(1, 400) i ON CONFLICT (id) DO UPDATE SET t = 'a' WHERE EXISTS (SELECT FROM customers d WHERE d.id = marks.id AND email LIKE 'a%')",
  ],
  ["UPDATE customers SET country = 'XX' WHERE email LIKE 'a%'"],
  // These rows lie elsewhere in the table afterwards: SELECT max(ctid) FILTER (WHERE id = 7) FROM customers.
  ["UPDATE customers SET email = email WHERE email LIKE 'a%'"],
  ["DELETE FROM calls WHERE said LIKE '%1%'"],
  [
    "INSERT INTO letters SELECT c.id, 0, g FROM customers c, LATERAL generate_series(1, ascii(c.email)) g WHERE c.id < 3",
  ],
  [
    "INSERT INTO letters SELECT g, 0, 0 FROM generate_series(1, 100000) g LIMIT (SELECT ascii(email) FROM customers WHERE id = 7)",
  ],
  [
    "INSERT INTO notes SELECT notes.id, 'n' FROM notes LEFT JOIN customers c ON c.id = notes.id AND c.email LIKE 'a%' WHERE c.id IS NULL",
  ],
  // A row's own values, 32 bits at a time.
  ["UPDATE customers SET score = ascii(email)"],
  ["UPDATE customers SET (country, score) = (SELECT email, 1)"],
  // More people in a row than it has tables.
  [`${doubled(8)} INSERT INTO notes SELECT id, e FROM x8 WHERE id = 1`],
  ["INSERT INTO notes SELECT id, e FROM threes WHERE id <= 20"],
  // What no tag counts.
  ["EXPLAIN ANALYZE SELECT email INTO taken FROM customers"],
  [
    "CREATE VIEW desk.v AS SELECT id, email AS t FROM customers",
    "CREATE MATERIALIZED VIEW desk.m AS SELECT * FROM desk.v WITH NO DATA",
    "REFRESH MATERIALIZED VIEW desk.m",
  ],
  // What calls keep: by being made, in a subquery, in FROM, in a view, in a text, under a field's name.
  [`SELECT count(set_config('app.l' || c.id || 'x' || i, chr(n), false)) FROM ${LETTERS}`],
  ["SELECT count(CASE WHEN email LIKE 'a%' THEN set_config('app.m' || id, 'a', false) END) FROM customers"],
  ["SELECT (SELECT count(set_config('app.n' || c2.id, c2.email, false)) FROM customers c2)"],
  [
    "WITH x AS MATERIALIZED (SELECT set_config('app.o' || id, email, false) AS s FROM customers) SELECT count(s) FROM x",
  ],
  [
    "CREATE VIEW desk.keeping AS SELECT id, set_config('app.p' || id, email, false) AS s FROM customers",
    "SELECT count(s) FROM desk.keeping",
  ],
  [
    `SELECT length(query_to_xml('SELECT length(set_config(''app.q'', ${GLUED.replaceAll("'", "''")}, false)) FROM customers', true, false, '')::text)`,
  ],
  [`SELECT pg_notify('loot', (SELECT ${GLUED} FROM customers WHERE id < 200))`],
  ["SELECT pg_notify('loot', email) FROM customers WHERE id = 300 OFFSET 1"],
  ["SELECT count(lo_create((100000 + c.id * 1000 + ascii(email))::int)) FROM customers c"],
  ["SELECT count(pg_advisory_lock(id::int, ascii(email))) FROM customers"],
  ["SELECT count((ascii(email)::bigint).pg_advisory_lock) FROM customers"],
  ["SELECT pg_advisory_lock(id::int, ascii(email)) FROM customers"],
  ["SELECT count(setval('numbers', ascii(email))) FROM customers WHERE id = 7"],
  ["SELECT count(nextval(('numbers' || left(email, 0))::regclass)) FROM customers WHERE id = 7"],
  // Names that mean something else in this transaction.
  [
    "BEGIN",
    "CREATE OR REPLACE VIEW desk.countries AS SELECT id, email AS t FROM customers",
    "SELECT length(set_config('app.r', string_agg(t, ','), false)) FROM desk.countries",
  ],
  [
    "BEGIN",
    "CREATE OR REPLACE VIEW desk.more AS SELECT id, email AS t FROM customers",
    "DELETE FROM letters l USING desk.more c WHERE c.id = l.id AND ascii(substr(c.t, l.i, 1)) <> l.n",
  ],
  // Texts that cannot be read.
  [OFF, "INSERT INTO notes SELECT id, email FROM customers"],
  [OFF, "UPDATE notes SET t = c.email FROM customers c WHERE c.id = notes.id"],
  [OFF, "MERGE INTO notes n USING customers c ON n.id = c.id WHEN MATCHED THEN UPDATE SET t = c.email"],
  [OFF, `INSERT INTO notes SELECT 1, ${GLUED} FROM customers`],
  [OFF, `SELECT length(set_config('app.s', ${GLUED}, false)) FROM customers`],
  [OFF, `SELECT length(U&"set\\005fconfig"('app.s', ${GLUED}, false)) FROM customers`],
  [OFF, "SELECT count(pg_advisory_lock(id::int, ascii(email))) FROM customers"],
  [OFF, "EXPLAIN ANALYZE INSERT INTO notes SELECT id, email FROM customers"],
  [OFF, "UPDATE customers SET country = email"],
  [
    OFF,
    "PREPARE dump AS INSERT INTO notes SELECT id, email FROM customers",
    "SET standard_conforming_strings = on",
    "EXECUTE dump",
  ],
];

async function leftBehind(): Promise<unknown> {
  const { rows } = await world.database.query(`
    SELECT (SELECT count(*)::int FROM notes WHERE t <> '') AS notes, (SELECT count(*)::int FROM letters) AS letters,
      (SELECT count(*)::int FROM marks WHERE t <> '') AS marks, (SELECT count(*)::int FROM calls) AS calls,
      (SELECT count(*)::int FROM customers WHERE score IS NOT NULL OR country ~ '@|XX') AS own,
      (SELECT count(*)::int FROM pg_class WHERE relname = 'taken') AS taken,
      (SELECT count(*)::int FROM pg_largeobject_metadata) AS objects,
      (SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory') AS locks, (SELECT is_called FROM numbers) AS called`);
  return rows[0];
}

test.each(STORED.filter((steps) => knows(...steps)))("nothing of it stays: %s", async (...steps) => {
  const before = await leftBehind();
  await asThief(async (raw) => {
    let answer: readonly Message[] = [];
    for (const sql of steps) answer = await raw.ask(query(sql));
    expect(["53400", "42501"]).toContain(codeIn(answer));
    await raw.ask(query("ROLLBACK"));
    const [, ...settings] = await raw.ask(
      query("SELECT string_agg(setting, ',') FROM pg_settings WHERE name LIKE 'app.%'"),
    );
    expect(Buffer.concat(settings.map(({ bytes }) => bytes)).toString()).not.toContain("@");
    expect(await leftBehind()).toEqual(before);
  });
  // The same by a prepared statement.
  await asThief(async (raw) => {
    for (const sql of steps.slice(0, -1))
      await raw.ask(query(sql.replace("CREATE VIEW", "CREATE OR REPLACE VIEW")));
    const answer = await raw.ask(
      parseMessage("last", Buffer.from(steps.at(-1) ?? "")),
      bindMessage("", "last"),
      executeMessage("", 0),
      syncMessage,
    );
    expect(["53400", "42501", "26000"]).toContain(codeIn(answer));
    await raw.ask(query("ROLLBACK"));
    expect(await leftBehind()).toEqual(before);
  });
});

test("what calls keep for rows that do not leave is undone: of a result that is cut, of a portal that is passed over", async () => {
  const keeps = (as: string) => `SELECT set_config('app.${as}' || id, email, false) FROM customers`;
  const kept = async (raw: Raw, as: string) => {
    const answer = await raw.ask(
      query(
        `SELECT current_setting('app.${as}' || i, true) AS s FROM generate_series(1, 1000) i WHERE current_setting('app.${as}' || i, true) LIKE '%@%'`,
      ),
    );
    return answer.filter(({ type }) => type === "D").length;
  };
  await asThief(async (raw) => {
    expect(codeIn(await raw.ask(query(keeps("cut"))))).toBe("53400");
    expect(await kept(raw, "cut")).toBe(0);
  });
  for (const pass of ["MOVE ALL FROM p", "FETCH RELATIVE 300 FROM p", "MOVE 30 FROM p"])
    await asThief(async (raw) => {
      await raw.ask(query("BEGIN"));
      await raw.ask(parseMessage("", Buffer.from(keeps("passed"))), bindMessage("p", ""), syncMessage);
      expect(codeIn(await raw.ask(query(pass))), pass).toBe("53400");
      await raw.ask(query("ROLLBACK"));
      expect(await kept(raw, "passed"), pass).toBe(0);
    });
  await asThief(async (raw) => {
    const told = await raw.ask(
      query("LISTEN loot"),
      query("SELECT pg_notify('loot', email) FROM customers"),
      query("SELECT 1"),
    );
    const all = [...told, ...(await raw.until("Z")), ...(await raw.until("Z"))];
    expect(all.filter(({ type }) => type === "A")).toEqual([]);
  });
});

test("the function call protocol runs no text that keeps what it reads", async () => {
  const { rows } = await world.database.query<{ oid: number }>(
    "SELECT oid::int FROM pg_proc WHERE proname = 'query_to_xml'",
  );
  const text = `SELECT length(set_config('app.t', ${GLUED}, false)) FROM customers`;
  await asThief(async (raw) => {
    const call = functionCall(rows[0]?.oid ?? 0, text, "t", "f", "");
    expect(codeIn(await raw.ask(call))).toBe("53400");
    expect(codeIn(await raw.ask(query("SHOW app.t")))).toBe("42704");
  });
});

/** Of one such statement; each says something of many people, or of one. */
const TOLD: readonly (readonly [...string[], string, number])[] = [
  // 300 people in one number.
  ["SELECT sum(ascii(email)::numeric * 10::numeric ^ (3 * id)) FROM customers WHERE id < 300", 14],
  ["BEGIN", "DECLARE c CURSOR FOR SELECT 1 FROM customers WHERE email LIKE 'a%'", "MOVE ALL FROM c", 1],
  ["EXPLAIN (ANALYZE, TIMING off, SUMMARY off) SELECT FROM customers WHERE email LIKE 'a%'", 3],
  ["EXPLAIN SELECT FROM customers WHERE email > 'm'", 2],
  ["PREPARE q AS SELECT FROM customers WHERE email LIKE 'a%'", "EXPLAIN ANALYZE EXECUTE q", 3],
  // An error that has no room for a value says that there was one.
  [
    "SELECT FROM customers WHERE id = 7 AND CASE WHEN email LIKE '%' THEN length(repeat('x', 2000000000)) > 0 ELSE false END",
    1,
  ],
  [
    "SELECT FROM customers WHERE id = 7 AND CASE WHEN email LIKE '%' THEN currval('numbers') > 0 ELSE false END",
    1,
  ],
  [
    "BEGIN READ ONLY",
    "SELECT FROM customers WHERE id = 7 AND CASE WHEN email LIKE '%' THEN nextval('numbers') > 0 ELSE false END",
    1,
  ],
];

test.each(TOLD)("a number, a plan and a failure are answers too: %s %s", async (...steps) => {
  const least = Number(steps.at(-1));
  await asThief(async (raw, charged) => {
    for (const sql of steps.slice(0, -1)) await raw.ask(query(String(sql)));
    await raw.ask(query("ROLLBACK"));
    await expect.poll(charged).toBeGreaterThanOrEqual(least);
  });
});

const FREE = [
  "UPDATE customers SET created_at = now() WHERE id = 7",
  // Who knows the address has nothing to learn: an application's log-in.
  "UPDATE customers SET created_at = now() WHERE email = 'ada.fern.300@example.com'",
  // An ORM's check that nobody else has changed the row.
  "UPDATE customers SET country = 'DE' WHERE id = 300 AND email = 'ada.fern.300@example.com'",
  "UPDATE customers SET email = lower(email) WHERE id < 100",
  "INSERT INTO letters SELECT id, nextval('numbers'), 0 FROM customers WHERE id < 100",
  "SELECT pg_advisory_xact_lock(7)",
  "SELECT count(pg_advisory_xact_lock(id)) FROM customers",
  "SELECT nextval('numbers')",
  "EXPLAIN (COSTS off) SELECT FROM customers WHERE email LIKE 'a%'",
  "EXPLAIN ANALYZE SELECT FROM customers WHERE country = 'DE'",
  "SELECT count(*) FROM customers",
];

test("ordinary statements are charged to nobody, also those that name an address which the client knows", async () => {
  await asThief(async (raw, charged) => {
    for (const sql of FREE) {
      expect(codeIn(await raw.ask(query(sql))), sql).toBeUndefined();
    }
    // Its event comes behind theirs.
    await raw.ask(query("SELECT email FROM customers WHERE id = 7"));
    await expect.poll(charged).toBeGreaterThan(0);
    expect(charged()).toBe(1);
  });
});

test("a long row that has begun to leave leaves whole, also where the budget ends within it", async () => {
  for (const sql of [
    "INSERT INTO notes SELECT id, email || repeat('x', 9000) FROM customers RETURNING t",
    "SELECT DISTINCT email || repeat('x', 9000) FROM customers",
  ])
    await asThief(async (raw) => {
      expect(codeIn(await raw.ask(query(sql))), sql).toBe("53400");
      expect(codeIn(await raw.ask(query("SELECT 1"))), sql).toBeUndefined();
    });
});
