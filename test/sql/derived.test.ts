import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Judged, openJudged, POLICY } from "./judged.ts";

/** What is made of protected columns by the database itself, and what the database says by refusing. */

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
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, cleo;
`;

let judged: Judged;
beforeAll(async () => {
  const policy = POLICY.replace(
    "  public.contact_log:",
    `  public.profiles:
    columns: { email: email, nick: name, motto: text, twin: text }
  public.contact_log:`,
  )
    .replaceAll(
      "writes: [public.customers]",
      "writes: [public.customers, public.profiles, public.invitations]",
    )
    .replace(
      "sees: [name, email, phone, text]\n",
      "sees: []\n    calls: [public.find_person]\n    rows: 5\n",
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

  test("is shown to who sees what it is made from", async () => {
    const { rows } = await judged.run("ben", "SELECT email_lower FROM customers WHERE id = 7");
    expect(rows).toEqual([["alice.ng.7@example.com"]]);
  });
});

describe("a new row that is refused would tell whether a value exists", () => {
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
  test("that takes as many arguments is not chosen in silence", () => {
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
    "SELECT ctid FROM customers",
    "SELECT c.xmin, c.id FROM customers c",
    "SELECT id FROM customers WHERE tableoid = 1",
    "SELECT (SELECT xmax) FROM customers",
  ])("are refused with what to do: %s", (sql) => {
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

describe("a function that the policy lets a role call", () => {
  test("is limited, and each row counts one unknown person", () => {
    const verdict = judged.judge("cleo", "SELECT * FROM find_person(900)");
    expect(verdict.statements[0]).toMatchObject({ limited: true, metering: { subjects: [], unknown: 1 } });
  });

  test("may not gather people into one row, nor store them uncounted", () => {
    expect(refusal("SELECT array_agg(p) FROM find_person(900) p")?.message).toContain("may not gather");
    expect(refusal("INSERT INTO profiles (country) SELECT find_person(9)")?.message).toContain(
      "may not copy",
    );
  });
});
