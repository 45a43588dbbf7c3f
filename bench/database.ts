import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { Catalog } from "../proxy/catalog/catalog.ts";
import { startPostgres } from "../proxy/embedded/postgres.ts";
import { compilePolicies } from "../proxy/policy/compile.ts";
import { isRefusal, roleFor } from "../proxy/policy/roles.ts";
import type { Scope } from "../proxy/sql/scope.ts";
import { createRoles, supportSchema } from "../test/harness/support-schema.ts";

/** An agent who reads and writes everything through masks, and a limit beside. */
const POLICY = `
version: 1
classes:
  name:  { mask: initials }
  email: { mask: email }
  phone: { mask: { last: 2 } }
  password: { mask: "null" }
tables:
  public.customers:
    subject: id
    columns: { name: name, email: email, phone: phone }
  public.tickets:
    subject: customer_id
    columns: {}
roles:
  agent:
    users: [anna]
    reads: all
    writes: all
    sees: [name]
    finds: [email, phone]
    rows: 1000
`;

/** Lends a connection to a support database on a Postgres of its own, or on TEST_PG_URL's. */
export async function withDatabase(use: (client: pg.Client) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-bench-"));
  const given = process.env.TEST_PG_URL;
  const server =
    given === undefined
      ? await startPostgres({ superuser: "postgres", dataFolder: join(folder, "data"), auth: "trust" })
      : undefined;
  const url = new URL(given ?? server?.uri ?? "");
  const admin = new pg.Client({ connectionString: url.href });
  await admin.connect();
  const database = `bench_${process.pid}`;
  await admin.query(`CREATE DATABASE ${database}`);
  url.pathname = `/${database}`;
  await createRoles(url.href);
  await supportSchema(url.href);
  const client = new pg.Client({ connectionString: url.href });
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end();
    await admin.query(`DROP DATABASE ${database} WITH (FORCE)`);
    await admin.end();
    await server?.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The agent's scope over a catalog. */
export function scopeFor(catalog: Catalog): Scope {
  const compiled = compilePolicies([{ name: "bench.yaml", text: POLICY }]);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const policy = compiled.policies.forDatabase(catalog.database);
  const role = roleFor(policy, "anna", "127.0.0.1");
  if (isRefusal(role)) throw new Error(role.message);
  return {
    policy,
    role,
    user: "anna",
    catalog,
    searchPath: ["public"],
    unreadable: new Set(),
    maskKey: Buffer.alloc(32, 7),
  };
}
