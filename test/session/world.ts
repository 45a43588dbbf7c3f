import { dirname } from "node:path";
import type { PostgresOptions, RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { findProgram } from "../harness/debian.ts";
import {
  createRoles,
  databaseOn,
  startPostgres,
  supportSchema,
  type TestDatabase,
} from "../harness/postgres.ts";
import { type ProxyOptions, startProxy, type TestProxy } from "../harness/proxy.ts";

/** anna is cut off by an error, ben's results are truncated, metabase has a limit of bytes, cleo a budget. */
export const POLICY = `
version: 1
classes: { email: { mask: email }, phone: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email, phone: phone } }
  public.tickets: { subject: customer_id }
roles:
  agent: { users: [anna], reads: all, writes: [public.tickets], sees: [], finds: [email], rows: 10 }
  short: { users: [ben], extends: agent, on_excess: truncate }
  narrow: { users: [metabase], reads: all, sees: [], bytes: 2kB }
  counted: { users: [cleo], reads: all, writes: [public.tickets], sees: [], budget: { 1d: 5 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

export interface World {
  readonly database: TestDatabase;
  readonly server: RunningPostgres;
  readonly sluice: TestProxy;
  close(): Promise<void>;
}

/** A server that trusts everybody, the support database, and a proxy before it. */
export async function makeWorld(
  version: "npm" | "debian" = "npm",
  { server: more, ...options }: Partial<ProxyOptions> & { readonly server?: Partial<PostgresOptions> } = {},
): Promise<World> {
  const server = await startPostgres({
    auth: "trust",
    ...(version === "npm" ? {} : await debian()),
    ...more,
  });
  await createRoles(server.uri);
  const database = await databaseOn(server.uri, "session");
  await supportSchema(database.uri);
  const sluice = await startProxy(database, { policy: POLICY, ...options });
  return {
    database,
    server,
    sluice,
    async close() {
      await sluice.close();
      await database.drop();
      await server.stop();
    },
  };
}

async function debian() {
  const { path, environment } = await findProgram("postgres");
  return { binaries: dirname(path), environment };
}
