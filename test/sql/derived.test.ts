import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { analyse } from "../../proxy/sql/analyse.ts";
import { PASSWORDS } from "../harness/support-schema.ts";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/** Values that the database itself makes from protected columns, and what its refusals reveal. */

const SETUP = `
  ALTER TABLE public.customers ADD COLUMN email_lower text GENERATED ALWAYS AS (lower(email)) STORED;
  ALTER TABLE public.customers ADD COLUMN country_lower text GENERATED ALWAYS AS (lower(country)) STORED;
  ALTER TABLE public.tickets ADD COLUMN body_hash text GENERATED ALWAYS AS (md5(body)) STORED;
  CREATE VIEW public.customer_lower AS SELECT id, email_lower AS found FROM public.customers;
  CREATE TABLE public.profiles (id int, country text, email text, email_key text GENERATED ALWAYS AS (upper(email)) STORED, nick text, motto text, twin text);
  CREATE UNIQUE INDEX ON public.profiles (country, lower(nick));
  CREATE UNIQUE INDEX ON public.profiles (id) WHERE motto LIKE 'a%';
  CREATE UNIQUE INDEX ON public.profiles (email_key);
  ALTER TABLE public.profiles ADD EXCLUDE USING btree (twin WITH =);
  CREATE TABLE public.invitations (id int, email text REFERENCES public.customers (email));
  CREATE FUNCTION public.lower(text, text DEFAULT '') RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1 || $2';
  CREATE FUNCTION public.upper(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
  CREATE FUNCTION public.left(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
  CREATE FUNCTION public.find_person(bigint) RETURNS SETOF text LANGUAGE sql STABLE AS 'SELECT email FROM public.customers WHERE id < $1';
  CREATE FUNCTION public.note_call(bigint) RETURNS void LANGUAGE sql AS 'UPDATE public.customers SET country = country WHERE id = $1';
  CREATE FUNCTION public.count_calls() RETURNS text LANGUAGE sql AS 'SELECT min(email) FROM public.customers';
  CREATE TABLE public.parted (id int, country text, email text, code text) PARTITION BY LIST (country);
  CREATE TABLE public.parted_de PARTITION OF public.parted (UNIQUE (email)) FOR VALUES IN ('DE');
  CREATE TABLE public.parted_fr PARTITION OF public.parted (FOREIGN KEY (code) REFERENCES public.customers (email)) FOR VALUES IN ('FR');
  CREATE VIEW public.pairs AS SELECT a.id, b.country FROM public.customers a, public.customers b;
  CREATE VIEW public.pairs_of_pairs AS SELECT p.id, q.country FROM public.pairs p, public.pairs q;
  CREATE VIEW public.with_pairs AS WITH c AS (SELECT * FROM public.customers) SELECT a.id, b.country FROM c a, c b;
  CREATE VIEW public.scalars AS SELECT c.id, (SELECT o.country FROM public.customers o ORDER BY o.id LIMIT 1) AS first FROM public.customers c;
  CREATE VIEW public.no_subject AS SELECT a.country, b.country AS other FROM public.customers a, public.customers b, public.customers d;
  CREATE VIEW public.ends AS SELECT country, min(id) AS lowest, max(id) AS highest FROM public.customers GROUP BY country;
  CREATE VIEW public.neighbours AS SELECT id, lag(country) OVER (ORDER BY id) AS before FROM public.customers;
  CREATE VIEW public.latest AS SELECT customer_id, max(created_at) AS last FROM public.tickets GROUP BY customer_id;
  CREATE VIEW public.ticket_customers AS SELECT t.id, c.id AS customer_id, c.country FROM public.tickets t JOIN public.customers c ON c.id = t.customer_id;
  CREATE VIEW public.two_halves AS SELECT id, country FROM public.customers WHERE id < 50 UNION ALL SELECT id, country FROM public.customers WHERE id >= 50;
  CREATE VIEW public.only_last AS SELECT t.id, t.customer_id FROM public.tickets t WHERE NOT EXISTS (SELECT FROM public.tickets o WHERE o.customer_id = t.customer_id AND o.id > t.id);
  CREATE VIEW public.listed AS SELECT t.id, ARRAY(SELECT c.country FROM public.customers c) AS all_of_them FROM public.ticket_messages t;
  CREATE VIEW public.chained AS WITH RECURSIVE r(n, all_of_them) AS (SELECT 0::bigint, '' UNION ALL SELECT c.id, r.all_of_them || c.country FROM r JOIN public.customers c ON c.id = r.n + 1) SELECT max(n) AS n FROM r;
  CREATE AGGREGATE public.glue(text) (SFUNC = textcat, STYPE = text, INITCOND = '');
  CREATE VIEW public.glued AS SELECT public.glue(country) AS all_of_them FROM public.customers;
  CREATE VIEW public.numbered AS WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 3) SELECT c.id, r.n FROM r JOIN public.customers c ON c.id = r.n;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, cleo;
`;

