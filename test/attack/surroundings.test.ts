import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { queryMessage } from "../../proxy/wire/frontend-messages.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { RawClient, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";
import { CANARY_SETUP, showsCanary } from "./canary.ts";
import { ATTACK_POLICY } from "./worlds.ts";

/** What else may be in a database: extensions, foreign tables, paths set elsewhere, things that users made. */

const setup = (port: number, database: string) => `
  ${CANARY_SETUP}
  CREATE EXTENSION hstore;
  CREATE EXTENSION pg_trgm;
  CREATE EXTENSION postgres_fdw;
  CREATE SERVER itself FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1', port '${port}', dbname '${database}');
  CREATE USER MAPPING FOR PUBLIC SERVER itself OPTIONS (user 'postgres', password_required 'false');
  CREATE FOREIGN TABLE public.far_customers () INHERITS (public.customers) SERVER itself OPTIONS (table_name 'customer_copy');
  ALTER TABLE public.customers SET (parallel_workers = 0);
  CREATE VIEW public.barred WITH (security_barrier) AS SELECT id, email FROM public.customers WHERE id < 50;
  CREATE VIEW public.barred_twice AS SELECT email AS found FROM public.barred;
  CREATE SCHEMA decoy;
  CREATE TABLE decoy.customers (id bigint, email text);
  INSERT INTO decoy.customers VALUES (7, 'harmless');
  CREATE DOMAIN public.shouting AS text CHECK (VALUE = upper(VALUE));
  CREATE FUNCTION public.peek(public.customers) RETURNS text LANGUAGE sql STABLE AS 'SELECT $1.email';
  CREATE FUNCTION public.mail_of(public.notes) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS
    'SELECT email FROM public.customers WHERE id = $1.id';
  CREATE FUNCTION public.any_mail(anyelement) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS
    'SELECT email FROM public.customers WHERE id = 7';
  CREATE FUNCTION public.above(text, integer) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN RAISE NOTICE USING MESSAGE = (SELECT email FROM public.customers WHERE id = $2); RETURN true; END';
  CREATE OPERATOR public.>= (LEFTARG = text, RIGHTARG = integer, FUNCTION = public.above);
  CREATE OPERATOR public.<= (LEFTARG = text, RIGHTARG = integer, FUNCTION = public.above);
  CREATE FUNCTION public.same_mail(text, text) RETURNS boolean LANGUAGE sql IMMUTABLE AS
    'SELECT EXISTS (SELECT FROM public.customers WHERE email LIKE $2)';
  CREATE OPERATOR public.~~~ (LEFTARG = text, RIGHTARG = text, FUNCTION = public.same_mail);
  CREATE FUNCTION public.joined(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT concat($1, $2)';
  CREATE AGGREGATE public.glue(text) (SFUNC = public.joined, STYPE = text);
  CREATE CAST (public.customers AS text) WITH FUNCTION public.peek(public.customers) AS IMPLICIT;
  CREATE RULE shown AS ON UPDATE TO public.notes DO ALSO SELECT email FROM public.customers WHERE id = 7;
  CREATE VIEW public.notes_shown AS SELECT id, body FROM public.notes;
  CREATE VIEW public.notes_shown_twice AS SELECT * FROM public.notes_shown;
  CREATE VIEW public.directory AS SELECT id, name, email AS mail, country, created_at FROM public.customers;
  CREATE TABLE public.mails (mail text REFERENCES public.customers (email));
  CREATE VIEW public.mails_shown AS SELECT mail AS written FROM public.mails;
  GRANT INSERT, UPDATE ON public.notes_shown, public.notes_shown_twice, public.directory, public.mails_shown TO cleo;
  GRANT USAGE ON SCHEMA decoy TO cleo, anna;
  GRANT SELECT ON ALL TABLES IN SCHEMA public, decoy TO cleo, anna;
  GRANT CREATE ON SCHEMA public TO cleo;`;

const POLICY = ATTACK_POLICY.replace(
  "public.notes]",
  "public.notes, public.notes_shown, public.notes_shown_twice, public.directory, public.mails_shown]",
);

