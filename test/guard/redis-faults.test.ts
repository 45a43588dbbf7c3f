import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { createLog } from "../../proxy/log.ts";
import type { Account, CounterStore } from "../../proxy/meter/meter.ts";
import { withGrace } from "../../proxy/meter/store-grace.ts";
import { type RedisServer, startRedis } from "../harness/redis.ts";
import { account, people, plainRows, range, rows, rowsOf } from "./claims.ts";
import { becomes, openRedisStore, SILENT } from "./redis-bench.ts";

/** A Redis process that tests harm and heal. */
interface Patient {
  server: RedisServer;
  /** A second connection to it. */
  readonly redis: Redis;
}

interface Fault {
  harm(patient: Patient): Promise<unknown>;
  heal(patient: Patient): Promise<unknown>;
  readonly forgets?: true;
  /** What was under way may be counted in the end. */
  readonly answersLate?: true;
}

const FAULTS: Readonly<Record<string, Fault>> = {
  "without memory": {
    harm: ({ redis }) => redis.config("SET", "maxmemory", "1"),
    heal: ({ redis }) => redis.config("SET", "maxmemory", "0"),
  },
  "read-only": {
    harm: ({ redis }) => redis.call("REPLICAOF", "127.0.0.1", "1"),
    heal: ({ redis }) => redis.call("REPLICAOF", "NO", "ONE"),
  },
  "without its replicas": {
    harm: ({ redis }) => redis.config("SET", "min-replicas-to-write", "1"),
    heal: ({ redis }) => redis.config("SET", "min-replicas-to-write", "0"),
  },
  "too slow": {
    harm: ({ redis }) => redis.client("PAUSE", 60_000, "WRITE"),
    heal: ({ redis }) => redis.client("UNPAUSE"),
    answersLate: true,
  },
  frozen: {
    harm: async ({ server }) => process.kill(server.pid, "SIGSTOP"),
    heal: async ({ server }) => process.kill(server.pid, "SIGCONT"),
    answersLate: true,
  },
  "killed, and started again with nothing": {
    harm: ({ server }) => server.kill(),
    heal: async (patient) => {
      patient.server = await startRedis({ port: patient.server.port });
    },
    forgets: true,
  },
};

async function patient(): Promise<Patient> {
  const server = await startRedis({});
  const redis = new Redis(server.url);
  redis.on("error", () => {});
  const it = { server, redis };
  onTestFinished(async () => {
    redis.disconnect();
    await it.server.kill();
  });
  return it;
}

/** Two proxies that share this Redis. */
async function proxies({ server }: Patient): Promise<readonly CounterStore[]> {
  const open = async () =>
    withGrace(await openRedisStore(server.url, { commandTimeout: 250 }), { log: SILENT });
  const stores = await Promise.all([open(), open()]);
  onTestFinished(async () => {
    for (const store of stores) await store.close();
  });
  return stores;
}

async function usedOf(store: CounterStore | undefined, agent: Account): Promise<readonly number[]> {
  return (await store?.usage?.(agent))?.map(({ used }) => used) ?? [];
}

async function allReady(stores: readonly CounterStore[]): Promise<void> {
  await Promise.all(stores.map((store) => becomes(store, "ready")));
}

/** How many of the batch's rows leave. */
async function leave(
  store: CounterStore,
  agent: Account,
  batch: Parameters<CounterStore["charge"]>[1],
): Promise<number> {
  const grant = await store.charge(agent, batch);
  return grant.kind === "all" ? batch.rows : grant.kind === "part" ? grant.rows : 0;
}

const faults = Object.entries(FAULTS);

describe("on_counter_loss: closed", () => {
  test.each(faults)("while Redis is %s no row leaves any proxy, and then all goes on", async (_, fault) => {
    const it = await patient();
    const stores = await proxies(it);
    const agent = account(people("1d", 10));
    const read = (...identities: string[]) =>
      Promise.all(stores.map((store) => leave(store, agent, rowsOf(...identities))));
    expect(await read("a", "b")).toEqual([2, 2]);
    await fault.harm(it);
    expect(await read("c")).toEqual([0, 0]);
    expect(await read("a")).toEqual([0, 0]);
    await fault.heal(it);
    await allReady(stores);
    expect(await read("d")).toEqual([1, 1]);
    const [used = 0] = await usedOf(stores[0], agent);
    const counted = fault.forgets ? 1 : 3;
    expect(used).toBeGreaterThanOrEqual(counted);
    expect(used).toBeLessThanOrEqual(counted + (fault.answersLate ? 1 : 0));
  });
});

