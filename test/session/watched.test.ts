import { isDeepStrictEqual } from "node:util";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { CanarySighting } from "../../proxy/canaries/canaries.ts";
import type { BudgetSighting } from "../../proxy/meter/budget-alerts.ts";
import { startProxy } from "../harness/proxy.ts";
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
canaries: { public.customers: [999] }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 100000 } }
  small: { users: [cleo], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 } }
  told: { users: [ben], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 }, on_budget: alert }
`;

let world: World;
const budgets: BudgetSighting[] = [];
const canaries: CanarySighting[] = [];
beforeAll(async () => {
  world = await makeWorld("npm", {
    policy: POLICY,
    onBudget: (sighting) => budgets.push(sighting),
    onCanary: (sighting) => canaries.push(sighting),
  });
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

const application = await readCorpus("application");

test.skipIf(application === undefined)(
  "an application's statements give a watched role what they give without the proxy",
  async () => {
    // Locks of sessions outlive a rollback.
    const corpus = (application ?? []).filter(({ sql }) => !sql.includes("advisory"));
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
  },
);

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

/** How many people a budget of 50 may be exceeded by on one connection: docs/applications.md. */
const AHEAD = 10;

async function shownUntilStop(
  client: pg.Client,
  asked: pg.QueryConfig,
): Promise<{ rows: number; code: string }> {
  let rows = 0;
  const query = client.query(new pg.Query(asked));
  query.on("row", () => {
    rows++;
  });
  const code = await new Promise<string>((resolve) => {
    query.on("error", (error) => resolve((error as pg.DatabaseError).code ?? error.message));
    query.on("end", () => resolve("ended"));
  });
  return { rows, code };
}

test.each(["simple", "extended"] as const)(
  "a budget that is used up stops what runs and what follows, in the %s protocol",
  async (protocol) => {
    const sluice = await startProxy(world.database, { policy: POLICY });
    const client = await sluice.connect("cleo");
    const how = protocol === "extended" ? { queryMode: "extended" } : {};
    const { rows, code } = await shownUntilStop(client, {
      text: "SELECT * FROM customers",
      ...how,
    } as pg.QueryConfig);
    expect(code).toBe("53400");
    expect(rows).toBeGreaterThanOrEqual(50);
    expect(rows).toBeLessThanOrEqual(50 + AHEAD);
    const ask = (text: string) => client.query({ text, ...how } as pg.QueryConfig);
    await expect(ask("SELECT name FROM customers WHERE id = 1")).rejects.toMatchObject({
      code: "53400",
      constraint: "roles.small.budget.1h",
    });
    // What shows nobody goes on.
    expect((await ask("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    expect((await ask("UPDATE customers SET phone = phone WHERE id = 3")).rowCount).toBe(1);
    const events = sluice.statements();
    expect(events.find(({ decision }) => decision === "cut")?.rule).toBe("roles.small.budget.1h");
    expect(events.find(({ decision }) => decision === "refuse")?.sqlstate).toBe("53400");
    const other = await sluice.connect("cleo");
    await expect(other.query("SELECT name FROM customers WHERE id = 1")).rejects.toMatchObject({
      code: "53400",
    });
    for (const each of [client, other]) await each.end();
    await sluice.close();
  },
);

test("a stop within a transaction fails the transaction, and the session goes on", async () => {
  const sluice = await startProxy(world.database, { policy: POLICY });
  const client = await sluice.connect("cleo");
  await client.query("BEGIN");
  expect((await shownUntilStop(client, { text: "SELECT * FROM customers" })).code).toBe("53400");
  await expect(client.query("SELECT 1")).rejects.toMatchObject({ code: "25P02" });
  await client.query("ROLLBACK");
  expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
  await client.end();
  await sluice.close();
});

test("a stop ends when the policy gives the budget more room, and its error promises nothing before", async () => {
  const sluice = await startProxy(world.database, { policy: POLICY });
  const client = await sluice.connect("cleo");
  await shownUntilStop(client, { text: "SELECT * FROM customers" });
  const ask = () => client.query("SELECT name FROM customers WHERE id = 1");
  await expect(ask()).rejects.toMatchObject({ hint: expect.not.stringContaining("stay readable") });
  const small = /budget: \{ 1h: 50 \}/g;
  expect(POLICY).toMatch(small);
  sluice.setPolicy(POLICY.replace(small, "budget: { 1h: 40 }"));
  await expect(ask()).rejects.toMatchObject({ code: "53400" });
  sluice.setPolicy(POLICY.replace(small, "budget: { 1h: 500 }"));
  expect((await ask()).rows).toHaveLength(1);
  await client.end();
  await sluice.close();
});

test("a budget that only alerts stops nothing, and is told of once", async () => {
  const client = await world.sluice.connect("ben");
  for (let i = 0; i < 3; i++)
    expect((await client.query("SELECT * FROM customers")).rows.length).toBeGreaterThan(900);
  await expect.poll(() => budgets.length).toBe(1);
  expect(budgets[0]).toMatchObject({ user: "ben", role: "told", limit: 50 });
  await client.end();
});

test("a decoy that an application reads is told of", async () => {
  const client = await world.sluice.connect("helpdesk_app");
  await client.query("SELECT name FROM customers WHERE id = 999");
  await expect.poll(() => canaries.map(({ user }) => user)).toContain("helpdesk_app");
  await client.end();
});
