import pg from "pg";
import { type Catalog, relationKey } from "../../proxy/catalog/catalog.ts";
import { UNREADABLE_COLUMNS } from "../../proxy/catalog/queries.ts";
import { readCatalog } from "../../proxy/catalog/snapshot.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import type { Policy } from "../../proxy/policy/policy.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";
import { analyse } from "../../proxy/sql/analyse.ts";
import { Scopes } from "../../proxy/sql/cache.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { extraFields, type Statement, type Verdict } from "../../proxy/sql/verdict.ts";
import {
  databaseOn,
  PASSWORDS,
  type SupportUser,
  serverUri,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";

export const POLICY = `
version: 1
classes:
  name:  { mask: initials }
  email: { mask: email }
  phone: { mask: { last: 2 } }
  text:  { mask: redact }
  card:  { mask: "null" }
tables:
  public.customers:
    subject: id
    columns: { name: name, email: email, phone: phone, address: text }
  public.tickets:
    subject: customer_id
    columns: { subject: text, body: text }
  public.payments:
    subject: customer_id
    columns: { card_number: card }
  public.contact_log:
    subject: customer_id
    columns: { email: email }
roles:
  agent:
    users: [anna]
    reads: all
    writes: [public.tickets, public.customers]
    sees: [name, { text: { when: "assignee = :user" } }]
    finds: [email, phone]
    rows: 100
    budget: { 1d: 300 }
  european:
    users: [ben]
    reads: [public.tickets, public.customers]
    writes: [public.tickets]
    sees: [name, email, phone, text, card]
    only: { public.tickets: "region = 'eu'" }
    require_filter: [public.customers]
  lead:
    users: [cleo]
    reads: all
    writes: [public.customers]
    sees: [name, email, phone, text]
    budget: { 1d: 600 }
  analyst:
    users: [metabase]
    reads: all
    aggregates_only: { min_group: 10 }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
`;

/**
 * A table that a test creates for itself needs no grants: a table of which a user may read nothing counts as readable.
 */
function partly(catalog: Catalog, columns: readonly (readonly string[])[]): readonly string[] {
  const lacking = new Map<string, number>();
  for (const [schema, name] of columns)
    lacking.set(`${schema}.${name}`, (lacking.get(`${schema}.${name}`) ?? 0) + 1);
  return columns.flatMap(([schema = "", name = "", column]) => {
    const relation = catalog.relations.get(relationKey(schema, name));
    return relation?.columns.length === lacking.get(`${schema}.${name}`)
      ? []
      : [`${schema}.${name}.${column}`];
  });
}

const UNREADABLE = { text: UNREADABLE_COLUMNS.text, rowMode: "array" } as const;

/** A support database with the analyser: what a user may run, and what the real server returns for it. */
export interface Judged {
  readonly database: TestDatabase;
  readonly catalog: Catalog;
  scope(user: SupportUser): Scope;
  judge(user: SupportUser, sql: string): Verdict;
  /** The same database under another policy. */
  withPolicy(text: string): Pick<Judged, "judge">;
  /** Runs the statement as it would be sent; refusals reject with their SQLSTATE as `code`. */
  run(user: SupportUser, sql: string, values?: readonly unknown[]): Promise<pg.QueryArrayResult<unknown[]>>;
  close(): Promise<void>;
}

/** `server`: the superuser's URI of a server other than the test run's; it must have the users. */
export async function openJudged(
  options: { policy?: string; setup?: string; server?: string } = {},
): Promise<Judged> {
  const database = await databaseOn(options.server ?? serverUri(), "judged");
  await supportSchema(database.uri);
  if (options.setup !== undefined) await database.query(options.setup);
  const client = new pg.Client({ connectionString: database.uri });
  await client.connect();
  const catalog = await readCatalog(client);
  const unreadable = new Map<string, ReadonlySet<string>>();
  for (const user of Object.keys(PASSWORDS)) {
    const { rows } = await client.query<string[]>({ ...UNREADABLE, values: [user] });
    unreadable.set(user, new Set(partly(catalog, rows)));
  }
  await client.end();
  const policyOf = (text: string): Policy => {
    const compiled = compilePolicies([{ name: "test.yaml", text }]);
    if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
    return compiled.policies.forDatabase(database.database);
  };
  const own = policyOf(options.policy ?? POLICY);
  const scopes = new Scopes();
  const clients = new Map<SupportUser, pg.Client>();

  const scope = (user: SupportUser, policy = own): Scope => {
    const role = roleFor(policy, user, "127.0.0.1");
    if (isRefusal(role)) throw new Error(role.message);
    return scopes.of({
      policy,
      role,
      user,
      catalog,
      searchPath: ["public"],
      unreadable: unreadable.get(user) ?? new Set(),
      maskKey: Buffer.alloc(32, 7),
    });
  };
  const judge = (user: SupportUser, sql: string, policy = own): Verdict => {
    const faults: string[] = [];
    const verdict = analyse(sql, scope(user, policy), (fault) => faults.push(fault));
    if (faults.length > 0) throw new Error(`${faults.join()}: ${sql}`);
    return verdict;
  };
  return {
    database,
    catalog,
    scope: (user) => scope(user),
    judge: (user, sql) => judge(user, sql),
    withPolicy(text) {
      const policy = policyOf(text);
      return { judge: (user, sql) => judge(user, sql, policy) };
    },
    async run(user, sql, values) {
      const verdict = judge(user, sql);
      if (verdict.kind === "refuse")
        throw Object.assign(new Error(verdict.refusal.message), { code: verdict.refusal.sqlstate });
      let connection = clients.get(user);
      if (connection === undefined) {
        connection = new pg.Client({ connectionString: database.uriFor(user, PASSWORDS[user]) });
        await connection.connect();
        clients.set(user, connection);
      }
      const text = verdict.kind === "rewrite" ? verdict.sql.toString() : sql;
      const result = await connection.query<unknown[]>({
        text,
        values: values === undefined ? undefined : [...values],
        rowMode: "array",
      } as pg.QueryArrayConfig);
      return trimmed(result, verdict.statements[0]);
    },
    async close() {
      for (const connection of clients.values()) await connection.end();
      await database.drop();
    },
  };
}

/** Removes the appended subject columns, as the session does. */
function trimmed(
  result: pg.QueryArrayResult<unknown[]>,
  statement: Statement | undefined,
): pg.QueryArrayResult<unknown[]> {
  const appended = statement === undefined ? 0 : extraFields(statement);
  if (appended === 0) return result;
  return {
    ...result,
    fields: result.fields.slice(0, -appended),
    rows: result.rows.map((row) => row.slice(0, -appended)),
  };
}
