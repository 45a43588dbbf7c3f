import { afterAll, beforeAll, expect, test } from "vitest";
import { withGrants } from "../../proxy/meter/store-layers.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import type { Addition } from "../../proxy/orders/measures.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { makeWorld, type World } from "./world.ts";

/* A watched role's budget that is used up stops its reader until there is room again: also where an order or the policy makes room. */

const policyOf = (budget: string) => `
version: 1
tables:
  public.customers: { subject: id }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, ${budget} }
`;
const SMALL = policyOf("budget: { 1h: 20 }");

let world: World;
let sluice: TestProxy;
let more: Addition | undefined;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: SMALL });
  sluice = await startProxy(world.database, {
    policy: SMALL,
    store: withGrants(createMemoryStore(), () => more),
  });
});
afterAll(async () => {
  await sluice?.close();
  await world?.close();
});

test("room made by a grant, a larger budget, or one that only alerts", async () => {
  const client = await sluice.connect("helpdesk_app");
  const read = (from: number) =>
    client.query(`SELECT id FROM customers WHERE id BETWEEN ${from} AND ${from + 4}`).then(
      ({ rowCount }) => rowCount,
      ({ code }) => code,
    );
  const readOn = async (from: number) => {
    for (let next = from; ; next += 5) if ((await read(next)) === "53400") return next;
  };
  const first = await readOn(1);
  expect(await read(first + 5)).toBe("53400");
  more = { people: 20, seconds: 3600 };
  expect(await read(first + 5)).toBe(5);
  const second = await readOn(first + 10);
  expect(second).toBeGreaterThan(first + 10);
  more = undefined;
  expect(await read(second + 5)).toBe("53400");
  sluice.setPolicy(policyOf("budget: { 1h: 100 }"));
  expect(await read(second + 5)).toBe(5);
  const third = await readOn(second + 10);
  sluice.setPolicy(policyOf("on_budget: alert, budget: { 1h: 100 }"));
  expect(await read(third + 5)).toBe(5);
  sluice.setPolicy(SMALL);
  await readOn(third + 10);
  await client.end();
});
