import { Socket } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Catalogs } from "../../proxy/catalog/catalogs.ts";
import { deriveKeys, randomSecret } from "../../proxy/keys/secret.ts";
import { createLog } from "../../proxy/log.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { prepareWith } from "../../proxy/session/accept/open-session.ts";
import { addressOf } from "../../proxy/session/context/address.ts";
import type { Established } from "../../proxy/session/context/established.ts";
import type { SessionParts } from "../../proxy/session/context/parts.ts";
import { Scopes, VerdictCache } from "../../proxy/sql/cache.ts";
import { freshDatabase, serverUri, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { policiesOf } from "../harness/proxy.ts";

let database: TestDatabase;
let catalogs: Catalogs;
const log: string[] = [];

beforeAll(async () => {
  database = await freshDatabase("prepare");
  await supportSchema(database.uri);
  await database.query("REVOKE ALL ON customers FROM anna; GRANT SELECT (id, name) ON customers TO anna");
  const url = new URL(serverUri());
  catalogs = new Catalogs({
    connection: {
      host: url.hostname,
      port: Number(url.port),
      user: url.username,
      password: decodeURIComponent(url.password),
    },
    probeSeconds: 3600,
  });
});
afterAll(async () => {
  await catalogs?.close();
  await database?.drop();
});

/** Prepares and runs a session whose only deed is to show its parts. */
async function partsOf(session: Partial<Established>, policies = () => policiesOf("version: 1")) {
  let seen: SessionParts | undefined;
  const prepare = prepareWith(
    {
      policies,
      catalogs,
      verdicts: new VerdictCache({
        onLookup: () => {},
        onAnalysis: () => ({ stage: () => {}, end: () => {} }),
        onRefusal: () => {},
        onLeftover: () => {},
      }),
      scopes: new Scopes(),
      store: createMemoryStore(),
      audit: {
        write: () => {},
        hashSubject: () => "",
        durable: async () => true,
        ready: true,
        flush: async () => {},
        close: async () => {},
      },
      metrics: createMetrics({ version: "test", databases: [] }),
      keys: deriveKeys(randomSecret()),
      log: createLog({ level: "debug", to: { write: (line) => log.push(line) } }),
      now: () => 0,
      normalise: (sql) => sql.toString(),
    },
    async (_, parts) => {
      seen = parts;
      return "client";
    },
  );
  const client = { socket: new Socket() };
  const established = { user: "anna", database: database.database, client, ...session };
  const run = await prepare(established as Established);
  await run();
  client.socket.destroy();
  if (seen === undefined) throw new Error("the session did not run");
  return seen;
}

test("a session sees the policy in force at each look, and the same one until it changes", async () => {
  let policies = policiesOf("version: 1");
  const { policy } = await partsOf({}, () => policies);
  const first = policy();
  expect(policy()).toBe(first);
  policies = policiesOf("version: 1\nroles: { agent: { users: [anna] } }");
  expect(policy().roles.has("agent")).toBe(true);
});

test("columns are unreadable as for the user whom the database knows, not for the one of the policy", async () => {
  const { unreadable } = await partsOf({});
  const asAnna = await unreadable({ user: "anna" });
  expect(asAnna).toContain("public.customers.email");
  expect(asAnna).not.toContain("public.customers.name");
  const asOwner = await unreadable({ user: "anna", databaseUser: database.superuser });
  expect(asOwner).not.toContain("public.customers.email");
});

test("a database whose catalog cannot be read lets nobody in, and the operator hears why", async () => {
  await expect(partsOf({ database: "nowhere" })).rejects.toMatchObject({
    refusal: { sqlstate: "57P03", severity: "FATAL" },
  });
  expect(log.join("")).toContain('database \\"nowhere\\" does not exist');
});

test.each([
  ["::ffff:10.2.0.7", "10.2.0.7"],
  ["::FFFF:10.2.0.7", "10.2.0.7"],
  ["fe80::1%eth0", "fe80::1"],
  ["2001:db8::7", "2001:db8::7"],
  [undefined, "local"],
])("a client from %s is known to the policy as %s", (remoteAddress, address) => {
  expect(addressOf({ remoteAddress } as { remoteAddress: string })).toBe(address);
});