const READS: readonly string[] = [
  "SELECT * FROM far_customers WHERE id = 7",
  "SELECT email FROM customers WHERE id = 7",
  "SELECT tableoid::regclass, email FROM customers",
  "SELECT email FROM barred",
  "SELECT found FROM barred_twice",
  "SELECT barred FROM barred",
  // Extensions
  "SELECT hstore(c) FROM customers c WHERE id = 7",
  "SELECT hstore(ARRAY[email], ARRAY[name]) FROM customers WHERE id = 7",
  "SELECT each(hstore(c)) FROM customers c WHERE id = 7",
  "SELECT (NULL::customers #= hstore('email', 'x')) FROM customers LIMIT 1",
  "SELECT populate_record(c, hstore('name', 'x')) FROM customers c WHERE id = 7",
  "SELECT similarity(email, 'a'), email % 'a', show_trgm(email) FROM customers WHERE id = 7",
  // Users' own code over rows and values
  "SELECT peek(c) FROM customers c WHERE id = 7",
  "SELECT c.peek FROM customers c WHERE id = 7",
  "SELECT n.mail_of FROM notes n",
  "SELECT (n).mail_of FROM notes n",
  "SELECT (n.*).mail_of FROM notes n",
  "SELECT public.notes.mail_of FROM public.notes",
  "SELECT (SELECT public.notes.mail_of FROM (SELECT 1 AS mail_of) notes) FROM public.notes",
  "SELECT (SELECT n FROM notes n LIMIT 1).mail_of",
  "SELECT id FROM notes n ORDER BY n.mail_of",
  "SELECT id FROM notes n WHERE n.mail_of LIKE 'Q%'",
  "SELECT (n.id).any_mail, n.any_mail FROM notes n",
  "SELECT x.any_mail FROM (SELECT 1 AS a) x",
  "SELECT x.any_mail FROM generate_series(1, 1) x",
  "SELECT (ROW(1, 2)).any_mail",
  "SELECT c.any_mail FROM customers c WHERE id < 9",
  "INSERT INTO notes (id) VALUES (7) RETURNING notes.mail_of",
  "UPDATE notes SET body = body RETURNING notes.mail_of, (notes).mail_of",
  "SELECT body BETWEEN 7 AND 8 FROM notes",
  "SELECT body BETWEEN SYMMETRIC 7 AND 8 FROM notes",
  "SELECT c::text FROM customers c WHERE id = 7",
  "SELECT length(c) FROM customers c WHERE id = 7",
  "SELECT 'x' ~~~ '%' FROM notes",
  "SELECT 'x' OPERATOR(public.~~~) '%' FROM notes",
  "SELECT glue(email) FROM customers WHERE id < 9",
  "SELECT email::shouting FROM customers WHERE id = 7",
  "SELECT CAST(ROW(7, 'x') AS decoy.customers)",
  "UPDATE notes SET body = 'x' RETURNING *",
  "UPDATE notes SET body = 'x'",
  "UPDATE notes_shown SET body = 'x'",
  "UPDATE notes_shown_twice SET body = 'x' RETURNING id",
  // JSON and XML tables
  "SELECT * FROM XMLTABLE('/r/v' PASSING (SELECT xmlelement(name r, xmlelement(name v, email)) FROM customers WHERE id = 7) COLUMNS v text PATH '.')",
  "SELECT * FROM customers c, XMLTABLE('//text()' PASSING xmlelement(name r, c.email) COLUMNS v text PATH '.') WHERE c.id = 7",
  "SELECT * FROM jsonb_to_record((SELECT to_jsonb(c) FROM customers c WHERE id = 7)) AS x(email text)",
  "SELECT * FROM customers c, jsonb_each(to_jsonb(c)) WHERE c.id = 7",
  "SELECT jsonb_path_query(to_jsonb(c), '$.email') FROM customers c WHERE id = 7",
  // Things somebody would make to read through
  "CREATE VIEW public.mine AS SELECT email FROM customers",
  "CREATE TEMP TABLE customers AS SELECT 1 AS id, 'x' AS email",
  "CREATE TABLE public.stolen AS TABLE customers",
  "SELECT * INTO public.stolen FROM customers",
  "CREATE FUNCTION public.f() RETURNS SETOF public.customers LANGUAGE sql AS 'SELECT * FROM public.customers'",
  "CREATE RULE r AS ON INSERT TO notes DO ALSO SELECT * FROM customers",
  "CREATE TRIGGER t AFTER INSERT ON notes EXECUTE FUNCTION suppress_redundant_updates_trigger()",
  "CREATE DOMAIN public.d AS text CHECK ((SELECT true FROM public.customers LIMIT 1))",
  "CREATE CAST (public.customers AS json) WITH INOUT",
  "CREATE MATERIALIZED VIEW public.m AS TABLE customers",
  "CREATE FOREIGN TABLE public.ft (email text) SERVER itself OPTIONS (table_name 'customers')",
  "IMPORT FOREIGN SCHEMA public FROM SERVER itself INTO decoy",
  "DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM customers LIMIT 1); END $$",
  "CALL public.f()",
  "ALTER TABLE notes INHERIT customers",
  "COMMENT ON TABLE notes IS 'x'",
  "SECURITY LABEL ON TABLE notes IS 'x'",
  "REASSIGN OWNED BY cleo TO anna",
  "CLUSTER customers",
  "REINDEX TABLE customers",
];

