import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readCorpus } from "../sql/corpus.ts";
import { makeWorld, type World } from "./world.ts";

const POLICY = `
version: 1
classes: { email: { mask: email }, text: { mask: redact }, card: { mask: "null" } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.tickets: { subject: customer_id, columns: { subject: text, body: text } }
  public.ticket_messages: { subject: customer_id, columns: { body: text } }
  public.payments: { subject: customer_id, columns: { card_number: card } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 100000 } }
  small: { users: [cleo], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 } }
  told: { users: [ben], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 }, on_budget: alert }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query("GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, cleo, ben");
  await world.database.query("GRANT ALL ON SCHEMA public TO helpdesk_app");
});
afterAll(() => world?.close());

const raw = { getTypeParser: () => (value: unknown) => value } as pg.CustomTypesConfig;

async function connect(uri: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: uri, types: raw });
  client.on("error", () => {});
  await client.connect();
  return client;
}

/** What a client is told, as the server wrote it. */
async function told(client: pg.Client, text: string): Promise<unknown> {
  try {
    const result = await client.query({ text, rowMode: "array" });
    return [result]
      .flat()
      .map(({ command, rowCount, fields, rows }) => ({ command, rowCount, fields, rows }));
  } catch (error) {
    if (!(error instanceof pg.DatabaseError)) throw error;
    const { code, message, position, detail, hint } = error;
    return { code, message, position, detail, hint };
  }
}

test("an application's statements give a watched role what they give without the proxy", async () => {
  // Locks of sessions outlive a rollback.
  const corpus = ((await readCorpus("application")) ?? []).filter(({ sql }) => !sql.includes("advisory"));
  const [direct, through] = [
    await connect(world.database.uriFor("helpdesk_app")),
    await connect(world.sluice.uri("helpdesk_app")),
  ];
  const differing: unknown[] = [];
  let worked = 0;
  for (const { sql } of corpus) {
    const outcomes: unknown[] = [];
    for (const client of [direct, direct, through]) {
      await client.query("BEGIN; SELECT pg_catalog.setseed(0.5)");
      outcomes.push(await told(client, sql));
      await client.query("ROLLBACK");
    }
    const [first, second, own] = outcomes;
    if (!isDeepStrictEqual(first, second)) {
      // Sequences move, and times pass.
      if ("code" in (own as object)) differing.push({ sql, own });
      continue;
    }
    if (!isDeepStrictEqual(own, first)) differing.push({ sql, first, own });
    if (Array.isArray(first)) worked++;
  }
  await direct.end();
  await through.end();
  expect(differing).toEqual([]);
  expect(worked).toBeGreaterThan(50);
});
