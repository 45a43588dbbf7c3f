import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
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

async function eventsOf(count: number): Promise<readonly StatementEvent[]> {
  const events: StatementEvent[] = [];
  await expect
    .poll(() => {
      events.push(...world.sluice.statements());
      return events.reduce((sum, event) => sum + (event.count ?? 1), 0);
    })
    .toBeGreaterThanOrEqual(count);
  return events;
}

test("people are named whom a watched role is shown", async () => {
  const client = await world.sluice.connect("helpdesk_app");
  world.sluice.statements();
  const shown: readonly (readonly [sql: string, people: number | "unnamed"])[] = [
    ["SELECT * FROM customers WHERE id IN (1, 2, 3)", 3],
    ["SELECT t.subject FROM tickets t JOIN customers c ON c.id = t.customer_id WHERE c.id < 5", 4],
    ["SELECT string_agg(name, ',') FROM customers WHERE id < 8", 7],
    ["SELECT count(*) FROM customers", 0],
    ["UPDATE customers SET phone = phone WHERE id = 9 RETURNING id", 1],
    ["SELECT name FROM customers WHERE id = 4 FOR UPDATE", 1],
    ["SELECT 1", 0],
    ["SELECT json_agg(c) FROM (SELECT name FROM customers WHERE id < 4) c", "unnamed"],
  ];
  for (const [sql, people] of shown) {
    const { fields, rows } = await client.query(sql);
    expect(fields.some(({ name }) => name.startsWith("sluice"))).toBe(false);
    expect(rows.length).toBeGreaterThan(0);
    const [event] = await eventsOf(1);
    expect([sql, event?.decision, event?.uncounted ?? false]).toEqual([sql, "allow", people === "unnamed"]);
    if (people === "unnamed") expect(event?.people).toBeGreaterThan(0);
    else expect([sql, event?.people, event?.subjects.length]).toEqual([sql, people, people]);
  }
  await client.end();
});

test("each portion of a cursor and of a prepared statement counts whom it shows", async () => {
  const client = await world.sluice.connect("helpdesk_app");
  world.sluice.statements();
  await client.query("BEGIN");
  await client.query("DECLARE c CURSOR FOR SELECT name FROM customers ORDER BY id");
  const portion = await client.query({ text: "FETCH 3 FROM c", rowMode: "array" });
  expect(portion.rows).toEqual(
    [["Alice Ng 1"], ["Alice Ng 2"], ["Alice Ng 3"]].map((_, i) => [expect.stringContaining(` ${i + 1}`)]),
  );
  await client.query("COMMIT");
  const byName = { name: "one", text: "SELECT id, name FROM customers WHERE id = $1" };
  for (const id of [21, 22, 21]) expect((await client.query(byName, [id])).rows[0]?.id).toBe(String(id));
  const events = await eventsOf(7);
  const fetched = events.find(({ command }) => command === "FETCH");
  expect(fetched?.subjects).toEqual([
    "public.customers.id 1",
    "public.customers.id 2",
    "public.customers.id 3",
  ]);
  const selected = events.filter(
    ({ statement }) => statement.includes("where id = $1") || statement.includes("WHERE id = $1"),
  );
  expect(new Set(selected.flatMap(({ subjects }) => subjects))).toEqual(
    new Set(["public.customers.id 21", "public.customers.id 22"]),
  );
  await client.end();
});
