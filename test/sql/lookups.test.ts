import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/** `refs.email` refers to the customer's address; `uniques` has two columns that reveal values. */
const SETUP = `
  CREATE TABLE public.refs (id bigint, email text REFERENCES public.customers (email));
  CREATE TABLE public.uniques (id bigint, email text UNIQUE, phone text UNIQUE, note text);
  GRANT ALL ON ALL TABLES IN SCHEMA public TO anna, ben, cleo;
`;
const TABLES = POLICY.replace(
  "roles:",
  "  public.uniques: { columns: { email: email, phone: phone } }\nroles:",
).replace("writes: [public.tickets, public.customers]", "writes: all");
const WITH_BUDGET = TABLES.replace("budget: { 1d: 300 }", "budget: { 1d: { people: 300, lookups: 1000 } }");

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: TABLES, setup: SETUP });
});
afterAll(() => judged.close());

/** How many lookups the statement counts as, or why it is refused. */
function lookups(sql: string, policy = WITH_BUDGET): number | string {
  const verdict = judged.withPolicy(policy).judge("anna", sql);
  if (verdict.kind === "refuse") return `${verdict.refusal.sqlstate} ${verdict.refusal.rule}`;
  return verdict.statements.reduce((sum, statement) => sum + statement.lookups, 0);
}

const rows = (count: number, row: string): string => Array.from({ length: count }, () => row).join(", ");
const UNKNOWN = "42501 roles.agent.budget.1d.lookups";

describe("a write tests a value for each row and each column that an error reveals", () => {
  test.each([
    ["INSERT INTO uniques (id, email) VALUES (1, 'a')", 1],
    [`INSERT INTO uniques (id, email) VALUES ${rows(501, "(1, 'a')")}`, 501],
    [`INSERT INTO uniques (id, email, phone) VALUES ${rows(3, "(1, 'a', 'b')")}`, 6],
    [`INSERT INTO uniques (email) VALUES ${rows(3, "($1)")} ON CONFLICT (id) DO NOTHING`, 3],
    ["INSERT INTO uniques (id, email) VALUES (1, DEFAULT), (2, 'a')", 2],
    ["INSERT INTO uniques (id, note) VALUES (1, 'x'), (2, 'y')", 0],
    ["INSERT INTO uniques (id, email) SELECT 1, 'a'", 1],
    ["INSERT INTO uniques (id, email) SELECT 1, lower('A') WHERE true", 1],
    ["INSERT INTO uniques DEFAULT VALUES", 0],
    [`INSERT INTO refs VALUES ${rows(4, "(1, 'a')")}`, 4],
    ["UPDATE refs SET email = 'a' WHERE id < 7", 1],
    ["UPDATE refs SET email = $1::text WHERE id = 7", 1],
    [`WITH w AS (INSERT INTO uniques (email) VALUES ${rows(5, "('a')")}) SELECT 1`, 5],
    [`PREPARE p AS INSERT INTO uniques (email) VALUES ${rows(5, "('a')")}`, 5],
  ])("%#: %s", (sql, expected) => {
    expect(lookups(sql)).toBe(expected);
  });
});

describe("for a role with a budget of lookups, the number of values that a write tests must be known", () => {
  test.each([
    "INSERT INTO uniques (email) SELECT unnest('{a,b,c}'::text[])",
    "INSERT INTO uniques (email) VALUES (unnest('{a,b,c}'::text[]))",
    "INSERT INTO uniques (email) VALUES (split_part(regexp_split_to_table('a b', ' '), 'x', 1))",
    "INSERT INTO uniques (email) SELECT column1 FROM (VALUES ('a'), ('b')) v",
    "INSERT INTO uniques (email) SELECT 'a' UNION ALL SELECT 'b'",
    "INSERT INTO uniques (id, email) TABLE refs",
    "INSERT INTO uniques (id, email) SELECT id, status FROM tickets ON CONFLICT (id) DO NOTHING",
    "COPY uniques FROM STDIN",
    "COPY uniques (email) FROM STDIN",
    "UPDATE refs SET email = CASE id WHEN 1 THEN 'a' ELSE 'b' END",
    "UPDATE refs SET email = v.e FROM (VALUES ('a'), ('b')) v(e)",
    "UPDATE refs SET (id, email) = (SELECT 1, 'a')",
    "MERGE INTO refs USING (VALUES ('a'), ('b')) v(e) ON false WHEN NOT MATCHED THEN INSERT (email) VALUES (e)",
  ])("%s", (sql) => {
    expect(lookups(sql)).toBe(UNKNOWN);
    expect(lookups(sql, TABLES)).not.toBe(UNKNOWN);
  });

  test.each([
    "COPY uniques (id, note) FROM STDIN",
    "INSERT INTO uniques (id, note) SELECT n, 'x' FROM generate_series(1, 9) n",
    "UPDATE refs SET id = id + 1",
  ])("but not if it tests none: %s", (sql) => {
    expect(lookups(sql)).toBe(0);
  });

  test("the hint says what to do", () => {
    const verdict = judged.withPolicy(WITH_BUDGET).judge("anna", "COPY uniques FROM STDIN");
    expect(verdict.kind === "refuse" && verdict.refusal.hint).toContain("INSERT … VALUES");
  });
});

