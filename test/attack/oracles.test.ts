import type pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { since } from "../harness/postgres-versions.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY, CANARY_SETUP } from "./canary.ts";

/** What the database computes on real values by itself: constraints, children of several parents, casts by users' functions. */

const POLICY = `
version: 1
classes: { email: { mask: { constant: hidden } }, limit: { mask: "null" }, code: { mask: "null" } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.person_base: { subject: id, columns: { email: email } }
  public.credit: { columns: { lim: limit, code: code, room: code, email: email, hid: limit } }
  public.people: { columns: { code: code } }
  public.unsure: { columns: { code: code } }
  public.lacking: { columns: { code: code } }
  public.joined: { columns: { secret: limit } }
roles:
  outsider: { users: [cleo], reads: all, writes: all, sees: [] }
  finder: { users: [anna], reads: all, writes: all, sees: [], finds: [code, email] }
  part: { users: [ben], reads: all, writes: all, sees: [email], only: { public.person_base: "id < 0" } }
  counted: { users: [metabase], reads: all, writes: [], sees: [email], budget: { 1d: 50 }, calls: [{ public.spy: shown }] }
`;

const SETUP = `
  ${CANARY_SETUP}
  CREATE TABLE public.person_base (id bigint, email text);
  CREATE TABLE public.log_base (id bigint, email text, at timestamptz DEFAULT now());
  CREATE TABLE public.person_log () INHERITS (public.person_base, public.log_base);
  CREATE TABLE public.audit_base (email text);
  CREATE TABLE public.audit_log () INHERITS (public.audit_base, public.person_log);
  INSERT INTO public.person_log (id, email) SELECT n, '${CANARY}-pl' || n FROM generate_series(1, 5) n;
  INSERT INTO public.audit_log (id, email) SELECT n, '${CANARY}-al' || n FROM generate_series(6, 9) n;

  CREATE TABLE public.credit (id int PRIMARY KEY, wish numeric DEFAULT 0, lim numeric, grp text, code text, room int4range, during int4range,
    seen text, hid text, email text, age int DEFAULT 1, note text,
    glued varchar(12) GENERATED ALWAYS AS (seen || hid) STORED,
    CONSTRAINT affordable CHECK (wish <= lim), CONSTRAINT grp_code UNIQUE (grp, code),
    CONSTRAINT no_overlap EXCLUDE USING gist (room WITH =, during WITH &&));
  CREATE UNIQUE INDEX rich ON public.credit (age) WHERE lim > 5000;
  CREATE UNIQUE INDEX by_mail ON public.credit (lower(email));
  INSERT INTO public.credit (id, lim, grp, code, room, during, seen, hid, email, age)
    SELECT n, 1000 + n, 'g' || n % 3, 'c' || n % 7, int4range(n, n + 1), int4range(n, n + 1), 's', 'h' || n, 'e' || n, n FROM generate_series(1, 20) n;
  CREATE VIEW public.credit_view AS SELECT id, wish, grp FROM public.credit;
  CREATE TABLE public.codes (code text PRIMARY KEY, meaning text, words text);
  INSERT INTO public.codes VALUES ('hiv', 'x'), ('flu', 'y'), ('none', 'z');
  CREATE TABLE public.people (id int, code text REFERENCES public.codes ON DELETE CASCADE ON UPDATE CASCADE);
  INSERT INTO public.people VALUES (7, 'hiv');
  CREATE TABLE public.family (id int, wish int);
  CREATE TABLE public.joined (secret int, CONSTRAINT below CHECK (wish < secret)) INHERITS (public.family);
  CREATE TABLE public.unsure (id int, code text, note text);
  INSERT INTO public.unsure VALUES (7, 'hiv');
  ALTER TABLE public.unsure ADD CONSTRAINT later CHECK (code <> 'hiv') NOT VALID;
  CREATE TABLE public.lacking (id int, code text, note text);
  INSERT INTO public.lacking VALUES (7, NULL), (8, 'hiv');
  CREATE TABLE public.plain (id int PRIMARY KEY, low int, top int, CHECK (low <= top), UNIQUE (low, top));
  INSERT INTO public.plain VALUES (1, 1, 2);

  CREATE TYPE public.mood AS ENUM ('ok', 'sad');
  CREATE FUNCTION public.spy(public.mood) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS
    'SELECT email FROM public.customers WHERE id = 7';
  CREATE CAST (public.mood AS text) WITH FUNCTION public.spy(public.mood) AS ASSIGNMENT;
  CREATE DOMAIN public.temper AS public.mood;
  CREATE TABLE public.moods (id int, mood public.mood, moods public.mood[], temper public.temper);
  INSERT INTO public.moods VALUES (1, 'ok', '{ok}', 'sad');
  CREATE FUNCTION public.small(boolean) RETURNS smallint LANGUAGE sql STABLE SECURITY DEFINER AS
    'SELECT ascii(email)::smallint FROM public.customers WHERE id = 7';
  CREATE CAST (boolean AS smallint) WITH FUNCTION public.small(boolean) AS ASSIGNMENT;
  GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO anna, ben, cleo, metabase;`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(SETUP);
  if (since(18))
    await world.database.query("ALTER TABLE lacking ADD CONSTRAINT there NOT NULL code NOT VALID");
});
afterAll(() => world?.close());

