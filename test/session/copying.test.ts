import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { knows } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * A watched role that stores values of people elsewhere has read them: whoever reads the copy is not counted. What a budget
 * has no room for is undone.
 */

const POLICY = `
version: 1
classes: { email: { mask: email }, name: { mask: initials } }
tables:
  public.customers: { subject: id, columns: { email: email, name: name } }
  public.calls: { subject: customer, columns: { said: name } }
  public.lines: { subject: call -> public.calls.customer, columns: { said: name } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 } }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE notes (id int, t text);
    INSERT INTO notes SELECT i, '' FROM generate_series(1, 500) i;
    CREATE TABLE calls (id int PRIMARY KEY, customer int, said text);
    INSERT INTO calls SELECT i, i, 'call ' || i FROM generate_series(1, 500) i;
    CREATE TABLE lines (call int REFERENCES calls, said text);
    INSERT INTO lines SELECT i, 'line ' || i FROM generate_series(1, 400) i;
    CREATE TABLE visits (customer int, at timestamptz DEFAULT now());
    CREATE VIEW everybody AS SELECT string_agg(email, ',') AS all_of_them FROM customers;
    CREATE SCHEMA desk;
    CREATE VIEW desk.countries AS SELECT id, country AS t FROM customers;
    CREATE VIEW desk.second AS TABLE desk.countries;
    CREATE VIEW desk.third AS TABLE desk.countries;
    CREATE TABLE desk.plain AS SELECT i AS id, 'nobody' AS t FROM generate_series(1, 300) i;
    GRANT ALL ON SCHEMA desk TO helpdesk_app;
    ALTER VIEW desk.countries OWNER TO helpdesk_app;
    ALTER VIEW desk.second OWNER TO helpdesk_app;
    ALTER VIEW desk.third OWNER TO helpdesk_app;
    ALTER TABLE desk.plain OWNER TO helpdesk_app;
    GRANT ALL ON ALL TABLES IN SCHEMA desk TO helpdesk_app;
    ANALYZE customers;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app;
    GRANT CREATE ON SCHEMA public TO helpdesk_app;
  `);
});
afterAll(() => world?.close());

async function withSluice(
  work: (sluice: TestProxy) => Promise<void>,
  { policy = POLICY, ...options }: Partial<Parameters<typeof startProxy>[1]> = {},
): Promise<void> {
  const sluice = await startProxy(world.database, { policy, ...options });
  try {
    await work(sluice);
  } finally {
    await sluice.close();
  }
}

const people = (sluice: TestProxy) =>
  sluice.statements().reduce((sum, { people: shown = 0 }) => sum + shown, 0);

/** Every address that is stored anywhere but where it belongs. */
async function leftBehind(): Promise<number> {
  const { rows } = await world.database.query<{ n: number }>(`
    SELECT count(*)::int AS n FROM notes WHERE t LIKE '%@%'`);
  const { rows: tables } = await world.database.query<{ n: number }>(
    "SELECT count(*)::int AS n FROM pg_class WHERE relname = 'taken'",
  );
  return (rows[0]?.n ?? 0) + (tables[0]?.n ?? 0);
}

/** All sessions share one connection. */
const ONE = { pool: { size: 1 } };

const DUMPS = [
  "CREATE TABLE taken AS SELECT email FROM customers",
  "SELECT email INTO taken FROM customers",
  "CREATE TABLE taken AS TABLE customers",
  "CREATE TABLE taken AS SELECT c.n FROM (SELECT upper(email) AS n FROM customers) c",
  "INSERT INTO notes SELECT id, email FROM customers",
  "INSERT INTO notes SELECT id, email FROM customers RETURNING id",
  "INSERT INTO notes SELECT 1, string_agg(email, ',') FROM customers",
  "INSERT INTO notes VALUES (1, (SELECT string_agg(email, ',') FROM customers))",
  "INSERT INTO notes SELECT 1, array_to_string(ARRAY(SELECT email FROM customers), ',')",
  "UPDATE notes SET t = c.email FROM customers c WHERE c.id = notes.id",
  "UPDATE notes SET t = (SELECT c.email FROM customers c WHERE c.id = notes.id)",
  "MERGE INTO notes n USING customers c ON n.id = c.id WHEN MATCHED THEN UPDATE SET t = c.email",
  "WITH i AS (INSERT INTO notes SELECT id, email FROM customers RETURNING id) SELECT 1 AS one FROM i LIMIT 1",
  "EXPLAIN ANALYZE INSERT INTO notes SELECT id, email FROM customers",
] as const;

