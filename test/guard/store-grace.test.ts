import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { Account, CounterStore } from "../../proxy/meter/meter.ts";
import { withGrace } from "../../proxy/meter/store-grace.ts";
import { withTightening } from "../../proxy/meter/store-layers.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { startRedis } from "../harness/redis.ts";
import {
  account,
  bytes,
  colleagues,
  lookups,
  ofRole,
  people,
  plainRows,
  range,
  released,
  revealing,
  reveals,
  rows,
  rowsOf,
} from "./claims.ts";
import { becomes, openRedisStore, SILENT } from "./redis-bench.ts";

async function graceful(url: string): Promise<CounterStore> {
  const store = withGrace(await openRedisStore(url), { log: SILENT });
  onTestFinished(() => store.close());
  return store;
}

function lenient(...windows: Account["windows"]): Account {
  return { ...account(...windows), graceShare: 0.1 };
}

async function used(store: CounterStore, of: Account): Promise<readonly number[] | undefined> {
  return (await store.usage?.(of))?.map((use) => use.used);
}

describe("while Redis is away", () => {
  test("a role without grace reads nothing, one with grace its share and not a person more", async () => {
    const server = await startRedis({});
    const store = await graceful(server.url);
    const [strict, agent] = [account(people("1d", 100)), lenient(people("1d", 100))];
    await server.kill();
    await becomes(store, "away");
    expect(await store.charge(strict, rowsOf("a"))).toEqual({ kind: "unreachable" });
    expect(await released(store, agent, rowsOf(...range(0, 30)))).toBe(10);
    expect(await released(store, agent, rowsOf("other"))).toBe(0);
    expect(await released(store, agent, rowsOf(...range(0, 10)))).toBe(10);
  });

  test("reveals are lent by the share as well, and counted in when Redis is back", async () => {
    const server = await startRedis({});
    const store = await graceful(server.url);
    const agent = lenient(reveals("1d", "phone", 30), people("1d", 1_000));
    await server.kill();
    await becomes(store, "away");
    expect(await released(store, agent, revealing(["phone"], "a", "b", "a"))).toBe(3);
    expect(await released(store, agent, revealing(["phone"], "?", "c"))).toBe(1);
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    await becomes(store, "ready");
    expect(await released(store, agent, revealing(["phone"], "a"))).toBe(1);
    expect(await used(store, agent)).toEqual([3, 0]);
  });

  test("what was lent is counted in when it is back, before anybody reads on", async () => {
    const server = await startRedis({});
    const store = await graceful(server.url);
    const agent = lenient(people("1d", 100), rows("1d", 1_000), bytes("1d", 100_000), lookups("1d", 50));
    await server.kill();
    await becomes(store, "away");
    const sized = { ...rowsOf("a", "b", "a"), bytes: [100, 200, 300] };
    expect(await released(store, agent, sized)).toBe(3);
    expect(await released(store, agent, { ...plainRows(2, 1), bytes: [10, 10] })).toBe(2);
    expect(await released(store, agent, { ...plainRows(2), counts: "lookups" })).toBe(2);
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    await becomes(store, "ready");
    expect(await released(store, agent, { ...rowsOf("c"), bytes: [1] })).toBe(1);
    expect(await used(store, agent)).toEqual([5, 6, 621, 2]);
  });

  test("it is counted in even if nobody reads again", async () => {
    const server = await startRedis({});
    const [store, other] = [await graceful(server.url), await graceful(server.url)];
    const agent = lenient(people("1d", 100));
    await server.kill();
    await becomes(store, "away");
    await released(store, agent, rowsOf("a", "b", "c"));
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    await vi.waitUntil(async () => (await used(other, agent))?.[0] === 3, { timeout: 10_000 });
  });

  test("three instances and three outages release no more than the budget and three shares", async () => {
    const [limit, share, instances] = [200, 0.1, 3];
    const [anna, ben] = colleagues([people("1d", limit), ofRole(people("1d", limit))]).map((user) => ({
      ...user,
      graceShare: share,
    }));
    if (anna === undefined || ben === undefined) throw new Error("nobody reads");
    const server = await startRedis({});
    onTestFinished(() => server.stop());
    const redis = new Redis(server.url);
    onTestFinished(() => redis.disconnect());
    const stores = await Promise.all(range(0, instances).map(() => graceful(server.url)));
    let out = 0;
    let next = 0;
    const readAll = async () => {
      for (const store of stores) {
        for (const user of [anna, ben]) {
          for (let turn = 0; turn < 4; turn++) {
            next += 5;
            const grant = await store.charge(user, rowsOf(...range(next, 5)));
            out += grant.kind === "all" ? 5 : grant.kind === "part" ? grant.rows : 0;
          }
        }
      }
    };
    for (let outage = 0; outage < 3; outage++) {
      await readAll();
      // A primary without its replicas takes no writes, and keeps its data.
      await redis.config("SET", "min-replicas-to-write", "1");
      await Promise.all(stores.map((store) => store.charge(anna, rowsOf(""))));
      await readAll();
      await redis.config("SET", "min-replicas-to-write", "0");
      await Promise.all(stores.map((store) => becomes(store, "ready")));
    }
    await readAll();
    expect(out).toBeGreaterThanOrEqual(limit);
    expect(out).toBeLessThanOrEqual(limit + instances * share * limit);
  });
});

test("a tightened user keeps half of their own budgets, and colleagues all of theirs", async () => {
  const store = withTightening(createMemoryStore(), (user) => user.endsWith("tight"));
  const [anna, ben] = colleagues([people("1d", 40), ofRole(people("1d", 100))]);
  const tight = { ...anna, user: `${anna.user} tight` };
  expect(await released(store, tight, rowsOf(...range(0, 40)))).toBe(20);
  expect(await released(store, ben, rowsOf(...range(100, 40)))).toBe(40);
});