let judged: Judged;
beforeAll(async () => {
  const policy = POLICY.replace(
    "  public.contact_log:",
    `  public.profiles:
    columns: { email: email, nick: name, motto: text, twin: text }
  public.parted:
    columns: { email: email }
  public.contact_log:`,
  )
    .replaceAll(
      "writes: [public.customers]",
      "writes: [public.customers, public.profiles, public.invitations, public.parted]",
    )
    .replace(
      "sees: [name, email, phone, text]\n",
      "sees: []\n    calls: [public.note_call, public.count_calls, { public.find_person: shown }]\n    rows: 5\n",
    );
  judged = await openJudged({ policy, setup: SETUP });
});
afterAll(() => judged.close());

const refusal = (sql: string) => {
  const verdict = judged.judge("cleo", sql);
  return verdict.kind === "refuse" ? verdict.refusal : undefined;
};

describe("a generated column", () => {
  test("of a protected one is masked whole, through views too; others are shown", async () => {
    const { rows } = await judged.run(
      "cleo",
      "SELECT email_lower, country_lower FROM customers WHERE id = 7",
    );
    expect(rows[0]?.[0]).toBeNull();
    expect(rows[0]?.[1]).toMatch(/^[a-z]{2}$/);
    expect((await judged.run("cleo", "SELECT found FROM customer_lower WHERE id = 7")).rows).toEqual([
      [null],
    ]);
    expect((await judged.run("cleo", "SELECT body_hash FROM tickets WHERE id = 7")).rows).toEqual([[null]]);
  });

  test("is shown to a user who sees the columns it is computed from", async () => {
    const { rows } = await judged.run("ben", "SELECT email_lower FROM customers WHERE id = 7");
    expect(rows).toEqual([["alice.ng.7@example.com"]]);
  });
});

describe("refusing a new row would reveal whether a value exists", () => {
  test.each([
    ["nick", "INSERT INTO profiles (country, nick) VALUES ('x', 'y')"],
    ["motto", "INSERT INTO profiles (id, motto) VALUES (1, 'a')"],
    ["email", "INSERT INTO profiles (email) VALUES ('x')"],
    ["twin", "INSERT INTO profiles (twin) VALUES ('x')"],
    ["customers.email", "INSERT INTO invitations (id, email) VALUES (1, 'x')"],
    ["customers.email", "INSERT INTO invitations VALUES (1, 'x')"],
    ["customers.email", "UPDATE invitations SET email = 'x' WHERE id = 1"],
    [
      "customers.email",
      "MERGE INTO invitations i USING (VALUES (1)) v(a) ON i.id = v.a WHEN NOT MATCHED THEN INSERT VALUES (1, 'x')",
    ],
    ["email", "INSERT INTO parted (country, email) VALUES ('DE', 'x')"],
    ["customers.email", "INSERT INTO parted (country, code) VALUES ('FR', 'x')"],
    ["masked values", "INSERT INTO parted (id) VALUES (1) ON CONFLICT DO NOTHING"],
    ["masked values", "INSERT INTO profiles (id) VALUES (1) ON CONFLICT DO NOTHING"],
  ])("by %s: %s", (named, sql) => {
    expect(refusal(sql)?.message).toContain(named);
  });

  test.each([
    "INSERT INTO profiles (id, country) VALUES (1, 'x')",
    "INSERT INTO invitations (id) VALUES (1)",
  ])("but not without such a value: %s", (sql) => {
    expect(refusal(sql)).toBeUndefined();
  });
});

