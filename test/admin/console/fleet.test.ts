import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../../harness/postgres.ts";
import { startRedis } from "../../harness/redis.ts";
import { startSluice, type TestSluice } from "../../harness/sluice.ts";
import { logIn, type Officer, TOKEN, words } from "./browsing.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1d: 100 } }
  app: { users: [helpdesk_app, metabase], reads: all, writes: all, sees: all }
`;

type Redis = Awaited<ReturnType<typeof startRedis>>;

let redis: Redis;
let database: TestDatabase;
/** The officer looks at the first, clients are at the second. */
let first: TestSluice;
let second: TestSluice;
let officer: Officer;

beforeAll(async () => {
  [redis, database] = await Promise.all([startRedis({}), freshDatabase("console_fleet")]);
  await supportSchema(database.uri);
  const variables = { SLUICE_CONSOLE_TOKEN: TOKEN, SLUICE_KEY: randomBytes(32).toString("hex") };
  const options = { policy: POLICY, upstream: database.uri, redis: redis.url, variables };
  [first, second] = await Promise.all([startSluice(options), startSluice(options)]);
  officer = await logIn(first);
});
afterAll(async () => {
  await Promise.all([first?.close(), second?.close()]);
  await database?.drop();
  await redis?.stop();
});

async function connect(user: keyof typeof PASSWORDS): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: second.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

test("an officer at one proxy sees what another one refuses, reads and serves, and ends a session there", async () => {
  const anna = await connect("anna");
  await anna.query("SELECT email FROM customers WHERE id <= 3");
  await expect(anna.query("SELECT 'secret-literal' FROM payments")).rejects.toThrow();
  await vi.waitFor(async () => {
    const alerts = words(await officer.see("/console/alerts"));
    expect(alerts).toMatch(/refused 42501 anna agent SELECT \$1 FROM payments/);
    expect(alerts).toContain("this process and 1 other of the fleet");
  });
  expect(words(await officer.see("/console/readers"))).toContain("3 of 100 people in 1d");
  // Proxies tell of their sessions every two seconds.
  const id = await vi.waitFor(
    async () => {
      const [, found] = /session\?id=([0-9a-f-]{36})/.exec(await officer.see("/console/sessions")) ?? [];
      if (found === undefined) throw new Error("not told yet");
      return found;
    },
    { timeout: 10_000, interval: 100 },
  );
  expect(words(await officer.see(`/console/session?id=${id}`))).toMatch(
    /masked email SELECT email FROM customers WHERE id <= \$1 3 3/,
  );
  const blocker = await connect("helpdesk_app");
  await blocker.query("BEGIN");
  await blocker.query("LOCK customers IN ACCESS EXCLUSIVE MODE");
  const waiting = anna.query("SELECT email FROM customers WHERE id = 8888");
  await vi.waitFor(async () => {
    const running = words(await officer.see(`/console/session?id=${id}`));
    expect(running).toMatch(/s anna agent SELECT email FROM customers WHERE id = \$1/);
  });
  await blocker.query("COMMIT");
  await waiting;
  const gone = new Promise((resolve) => anna.once("end", resolve));
  expect(await officer.send("/console/end", { session: id })).toContain("The session is ended");
  await gone;
  expect(await officer.send("/console/end", { session: id })).toContain("No process has such a session");
});

test("a suspension at one proxy holds at the other, and is told once though both learn of it", async () => {
  const app = await connect("metabase");
  const gone = new Promise((resolve) => app.once("end", resolve));
  await officer.send("/console/suspend", { user: "metabase", why: "a stolen laptop" });
  await gone;
  await expect(connect("metabase")).rejects.toThrow(/suspended/);
  expect(words(await officer.see("/console/alerts?kind=order")).match(/a stolen laptop/g)).toHaveLength(1);
  await officer.send("/console/resume", { user: "metabase", why: "it was found" });
});

test("while Redis is away the pages say so, and what this process knows is shown still", async () => {
  await redis.kill();
  await vi.waitFor(async () => {
    expect(words(await officer.see("/console/sessions"))).toContain("cannot be read: Redis may be away");
    expect(words(await officer.see("/console/alerts"))).toContain("The last of this process since");
  }, 10_000);
  expect(await officer.see("/console/policy")).toContain("Policy in force");
});