describe("a search counts each value that it tests", () => {
  test.each([
    ["SELECT id FROM customers WHERE email = 'a'", 1],
    ["SELECT id FROM customers WHERE email IN ('a', 'b', 'c')", 3],
    ["SELECT id FROM customers WHERE email IN ($1, $2) AND phone = $3", 3],
    ["UPDATE customers SET country = 'DE' WHERE email IN ('a', 'b')", 2],
    ["SELECT id FROM customers WHERE email = ANY ('{a,b}')", 2],
    ["SELECT id FROM customers WHERE email = ANY ('{\"a,b\",c,d}'::text[])", 3],
    ["SELECT id FROM customers WHERE email = ANY (ARRAY['a', lower($1)])", 2],
    ["SELECT id FROM customers WHERE email = ANY ('{{a,b},{c,d}}'::text[])", 4],
    ["SELECT id FROM customers c WHERE lower(c.email) = lower($1)", 1],
    ["SELECT id FROM customers WHERE upper(email::text) IN ('A', 'B')", 2],
    ["SELECT id FROM customers WHERE email = $1 OR phone = $2", 2],
    ["SELECT id FROM customers WHERE (email = $1 AND country = 'DE') OR lower(phone) = 'x' OR id = 7", 2],
    ["SELECT id FROM customers WHERE trim($1) = email", 1],
    ["SELECT id FROM customers WHERE email::text = $1", 1],
    ["SELECT id FROM customers WHERE CAST(email AS varchar) = CAST($1 AS varchar(255))", 1],
    ["SELECT id FROM customers WHERE email ILIKE 'A@B.example'", 1],
    ["SELECT id FROM customers WHERE email LIKE 'a\\_b@example.com'", 1],
    ["SELECT id FROM customers WHERE name ILIKE '%x%' OR email = 'a'", 1],
    ["SELECT id FROM customers WHERE email ILIKE 'A@B.example' ESCAPE '\\'", 1],
    ["SELECT id FROM customers WHERE name ILIKE '%x%' ESCAPE '/' AND email LIKE 'a' ESCAPE '\\'", 1],
    ["UPDATE customers SET country = 'DE' WHERE lower(email) = 'a' OR phone = '1'", 2],
    ["UPDATE customers SET country = 'DE' WHERE email LIKE 'a' ESCAPE '\\'", 1],
  ])("%s", (sql, expected) => {
    expect(lookups(sql)).toBe(expected);
  });

  test.each([
    "SELECT id FROM customers WHERE email = ANY ($1)",
    "SELECT id FROM customers WHERE email = ANY ($1::text[]) OR email ILIKE $2",
    "SELECT id FROM customers WHERE email = ANY (ARRAY[$1, $2])",
  ])("an array or a pattern in a parameter is checked when it is bound: %s", (sql) => {
    const verdict = judged.withPolicy(WITH_BUDGET).judge("anna", sql);
    expect(verdict.statements[0]?.lookups).toBe(sql.includes("ILIKE") ? 1 : 0);
    expect(verdict.statements[0]?.asks?.length).toBeGreaterThan(0);
  });

  test.each([
    "SELECT id FROM customers WHERE email ILIKE 'a%'",
    "SELECT id FROM customers WHERE email LIKE 'a_b'",
    "SELECT id FROM customers WHERE email LIKE 'a_b' ESCAPE '\\'",
    "SELECT id FROM customers WHERE email LIKE 'a\\'",
    "SELECT id FROM customers WHERE lower(email) < 'b'",
    "SELECT id FROM customers WHERE lower(left(email, 1)) = 'a'",
    "SELECT id FROM customers WHERE NOT (email = 'a' OR phone = 'b')",
    "SELECT id FROM customers WHERE email = 'a' OR name IS NULL OR address = 'c'",
    "SELECT id FROM customers WHERE email = ANY (SELECT 'a')",
    "SELECT id FROM customers WHERE email = country || $1",
    "SELECT id FROM customers WHERE email <> ALL ('{a,b}')",
    "SELECT id FROM customers WHERE email || 'x' = 'ax'",
    "SELECT c.id FROM tickets t LEFT JOIN customers c ON c.id = t.customer_id AND lower(c.email) = 'a'",
    `SELECT id FROM customers WHERE email = ANY ('{${Array.from({ length: 21 }, (_, n) => n).join()}}')`,
    `SELECT id FROM customers WHERE ${Array.from({ length: 21 }, (_, n) => `email = '${n}'`).join(" OR ")}`,
    "SELECT id FROM customers WHERE email = ANY (ARRAY['{a,b}'::text[]])",
    "SELECT id FROM customers WHERE email = ANY (ARRAY[CAST('{a,b}' AS pg_catalog._text)])",
    "SELECT id FROM customers WHERE email = ANY (ARRAY[$1::text[], $2::text[]])",
    "SELECT id FROM customers WHERE email = ANY (ARRAY['{a}' || $1])",
    "PREPARE p AS SELECT id FROM customers WHERE email = ANY ($1)",
    "DECLARE c CURSOR FOR SELECT id FROM customers WHERE email ILIKE $1",
  ])("a condition less exact than = sees the mask: %s", (sql) => {
    expect(lookups(sql)).toBe(0);
  });
});