describe("a built-in with a namesake on the path", () => {
  test("that takes as many arguments is not chosen silently", () => {
    expect(refusal("SELECT lower('A')")).toMatchObject({
      message: "lower may mean pg_catalog.lower or public.lower",
      hint: "Write the schema before the name.",
    });
    expect(refusal("SELECT pg_catalog.lower('A')")).toBeUndefined();
  });

  test("with the same arguments, or another number of them, is Postgres's own", async () => {
    expect((await judged.run("cleo", "SELECT upper('a'), left('abc', 2)")).rows).toEqual([["A", "ab"]]);
  });
});

describe("system columns of a table that is read through a subquery", () => {
  test.each([
    "SELECT ctid FROM customers ORDER BY id LIMIT 3",
    "SELECT c.xmin, c.id FROM customers c WHERE c.ctid = '(0,1)'",
    "SELECT id FROM customers WHERE tableoid = 'customers'::regclass AND id < 4 ORDER BY id",
    "SELECT (SELECT xmax) FROM customers WHERE id = 7",
    "SELECT c.ctid, t.id FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id = 7",
  ])("are what they are without Sluice: %s", async (sql) => {
    const { rows } = await judged.run("cleo", sql);
    expect(rows.length).toBeGreaterThan(0);
    expect(rows).toEqual((await judged.run("helpdesk_app", sql)).rows);
  });

  test.each([
    "SELECT ctid, * FROM customers",
    "SELECT c.xmin, c FROM customers c",
    "SELECT row_to_json(c), c.ctid FROM customers c",
    "SELECT c.ctid FROM customers c NATURAL JOIN tickets",
    "SELECT j.* FROM (customers c JOIN tickets t ON c.ctid IS NOT NULL) j",
  ])("are refused where a star would show them: %s", (sql) => {
    expect(refusal(sql)).toMatchObject({ sqlstate: "42501" });
    expect(refusal(sql)?.hint).toContain("primary key");
  });

  test.each([
    "SELECT ctid FROM ticket_messages LIMIT 1",
    "SELECT ctid FROM (SELECT id AS ctid FROM customers WHERE id = 7) s",
    "SELECT tableoid FROM pg_class LIMIT 1",
  ])("but not those of others: %s", async (sql) => {
    expect((await judged.run("cleo", sql)).rows).toHaveLength(1);
  });
});

/** What cleo sees in a session of her own that has run `setup` before. */
async function seenAfter(setup: string, sql: string) {
  const verdict = judged.judge("cleo", sql);
  if (verdict.kind !== "rewrite") throw new Error(`${sql} is not rewritten`);
  const client = new pg.Client({ connectionString: judged.database.uriFor("cleo", PASSWORDS.cleo) });
  await client.connect();
  try {
    await client.query(setup);
    return await client.query<Record<string, unknown>>(verdict.sql.toString());
  } finally {
    await client.end();
  }
}

describe("relations of the system of which a part is hidden", () => {
  test.each([
    ["pg_prepared_statements", "statement"],
    ["pg_cursors", "statement"],
    ["pg_stat_activity", "query"],
  ])("%s is read without its column %s", async (name, hidden) => {
    const setup = "PREPARE secret AS SELECT 'canary'; DECLARE held CURSOR WITH HOLD FOR SELECT 'canary'";
    const { rows } = await seenAfter(setup, `SELECT * FROM ${name}`);
    expect(rows.length).toBeGreaterThan(0);
    expect(JSON.stringify(rows)).not.toContain("canary");
    expect(rows.every((row) => row[hidden] === null)).toBe(true);
  });

  test.each([
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%canary%'",
    "SELECT count(*) FROM pg_stat_activity a WHERE a::text LIKE '%canary%'",
    "SELECT count(*) FROM pg_catalog.pg_prepared_statements p WHERE strpos((p).statement, 'canary') > 0",
  ])("no condition reveals its value: %s", async (sql) => {
    const { rows } = await seenAfter("PREPARE secret AS SELECT 'canary'", sql);
    expect(rows).toEqual([{ count: "0" }]);
  });
});

