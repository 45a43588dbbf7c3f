import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { createLog } from "../../proxy/log.ts";
import type { Account, CounterStore } from "../../proxy/meter/meter.ts";
import { type ClockedRedis, startClockedRedis } from "../harness/redis-clock.ts";
import { account, people, plainRows, range, released, rows, rowsOf } from "./claims.ts";
import { becomes, openRedisStore } from "./redis-bench.ts";

describe("when the clock of Redis jumps", () => {
  let redis: ClockedRedis;
  beforeAll(async () => {
    redis = await startClockedRedis();
  });
  afterAll(() => redis.stop());

  const jumps = [[[1]], [[40]], [[-1]], [[-400]], [[40, -40, 40]], [[-1, 1]]];

  test.each(jumps)("by %j days, nobody who was counted is forgotten", async (there) => {
    const store = await open();
    const agent = account(people("1h", 6), people("30d", 6), rows("1d", 100));
    expect(await released(store, agent, rowsOf(...range(0, 5)))).toBe(5);
    let inAll = 5;
    for (const days of [...there, 0]) {
      await jump(days, store);
      inAll += await released(store, agent, plainRows(1));
      expect(await used(store, agent)).toEqual([5, 5, inAll]);
      // Nor by a proxy that has seen nothing of what was before.
      const newcomer = await open();
      expect(await used(newcomer, agent)).toEqual([5, 5, inAll]);
    }
    expect(await released(store, agent, rowsOf("x", "y"))).toBe(1);
  });

  test.each([[[-40]]])("by %j days, time goes on as before", async (there) => {
    const store = await open();
    const agent = account(people("1s", 2), rows("1s", 20));
    for (const days of [...there, 0]) {
      await released(store, agent, rowsOf("before"));
      await jump(days, store);
      const grant = await store.charge(agent, rowsOf(...range(days * 10, 3)));
      expect(grant).toMatchObject({ kind: "part", used: 2 });
      const freesAt = grant.kind === "part" ? grant.freesAt : 0;
      expect(freesAt - Date.now()).toBeLessThan(1_200);
      await vi.waitUntil(() => Date.now() > freesAt, { timeout: 5_000, interval: 10 });
      expect(await released(store, agent, rowsOf("after"))).toBe(1);
      await vi.waitUntil(async () => (await used(store, agent))?.[0] === 0, { timeout: 5_000 });
    }
  });

  test("a proxy that was idle meanwhile frees nothing either", async () => {
    const [busy, idle] = [await open(), await open()];
    const agent = account(people("1h", 5));
    await released(idle, agent, rowsOf(...range(0, 3)));
    await released(busy, agent, rowsOf(...range(3, 2)));
    await jump(1, busy, idle);
    expect(await released(idle, agent, rowsOf("x"))).toBe(0);
    await jump(0, busy, idle);
    expect(await released(busy, agent, rowsOf("x"))).toBe(0);
  });

  test("the log says so once", async () => {
    const lines: string[] = [];
    const store = await open({ write: (line) => lines.push(line) });
    const agent = account(people("1h", 5));
    await released(store, agent, rowsOf("a"));
    await jump(2, store);
    for (const person of range(0, 3)) await released(store, agent, rowsOf(person));
    await jump(0, store);
    for (const person of range(0, 3)) await released(store, agent, rowsOf(person));
    const told = lines.filter((line) => line.includes("has jumped"));
    expect(told.map((line) => Math.round(JSON.parse(line).milliseconds / 86_400_000))).toEqual([2, -2]);
  });

  async function jump(days: number, ...stores: readonly CounterStore[]): Promise<void> {
    await redis.setClock({ days });
    for (const store of stores) await becomes(store, "ready");
  }

  async function open(to?: { write(line: string): void }): Promise<CounterStore> {
    const log = createLog(to === undefined ? { level: "silent" } : { level: "warn", to });
    const store = await openRedisStore(redis.url, { log });
    onTestFinished(() => store.close());
    return store;
  }
});

async function used(store: CounterStore, of: Account): Promise<readonly number[] | undefined> {
  return (await store.usage?.(of))?.map((use) => use.used);
}