describe("a person who is looked up in this way is found, as on the server itself", () => {
  const EMAIL = "alice.ng.7@example.com";
  test.each([
    [`lower(email) = lower('ALICE.ng.7@example.com')`, []],
    ["upper(customers.email::text) = upper($1)", [EMAIL]],
    ["public.customers.email ILIKE $1", ["Alice.NG.7@example.com"]],
    ["((email)::text ILIKE ($1) ESCAPE ('\\'))", ["Alice.NG.7@example.com"]],
    ["(phone = 'none' OR email ILIKE $1 ESCAPE '\\' /* ESCAPE */)", ["Alice.NG.7@example.com"]],
    ["email = ANY ($1)", [["nobody", EMAIL]]],
    ["email = ANY (ARRAY[$1, 'nobody'])", [EMAIL]],
    ["email = ANY ($1::text[]) AND id = 7", [[EMAIL]]],
    ["(phone = 'none' OR email = $1)", [EMAIL]],
    ["(email = 'none' OR (email = $1 AND id > 0 AND name LIKE '%'))", [EMAIL]],
    ["email::text = $1", [EMAIL]],
    ["email = trim($1 || ' ')", [EMAIL]],
    ["email = lower($1)", [EMAIL.toUpperCase()]],
  ] as const)("%s", async (condition, values) => {
    const { rows: found } = await judged.run(
      "anna",
      `SELECT id, email FROM customers WHERE ${condition}`,
      values,
    );
    expect(found.map((row) => row.slice(0, 2))).toEqual([["7", "a***@example.com"]]);
  });

  test("by an outer join whose WHERE excludes no one: the tickets of one customer and of no other", async () => {
    const ofTicket = `FROM tickets t LEFT JOIN customers c ON c.id = t.customer_id`;
    const { rows: theirs } = await judged.run(
      "anna",
      "SELECT id FROM tickets WHERE customer_id = 7 ORDER BY id",
    );
    const { rows: found } = await judged.run(
      "anna",
      `SELECT t.id ${ofTicket} WHERE (c.email = $1 AND (c.id IS NOT NULL)) ORDER BY t.id`,
      [EMAIL],
    );
    expect(theirs.length).toBeGreaterThan(0);
    expect(found.map(([id]) => id)).toEqual(theirs.map(([id]) => id));
  });

  test("an index on the folded column serves", async () => {
    await judged.database.query("CREATE INDEX folded ON customers (lower(email))");
    const verdict = judged.judge("anna", `SELECT id FROM customers WHERE lower(email) = lower('${EMAIL}')`);
    expect(verdict.kind).toBe("rewrite");
    const sql = verdict.kind === "rewrite" ? verdict.sql.toString() : "";
    const plan = await judged.database.query(`SET enable_seqscan = off; EXPLAIN ${sql}`);
    expect(JSON.stringify(plan)).toContain("folded");
  });
});