describe("gathering rows, for a role with a limit", () => {
  const accepted = (sql: string) => {
    const verdict = judged.judge("cleo", sql);
    return verdict.kind === "refuse" ? verdict.refusal.message : "accepted";
  };

  test.each([
    // As Drizzle, Prisma and Kysely load a customer's tickets.
    "SELECT c.id, t.data FROM customers c LEFT JOIN LATERAL (SELECT coalesce(json_agg(json_build_array(i.id)), '[]'::json) AS data FROM (SELECT * FROM tickets t WHERE t.customer_id = c.id) i) t ON true WHERE c.id = 7",
    "SELECT c.id, (SELECT json_agg(t) FROM tickets t WHERE t.customer_id = c.id) FROM customers c WHERE c.id = 7",
    "SELECT array_agg(t.id ORDER BY t.id) FROM tickets t WHERE t.customer_id = 7",
    "SELECT string_agg(t.subject, ',') FROM tickets t WHERE 7 = t.customer_id GROUP BY t.id",
    "SELECT json_agg(t.id) FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id = 7 AND t.customer_id = 7",
    "SELECT c.id, (SELECT array_agg(a.attname) FROM pg_attribute a WHERE a.attrelid = 'customers'::regclass) FROM customers c WHERE c.id = 7",
    "SELECT bit_or(t.id) FROM tickets t",
  ])("one person's rows are allowed: %s", async (sql) => {
    expect(accepted(sql)).toBe("accepted");
    expect((await judged.run("cleo", sql)).rows.length).toBeGreaterThan(0);
    // The people whom they belong to are counted.
    const [statement] = judged.judge("cleo", sql).statements;
    const { subjects = [], unknown = 0, groups } = statement?.metering ?? {};
    expect(subjects.length + unknown + (groups?.namespaces.length ?? 0)).toBeGreaterThan(0);
  });

  test.each([
    "SELECT json_agg(t) FROM tickets t",
    "SELECT json_agg(t) FROM tickets t WHERE t.customer_id IN (1, 2)",
    "SELECT json_agg(t) FROM tickets t WHERE t.customer_id = 1 OR t.id > 0",
    "SELECT json_agg(t) FROM tickets t WHERE t.customer_id = t.customer_id",
    "SELECT json_agg(t) FROM tickets t WHERE t.customer_id > 7",
    "SELECT json_agg(t) FROM tickets t WHERE NOT t.customer_id = 7",
    // Restricted to a value that takes many values in turn.
    "SELECT json_agg(o) FROM generate_series(1, 1000) v(id), LATERAL (SELECT * FROM tickets t WHERE t.customer_id = v.id) o",
    "SELECT json_agg(o) FROM (VALUES (1), (2)) v(id) JOIN LATERAL (SELECT * FROM tickets t WHERE t.customer_id = v.id) o ON true",
    "SELECT json_agg(o.id) FROM customers c, LATERAL (SELECT * FROM tickets t WHERE t.customer_id = c.id) o",
    "SELECT json_agg(x) FROM (SELECT (SELECT min(t.id) FROM tickets t WHERE t.customer_id = c.id) FROM customers c) x",
    // The aggregate belongs to the enclosing query, whose rows belong to many people.
    "SELECT (SELECT json_agg(c.name)) FROM customers c",
    "SELECT (SELECT json_agg(c.name) FROM tickets t WHERE t.customer_id = 7) FROM customers c",
    "SELECT json_agg(c.name) FROM customers c LEFT JOIN tickets t ON t.customer_id = 7",
    "WITH everybody AS (SELECT name FROM customers) SELECT json_agg(e.name) FROM everybody e, tickets t WHERE t.customer_id = 7",
    "SELECT json_agg((SELECT array_to_string(array_agg(c.name), ',') FROM customers c)) FROM tickets t WHERE t.customer_id = 7",
    "SELECT json_agg((SELECT c.name FROM customers c WHERE c.id = t.id)) FROM tickets t WHERE t.customer_id = 7",
    "SELECT json_agg(json_build_array(t.id, (SELECT c.name FROM customers c WHERE c.id = t.id))) FROM tickets t WHERE t.customer_id = 7",
    "SELECT json_agg(t) FROM (SELECT * FROM tickets WHERE customer_id = 7 UNION ALL SELECT * FROM tickets) t",
    "SELECT ARRAY(SELECT t.id FROM tickets t)",
    "SELECT bit_or(c.id::int::bit(32) << 3) FROM customers c",
    "SELECT bit_or(s.b) FROM (SELECT (c.id::int::bit(2000)) >> (c.id::int * 20) AS b FROM customers c) s",
    "WITH s AS (SELECT set_bit(repeat('0', 2000)::varbit, c.id::int, 1) AS b FROM customers c) SELECT bit_or(b) FROM s",
  ])("many people's rows are counted, or refused if people are not counted: %s", (sql) => {
    const scope = judged.scope("cleo");
    const limits = { ...scope.role.limits, rows: 10 };
    const limited = analyse(sql, { ...scope, role: { ...scope.role, budget: [], limits } });
    expect(limited.kind === "refuse" ? limited.refusal.message : "accepted").toContain("may not gather");
    const { groups, price } = judged.judge("cleo", sql).statements[0]?.metering ?? {};
    if (groups === undefined) expect(price).toMatchObject({ bySize: true });
    else expect(groups.tell).toBe("people");
  });
});