test.each(DUMPS.filter((each) => knows(each)))(
  "no dump stays in a table where nobody is counted: %s",
  async (sql) => {
    await withSluice(async (sluice) => {
      const client = await sluice.connect("helpdesk_app");
      // A simple query, a prepared one, and one in a transaction.
      await expect(client.query(sql)).rejects.toMatchObject({ code: "53400" });
      expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      expect(await leftBehind()).toBe(0);
      await client.end();
    });
    await withSluice(async (sluice) => {
      const client = await sluice.connect("helpdesk_app");
      await expect(client.query({ text: sql, name: "dump" })).rejects.toMatchObject({ code: "53400" });
      expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
      expect(await leftBehind()).toBe(0);
      await client.end();
    }, ONE);
    await withSluice(async (sluice) => {
      const client = await sluice.connect("helpdesk_app");
      await client.query("BEGIN");
      await expect(client.query(sql)).rejects.toMatchObject({ code: "53400" });
      await expect(client.query("SELECT 1")).rejects.toMatchObject({ code: "25P02" });
      await client.query("COMMIT");
      expect(await leftBehind()).toBe(0);
      await client.end();
    });
  },
);

test("nor by what was prepared, nor in a pipeline, nor beside other statements", async () => {
  await withSluice(async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    await client.query("PREPARE dump AS INSERT INTO notes SELECT id, email FROM customers");
    await client.query("PREPARE all_of_them AS SELECT email FROM customers");
    for (const sql of ["EXECUTE dump", "CREATE TABLE taken AS EXECUTE all_of_them"])
      await expect(client.query(sql)).rejects.toMatchObject({ code: "53400" });
    await client.end();
  });
  await withSluice(async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    for (const sql of [
      "INSERT INTO notes SELECT id, email FROM customers; SELECT 1",
      "BEGIN; INSERT INTO notes SELECT id, email FROM customers; COMMIT",
    ])
      await expect(client.query(sql)).rejects.toMatchObject({ code: "42501" });
    await client.end();
    const raw = await sluice.raw("helpdesk_app");
    const run = (sql: string) => [
      parseMessage("", Buffer.from(sql)),
      bindMessage("", ""),
      executeMessage("", 0),
    ];
    raw.send(
      ...run("INSERT INTO notes VALUES (9, 'kept only with the rest')"),
      ...run("INSERT INTO notes SELECT id, email FROM customers"),
      ...run("SELECT 1"),
      syncMessage,
      queryMessage(Buffer.from("SELECT count(*) FROM notes WHERE id = 9")),
    );
    expect(shortOf(await raw.until("Z"))).toBe("1 2 C(INSERT 0 1) 1 2 E(53400) Z(I)");
    expect(shortOf(await raw.until("Z"))).toBe("T(count) D(1) C(SELECT 1) Z(I)");
    raw.socket.destroy();
  });
  expect(await leftBehind()).toBe(0);
});

/** Each name has a budget of its own: what one has used up stops no other. */
const NAMED = POLICY.replace("watch: true,", "watch: true, people_behind: [{ setting: app.agent }],");

