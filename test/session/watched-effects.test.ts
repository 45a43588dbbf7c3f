import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorld, type World } from "./world.ts";

/*
 * Each text of a watched role has the effect that the client wrote: sessions through the proxy and beside it are told the
 * same, step by step, in the simple and in the extended protocol.
 */

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id }
  public.scattered: { subject: id }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 100000000 } }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app;
    GRANT ALL ON SCHEMA public TO helpdesk_app;
    ALTER TABLE customers OWNER TO helpdesk_app;
    CREATE SCHEMA other AUTHORIZATION helpdesk_app;
    CREATE TABLE other.customers (label text);
    ALTER TABLE other.customers OWNER TO helpdesk_app;
    INSERT INTO other.customers VALUES ('not a person');
    CREATE FUNCTION public.moves() RETURNS text LANGUAGE sql AS $$ SELECT set_config('search_path', 'other', false) $$;
    CREATE FUNCTION public.makes() RETURNS void LANGUAGE plpgsql AS $$
      BEGIN CREATE TEMPORARY TABLE customers (made text); END $$;
    CREATE FUNCTION public.opens() RETURNS refcursor LANGUAGE plpgsql AS $$
      DECLARE r refcursor := 'opened'; BEGIN OPEN r FOR SELECT name FROM customers ORDER BY id LIMIT 3; RETURN r; END $$;
    CREATE VIEW public.names AS SELECT id, name FROM customers;
    CREATE TABLE public.scattered (id int, country text);
    INSERT INTO scattered SELECT n * 7919 % 5003, chr(65 + n % 5) FROM generate_series(1, 5000) n;
    ANALYZE scattered;
    GRANT SELECT ON scattered TO helpdesk_app;
  `);
});
afterAll(() => world?.close());

async function connect(uri: string): Promise<pg.Client> {
  const types = { getTypeParser: () => (value: unknown) => value } as pg.CustomTypesConfig;
  const client = new pg.Client({ connectionString: uri, types });
  client.on("error", () => {});
  await client.connect();
  return client;
}

type Protocol = "simple" | "extended";

async function told(client: pg.Client, text: string, protocol: Protocol): Promise<unknown> {
  try {
    const asked = {
      text,
      rowMode: "array",
      ...(protocol === "extended" && { queryMode: "extended" }),
    } as const;
    const result = await client.query(asked as pg.QueryArrayConfig);
    return [result].flat().map(({ command, rowCount, fields, rows }) => ({
      ...{ command, rowCount, rows },
      // The oid of a table is another each time that it is made.
      fields: fields.map(({ name, dataTypeID, format }) => ({ name, dataTypeID, format })),
    }));
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const { code, message, position, detail, hint } = error;
    return { code, message, position, detail, hint };
  }
}

const PEOPLE = "SELECT * FROM customers ORDER BY 1 LIMIT 2";

const SESSIONS: readonly (readonly [name: string, steps: readonly string[]])[] = [
  [
    "a temporary table goes before a table of people",
    [
      PEOPLE,
      "CREATE TEMP TABLE customers (x int)",
      "INSERT INTO customers VALUES (7)",
      PEOPLE,
      "SELECT x FROM customers",
      "DROP TABLE pg_temp.customers",
      PEOPLE,
    ],
  ],
  [
    "a temporary table is taken back",
    [
      "BEGIN",
      "CREATE TEMP TABLE customers (x int)",
      PEOPLE,
      "ROLLBACK",
      PEOPLE,
      "BEGIN",
      "SAVEPOINT s",
      "CREATE TEMP TABLE customers (x int)",
      PEOPLE,
      "ROLLBACK TO s",
      PEOPLE,
      "COMMIT",
      PEOPLE,
      "BEGIN",
      "CREATE TEMP TABLE customers (x int) ON COMMIT DROP",
      PEOPLE,
      "COMMIT",
      PEOPLE,
    ],
  ],
  [
    "code makes a temporary table",
    [
      PEOPLE,
      "SELECT public.makes()",
      PEOPLE,
      "DISCARD TEMP",
      PEOPLE,
      "DO $$ BEGIN CREATE TEMP TABLE customers (y int); END $$",
      PEOPLE,
      "DISCARD ALL",
      PEOPLE,
      "SELECT 1 AS x INTO TEMP customers",
      PEOPLE,
      "DROP TABLE customers",
      PEOPLE,
      "CREATE TEMP VIEW customers AS SELECT 1 AS v",
      PEOPLE,
      "CREATE TABLE pg_temp.tickets (v int)",
      "TABLE tickets",
    ],
  ],
  [
    "search_path moves",
    [
      PEOPLE,
      "SET search_path = other, public",
      PEOPLE,
      "RESET search_path",
      PEOPLE,
      "SELECT set_config('search_path', 'other', false)",
      PEOPLE,
      "RESET ALL",
      PEOPLE,
      "BEGIN",
      "SET LOCAL search_path = other",
      PEOPLE,
      "COMMIT",
      PEOPLE,
      "BEGIN",
      "SET search_path = other",
      PEOPLE,
      "ROLLBACK",
      PEOPLE,
      "SELECT public.moves()",
      PEOPLE,
      "SET search_path = public",
      PEOPLE,
      "DO $$ BEGIN PERFORM set_config('search_path', 'other', false); END $$",
      PEOPLE,
    ],
  ],
  [
    "a column is renamed under way",
    [
      "BEGIN",
      "ALTER TABLE customers RENAME COLUMN id TO number",
      "SELECT number, name FROM customers ORDER BY 1 LIMIT 1",
      "SELECT name FROM customers WHERE number = 3",
      "ROLLBACK",
      PEOPLE,
      "BEGIN",
      "DO $$ BEGIN ALTER TABLE customers RENAME COLUMN id TO number; END $$",
      "SELECT name FROM customers WHERE number = 3",
      "ROLLBACK",
      PEOPLE,
    ],
  ],
  [
    "a column is renamed for good",
    [
      "ALTER TABLE customers RENAME COLUMN id TO number",
      "SELECT name FROM customers WHERE number = 3",
      "ALTER TABLE customers RENAME COLUMN number TO id",
      "SELECT name FROM customers WHERE id = 3",
      PEOPLE,
    ],
  ],
  [
    "prepared statements of SQL",
    [
      "PREPARE p (int) AS SELECT name FROM customers WHERE id = $1",
      "EXECUTE p (3)",
      "EXPLAIN (VERBOSE, COSTS OFF) EXECUTE p (3)",
      "CREATE TEMP TABLE made AS EXECUTE p (3)",
      "SELECT * FROM made",
      "DEALLOCATE p",
      "EXECUTE p (3)",
    ],
  ],
  [
    "plans",
    [
      "EXPLAIN (VERBOSE, COSTS OFF) SELECT name FROM customers WHERE id = 3",
      "EXPLAIN SELECT name FROM customers WHERE id = 3",
    ],
  ],
  [
    "errors",
    [
      "SELECT nothing FROM customers",
      "SELECT name FROM customers WHERE nothing = 1",
      "SELECT 1 / (id - id) FROM customers",
      "SELECT name FROM customers GROUP BY country",
      "SELECT name, FROM customers",
      "SELECT name::int FROM customers ORDER BY id",
      "BEGIN",
      "SELECT nothing FROM customers",
      PEOPLE,
      "ROLLBACK",
      PEOPLE,
      "SELECT * FROM nothing",
      PEOPLE,
      "SELECT name FROM customers ORDER BY 2",
      "SELECT DISTINCT name FROM customers ORDER BY id",
    ],
  ],
  [
    "texts about themselves",
    ["SELECT current_query() FROM customers WHERE id = 1", "SELECT FROM customers LIMIT 2"],
  ],
  [
    "what is made of people",
    [
      "SELECT name INTO copied FROM customers WHERE id < 3",
      "SELECT * FROM copied",
      "DROP TABLE copied",
      "CREATE TABLE copied AS SELECT * FROM customers WHERE id < 3",
      "SELECT * FROM copied ORDER BY id",
      "DROP TABLE copied",
      "CREATE VIEW copied AS SELECT name FROM customers WHERE id < 3",
      "SELECT * FROM copied ORDER BY 1",
      "DROP VIEW copied",
      "CREATE TABLE copied (name text)",
      "INSERT INTO copied SELECT name FROM customers WHERE id < 3 RETURNING *",
      "DROP TABLE copied",
    ],
  ],
  [
    "cursors",
    [
      "BEGIN",
      "DECLARE c SCROLL CURSOR FOR SELECT name FROM customers ORDER BY id",
      "FETCH 2 FROM c",
      "FETCH PRIOR FROM c",
      "MOVE 10 IN c",
      "FETCH c",
      "FETCH ABSOLUTE 3 FROM c",
      "CLOSE c",
      "FETCH c",
      "ROLLBACK",
      "DECLARE h CURSOR WITH HOLD FOR SELECT name FROM customers ORDER BY id",
      "FETCH 2 FROM h",
      "CLOSE ALL",
      "BEGIN",
      "SELECT public.opens()",
      "FETCH ALL FROM opened",
      "COMMIT",
      "BEGIN",
      "DECLARE u CURSOR FOR SELECT name FROM customers WHERE id = 5 FOR UPDATE",
      "FETCH u",
      "UPDATE customers SET phone = 'x' WHERE CURRENT OF u",
      "ROLLBACK",
    ],
  ],
  [
    "other forms",
    [
      "TABLE names",
      "VALUES (1), (2)",
      "SELECT name FROM names WHERE id = 1 UNION ALL SELECT name FROM customers WHERE id = 2",
      "WITH c AS (SELECT * FROM customers WHERE id < 4) SELECT name FROM c ORDER BY id",
      "SELECT name FROM customers c WHERE id = 3 FOR UPDATE OF c",
      "SELECT c FROM customers c WHERE id = 2",
      "SELECT (c).name FROM customers c WHERE id = 2",
      "SELECT count(*), country FROM customers GROUP BY 2 ORDER BY 2",
      "SELECT name FROM customers c LEFT JOIN tickets t ON t.customer_id = c.id AND false WHERE c.id = 3",
      "SELECT t.id FROM customers c RIGHT JOIN tickets t ON c.id = -1 ORDER BY 1 LIMIT 1",
      `SELECT ${Array.from({ length: 1664 }, () => "1").join()} FROM customers LIMIT 1`,
      `SELECT ${Array.from({ length: 1662 }, () => "1").join()}, c.* FROM names c LIMIT 1`,
    ],
  ],
  [
    "other strings",
    [
      "SET standard_conforming_strings = off",
      "SELECT name FROM customers WHERE name = 'a\\'b' OR id = 3",
      "SET standard_conforming_strings = on",
      "SET client_encoding = LATIN1",
      "SELECT 'K\u00f6ln', name FROM customers WHERE id = 3",
      "SELECT name FROM customers WHERE id = 3",
      "RESET client_encoding",
      "SELECT 'K\u00f6ln', name FROM customers WHERE id = 3",
    ],
  ],
  [
    "who asks",
    [
      "SELECT current_user, name FROM customers WHERE id = 1",
      "SET ROLE helpdesk_app",
      PEOPLE,
      "RESET ROLE",
      PEOPLE,
      "BEGIN",
      "SET LOCAL app.agent = 'anna'",
      "SELECT current_setting('app.agent', true), name FROM customers WHERE id = 1",
      "COMMIT",
      "SELECT current_setting('app.agent', true)",
      "SELECT set_config('app.agent', 'ben', false)",
      PEOPLE,
      "SHOW app.agent",
      "DISCARD ALL",
      "SHOW app.agent",
      PEOPLE,
    ],
  ],
  [
    "transactions",
    [
      "BEGIN",
      "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
      PEOPLE,
      "COMMIT",
      "BEGIN READ ONLY",
      PEOPLE,
      "UPDATE customers SET phone = '1' WHERE id = 1",
      "ROLLBACK",
      "BEGIN",
      PEOPLE,
      "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
      "ROLLBACK",
      "LISTEN cable",
      "NOTIFY cable, 'x'",
      PEOPLE,
      "UNLISTEN *",
      "BEGIN",
      "SAVEPOINT a",
      "SELECT 1/0",
      "ROLLBACK TO a",
      PEOPLE,
      "COMMIT",
    ],
  ],
];

const SIMPLE_ALONE: readonly (readonly [name: string, steps: readonly string[]])[] = [
  [
    "several statements in one text",
    [
      "CREATE TEMP TABLE customers AS SELECT 1 AS x; SELECT * FROM customers",
      "DROP TABLE customers; SELECT name FROM customers WHERE id = 1",
      "SET search_path = other; SELECT * FROM customers",
      "RESET search_path; SELECT name FROM customers WHERE id = 1",
      "SELECT name FROM customers WHERE id = 1; SELECT name FROM customers WHERE id = 2; SELECT 1/0",
      "BEGIN; SELECT name FROM customers WHERE id = 1; COMMIT",
      "SELECT name FROM customers WHERE id = 1; INSERT INTO other.customers VALUES ('z'); COMMIT",
      "BEGIN; DELETE FROM other.customers WHERE label = 'z'; ROLLBACK",
      "DO $$ BEGIN CREATE TEMP TABLE customers (q int); END $$; TABLE customers",
      ";",
      "",
      "DELETE FROM other.customers WHERE label = 'z'",
    ],
  ],
];

const cases = [
  ...SESSIONS.flatMap(([name, steps]) =>
    (["simple", "extended"] as const).map((how) => [name, how, steps] as const),
  ),
  ...SIMPLE_ALONE.map(([name, steps]) => [name, "simple", steps] as const),
];

test.each(cases)("%s, in the %s protocol", async (_name, how, steps) => {
  const expected: unknown[] = [];
  const direct = await connect(world.database.uriFor("helpdesk_app"));
  for (const step of steps) expected.push(await told(direct, step, how));
  await direct.end();
  const through = await connect(world.sluice.uri("helpdesk_app"));
  const differing: unknown[] = [];
  for (const [index, step] of steps.entries()) {
    const own = await told(through, step, how);
    if (!isDeepStrictEqual(own, expected[index]))
      differing.push({ index, step: step.slice(0, 200), expected: expected[index], own });
  }
  await through.end();
  expect(differing).toEqual([]);
});

test("a driver's prepared statement follows what its names mean", async () => {
  const sequence = async (client: pg.Client) => {
    const asked = {
      name: "kept",
      text: "SELECT * FROM customers ORDER BY 1 LIMIT 1",
      rowMode: "array",
    } as const;
    const answers: unknown[] = [];
    const ask = async () => {
      try {
        answers.push((await client.query(asked)).rows);
      } catch (error) {
        answers.push(error instanceof pg.DatabaseError ? [error.code, error.message] : error);
      }
    };
    await ask();
    await client.query("CREATE TEMP TABLE customers (LIKE public.customers)");
    await ask();
    await client.query("DROP TABLE customers");
    await ask();
    await client.query("CREATE TEMP TABLE made AS EXECUTE kept");
    answers.push((await client.query("SELECT * FROM made")).rows);
    await ask();
    await client.query("DEALLOCATE kept");
    return answers;
  };
  const direct = await connect(world.database.uriFor("helpdesk_app"));
  const through = await connect(world.sluice.uri("helpdesk_app"));
  expect(await sequence(through)).toEqual(await sequence(direct));
  await direct.end();
  await through.end();
});

/** What Postgres does not promise, and clients come to rely on: the order of a table's rows in what gathers them. */
test.each([
  "SELECT array_agg(country) FROM scattered",
  "SELECT array_agg(id) FROM scattered",
  "SELECT string_agg(country, ',') FROM scattered",
  "SELECT json_agg(s) FROM (SELECT * FROM scattered) s",
  "SELECT country, json_agg(id) FROM scattered GROUP BY country",
  "SELECT country, array_agg(id) FILTER (WHERE id > 500), count(DISTINCT id) FROM scattered GROUP BY 1 ORDER BY 1",
  "SELECT any_value(id), array_agg(DISTINCT country) FROM scattered",
  "SELECT array_agg(id ORDER BY country) FROM scattered",
  "SELECT (SELECT json_agg(s.id)), max(country) FROM scattered s",
])("rows are gathered in the order in which they would be: %s", async (text) => {
  const [direct, through] = [
    await connect(world.database.uriFor("helpdesk_app")),
    await connect(world.sluice.uri("helpdesk_app")),
  ];
  const expected = await told(direct, text, "simple");
  expect(await told(through, text, "simple")).toEqual(expected);
  await direct.end();
  await through.end();
});