async function asked<T>(user: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await world.sluice.connect(user);
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}

/** What one statement gives, which is undone: its rows, or the SQLSTATE and the message. */
function answer(user: string, sql: string): Promise<string> {
  return asked(user, async (client) => {
    await client.query("BEGIN");
    return client.query(sql).then(
      ({ rows, rowCount }) => (rows.length > 0 ? JSON.stringify(rows) : `${rowCount} rows`),
      (error: pg.DatabaseError) => `${error.code} ${error.message}`,
    );
  });
}

describe("a child of several parents", () => {
  test.each([
    "SELECT email FROM log_base",
    "SELECT email FROM audit_base",
    "SELECT email FROM person_base",
    "SELECT email FROM audit_log",
    "SELECT b FROM audit_base b",
    "WITH x AS (UPDATE log_base SET at = now() RETURNING *) SELECT email FROM x",
  ])("is masked through each of them: %s", async (sql) => {
    const given = await answer("cleo", sql);
    expect(given).toContain("hidden");
    expect(given).not.toContain(CANARY);
  });

  test("is filtered through each of them, or closed", async () => {
    expect(await answer("ben", "SELECT email FROM person_base")).toBe("0 rows");
    for (const sql of [
      "SELECT email FROM log_base",
      "SELECT email FROM audit_base",
      "UPDATE log_base SET at = now()",
    ])
      expect(await answer("ben", sql)).toMatch(/^42501/);
  });

  test("counts its people through each of them", async () => {
    world.sluice.statements();
    await answer("metabase", "SELECT email FROM log_base");
    await answer("metabase", "SELECT email FROM audit_base");
    const counted = world.sluice.statements().filter(({ people }) => people > 0);
    expect(counted.map(({ people }) => people)).toEqual([9, 4]);
  });
});