/** What comes before it, and the statement that stores. */
const DETOURS: readonly (readonly [...string[], string])[] = [
  // A row's own value, to where it is not protected.
  ["UPDATE customers SET country = email"],
  ["MERGE INTO customers c USING (SELECT 1) x ON true WHEN MATCHED THEN UPDATE SET country = c.email"],
  // One row of many people.
  ["INSERT INTO notes SELECT 1, all_of_them FROM everybody"],
  [
    "WITH RECURSIVE r(id, t) AS (SELECT id, email FROM customers WHERE id = 1 UNION ALL SELECT c.id, r.t || c.email FROM r JOIN customers c ON c.id = r.id + 1) INSERT INTO notes SELECT id, t FROM r WHERE id = 400",
  ],
  ["INSERT INTO notes SELECT 1, histogram_bounds::text FROM pg_stats WHERE attname = 'email'"],
  [
    "CREATE AGGREGATE pg_temp.glued(text) (sfunc = textcat, stype = text)",
    "INSERT INTO notes SELECT 1, pg_temp.glued(email) FROM customers",
  ],
  // Functions that run a text.
  ["INSERT INTO notes SELECT 1, query_to_xml('SELECT email FROM customers', true, false, '')::text"],
  ["CREATE TABLE taken AS SELECT table_to_xml('customers', true, false, '') AS all_of_them"],
  ["INSERT INTO notes SELECT 1, word FROM ts_stat('SELECT to_tsvector(''simple'', email) FROM customers')"],
  // What is behind a name.
  ["PREPARE p AS SELECT string_agg(email, ',') FROM customers", "CREATE TABLE taken AS EXECUTE p"],
  ["PREPARE p2 AS SELECT email FROM customers", "EXPLAIN ANALYZE CREATE TABLE taken AS EXECUTE p2"],
  ["PREPARE p3 AS INSERT INTO notes SELECT id, email FROM customers", "EXPLAIN ANALYZE EXECUTE p3"],
  ["EXPLAIN ANALYZE CREATE TABLE taken AS SELECT email FROM customers"],
  ["CREATE TEMP VIEW mails AS SELECT id, email FROM customers", "INSERT INTO notes SELECT * FROM mails"],
  ["CREATE TABLE taken AS TABLE mails"],
  ["CREATE TABLE taken AS TABLE pg_temp.mails"],
  // To where it is read by no query of a table.
  ["SELECT length(set_config('app.loot', string_agg(email, ','), false)) FROM customers"],
  ["SELECT length(set_config('search_path', string_agg('\"' || email || '\"', ','), false)) FROM customers"],
  ["SELECT count(pg_notify('loot', email)) FROM customers"],
  ["SELECT pg_notify('loot', email) FROM customers OFFSET 399"],
  ["SELECT lo_from_bytea(0, string_agg(email, ',')::bytea) FROM customers"],
];

test("nor by a detour: a view, a text that a function runs, a setting, a name that means something else", async () => {
  await withSluice(
    async (sluice) => {
      const client = await sluice.connect("helpdesk_app");
      for (const [index, steps] of DETOURS.filter((each) => knows(...each)).entries()) {
        await client.query(`SET app.agent = 'thief-${index}'`);
        for (const before of steps.slice(0, -1)) await client.query(before);
        const sql = steps.at(-1) ?? "";
        await expect(client.query(sql), sql).rejects.toMatchObject({ code: "53400" });
        expect(await leftBehind(), sql).toBe(0);
      }
      // What is suspended has been written: the client asks for one of the rows that it returns.
      const raw = await sluice.raw("helpdesk_app");
      raw.send(
        parseMessage("", Buffer.from("INSERT INTO notes SELECT id, email FROM customers RETURNING id")),
        ...[bindMessage("", ""), executeMessage("", 1), syncMessage],
      );
      expect(shortOf(await raw.until("Z"))).toBe("1 2 D(1) E(53400) Z(I)");
      raw.socket.destroy();
      await client.end();
      const { rows } = await world.database.query("SELECT FROM customers WHERE country LIKE '%@%'");
      expect(rows).toEqual([]);
      expect(await leftBehind()).toBe(0);
    },
    { policy: NAMED },
  );
});

const toPeople = (view: string) =>
  `CREATE OR REPLACE VIEW desk.${view} AS SELECT id, email AS t FROM customers`;
const TO_PEOPLE = toPeople("countries");
const REMEANT = [
  ["BEGIN", TO_PEOPLE, "SELECT * FROM desk.countries"],
  ["BEGIN", TO_PEOPLE, "COPY (SELECT * FROM desk.countries) TO STDOUT"],
  ["BEGIN", TO_PEOPLE, "DECLARE c CURSOR FOR SELECT * FROM desk.countries", "FETCH ALL FROM c"],
  ["BEGIN", TO_PEOPLE, "INSERT INTO notes SELECT * FROM desk.countries"],
  [
    "BEGIN",
    "ALTER TABLE desk.plain RENAME TO old",
    "CREATE VIEW desk.plain AS SELECT id, email FROM customers",
    "SELECT * FROM desk.plain",
  ],
  [`${toPeople("second")}; SELECT * FROM desk.second`],
  [
    "SET search_path = desk, public; CREATE TEMP VIEW plain AS SELECT email FROM customers; SELECT * FROM plain",
  ],
  [
    "SET search_path = desk, public",
    "CREATE TEMP VIEW plain AS SELECT email FROM customers",
    "SELECT * FROM plain",
  ],
  ["PREPARE p AS SELECT * FROM desk.third", toPeople("third"), "EXECUTE p"],
];