describe("on_counter_loss: grace", () => {
  test.each(faults)(
    "while Redis is %s each proxy lends its share, and what it lent is counted in once",
    async (_, fault) => {
      const it = await patient();
      const stores = await proxies(it);
      const agent = { ...account(people("1d", 40), rows("1d", 400)), graceShare: 0.1 };
      const readOwn = (from: number) =>
        Promise.all(stores.map((store, i) => leave(store, agent, rowsOf(...range(100 * i + from, 3)))));
      expect(await readOwn(0)).toEqual([3, 3]);
      await fault.harm(it);
      expect(await readOwn(10)).toEqual([3, 3]);
      expect(await readOwn(20)).toEqual([1, 1]);
      expect(await readOwn(20)).toEqual([1, 1]);
      const more = await Promise.all(stores.map((store) => store.charge(agent, rowsOf("one more"))));
      for (const grant of more) expect(grant).toMatchObject({ kind: "part", rows: 0, isLent: true });
      await fault.heal(it);
      await allReady(stores);
      const before = fault.forgets ? 0 : 6;
      // Known people count once in any case, and each proxy may have had three rows under way.
      const most = before + 10 + (fault.answersLate ? 6 : 0);
      await vi.waitUntil(async () => (await usedOf(stores[0], agent))[0] === before + 8, { timeout: 5_000 });
      const [, all = 0] = await usedOf(stores[0], agent);
      expect(all).toBeGreaterThanOrEqual(before + 10);
      expect(all).toBeLessThanOrEqual(most);
      // All is paid: nothing of it comes a second time.
      expect(await readOwn(40)).toEqual([3, 3]);
      expect(await usedOf(stores[1], agent)).toEqual([before + 8 + 6, all + 6]);
    },
  );

  test("what was lent is counted in once, though every answer to it is lost twice", async () => {
    const it = await patient();
    const real = await openRedisStore(it.server.url);
    let lost = 0;
    let away = true;
    const store = withGrace(
      {
        get ready() {
          return !away;
        },
        charge: async (agent, batch) => {
          if (away) return { kind: "unreachable" };
          const grant = await real.charge(agent, batch);
          if (batch.receipt === undefined || lost >= 2) return grant;
          lost += 1;
          return { kind: "unreachable" };
        },
        close: () => real.close(),
      },
      { log: SILENT },
    );
    onTestFinished(() => store.close());
    const agent = { ...account(people("1d", 10_000), rows("1d", 20_000)), graceShare: 0.5 };
    // More than go into one step of the script.
    expect(await leave(store, agent, plainRows(1_200, 2))).toBe(1_200);
    away = false;
    // As long as it cannot be counted, the user reads on what is lent, and no more.
    expect(await leave(store, agent, plainRows(2_000, 2))).toBe(1_300);
    await vi.waitUntil(async () => (await usedOf(real, agent))[1] === 2_500, { timeout: 5_000 });
    expect(lost).toBe(2);
    expect(await leave(store, agent, plainRows(1))).toBe(1);
    expect(await usedOf(real, agent)).toEqual([5_000, 2_501]);
  });
});

test("a connection that is cut is opened again, and nothing is forgotten or counted twice", async () => {
  const it = await patient();
  const stores = await proxies(it);
  const agent = account(people("1d", 1_000), rows("1d", 10_000));
  let out = 0;
  for (let turn = 0; turn < 5; turn++) {
    const reads = stores.flatMap((store, i) =>
      range(0, 10).map((_, n) => leave(store, agent, rowsOf(`${turn} ${i} ${n}`))),
    );
    await it.redis.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    for (const left of await Promise.all(reads)) out += left;
    await allReady(stores);
  }
  // The last cut may not have been noticed yet.
  const [persons = 0, all = 0] = await vi.waitUntil(
    async () => {
      const used = await usedOf(stores[0], agent);
      return used.length > 0 && used;
    },
    { timeout: 5_000 },
  );
  expect(persons).toBeGreaterThanOrEqual(out);
  expect(persons).toBeLessThanOrEqual(100);
  expect(all).toBe(persons);
});

describe("whatever is read through however many outages", () => {
  let it: Patient;
  beforeAll(async () => {
    const server = await startRedis({});
    it = { server, redis: new Redis(server.url) };
  });
  afterAll(async () => {
    it.redis.disconnect();
    await it.server.stop();
  });

  test("proxies release no more than the budget and a share each, and all of it is counted in once", async () => {
    const reads = fc.array(
      fc.record({ proxy: fc.nat(2), from: fc.nat(60), count: fc.integer({ min: 1, max: 15 }) }),
      { minLength: 1, maxLength: 10 },
    );
    const phases = fc.array(fc.record({ away: fc.boolean(), reads }), { minLength: 2, maxLength: 4 });
    const budgets = fc.record({
      limit: fc.integer({ min: 1, max: 60 }),
      share: fc.constantFrom(0.05, 0.1, 0.29, 0.5),
    });
    const stores = await Promise.all(
      [1, 2, 3].map(async () => withGrace(await openRedisStore(it.server.url), { log: SILENT })),
    );
    onTestFinished(async () => {
      for (const store of stores) await store.close();
    });
    await fc.assert(
      fc.asyncProperty(budgets, phases, async ({ limit, share }, all) => {
        const agent = { ...account(people("1d", limit), rows("1d", 10_000)), graceShare: share };
        const out = new Set<string>();
        let left = 0;
        for (const { away, reads } of all) {
          await it.redis.config("SET", "min-replicas-to-write", away ? "1" : "0");
          if (!away) await allReady(stores);
          const read = async ({ proxy, from, count }: (typeof reads)[number]) => {
            const store = stores[proxy];
            if (store === undefined) throw new Error("no such proxy");
            const batch = rowsOf(...range(from, count));
            const leading = await leave(store, agent, batch);
            left += leading;
            for (const person of batch.people.slice(0, leading)) out.add(person);
          };
          await Promise.all(reads.map(read));
        }
        await it.redis.config("SET", "min-replicas-to-write", "0");
        await allReady(stores);
        expect(out.size).toBeLessThanOrEqual(limit + stores.length * Math.floor(share * limit));
        await vi.waitUntil(async () => (await usedOf(stores[0], agent))[1] === left, { timeout: 5_000 });
        expect(await usedOf(stores[0], agent)).toEqual([out.size, left]);
      }),
      { numRuns: 10 },
    );
  });
});

test("the log says when Redis is set to throw counters away", async () => {
  const server = await startRedis({ args: ["--maxmemory-policy", "volatile-lru"] });
  onTestFinished(() => server.stop());
  const lines: string[] = [];
  const log = createLog({ level: "error", to: { write: (line) => lines.push(line) } });
  const store = await openRedisStore(server.url, { log });
  onTestFinished(() => store.close());
  await vi.waitUntil(() => lines.length > 0, { timeout: 5_000 });
  expect(lines.join()).toMatch(/volatile-lru.*noeviction/);
});
