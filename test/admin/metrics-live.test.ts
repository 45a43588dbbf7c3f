import pg from "pg";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { redisUrl } from "../harness/redis.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], rows: 10, budget: { 1d: 20 } }
`;

let database: TestDatabase;
const open: TestSluice[] = [];

beforeAll(async () => {
  database = await freshDatabase("metrics");
  await supportSchema(database.uri);
});
afterAll(async () => {
  for (const sluice of open) await sluice.close();
  await database?.drop();
});

async function start(upstream: string, ...flags: readonly string[]): Promise<TestSluice> {
  const sluice = await startSluice({ policy: POLICY, upstream, redis: await redisUrl(), flags });
  open.push(sluice);
  return sluice;
}

test("what a user does shows in the numbers, and their name only where that is asked for", async () => {
  const sluice = await start(database.uri, "--metrics-users", "1");
  await vi.waitFor(async () => expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(200), 10_000);
  const client = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  await client.connect();
  await client.query("select id, email from customers where id <= 3");
  await expect(client.query("create table x (a int)")).rejects.toThrow();
  await expect(client.query("select * from tickets")).rejects.toThrow();
  await client.end();
  await vi.waitFor(async () =>
    expect(await sluice.metric("sluice_sessions_ended_total", 'reason="client"')).toBe(1),
  );

  const { metric } = sluice;
  expect(await metric("sluice_masked_cells_total", 'role="agent"')).toBe(3);
  expect(await metric("sluice_denials_total", 'reason="statement_kind"')).toBe(1);
  expect(await metric("sluice_denials_total", 'reason="relation"')).toBe(1);
  expect(await metric("sluice_budget_used_ratio", 'role="agent",unit="people",window="1d"')).toBeCloseTo(
    0.15,
  );
  expect(await metric("sluice_budget_user_used_ratio", 'user="anna"')).toBeCloseTo(0.15);
  expect(await metric("sluice_upstream_up", database.database)).toBe(1);
  expect(await metric("sluice_policy_info")).toBe(1);
  expect(await metric("sluice_suspended_users")).toBe(0);
  for (const [name, labels] of [
    ["sluice_redis_seconds_count", 'operation="charge"'],
    ["sluice_redis_seconds_count", 'operation="control"'],
    ["sluice_overhead_seconds_count", 'stage="meter"'],
    ["sluice_overhead_seconds_count", 'stage="audit"'],
    ["sluice_overhead_seconds_count", 'stage="analysis"'],
  ] as const) {
    expect(await metric(name, labels), `${name} ${labels}`).toBeGreaterThan(0);
  }
  const [took, upstream] = [
    await metric("sluice_statement_duration_seconds_sum"),
    await metric("sluice_upstream_seconds_sum"),
  ];
  expect(await metric("sluice_upstream_seconds_count")).toBe(3);
  expect(upstream).toBeLessThan(took);
});

test("a database that is away is down, and Sluice says which", async () => {
  const nowhere = new URL(database.uri);
  nowhere.port = "9";
  const sluice = await start(nowhere.href);
  const { text } = await vi.waitFor(async () => {
    const text = await (await fetch(`${sluice.adminUrl}/metrics`)).text();
    expect(text).toContain(`sluice_upstream_up{database="${database.database}"} 0`);
    return { text };
  }, 10_000);
  expect(text).not.toContain("sluice_budget_user_used_ratio{");
});