/** Where the server looks for names, by every way that there is to set it. */
const PATHS: readonly {
  readonly way: string;
  readonly before: string;
  readonly startup?: readonly [string, string];
}[] = [
  { way: "ALTER ROLE", before: "ALTER ROLE cleo SET search_path = decoy, public" },
  { way: "ALTER DATABASE", before: "ALTER DATABASE :db SET search_path = decoy, public" },
  {
    way: "ALTER ROLE IN DATABASE",
    before: "ALTER ROLE cleo IN DATABASE :db SET search_path = decoy, public",
  },
  { way: "a startup option", before: "SELECT 1", startup: ["options", "-c search_path=decoy,public"] },
  { way: "a startup parameter", before: "SELECT 1", startup: ["search_path", "decoy, public"] },
];

describe.each([
  { version: "npm" as const, server: "the npm package's newest" },
  { version: "debian" as const, server: "Debian's 15" },
])("on $server server", ({ version }) => {
  let world: World;
  beforeAll(async () => {
    world = await makeWorld(version, { policy: POLICY });
    const { port, database } = world.database;
    await world.database.query(setup(port, database));
  });
  afterAll(() => world?.close());

  async function begin(startup?: readonly [string, string]): Promise<RawClient> {
    const client = await RawClient.connect(world.sluice.port);
    const parameters = [
      ["user", "cleo"],
      ["database", world.database.database],
      ...(startup ? [startup] : []),
    ];
    client.send(startupMessage(new Map(parameters as [string, string][])));
    await client.until("Z");
    return client;
  }

  async function ask(client: RawClient, sql: string) {
    client.send(queryMessage(Buffer.from(sql)));
    const messages = await client.until("Z");
    return { short: shortOf(messages), bytes: Buffer.concat(messages.map(({ bytes }) => bytes)) };
  }

  test("what else is in the database shows no protected value, and nobody makes more of it", async () => {
    const client = await begin();
    const shown: string[] = [];
    let answered = 0;
    for (const sql of READS) {
      await ask(client, "BEGIN");
      const { short, bytes } = await ask(client, sql);
      if (showsCanary(bytes)) shown.push(sql);
      if (/^T\(/.test(short)) answered++;
      await ask(client, "ROLLBACK");
    }
    expect(shown).toEqual([]);
    // Refusing all of them would hide as much.
    expect(answered).toBeGreaterThan(12);
    client.socket.destroy();
  });

  test.each([
    "INSERT INTO directory VALUES (9001, '', 'nobody', '', now())",
    "INSERT INTO directory (id, mail) VALUES (9001, 'nobody') ON CONFLICT DO NOTHING",
    "INSERT INTO mails_shown VALUES ('nobody')",
    "UPDATE mails_shown SET written = 'nobody'",
  ])("what exists is not tried out through a view: %s", async (sql) => {
    const client = await begin();
    expect((await ask(client, sql)).short).toContain("E(42501)");
    client.socket.destroy();
  });

  test.each(PATHS)(
    "a path set by $way leads where the server goes, and to no protected value",
    async ({ before, startup }) => {
      await world.database.query(before.replace(":db", world.database.database));
      const client = await begin(startup);
      const unqualified = await ask(client, "SELECT email FROM customers WHERE id = 7");
      expect(showsCanary(unqualified.bytes)).toBe(false);
      // Either relation might be meant to somebody who cannot see both: the guarded one makes it a question.
      expect(unqualified.short).toContain("E(42501)");
      expect((await ask(client, "SELECT email FROM decoy.customers WHERE id = 7")).short).toContain(
        "D(harmless)",
      );
      for (const move of [
        "SET search_path = public",
        "SELECT set_config('search_path', 'public', false)",
        "SET LOCAL search_path = public",
      ]) {
        await ask(client, move);
        const { short, bytes } = await ask(client, "SELECT email FROM customers WHERE id = 7");
        expect(showsCanary(bytes), move).toBe(false);
        expect(short, move).toMatch(/D\(hidden\)|E\(42501\)/);
      }
      client.socket.destroy();
      await world.database.query(
        `ALTER ROLE cleo RESET search_path; ALTER DATABASE ${world.database.database} RESET search_path;
       ALTER ROLE cleo IN DATABASE ${world.database.database} RESET search_path`,
      );
    },
  );
});