test("a name that means other rows from now on shows no more of them than a budget has room for", async () => {
  await withSluice(
    async (sluice) => {
      for (const [index, steps] of REMEANT.entries()) {
        const raw = await sluice.raw("helpdesk_app");
        const addresses = new Set<string>();
        const work = async () => {
          for (const sql of [`SET app.agent = 'thief-${index}'`, ...steps]) {
            raw.send(queryMessage(Buffer.from(sql)));
            for (const { bytes } of await raw.until("Z"))
              for (const [address] of bytes.toString("latin1").matchAll(/[\w.+-]+@/g)) addresses.add(address);
          }
        };
        // Where several statements stand in one text, the connection ends.
        await work().catch((error: Error) => expect(error.message).toContain("53400"));
        expect(addresses.size, steps.at(-1)).toBeLessThanOrEqual(60);
        raw.socket.destroy();
      }
      expect(await leftBehind()).toBe(0);
    },
    { policy: NAMED },
  );
});

test("rows are not given to another person and read under their name", async () => {
  await withSluice(async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    for (const sql of [
      "UPDATE calls SET customer = 1",
      "UPDATE calls SET customer = c.id FROM customers c WHERE c.id = 1",
      "MERGE INTO calls t USING customers c ON c.id = 1 WHEN MATCHED THEN UPDATE SET customer = c.id",
      "INSERT INTO calls (id, customer) SELECT id, 1 FROM calls ON CONFLICT (id) DO UPDATE SET customer = 1",
    ].filter((each) => knows(each)))
      await expect(client.query(sql), sql).rejects.toMatchObject({ code: "53400" });
    expect((await client.query("SELECT count(DISTINCT customer)::int AS n FROM calls")).rows).not.toEqual([
      { n: 1 },
    ]);
    // What a help desk does: a ticket is saved with all its columns, two customers become one.
    await client.query("UPDATE calls SET customer = customer, said = said WHERE id = 1");
    await client.query("UPDATE calls SET customer = 8 WHERE customer = 9");
    expect(people(sluice)).toBeLessThan(60);
    await client.end();
  });
});

test("rows do not get another person by the row that leads to them", async () => {
  await withSluice(async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    const match = "MERGE INTO calls t USING generate_series(-400, 400) i ON t.id = i";
    for (const sql of [
      `${match} WHEN MATCHED THEN UPDATE SET id = t.id + 1000 WHEN NOT MATCHED AND i < 0 THEN INSERT VALUES (-i, 1)`,
      `${match} WHEN MATCHED THEN DELETE WHEN NOT MATCHED AND i < 0 THEN INSERT VALUES (-i, 1)`,
      "WITH gone AS (DELETE FROM calls WHERE id <= 400) INSERT INTO calls SELECT i, 1 FROM generate_series(1, 400) i",
    ].filter((each) => knows(each)))
      await expect(client.query(sql), sql).rejects.toMatchObject({ code: /53400|23505/ });
    const { rows } = await client.query("SELECT l.said FROM lines l WHERE call <= 3");
    expect(rows).toHaveLength(3);
    expect(people(sluice)).toBeGreaterThanOrEqual(3);
    await client.end();
  });
});

test("a drip of copies ends with the budget", async () => {
  await withSluice(async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    const ten = (from: number) =>
      `INSERT INTO notes SELECT id, email FROM customers WHERE id BETWEEN ${from} AND ${from + 9}`;
    for (let from = 1; from <= 41; from += 10) expect((await client.query(ten(from))).rowCount).toBe(10);
    await expect(client.query(ten(51))).rejects.toMatchObject({ code: "53400" });
    expect(people(sluice)).toBeGreaterThanOrEqual(50);
    await client.end();
  });
  expect(await leftBehind()).toBe(50);
  await world.database.query("DELETE FROM notes WHERE t LIKE '%@%'");
});