describe("people in a row of a view", () => {
  const people = (view: string) => {
    const { subjects = [], unknown } =
      judged.judge("cleo", `SELECT * FROM ${view}`).statements[0]?.metering ?? {};
    return [subjects.length, unknown];
  };

  test.each([
    ["a self-join", "pairs", [1, 1]],
    ["a self-join of such a view", "pairs_of_pairs", [1, 3]],
    ["a WITH query that is named twice", "with_pairs", [1, 1]],
    ["a subquery in the target list", "scalars", [1, 1]],
    ["three references without a subject", "no_subject", [0, 3]],
    ["values that aggregates pick", "ends", [0, 3]],
    ["a value that a window picks", "neighbours", [1, 1]],
    ["an aggregate of one person's rows", "latest", [1, 0]],
    ["tickets and their customers", "ticket_customers", [1, 0]],
    ["a UNION", "two_halves", [0, 1]],
    ["a mere yes or no", "only_last", [1, 0]],
    ["a recursion over numbers", "numbered", [1, 0]],
  ])("%s: %s", (_, view, expected) => {
    expect(people(view)).toEqual(expected);
  });

  test.each(["listed", "chained", "glued"])("are gathered at the price of the row's size: %s", (view) => {
    const { metering } = judged.judge("cleo", `SELECT * FROM ${view}`).statements[0] ?? {};
    expect(metering?.price).toMatchObject({ bySize: true });
  });
});

describe("a function that the policy lets a role call", () => {
  test("is limited, and each row counts one unknown person", () => {
    const verdict = judged.judge("cleo", "SELECT * FROM find_person(900)");
    expect(verdict.statements[0]).toMatchObject({ limited: true, metering: { subjects: [], unknown: 1 } });
  });

  test("returns only hidden values, unless the policy shows them", async () => {
    expect((await judged.run("cleo", "SELECT note_call(7)")).rows).toHaveLength(1);
    for (const sql of [
      "SELECT count_calls()",
      "SELECT * FROM count_calls()",
      "SELECT id FROM tickets WHERE subject = public.count_calls()",
      "SELECT 1 / length(count_calls())",
    ]) {
      expect(refusal(sql), sql).toMatchObject({ sqlstate: "42501", rule: "roles.lead.calls" });
      expect(refusal(sql)?.hint).toContain("{ public.count_calls: shown }");
    }
  });

  test("gathers people at the price of the row's size, and may not store them uncounted", () => {
    const gathered = judged.judge("cleo", "SELECT array_agg(p) FROM find_person(900) p").statements[0];
    expect(gathered?.metering?.price).toMatchObject({ bySize: true });
    expect(refusal("INSERT INTO profiles (country) SELECT find_person(9)")?.message).toContain(
      "may not copy",
    );
  });
});