describe("a constraint that ties a seen column to a masked one is not asked", () => {
  const CLOSED: readonly (readonly [constraint: string, sql: string])[] = [
    ["affordable", "UPDATE credit SET wish = 1004 WHERE id = 7"],
    ["affordable", "UPDATE credit_view SET wish = 1004 WHERE id = 7"],
    [
      "affordable",
      "INSERT INTO credit (id, age) VALUES (7, 99) ON CONFLICT (id) DO UPDATE SET wish = 1004 WHERE credit.id = 7",
    ],
    ["rich", "UPDATE credit SET age = 5 WHERE id = 7"],
    ["rich", "INSERT INTO credit (id, age, lim) VALUES (99, 5, 9000)"],
    ["glued", "UPDATE credit SET seen = 'twelve chars' WHERE id = 7"],
    ["below", "UPDATE family SET wish = 5"],
    [
      "below",
      "MERGE INTO family f USING (VALUES (1)) v(i) ON f.id = v.i WHEN MATCHED THEN UPDATE SET wish = 5",
    ],
  ];

  test.each(CLOSED)("%s: %s", async (constraint, sql) => {
    for (const user of ["cleo", "anna"]) {
      const given = await answer(user, sql);
      expect(given, user).toMatch(/^42501/);
      expect(given, user).toContain(constraint);
    }
  });

  const EQUALITIES: readonly (readonly [table: string, sql: string])[] = [
    ["credit", "UPDATE credit SET grp = 'g2' WHERE id = 7"],
    ["credit", "UPDATE credit_view SET grp = 'g2' WHERE id = 7"],
    ["credit", "UPDATE credit SET during = '[30,32)' WHERE id = 7"],
    ["credit", "INSERT INTO credit (id, email) VALUES (99, 'E7')"],
    ["credit", "INSERT INTO credit (id, grp, code) VALUES (99, 'g1', 'c1')"],
    ["people", "DELETE FROM codes WHERE code = 'hiv'"],
    ["people", "UPDATE codes SET code = 'aids' WHERE code = 'hiv'"],
    ["people", "MERGE INTO codes c USING (VALUES ('hiv')) v(i) ON c.code = v.i WHEN MATCHED THEN DELETE"],
  ];

  test.each(EQUALITIES)("%s, unless the role may find by it: %s", async (table, sql) => {
    const given = await answer("cleo", sql);
    expect(given).toMatch(/^42501/);
    expect(given).toContain(table);
    world.sluice.statements();
    expect(await answer("anna", sql)).not.toMatch(/^42501/);
    const [event] = world.sluice.statements().filter(({ lookups = 0 }) => lookups > 0);
    expect(event?.lookups).toBe(1);
  });

  test("what an error answers is on record as a lookup, also by EXECUTE", async () => {
    world.sluice.statements();
    await asked("anna", async (client) => {
      await client.query("PREPARE find (text) AS INSERT INTO credit (id, email) VALUES (99, $1)");
      await expect(client.query("EXECUTE find('E7')")).rejects.toMatchObject({ code: "23505" });
      await expect(
        client.query("INSERT INTO credit (id, email) VALUES (99, $1)", ["E7"]),
      ).rejects.toMatchObject({ code: "23505" });
    });
    const events = world.sluice.statements().filter(({ sqlstate }) => sqlstate === "23505");
    expect(events.map(({ command, lookups }) => [command, lookups])).toEqual([
      ["EXECUTE", 1],
      ["INSERT", 1],
    ]);
  });

  test.each([
    "UPDATE credit SET note = 'x' WHERE id = 7",
    "INSERT INTO credit (id, wish, note) VALUES (99, 5, 'x')",
    "INSERT INTO credit (id, seen) VALUES (99, 'x')",
    "INSERT INTO credit (id, grp) VALUES (99, 'g1')",
    "UPDATE codes SET meaning = 'x' WHERE code = 'hiv'",
    "UPDATE plain SET low = 2 WHERE id = 1",
    "INSERT INTO plain VALUES (2, 3, 4)",
    "DELETE FROM plain",
    "DELETE FROM credit WHERE id = 7",
    "DELETE FROM people WHERE id = 7",
  ])("others are the server's to check: %s", async (sql) => {
    expect(await answer("cleo", sql)).not.toMatch(/^42501/);
  });

  test("one that is not proven yet is asked by any change of a row", async () => {
    const given = await answer("cleo", "UPDATE unsure SET note = 'x'");
    expect(given).toMatch(/^42501 .*later/);
    expect(await answer("anna", "INSERT INTO unsure (id) VALUES (1)")).toBe("1 rows");
  });

  test.runIf(since(18))(
    "nor does a NOT NULL that is not proven yet tell where a value is missing",
    async () => {
      const [lacks, has] = [7, 8].map((id) =>
        answer("cleo", `UPDATE lacking SET note = 'x' WHERE id = ${id}`),
      );
      expect(await lacks).toMatch(/^42501 .*there/);
      expect(await has).toMatch(/^42501 .*there/);
    },
  );
});

describe("a cast by a user's function is a call of it", () => {
  test.each([
    "SELECT 'ok'::mood::text",
    "SELECT 'ok'::public.mood || ''",
    "SELECT mood || '' FROM moods",
    "SELECT concat(mood::text) FROM moods",
    "SELECT moods::text[] FROM moods",
    "SELECT temper::text FROM moods",
    "SELECT to_json(mood) FROM moods",
    "SELECT CAST(m AS text) FROM (SELECT mood AS m FROM moods) s",
    "SELECT (m).mood::text FROM moods m",
    "INSERT INTO notes (body) SELECT mood FROM moods",
    "UPDATE notes SET body = (SELECT mood FROM moods LIMIT 1) RETURNING body",
    "PREPARE p(mood) AS SELECT $1 || ''",
    "COPY (SELECT mood::text FROM moods) TO STDOUT",
    "SELECT true::smallint",
    "SELECT CAST(id = 1 AS int2) FROM notes",
  ])("%s", async (sql) => {
    const given = await answer("cleo", sql);
    expect(given).toMatch(/^42501 role "outsider" may not call public\.(spy|small), by which/);
  });

  test("the policy may allow it, and what it shows is counted", async () => {
    world.sluice.statements();
    expect(await answer("metabase", "SELECT mood::text FROM moods")).toContain(CANARY);
    const [event] = world.sluice.statements().filter(({ people }) => people > 0);
    expect(event?.people).toBe(1);
  });

  test.each([
    "SELECT id, body FROM notes",
    "SELECT 'ok'::text || 1::text, attnum FROM pg_attribute WHERE attnum = 1 LIMIT 1",
    "SELECT typname FROM pg_type WHERE typname = 'mood'",
  ])("others are what they were: %s", async (sql) => {
    expect(await answer("cleo", sql)).not.toMatch(/^42501/);
  });
});