test.each([{}, ONE])(
  "what fits has the effect and the answer that it has without Sluice %j",
  async (options) => {
    const direct = new pg.Client({ connectionString: world.database.uri });
    await direct.connect();
    await withSluice(async (sluice) => {
      const client = await sluice.connect("helpdesk_app");
      for (const sql of [
        "INSERT INTO notes SELECT id, email FROM customers WHERE id = 3",
        "INSERT INTO notes SELECT id, email FROM customers WHERE id IN (3, 4) RETURNING id, t",
        "INSERT INTO notes SELECT 5, string_agg(email, ',') FROM customers WHERE id = 5 RETURNING *",
        "EXPLAIN (COSTS off) INSERT INTO notes SELECT id, email FROM customers",
        "INSERT INTO notes SELECT id, email FROM customers WHERE false",
        "INSERT INTO notes SELECT id, nothing FROM customers",
        "INSERT INTO notes SELECT id, email::int FROM customers WHERE id = 3",
        "CREATE TABLE few AS SELECT email FROM customers WHERE id < 4",
        "SELECT * FROM few ORDER BY 1",
        "DROP TABLE few",
      ]) {
        const said = async (on: pg.Client) =>
          on.query(sql.replace("few", on === client ? "few" : "few_too")).then(
            ({ command, rowCount, rows, fields }) => ({
              command,
              rowCount,
              rows,
              fields: fields.map(({ name }) => name),
            }),
            ({ code, message, position }: pg.DatabaseError) => ({ code, message, position }),
          );
        expect(await said(client), sql).toEqual(await said(direct));
      }
      await client.end();
    }, options);
    await direct.end();
    await world.database.query("DELETE FROM notes WHERE t LIKE '%@%'");
  },
);

test("keys, values of one's own and a row's own values are no copies", async () => {
  await withSluice(async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    for (const sql of [
      "INSERT INTO visits (customer) SELECT id FROM customers WHERE id <= 200",
      "INSERT INTO notes SELECT id, country FROM customers",
      "INSERT INTO notes VALUES (1, 'anna@example.com')",
      "UPDATE customers SET email = lower(email)",
      "UPDATE notes SET t = '' WHERE EXISTS (SELECT FROM customers WHERE email = notes.t)",
      "INSERT INTO notes SELECT 1, relname FROM pg_class",
      "CREATE TABLE empty AS SELECT string_agg(email, ',') FROM customers WITH NO DATA",
      "DROP TABLE empty",
      "EXPLAIN (ANALYZE false) INSERT INTO notes SELECT id, email FROM customers",
      "UPDATE customers SET country = 'XX' WHERE email IS NULL",
      "SELECT set_config('app.country', country, true) FROM customers WHERE email = 'nobody' ORDER BY id LIMIT 1",
      "SELECT set_config('app.email', email, true) FROM customers WHERE email = 'nobody' LIMIT 1",
      // Definitions that give no known name another meaning.
      "BEGIN; CREATE TABLE fresh (id int)",
      "SELECT * FROM desk.plain",
      "INSERT INTO fresh SELECT id FROM desk.plain",
      "ROLLBACK",
      "SET search_path = desk, public",
      "SELECT * FROM plain",
      "RESET search_path",
      "CREATE TEMP TABLE mine (id int, t text); INSERT INTO mine SELECT * FROM notes; INSERT INTO notes SELECT * FROM mine",
    ])
      await client.query(sql);
    expect(people(sluice)).toBe(0);
    await client.end();
  });
  await world.database.query("DELETE FROM notes WHERE t LIKE '%@%'");
});

test("a budget that only alerts, and a role without one, store what they like", async () => {
  for (const policy of [
    POLICY.replace("budget:", "on_budget: alert, budget:"),
    POLICY.replace(", budget: { 1h: 50 }", ""),
  ])
    await withSluice(
      async (sluice) => {
        const client = await sluice.connect("helpdesk_app");
        await client.query("INSERT INTO notes SELECT id, email FROM customers; SELECT 1");
        await client.query("CREATE TABLE taken AS SELECT email FROM customers");
        await client.query("INSERT INTO notes SELECT 1, string_agg(email, ',') FROM customers");
        expect(people(sluice)).toBeGreaterThan(200);
        await client.end();
        await world.database.query("DROP TABLE taken; DELETE FROM notes WHERE t LIKE '%@%'");
      },
      { policy },
    );
});
