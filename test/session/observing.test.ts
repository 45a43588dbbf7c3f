import { afterAll, beforeAll, expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { CanarySighting } from "../../proxy/canaries/canaries.ts";
import type { BudgetSighting } from "../../proxy/meter/budget-alerts.ts";
import { makeWorld, type World } from "./world.ts";

const POLICY = `
version: 1
mode: observe
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
canaries: { public.customers: [7] }
roles:
  desk: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 } }
  agent: { users: [anna], reads: [public.customers], sees: [], finds: [email], rows: 10, budget: { 1h: 5 } }
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
});
afterAll(() => world?.close());

test("a policy that only observes counts people, tells of decoys and budgets, and changes nothing", async () => {
  const client = await world.sluice.connect("anna");
  const { rows, fields } = await client.query("SELECT id, email FROM customers WHERE id < 12 ORDER BY id");
  expect(rows.length).toBe(11);
  expect(rows[6]?.email).toMatch(/^[a-z.]+.*@example.com$/);
  expect(fields.map(({ name }) => name)).toEqual(["id", "email"]);
  await expect(client.query("SELECT count(*) FROM tickets")).resolves.toBeDefined();
  const events: StatementEvent[] = [];
  await expect
    .poll(() => events.push(...world.sluice.statements()) && events.length)
    .toBeGreaterThanOrEqual(2);
  expect(events.find(({ people }) => people > 0)).toMatchObject({
    decision: "observe",
    people: 11,
    masked: ["email"],
    user: "anna",
    role: "agent",
  });
  expect(events.find(({ sqlstate }) => sqlstate === "42501")).toMatchObject({
    decision: "observe",
    people: 0,
  });
  await expect.poll(() => budgets.length).toBe(1);
  expect(budgets[0]).toMatchObject({ user: "anna", limit: 5 });
  expect(canaries).toMatchObject([{ user: "anna" }]);
  await client.end();
});

test("to a watched role's statements nothing would happen", async () => {
  await world.database.query("GRANT SELECT ON customers TO helpdesk_app");
  const client = await world.sluice.connect("helpdesk_app");
  await client.query("SELECT name FROM customers WHERE id = 1");
  const events: StatementEvent[] = [];
  await expect.poll(() => events.push(...world.sluice.statements()) && events.length).toBeGreaterThan(0);
  expect(events).toMatchObject([{ decision: "allow", people: 1, user: "helpdesk_app", role: "desk" }]);
  await client.end();
});
