import { afterAll, beforeAll, expect, test } from "vitest";
import { makeWorld, type World } from "./world.ts";

const POLICY = (mode: string) => `
version: 1
mode: ${mode}
classes: { name: { mask: initials }, email: { mask: email }, phone: { mask: redact }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { name: name, email: email, phone: phone } }
  public.tickets: { subject: customer_id, columns: { subject: text } }
roles:
  agent:
    users: [anna]
    reads: all
    sees: [name, { text: { when: "assignee = :user" } }]
    finds: [email]
    budget: { 1d: 10000 }
    purpose: { public.customers: "exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)" }
  lead: { users: [cleo], reads: all, sees: all, budget: { 1d: 10000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY("enforce") });
  await world.database.query(
    "UPDATE tickets SET assignee = CASE WHEN customer_id % 3 = 0 THEN 'anna' ELSE 'cleo' END",
  );
});
afterAll(() => world?.close());

/** What the last event says of classes, after the user has run it. */
async function revealedBy(user: string, sql: string, values: readonly unknown[] = []) {
  const client = await world.sluice.connect(user);
  world.sluice.statements();
  await client.query(sql, [...values]);
  await client.end();
  return world.sluice.statements().at(-1);
}

const nothing = { shown: [], shownWhere: [], found: [] };

test.each([
  ["SELECT id FROM customers WHERE id = 7", nothing],
  ["SELECT id, email FROM customers WHERE id = 7", nothing],
  ["SELECT name, phone FROM customers WHERE id = 7", { ...nothing, shown: ["name"] }],
  ["SELECT * FROM customers WHERE id = 7", { ...nothing, shown: ["name"] }],
  ["SELECT id FROM customers WHERE name = 'Alice Ng 7'", { ...nothing, shown: ["name"] }],
  ["SELECT id, (SELECT upper(name)) FROM customers WHERE id = 7", { ...nothing, shown: ["name"] }],
  ["SELECT id FROM customers WHERE email = 'alice.ng.7@example.com'", { ...nothing, found: ["email"] }],
  ["SELECT customer_id, subject FROM tickets WHERE id = 7", { ...nothing, shownWhere: ["text"] }],
  [
    "SELECT c.name, t.subject FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id = 7",
    { shown: ["name"], shownWhere: ["text"], found: [] },
  ],
])("an event says of which classes its reader learned values: %s", async (sql, revealed) => {
  expect((await revealedBy("anna", sql))?.revealed).toEqual(revealed);
});

test("of a role that sees all and is counted, all that was named", async () => {
  const event = await revealedBy("cleo", "SELECT name, email FROM customers WHERE id = $1", [7]);
  expect(event).toMatchObject({ masked: [], revealed: { ...nothing, shown: ["name", "email"] } });
});

test("of a role that nobody looks at it says nothing, rather than that nothing was shown", async () => {
  const event = await revealedBy("helpdesk_app", "SELECT name, email FROM customers WHERE id = 7");
  expect(event).toMatchObject({ user: "helpdesk_app" });
  expect(event).not.toHaveProperty("revealed");
});

test("a policy that only observes shows in the clear what it would have masked", async () => {
  world.sluice.setPolicy(POLICY("observe"));
  const event = await revealedBy("anna", "SELECT name, phone FROM customers WHERE id = 7");
  world.sluice.setPolicy(POLICY("enforce"));
  expect(event).toMatchObject({ decision: "observe", revealed: { ...nothing, shown: ["name", "phone"] } });
});

test("an event says for which of its people a reason was missing, and where they are named", async () => {
  const event = await revealedBy("anna", "SELECT id FROM customers WHERE id IN (3, 4, 5, 6) ORDER BY id");
  expect(event).toMatchObject({
    ...{ people: 4, purposeless: 2, unexplained: "0110" },
    namespaces: ["public.customers.id"],
  });
});
