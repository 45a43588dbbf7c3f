import type pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { knows } from "../harness/postgres-versions.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { query } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";

/*
 * Code that runs unseen changes who reads behind an application: of views, defaults, triggers, domains and their like. What is
 * read afterwards is charged to whom the server names by then, or to nobody by name, and never to the person before.
 */

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 4000 }
    people_behind: [{ setting: app.agent }, { comment: user }]
    unnamed: { budget: { 1h: 2000 } }
`;

const SETUP = `
    CREATE FUNCTION public.ren(agent text) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', agent, false); RETURN agent; END $$;
    CREATE FUNCTION public.rentrue(agent text) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', agent, false); RETURN true; END $$;
    CREATE FUNCTION public.renimm(agent text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
      BEGIN PERFORM set_config('app.agent', agent, false); RETURN agent; END $$;
    CREATE VIEW public.v_ren AS SELECT public.ren('ben') AS x;
    CREATE VIEW public.v_setc AS SELECT set_config('app.agent','ben',false) AS x;
    CREATE VIEW public.v_v AS SELECT * FROM public.v_ren;
    CREATE TABLE public.t_def (a int, b text DEFAULT public.ren('ben'));
    CREATE TABLE public.t_def2 (a int, b text DEFAULT set_config('app.agent','ben',false));
    CREATE TABLE public.t_chk (a int, b text CHECK (public.rentrue(b)));
    CREATE TABLE public.t_gen (a text, b text GENERATED ALWAYS AS (public.renimm(a)) STORED);
    CREATE TABLE public.t_idx (a text); CREATE INDEX ON public.t_idx (public.renimm(a));
    CREATE TABLE public.t_pidx (a text); CREATE INDEX ON public.t_pidx (a) WHERE public.renimm(a) IS NOT NULL;
    CREATE DOMAIN public.dom AS text CHECK (public.rentrue(VALUE));
    CREATE TABLE public.t_dom (a public.dom);
    CREATE TYPE public.comp AS (x public.dom);
    CREATE TABLE public.t_rls (a text); INSERT INTO t_rls VALUES ('ben'); ALTER TABLE t_rls ENABLE ROW LEVEL SECURITY;
    CREATE POLICY p ON public.t_rls USING (public.rentrue(a));
    CREATE TABLE public.t_rule (a text); CREATE RULE r AS ON INSERT TO public.t_rule DO ALSO SELECT public.ren(NEW.a);
    CREATE TABLE public.t_par (a text) PARTITION BY LIST (a); CREATE TABLE public.t_child PARTITION OF t_par DEFAULT;
    CREATE FUNCTION public.trg() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', 'ben', false); RETURN coalesce(NEW, OLD); END $$;
    CREATE TRIGGER x BEFORE INSERT ON public.t_child FOR EACH ROW EXECUTE FUNCTION public.trg();
    CREATE TABLE public.fk_p (id int PRIMARY KEY); CREATE TABLE public.fk_c (id int REFERENCES fk_p ON DELETE CASCADE);
    INSERT INTO fk_p SELECT generate_series(1,50); INSERT INTO fk_c SELECT generate_series(1,50);
    CREATE TRIGGER x BEFORE DELETE ON public.fk_c FOR EACH ROW EXECUTE FUNCTION public.trg();
    CREATE TABLE public.inh_p (a text); CREATE TABLE public.inh_c () INHERITS (public.inh_p); INSERT INTO inh_c VALUES ('x');
    CREATE TRIGGER x BEFORE UPDATE ON public.inh_c FOR EACH ROW EXECUTE FUNCTION public.trg();
    CREATE TABLE public.t_dfr (a text);
    CREATE CONSTRAINT TRIGGER x AFTER INSERT ON public.t_dfr DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.trg();
    CREATE TYPE public.mood AS ENUM ('ok', 'sad');
    CREATE DOMAIN public.address AS text CHECK (VALUE ~ '@');
    CREATE TABLE public.quiet (id serial PRIMARY KEY, mood public.mood DEFAULT 'ok', email public.address,
      at timestamptz DEFAULT now() CHECK (at > '2000-01-01'), agent text DEFAULT current_setting('app.agent', true),
      folded text GENERATED ALWAYS AS (lower(agent)) STORED);
    CREATE INDEX ON public.quiet (lower(agent)) WHERE agent IS NOT NULL;
    ALTER TABLE public.quiet ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON public.quiet USING (agent = current_setting('app.agent', true));
    CREATE VIEW public.v_quiet AS SELECT id, lower(agent) AS agent FROM public.quiet;
    CREATE TABLE public.plainrow (agent text); INSERT INTO plainrow VALUES ('ben');
    CREATE FUNCTION public.field(public.plainrow) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', $1.agent, false); RETURN 'x'; END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO helpdesk_app;
`;

/** Any statement of the database may run these from then on. */
const ANYWHERE = `
    CREATE FUNCTION public.opf(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', $2, false); RETURN true; END $$;
    CREATE OPERATOR public.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = public.opf);
    CREATE FUNCTION public.moodtext(public.mood) RETURNS text LANGUAGE plpgsql AS $$
      BEGIN PERFORM set_config('app.agent', 'ben', false); RETURN 'x'; END $$;
    CREATE CAST (public.mood AS text) WITH FUNCTION public.moodtext(public.mood) AS IMPLICIT;
`;

let world: World;
let sluice: TestProxy;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(SETUP);
});
afterAll(() => world?.close());
beforeEach(async () => {
  sluice = await startProxy(world.database, { policy: POLICY });
  return () => sluice.close();
});

/** Each ? is a text that shows another customer; gives who was charged for it, beside whom the server named then. */
async function charged(client: pg.Client, steps: readonly string[]): Promise<readonly (readonly string[])[]> {
  const named: string[] = [];
  let customer = 100;
  for (const step of steps) {
    const text = step.replace("?", () => `SELECT name FROM customers WHERE id = ${++customer}`);
    await client.query(text);
    if (!step.includes("?")) continue;
    const { rows } = await client.query("SELECT current_setting('app.agent', true) AS agent");
    named.push(rows[0]?.agent ?? "");
  }
  const readers = await chargedFor(named.length);
  return readers.map((reader, i) => [reader, named[i] ?? ""]);
}

/** Who was charged for the customers from 101 on: by name, or in the order in which what was counted by size came. */
async function chargedFor(count: number): Promise<readonly string[]> {
  const [byName, bySize]: [Map<string, string>, string[]] = [new Map(), []];
  await expect
    .poll(() => {
      for (const event of sluice.statements().filter(showsCustomers)) {
        if (event.subjects.length === 0) bySize.push(readerOf(event));
        for (const subject of event.subjects) byName.set(subject, readerOf(event));
      }
      return byName.size + bySize.length;
    })
    .toBe(count);
  return Array.from(
    { length: count },
    (_, i) => byName.get(`public.customers.id ${101 + i}`) ?? bySize.shift() ?? "",
  );
}

/** A plan counts by its size, as what is run within it may be told by numbers. */
function showsCustomers({ people, statement, command }: StatementEvent): boolean {
  return people > 0 && !statement.includes("v_tmp") && command !== "EXPLAIN";
}

function readerOf({ user, account }: StatementEvent): string {
  return account === undefined ? "unnamed" : user;
}

const ANNA = "SET app.agent = 'anna'";
const between = (...steps: string[]) => [ANNA, "?", ...steps, "?"];

const CASES: readonly (readonly [name: string, steps: readonly string[]])[] = [
  ["view", between("SELECT * FROM v_ren")],
  ["view set_config", between("SELECT * FROM v_setc")],
  ["view over view", between("SELECT * FROM v_v")],
  ["default", between("INSERT INTO t_def (a) VALUES (1)")],
  ["default set_config", between("INSERT INTO t_def2 (a) VALUES (1)")],
  ["check", between("INSERT INTO t_chk VALUES (1, 'ben')")],
  ["generated", between("INSERT INTO t_gen VALUES ('ben')")],
  ["index", between("INSERT INTO t_idx VALUES ('ben')")],
  ["partial index", between("INSERT INTO t_pidx VALUES ('ben')")],
  ["domain cast", between("SELECT 'ben'::dom")],
  ["domain column", between("INSERT INTO t_dom VALUES ('ben')")],
  ["composite", between("SELECT '(ben)'::comp")],
  ["rls", between("SELECT * FROM t_rls")],
  ["rule", between("INSERT INTO t_rule VALUES ('ben')")],
  ["partition trigger", between("INSERT INTO t_par VALUES ('x')")],
  ["fk cascade", between("DELETE FROM fk_p WHERE id = (SELECT min(id) FROM fk_p)")],
  ["inherit trigger", between("UPDATE inh_p SET a = 'y'")],
  [
    "deferred set constraints",
    [
      ANNA,
      "BEGIN",
      "INSERT INTO t_dfr VALUES ('x')",
      "?",
      "SET CONSTRAINTS ALL IMMEDIATE",
      "?",
      "COMMIT",
      "?",
    ],
  ],
  ["field call", between("SELECT p.field FROM plainrow p")],
  ["field call2", between("SELECT (p).field FROM plainrow p")],
  ["fetch", [ANNA, "BEGIN", "DECLARE c CURSOR FOR SELECT ren('ben')", "?", "FETCH c", "?", "COMMIT", "?"]],
  ["move", [ANNA, "BEGIN", "DECLARE c CURSOR FOR SELECT ren('ben')", "?", "MOVE c", "?", "COMMIT", "?"]],
  ["explain execute", [ANNA, "PREPARE s AS SELECT ren('ben')", "?", "EXPLAIN ANALYZE EXECUTE s", "?"]],
  ["explain folds", between("EXPLAIN SELECT renimm('ben')")],
  [
    "new table in transaction",
    [
      ANNA,
      "BEGIN",
      "CREATE TABLE t_new (a text)",
      "CREATE TRIGGER x BEFORE INSERT ON t_new FOR EACH ROW EXECUTE FUNCTION trg()",
      "?",
      "INSERT INTO t_new VALUES ('x')",
      "?",
      "ROLLBACK",
      "?",
    ],
  ],
  [
    "temp table trigger",
    [
      "CREATE TEMP TABLE t_tmp (a text)",
      "CREATE TRIGGER x BEFORE INSERT ON t_tmp FOR EACH ROW EXECUTE FUNCTION trg()",
      ANNA,
      "?",
      "INSERT INTO t_tmp VALUES ('x')",
      "?",
    ],
  ],
  ["temp view", ["CREATE TEMP VIEW v_tmp AS SELECT ren('ben')", ANNA, "?", "SELECT * FROM v_tmp", "?"]],
  ["values default", between("INSERT INTO t_def VALUES (1, DEFAULT)")],
  ["default values", between("INSERT INTO t_def DEFAULT VALUES")],
  ["update default", between("UPDATE t_def SET b = DEFAULT")],
  [
    "merge",
    between("MERGE INTO t_def USING (VALUES (77)) v(x) ON a = x WHEN NOT MATCHED THEN INSERT (a) VALUES (x)"),
  ],
  ["cte write", between("WITH w AS (INSERT INTO t_def (a) VALUES (1) RETURNING a) SELECT * FROM w")],
  ["table func", between("TABLE v_ren")],
  ["two", [ANNA, "BEGIN; SAVEPOINT a", "SELECT * FROM v_ren", "?", "ROLLBACK TO a", "?", "ROLLBACK", "?"]],
];

test.each(CASES.filter(([, steps]) => knows(...steps)))("%s", async (_, steps) => {
  const client = await sluice.connect("helpdesk_app");
  const readers = await charged(client, steps);
  // That something has changed is seen, or the case would show nothing.
  expect(readers.map(([, named]) => named)).toContain("ben");
  for (const [reader, named] of readers) expect([named, "unnamed"]).toContain(reader);
  // Nobody is unnamed without need.
  const isOpen = steps.some((step) => /CREATE|;/.test(step));
  if (!isOpen) for (const [reader, named] of readers) expect(reader).toBe(named);
  await client.end();
});

test("a long text is looked at to its end", async () => {
  const client = await sluice.connect("helpdesk_app");
  const long = "x".repeat(40_000);
  const readers = await charged(client, [
    ...between(`SELECT '${long}'; SET app.agent = 'ben'`),
    `LISTEN news; SELECT '${long}'; SET app.agent = 'cleo'`,
    "?",
  ]);
  expect(readers.map(([reader]) => reader)).toEqual(["anna", "ben", "cleo"]);
  await client.end();
});

test("a comment within a string that the server reads otherwise names nobody", async () => {
  const client = await sluice.connect("helpdesk_app");
  await client.query("SET standard_conforming_strings = off");
  await client.query("SELECT name, 'a\\' /* ' FROM customers WHERE id = 101 /*user=\\'ben\\'*/");
  expect(await chargedFor(1)).toEqual(["unnamed"]);
  await client.end();
});

test("queries that are sent before their answers come leave nothing open", async () => {
  const client = await sluice.raw("helpdesk_app");
  const ask = (id: number) => query(`SELECT name FROM customers WHERE id = ${id}`);
  client.send(query("SELECT 1"), query("BEGIN"), query("SET LOCAL app.agent = 'ben'"));
  for (let i = 0; i < 3; i++) await client.until("Z");
  for (const [message, answers] of [
    [ask(101), 1],
    [query("COMMIT"), 1],
    [ask(102), 1],
  ] as const) {
    client.send(message);
    for (let i = 0; i < answers; i++) await client.until("Z");
  }
  expect(await chargedFor(2)).toEqual(["ben", "unnamed"]);
});

test("what is bound and not executed has run its code", async () => {
  const client = await sluice.raw("helpdesk_app");
  const parse = (name: string, text: string) => parseMessage(name, Buffer.from(text));
  client.send(queryMessage(Buffer.from(ANNA)));
  await client.until("Z");
  client.send(
    parse("shows", "SELECT name FROM customers WHERE id = 101"),
    parse("others", "SELECT name FROM customers WHERE id = 102"),
    parse("folds", "SELECT public.renimm('ben')"),
    bindMessage("p", "shows"),
    executeMessage("p", 0),
    bindMessage("", "folds"),
    bindMessage("q", "others"),
    executeMessage("q", 0),
    syncMessage,
  );
  await client.until("Z");
  expect(await chargedFor(2)).toEqual(["anna", "ben"]);
});

test("a parameter of a domain has run its condition when it is bound", async () => {
  const { rows } = await world.database.query("SELECT 'public.dom'::regtype::oid AS oid");
  const client = await sluice.raw("helpdesk_app");
  client.send(queryMessage(Buffer.from(ANNA)));
  await client.until("Z");
  const types = Buffer.alloc(6);
  types.writeUInt16BE(1);
  types.writeUInt32BE(Number(rows[0]?.oid), 2);
  const text = "SELECT name FROM customers WHERE id = 101 AND $1 IS NOT NULL";
  const value = Buffer.from([0, 0, 0, 0, 0, 1, 0, 0, 0, 3, ...Buffer.from("ben"), 0, 0]);
  client.send(
    message(Frontend.Parse, Buffer.from(`\0${text}\0`), types),
    message(Frontend.Bind, value),
    executeMessage("", 0),
    syncMessage,
  );
  await client.until("Z");
  expect(await chargedFor(1)).toEqual(["ben"]);
});

test.each([
  "SELECT * FROM quiet",
  "INSERT INTO quiet (email) VALUES ('a@b')",
  "UPDATE quiet SET agent = DEFAULT WHERE id = 1",
  "SELECT agent::varchar, 'ok'::mood, id = ANY ('{1}') FROM v_quiet ORDER BY agent",
])("and Postgres's own code is no reason to ask: %s", async (sql) => {
  const client = await sluice.connect("helpdesk_app");
  await client.query(ANNA);
  await client.query(sql).catch(() => {});
  sluice.statements();
  const { rows } = await world.database.query(
    "SELECT count(*)::int AS n FROM pg_stat_activity WHERE query LIKE '%pg_my_temp_schema%' AND usename = 'helpdesk_app'",
  );
  expect(rows[0]?.n).toBe(0);
  await client.end();
});

describe("where any statement may run somebody's code", () => {
  beforeAll(() => world.database.query(ANYWHERE));

  test.each([
    ["an operator", between("SELECT 'x' === 'ben'")],
    ["an operator of ANY", between("SELECT 'x' OPERATOR(public.===) ANY (ARRAY['ben'])")],
    ["a cast", between("SELECT mood::text FROM quiet UNION ALL SELECT lower('ok'::mood)")],
  ])("%s", async (_, steps) => {
    const client = await sluice.connect("helpdesk_app");
    expect(await charged(client, steps)).toEqual([
      ["anna", "anna"],
      ["ben", "ben"],
    ]);
    await client.end();
  });
});
