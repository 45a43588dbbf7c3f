import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import pg from "pg";
import { startPostgres } from "../proxy/embedded/postgres.ts";
import { createLog } from "../proxy/log.ts";
import type { CounterStore } from "../proxy/meter/meter.ts";
import { createRedisStore } from "../proxy/meter/store-redis.ts";
import type { BudgetWindow } from "../proxy/policy/policy.ts";
import { launchRedis } from "../test/harness/redis-process.ts";
import { startSluice } from "../test/harness/sluice.ts";
import { createRoles, PASSWORDS, supportSchema } from "../test/harness/support-schema.ts";
import { median, percentile, ratios, table } from "./figures.ts";

/*
 * What the meter costs: the same prepared lookup of one customer by a role that sees all, by one that sees
 * masks and is not counted, by one whose people were counted a moment ago, and by one each of whose reads takes a
 * trip to Redis; round by round in turn. Then the bytes that Redis holds of a user who has read 3,000 people.
 * Client and proxy share the process. Compile and run: `npx tsc -p tsconfig.json --noEmit false --rootDir .
 * --outDir node_modules/.cache/bench && cp package.json node_modules/.cache/bench &&
 * node node_modules/.cache/bench/bench/meter-cost.js`.
 */

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  masked: { users: [ben], reads: [public.customers] }
  counted: { users: [cleo], reads: [public.customers], budget: { 1h: 100000, 1d: 100000, 30d: 100000 } }
  trips: { users: [anna], extends: counted, budget: { 1d: { people: 100000, rows: 100000000 } } }
`;
const WAYS = [
  ["no guard", "helpdesk_app"],
  ["masked, not counted", "ben"],
  ["counted a moment ago", "cleo"],
  ["a trip to Redis each", "anna"],
] as const;
const ROUNDS = 7;
const MILLISECONDS = 1_500;

interface Measured {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
}

async function measure(uri: string, clients: number): Promise<Measured> {
  const waits: number[] = [];
  const until = performance.now() + MILLISECONDS;
  const session = async (number: number) => {
    const client = new pg.Client({ connectionString: uri });
    await client.connect();
    for (let i = number; performance.now() < until; i += clients) {
      const start = performance.now();
      await client.query({
        name: "read",
        text: "select name, email from customers where id = $1",
        values: [1 + (i % 100)],
      });
      waits.push(performance.now() - start);
    }
    await client.end();
  };
  await Promise.all(Array.from({ length: clients }, (_, i) => session(i)));
  return {
    rate: waits.length / (MILLISECONDS / 1000),
    p50: percentile(waits, 0.5),
    p99: percentile(waits, 0.99),
  };
}

async function measureReads(uris: readonly (readonly [string, string])[], clients: number): Promise<void> {
  const rounds: Measured[][] = uris.map(() => []);
  for (const [, uri] of uris) await measure(uri, clients);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, [, uri]] of uris.entries()) rounds[i]?.push(await measure(uri, clients));
  }
  const base = rounds[0]?.map(({ p50 }) => p50) ?? [];
  const rows = uris.map(([name], i) => {
    const own = rounds[i] ?? [];
    return [
      name,
      median(own.map(({ rate }) => rate)).toFixed(0),
      `${median(own.map(({ p50 }) => p50)).toFixed(2)} ms`,
      `${median(own.map(({ p99 }) => p99)).toFixed(2)} ms`,
      median(
        ratios(
          own.map(({ p50 }) => p50),
          base,
        ),
      ).toFixed(2),
    ];
  });
  const head = [`${clients} clients`, "reads a second", "p50", "p99", "p50 / no guard"];
  process.stdout.write(`${table(head, rows)}\n\n`);
}

/** Three windows of people, as of the default policy's agents; then the same at a cost of five. */
async function measureMemory(url: string): Promise<void> {
  const redis = new Redis(url);
  const store = await new Promise<CounterStore>((resolve) => {
    const opened = createRedisStore({
      ...{ url, key: Buffer.alloc(32, 1), log: createLog({ level: "silent" }), commandTimeout: 10_000 },
      onReady: (ready) => ready && resolve(opened),
    });
  });
  const windows = [60, 86_400, 2_592_000].map(
    (seconds): BudgetWindow => ({ name: `${seconds}s`, seconds, what: "people", limit: 100_000, rule: "" }),
  );
  for (const cost of [1, 5]) {
    await redis.flushall();
    const before = await usedMemory(redis);
    for (let from = 0; from < 3_000; from += 10) {
      const people = Array.from({ length: 10 }, (_, i) => String(1_000_000 + from + i));
      const batch = { rows: 10, people, namespaces: ["public.customers.id"], unknownPerRow: 0, cost };
      const grant = await store.charge({ database: "support", user: "anna", windows }, batch);
      if (grant.kind !== "all") throw new Error("a read was refused");
    }
    const bytes = (await usedMemory(redis)) - before;
    process.stdout.write(`3,000 people at a cost of ${cost}: ${(bytes / 1024).toFixed(0)} kB in Redis\n`);
  }
  await store.close();
  redis.disconnect();
}

async function usedMemory(redis: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await redis.info("memory"))?.[1] ?? 0);
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-bench-meter-"));
  const server = await startPostgres({
    superuser: "postgres",
    dataFolder: join(folder, "data"),
    auth: "trust",
  });
  const redis = await launchRedis({});
  const url = new URL(server.uri);
  url.pathname = "/postgres";
  await createRoles(url.href);
  await supportSchema(url.href);
  const sluice = await startSluice({
    ...{ policy: POLICY, upstream: url.href, redis: redis.url },
    flags: ["--audit-durability", "after"],
  });
  const uris = WAYS.map(([name, user]) => [name, sluice.uriFor(user, PASSWORDS[user])] as const);
  for (const clients of [1, 16]) await measureReads(uris, clients);
  await sluice.close();
  await measureMemory(redis.url);
  await redis.stop();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

await main();