describe("a comparison with a mask gets a notice that says how to ask for the value", () => {
  /** The hints of the notices, by the columns that they mention. */
  function told(sql: string): readonly string[] {
    const verdict = judged.judge("anna", sql);
    expect(verdict.kind).not.toBe("refuse");
    const notices = verdict.statements.flatMap((statement) => statement.notices ?? []);
    for (const { hint } of notices) expect(hint).toMatch(/lower\(\w+\) = lower|"finds:"/);
    return notices.map(({ message }) => message.replace(/^public\.| is compared.*$/g, ""));
  }

  test.each([
    ["SELECT id FROM customers WHERE email ILIKE 'a%'", ["customers.email"]],
    ["SELECT id FROM customers WHERE email LIKE $1 || '%'", ["customers.email"]],
    ["SELECT id FROM customers WHERE email <> 'x'", ["customers.email"]],
    ["SELECT id FROM customers WHERE email BETWEEN 'a' AND 'b'", ["customers.email"]],
    ["SELECT id FROM customers WHERE (email, country) = ($1, $2)", ["customers.email"]],
    ["SELECT id FROM customers WHERE email = (SELECT 'a')", ["customers.email"]],
    ["SELECT id FROM customers WHERE email IN (SELECT 'a')", ["customers.email"]],
    ["SELECT id FROM customers WHERE left(email, 1) = 'a'", ["customers.email"]],
    ["SELECT id FROM customers WHERE starts_with(email, 'a')", ["customers.email"]],
    ["SELECT id FROM customers WHERE CASE email WHEN 'a' THEN true END", ["customers.email"]],
    ["SELECT id FROM customers WHERE email IS DISTINCT FROM 'a'", ["customers.email"]],
    ["SELECT count(*) FILTER (WHERE email = 'a') FROM customers", ["customers.email"]],
    ["SELECT c.id FROM customers c JOIN (VALUES ('a')) v(e) ON c.email = v.e", ["customers.email"]],
    [
      "SELECT a.id FROM customers a JOIN contact_log b USING (email)",
      ["customers.email", "contact_log.email"],
    ],
    ["SELECT * FROM (SELECT id, email FROM customers) s WHERE s.email = 'a'", ["customers.email"]],
    ["SELECT * FROM (SELECT * FROM customers) s WHERE email = 'a'", ["customers.email"]],
    ["SELECT * FROM (SELECT lower(email) AS e FROM customers) s WHERE e = 'a'", ["customers.email"]],
    ["SELECT 1 FROM (SELECT id, email FROM customers) s (i, e) WHERE e = 'a'", ["customers.email"]],
    ["WITH c AS (SELECT * FROM customers) SELECT id FROM c WHERE email = 'a'", ["customers.email"]],
    ["WITH c (a, b) AS (SELECT id, email FROM customers) SELECT a FROM c WHERE b = 'a'", ["customers.email"]],
    ["SELECT id FROM customers WHERE address = 'a'", ["customers.address"]],
    ["SELECT id FROM tickets WHERE body ILIKE '%refund%'", ["tickets.body"]],
    ["PREPARE p AS SELECT id FROM customers WHERE email = ANY ($1)", ["customers.email"]],
    ["SELECT id FROM customers WHERE email = 'a' OR address = 'b'", ["customers.email", "customers.address"]],
  ] as const)("%s", (sql, columns) => {
    expect(told(sql)).toEqual(columns);
  });

  test.each([
    "SELECT id FROM customers WHERE email = 'a'",
    "SELECT id FROM customers WHERE lower(email) = lower($1) OR phone = $2",
    "SELECT id, email || '' FROM customers WHERE email IS NOT NULL AND country = 'DE' ORDER BY email",
    "SELECT id FROM (SELECT id, email, country FROM customers) s WHERE country = 'DE'",
    "SELECT count(DISTINCT email) FROM customers WHERE name = 'x'",
    "SELECT * FROM pg_stat_activity WHERE query = 'x'",
  ])("and there is no notice for %s", (sql) => {
    expect(told(sql)).toEqual([]);
  });
});
