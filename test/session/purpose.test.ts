import { afterAll, beforeAll, expect, test } from "vitest";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { query } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

const TIE = `purpose: { public.customers: "exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)" }`;
const POLICY = (tie: string) => `
version: 1
tables:
  public.customers: { subject: id }
  public.tickets: { subject: customer_id }
roles:
  counted: { users: [anna], reads: all, budget: { 1d: 1000 }${tie} }
  watched: { users: [cleo], reads: all, rows: 100, behaviour: { purpose: alert }${tie} }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY("") });
  await world.database.query(
    "UPDATE tickets SET assignee = CASE WHEN customer_id % 3 = 0 THEN 'anna' ELSE 'cleo' END",
  );
});
afterAll(() => world?.close());

test.each(["anna", "cleo"] as const)(
  "%s gets what they asked for, and the event says how many people were none of their work",
  async (user) => {
    const sql = "SELECT id, email FROM customers WHERE id > 0 ORDER BY id LIMIT 9";
    const bare = await world.sluice.connect(user);
    const before = await bare.query(sql);
    await bare.end();
    const tied = await world.database.query<{ id: string }>(
      `SELECT id FROM (${sql}) c WHERE EXISTS (SELECT FROM tickets t WHERE t.customer_id = c.id AND assignee = '${user}')`,
    );
    world.sluice.setPolicy(POLICY(`, ${TIE}`));
    const client = await world.sluice.connect(user);
    world.sluice.statements();
    const simple = await client.query(sql);
    const prepared = await client.query({ name: "p", text: sql.replace("9", "$1"), values: [9] });
    const grouped = await client.query("SELECT count(*) FROM customers");
    await client.end();
    for (const result of [simple, prepared]) {
      expect(result.rows).toEqual(before.rows);
      expect(result.fields.map(({ name }) => name)).toEqual(["id", "email"]);
    }
    expect(grouped.rows).toHaveLength(1);
    expect(tied.rowCount ?? 0).toBeGreaterThan(0);
    expect(world.sluice.statements().map(({ people, purposeless }) => [people, purposeless])).toEqual([
      [9, 9 - (tied.rowCount ?? 0)],
      [9, 9 - (tied.rowCount ?? 0)],
      [expect.any(Number), undefined],
    ]);
    world.sluice.setPolicy(POLICY(""));
  },
);

const DESK = `
version: 1
tables:
  public.customers: { subject: id }
  public.tickets: { subject: customer_id }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, people_behind: [{ setting: app.agent }], budget: { 1d: 1000 }, ${TIE} }
`;
const ASKED = "SELECT id, email FROM customers WHERE id <= 6 ORDER BY id";

test.each([
  ["a cursor", [`DECLARE c CURSOR FOR ${ASKED}`], "FETCH ALL FROM c"],
  ["a portal", [], undefined],
] as const)("who reads from %s has no other person's reasons", async (_what, opened, read) => {
  world.sluice.setPolicy(DESK);
  const client = await world.sluice.raw("helpdesk_app");
  const ask = async (...messages: readonly Buffer[]) => {
    client.send(...messages);
    return client.until("Z");
  };
  await ask(query("BEGIN"));
  await ask(query("SET app.agent = 'anna'"));
  for (const sql of opened) await ask(query(sql));
  if (read === undefined) await ask(parseMessage("", Buffer.from(ASKED)), bindMessage("p", ""), syncMessage);
  await ask(query("SET app.agent = 'cleo'"));
  world.sluice.statements();
  const answer = await ask(...(read === undefined ? [executeMessage("p", 0), syncMessage] : [query(read)]));
  expect(answer.filter(({ type }) => type === "D")).toHaveLength(6);
  await ask(query("ROLLBACK"));
  const [event] = world.sluice.statements().filter(({ people }) => people > 0);
  expect(event).toMatchObject({ user: "cleo", people: 6 });
  expect(event?.unexplained).toBeUndefined();
  client.socket.destroy();
  world.sluice.setPolicy(POLICY(""));
});
