import pg from "pg";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import { mapPosition } from "../../proxy/sql/position.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import type { Verdict } from "../../proxy/sql/verdict.ts";
import { createRoles, databaseOn, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { POLICY } from "./judged.ts";

/** The outcome for a client: rows as the server's own text, or the error. */
export type Outcome =
  | { readonly fields: readonly unknown[]; readonly rows: readonly unknown[] }
  | { readonly error: string; readonly position: number | undefined };

/** A guarded agent on a support database of any server. */
export interface Agent {
  readonly database: TestDatabase;
  readonly scope: Scope;
  judge(sql: string): Verdict;
  /** Runs a text unchanged, without the analyser. */
  direct(sql: string): Promise<Outcome>;
  /** Runs the analyser's result; error positions refer to the client's text. Throws if the statement was refused. */
  guarded(sql: string): Promise<Outcome>;
  close(): Promise<void>;
}

export const EXTRAS = `
  CREATE FUNCTION public.add_one(a int) RETURNS int LANGUAGE sql AS 'SELECT a + 1';
  CREATE VIEW public.customer_countries AS SELECT id, country FROM public.customers;
  CREATE MATERIALIZED VIEW public.countries AS SELECT DISTINCT country FROM public.customers;
  CREATE SEQUENCE public.numbers;
  CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
  CREATE TYPE public.mood AS ENUM ('happy', 'sad');
  CREATE TABLE public.plain (id int PRIMARY KEY, note text DEFAULT 'none', amount numeric(10, 2), tags text[]);
  INSERT INTO public.plain SELECT n, 'note ' || n, n * 1.5, ARRAY['a', n::text] FROM generate_series(1, 50) n;
  CREATE STATISTICS public.some_statistics ON id, amount FROM public.plain;
  ALTER TABLE public.tickets ENABLE ROW LEVEL SECURITY;
  CREATE POLICY everybody ON public.tickets USING (true);
  COMMENT ON TABLE public.plain IS 'nothing about people';
  GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC;
`;

export async function openAgent(superuserUri: string): Promise<Agent> {
  await createRoles(superuserUri);
  const database = await databaseOn(superuserUri, "clients");
  await supportSchema(database.uri);
  await database.query(EXTRAS);
  const control = new pg.Client({ connectionString: database.uri });
  await control.connect();
  const catalog = await readCatalog(control);
  await control.end();
  const compiled = compilePolicies([{ name: "test.yaml", text: POLICY }]);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const policy = compiled.policies.forDatabase(database.database);
  const role = roleFor(policy, "anna", "127.0.0.1");
  if (isRefusal(role)) throw new Error(role.message);
  const scope: Scope = {
    policy,
    role,
    user: "anna",
    catalog,
    searchPath: ["public"],
    unreadable: new Set(),
    maskKey: Buffer.alloc(32, 7),
  };
  const client = new pg.Client({
    connectionString: database.uriFor("anna", PASSWORDS.anna),
    types: { getTypeParser: () => (value: unknown) => value } as pg.CustomTypesConfig,
  });
  await client.connect();
  await client.query("SET statement_timeout = '5s'");
  const judge = (sql: string): Verdict =>
    analyse(sql, scope, (name) => {
      throw new Error(`left over: ${name}`);
    });
  return {
    database,
    scope,
    judge,
    direct: (sql) => outcome(client, sql, (position) => position),
    guarded(sql) {
      const verdict = judge(sql);
      if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
      if (verdict.kind === "pass") return outcome(client, sql, (position) => position);
      const { sql: text, edits } = verdict;
      return outcome(client, text.toString(), (position) =>
        mapPosition(Buffer.from(sql), text, edits, position),
      );
    },
    async close() {
      await client.end();
      await database.drop();
    },
  };
}

/** Each text runs in a separate transaction that is rolled back, so that it leaves nothing behind. */
export async function outcome(
  client: pg.Client,
  text: string,
  place: (position: number) => number | undefined,
): Promise<Outcome> {
  await client.query("BEGIN; SELECT pg_catalog.setseed(0.5); SET TRANSACTION READ ONLY");
  try {
    const result = await client.query({ text, rowMode: "array" });
    const results = (Array.isArray(result) ? result : [result]) as pg.QueryArrayResult<unknown[]>[];
    return {
      fields: results.map(({ fields }) => fields.map((field) => ({ ...field }))),
      rows: results.map(({ rows }) => rows),
    };
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const { code, message, position } = error;
    return {
      error: `${code} ${message}`,
      position: position === undefined ? undefined : place(Number(position)),
    };
  } finally {
    await client.query("ROLLBACK");
  }
}
