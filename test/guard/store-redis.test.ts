import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import fc from "fast-check";
import { Redis } from "ioredis";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { freePort } from "../../proxy/embedded/postgres.ts";
import { createLog } from "../../proxy/log.ts";
import { chargeScript } from "../../proxy/meter/charge-script.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { createRedisStore } from "../../proxy/meter/store-redis.ts";
import { findProgram } from "../harness/debian.ts";
import { redisUrl, startRedis } from "../harness/redis.ts";
import { turns } from "../harness/turns.ts";
import {
  account,
  colleagues,
  ofAddress,
  ofRole,
  people,
  plainRows,
  range,
  released,
  rows,
  rowsOf,
} from "./claims.ts";
import { becomes, KEY, openRedisStore, redisBench, SILENT } from "./redis-bench.ts";
import { storeContract } from "./store-contract.ts";

describe("counters in Redis", () => {
  let url: string;
  let bench: Awaited<ReturnType<typeof redisBench>>;
  beforeAll(async () => {
    url = await redisUrl();
    bench = await redisBench(url);
  });
  afterAll(async () => {
    await bench.store.close();
    bench.redis.disconnect();
  });

  beforeEach(() => bench.redis.flushdb());

  storeContract(() => bench);

  test("what is closed twice leaves no timer that holds the program", async () => {
    const store = await openRedisStore(url);
    await store.close();
    const timers = vi.spyOn(globalThis, "setTimeout");
    onTestFinished(() => timers.mockRestore());
    await store.close();
    expect(timers).not.toHaveBeenCalled();
  });

  test("ten proxies that read as one user at once release exactly the budget", async () => {
    const agent = account(people("1d", 500), rows("1d", 100_000));
    const proxies = await Promise.all(range(0, 10).map(() => openRedisStore(url)));
    onTestFinished(() => closeAll(proxies));
    const out = new Set<string>();
    const read = async (proxy: CounterStore, n: number) => {
      for (let turn = 0; turn < 20; turn++) {
        // Each proxy reads its own people and some that others read too.
        const batch = rowsOf(...range(n * 1000 + turn * 10, 7), ...range(turn * 3, 3));
        const count = await released(proxy, agent, batch);
        for (const person of batch.people.slice(0, count)) out.add(person);
      }
    };
    await Promise.all(proxies.map(read));
    expect(out.size).toBe(500);
  });

  test("rows released by proxies at once are exactly the budget, too", async () => {
    const agent = account(rows("1d", 1000));
    const proxies = await Promise.all(range(0, 10).map(() => openRedisStore(url)));
    onTestFinished(() => closeAll(proxies));
    const counts = await Promise.all(
      proxies.flatMap((proxy) => range(0, 12).map(() => released(proxy, agent, plainRows(13)))),
    );
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(1000);
  });

  test("colluding users on ten proxies release together exactly their role's budget", async () => {
    const windows = [people("1d", 120), ofRole(people("1d", 300)), ofAddress(rows("1d", 100_000))];
    const users = [...colleagues(windows), ...colleagues(windows).slice(0, 2)].map((user) => ({
      ...user,
      role: "agent",
    }));
    const proxies = await Promise.all(range(0, 10).map(() => openRedisStore(url)));
    onTestFinished(() => closeAll(proxies));
    const counts = await Promise.all(
      proxies.flatMap((proxy, n) =>
        users.flatMap((user, u) =>
          range(0, 8).map((_, turn) => {
            const from = (n * users.length + u) * 1000 + turn * 10;
            return released(proxy, user, rowsOf(...range(from, 10)));
          }),
        ),
      ),
    );
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(300);
  });

  test("as long as every scope has room, nothing is refused, however many proxies read at once", async () => {
    const [anna] = colleagues([people("1d", 400), ofRole(people("1d", 400)), ofAddress(rows("1d", 400))]);
    const proxies = await Promise.all(range(0, 8).map(() => openRedisStore(url)));
    onTestFinished(() => closeAll(proxies));
    const grants = await Promise.all(
      proxies.flatMap((proxy, n) =>
        range(0, 10).map((_, turn) => proxy.charge(anna, rowsOf(...range(n * 50 + turn * 5, 5)))),
      ),
    );
    expect(new Set(grants.map((grant) => grant.kind))).toEqual(new Set(["all"]));
    expect(await bench.store.charge(anna, rowsOf("one more"))).toMatchObject({
      kind: "part",
      rows: 0,
      used: 400,
    });
  });

  test("whatever proxies read at once and at whatever cost, the budget is never passed and room is never refused", async () => {
    const proxies = await Promise.all(range(0, 6).map(() => openRedisStore(url)));
    onTestFinished(() => closeAll(proxies));
    const reads = fc.array(
      fc.record({
        proxy: fc.nat(5),
        cost: fc.constantFrom(1, 1, 2, 5),
        people: fc.array(fc.nat(40), { minLength: 1, maxLength: 12 }),
      }),
      { minLength: 1, maxLength: 40 },
    );
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 120 }), reads, async (limit, all) => {
        const agent = account(people("1d", limit));
        const dearest = new Map<string, number>();
        const charge = async ({ proxy, cost, people: ids }: (typeof all)[number]) => {
          const batch = { ...rowsOf(...ids.map(String)), cost };
          const grant = (await proxies[proxy]?.charge(agent, batch)) ?? { kind: "unreachable" };
          if (grant.kind === "unreachable") throw new Error("no Redis");
          const rows = grant.kind === "all" ? batch.rows : grant.rows;
          for (const id of batch.people.slice(0, rows)) dearest.set(id, Math.max(cost, dearest.get(id) ?? 0));
          // What was refused would have had to go past the limit.
          if (grant.kind === "part") expect(grant.used + cost).toBeGreaterThan(limit);
        };
        await Promise.all(all.map(charge));
        const sum = [...dearest.values()].reduce((total, cost) => total + cost, 0);
        expect(sum).toBeLessThanOrEqual(limit);
        // All that was counted has been released: one more person fits exactly as long as there is room.
        expect(await released(bench.store, agent, rowsOf("one more"))).toBe(sum < limit ? 1 : 0);
      }),
      { numRuns: 40 },
    );
  });

  test("three thousand people of a user take less than half a megabyte", async () => {
    const agent = account(people("30d", 3_000));
    for (const turn of range(0, 6)) {
      await released(bench.store, agent, rowsOf(...range(Number(turn.slice(1)) * 500, 500)));
    }
    const [key] = await bench.redis.keys("*:people");
    expect(await bench.redis.memory("USAGE", key ?? "", "SAMPLES", "0")).toBeLessThan(512 * 1024);
  });

  test("rows are free again when their window has passed, as the refusal said", async () => {
    const agent = account(rows("1s", 5));
    expect(await released(bench.store, agent, plainRows(5))).toBe(5);
    const grant = await bench.store.charge(agent, plainRows(2));
    expect(grant).toMatchObject({ kind: "part", rows: 0, used: 5 });
    const freesAt = grant.kind === "part" ? grant.freesAt : 0;
    await vi.waitUntil(async () => (await bench.now()) >= freesAt, { timeout: 5_000 });
    expect(await released(bench.store, agent, plainRows(2))).toBe(2);
  });

  test("whoever reads Redis learns no name of a user or a person, and keys go by themselves", async () => {
    const agent = account(people("1h", 10), rows("1d", 100));
    await released(bench.store, agent, { ...rowsOf("alice@example.com"), unknownPerRow: 1 });
    const keys = await bench.redis.keys("*");
    expect(keys).toHaveLength(4);
    expect(new Set(keys.map((key) => /^sluice:\{[\w-]{16}\}:/.exec(key)?.[0])).size).toBe(1);
    const [peopleKey] = keys.filter((key) => key.endsWith(":people"));
    const members = await bench.redis.zrangeBuffer(peopleKey ?? "", "0", "-1");
    expect(members).toHaveLength(2);
    expect(Buffer.concat(members).toString("latin1")).not.toMatch(/alice|example|customers/);
    expect(keys.join()).not.toContain("agent");
    for (const key of keys.filter((each) => !each.endsWith(":clock"))) {
      expect(await bench.redis.pttl(key)).toBeGreaterThan(45 * 86_400_000 + 86_000_000);
      expect(await bench.redis.pttl(key)).toBeLessThan(45 * 86_400_000 + 86_400_000 + 1_500_000);
    }
  });

  test("old rows do not pile up", async () => {
    const agent = account(rows("1h", 1_000_000));
    await released(bench.store, agent, plainRows(1));
    const [key] = await bench.redis.keys("*:rows");
    const old = Object.fromEntries(range(0, 3000).map((_, i) => [`64:${1_000_000 + i}`, 1]));
    await bench.redis.hset(key ?? "", old);
    // The first slice of 16 seconds has begun already: as if it had not.
    const current = Math.floor((await bench.now()) / 16_384);
    await bench.redis.hdel(key ?? "", `16384:${current}`, `16384:${current + 1}`);
    await released(bench.store, agent, plainRows(1));
    expect(await bench.redis.hlen(key ?? "")).toBeLessThan(50);
  });

  test("a lost script cache costs nothing", async () => {
    const agent = account(people("1d", 2));
    await released(bench.store, agent, rowsOf("a"));
    await bench.redis.script("FLUSH");
    expect(await released(bench.store, agent, rowsOf("b", "c"))).toBe(1);
    expect(bench.store.ready).toBe(true);
  });
});

describe("when Redis is away", () => {
  const agent = account(people("1d", 100));

  test("a proxy that starts without it releases nothing, at once, and counts when it comes", async () => {
    const first = await startRedis({});
    await first.kill();
    const store = createRedisStore({ url: first.url, key: KEY, log: SILENT });
    onTestFinished(() => store.close());
    const since = turns();
    expect(await store.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
    expect(since.elapsed()).toBeLessThan(100);
    expect(store.ready).toBe(false);
    const second = await startRedis({ port: first.port });
    onTestFinished(() => second.stop());
    await becomes(store, "ready");
    expect(await released(store, agent, rowsOf("a"))).toBe(1);
  });

  test("one that loses it midway releases nothing, says so once, reconnects by itself, and tells of what is lost", async () => {
    const server = await startRedis({});
    const states: boolean[] = [];
    const lost: string[] = [];
    const databases: string[] = [];
    const store = await openRedisStore(server.url, {
      onLost: (database) => databases.push(database),
      onReady: (ready) => states.push(ready),
      log: createLog({ level: "error", to: { write: (line) => lost.push(line) } }),
    });
    onTestFinished(() => store.close());
    await released(store, agent, rowsOf("a"));
    const underWay = range(0, 50).map((person) => store.charge(agent, rowsOf(person)));
    await server.kill();
    for (const grant of await Promise.all(underWay)) expect(["all", "unreachable"]).toContain(grant.kind);
    await becomes(store, "away");
    expect(await store.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    await becomes(store, "ready");
    expect(await released(store, agent, rowsOf("a"))).toBe(1);
    expect(await released(store, agent, rowsOf("b"))).toBe(1);
    expect(states).toEqual([true, false, true]);
    expect(lost).toEqual([expect.stringContaining("budgets start again")]);
    expect(databases).toEqual([agent.database]);
  });

  test("one that does not answer is waited for no longer than the time limit, and then not at all", async () => {
    const server = await startRedis({});
    onTestFinished(() => server.stop());
    const store = await openRedisStore(server.url, { commandTimeout: 150 });
    onTestFinished(() => store.close());
    const other = new Redis(server.url);
    onTestFinished(() => other.disconnect());
    await other.client("PAUSE", 3_000, "ALL");
    const [since, limit] = [performance.now(), turns()];
    expect(await store.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
    expect(performance.now() - since).toBeGreaterThan(140);
    expect(limit.elapsed()).toBeLessThan(1_000);
    const next = turns();
    expect(await store.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
    expect(next.elapsed()).toBeLessThan(100);
    await becomes(store, "ready");
  });

  test.each([
    ["full", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"],
    ["read-only", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"],
  ])("one that is %s releases nothing until it takes writes again", async (_, harm, cure) => {
    const server = await startRedis({});
    onTestFinished(() => server.stop());
    const store = await openRedisStore(server.url);
    onTestFinished(() => store.close());
    const other = new Redis(server.url);
    onTestFinished(() => other.disconnect());
    await command(other, harm);
    expect(await store.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
    expect(store.ready).toBe(false);
    await command(other, cure);
    await becomes(store, "ready");
    expect(await released(store, agent, rowsOf("a"))).toBe(1);
  });

  test("a wrong password keeps it away, and the log shows neither password nor people", async () => {
    const server = await startRedis({ args: ["--requirepass", "the-right-password"] });
    onTestFinished(() => server.stop());
    const lines: string[] = [];
    const log = createLog({ level: "trace", to: { write: (line) => lines.push(line) } });
    const wrong = createRedisStore({
      url: server.url.replace("//", "//:the-wrong-password@"),
      key: KEY,
      log,
    });
    onTestFinished(() => wrong.close());
    await vi.waitUntil(() => lines.length > 0, { timeout: 5_000 });
    expect(lines.join()).toMatch(/WRONGPASS|cannot be reached/);
    expect(lines.join()).not.toContain("the-wrong-password");
    expect(await wrong.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
    const right = await openRedisStore(server.url.replace("//", "//:the-right-password@"));
    onTestFinished(() => right.close());
    expect(await released(right, agent, rowsOf("a"))).toBe(1);
  });

  test("over TLS it is counted on with a certificate that is trusted, and not with another", async () => {
    const { folder, ca } = await certificate();
    const port = await freePort();
    const tls = [
      "--tls-port",
      String(port),
      "--tls-auth-clients",
      "no",
      "--tls-ca-cert-file",
      `${folder}/cert`,
    ];
    const server = await startRedis({
      args: [...tls, "--tls-cert-file", `${folder}/cert`, "--tls-key-file", `${folder}/key`],
    });
    onTestFinished(() => server.stop());
    const url = `rediss://127.0.0.1:${port}`;
    const trusting = await openRedisStore(url, { ca });
    onTestFinished(() => trusting.close());
    expect(await released(trusting, agent, rowsOf("a"))).toBe(1);
    const lines: string[] = [];
    const log = createLog({ level: "trace", to: { write: (line) => lines.push(line) } });
    const wary = createRedisStore({ url, key: KEY, log });
    onTestFinished(() => wary.close());
    await vi.waitUntil(() => lines.length > 0);
    expect(lines[0]).toContain("self-signed certificate");
    expect(await wary.charge(agent, rowsOf("a"))).toEqual({ kind: "unreachable" });
  });

  test("windows of any length add up what stands in slices of several lengths, as the memory of one process does", async () => {
    let now = 0;
    const clock = `
      local now, skipped, began = tonumber(ARGV[1]), 0, 0
      local function expiry(keep) return redis.call('TIME')[1] * 1000 + keep end`;
    const inRedis = await openRedisStore(await redisUrl(), { now: () => now, script: chargeScript(clock) });
    onTestFinished(() => inRedis.close());
    const lengths = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 40 * 86_400 }));
    const steps = fc.array(
      fc.record({
        pause: fc.double({ min: 0, max: 1, noNaN: true }),
        amount: fc.integer({ min: 1, max: 9 }),
      }),
      {
        minLength: 1,
        maxLength: 12,
      },
    );
    const begins = fc.integer({ min: 1.7e12, max: 1.8e12 });
    await fc.assert(
      fc.asyncProperty(
        begins,
        fc.array(lengths, { minLength: 1, maxLength: 3 }),
        steps,
        async (begin, seconds, reads) => {
          const reader = account(...seconds.map((length) => rows(`${length}s`, 1_000_000)));
          const inMemory = createMemoryStore({ now: () => now });
          now = begin;
          for (const { pause, amount } of reads) {
            // From nothing to twice the longest window, mostly little.
            now += Math.floor(pause ** 4 * 2_000 * Math.max(...seconds));
            for (const store of [inRedis, inMemory])
              expect(await released(store, reader, plainRows(amount))).toBe(amount);
            expect(await inRedis.usage?.(reader)).toEqual(await inMemory.usage?.(reader));
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  test("a Redis Cluster counts as one Redis does", async () => {
    const server = await startRedis({ isClustered: true });
    onTestFinished(() => server.stop());
    const node = new Redis(server.url);
    onTestFinished(() => node.disconnect());
    await node.cluster("ADDSLOTSRANGE", "0", "16383");
    const store = await openRedisStore(server.url.replace("redis://", "redis+cluster://"));
    onTestFinished(() => store.close());
    const reader = account(people("1d", 2), rows("1d", 100));
    expect(await released(store, reader, rowsOf("a", "b", "c"))).toBe(2);
  });
});

/** A self-signed certificate for 127.0.0.1. */
async function certificate(): Promise<{ folder: string; ca: string }> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-tls-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const { path, environment } = await findProgram("openssl");
  const subject = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"];
  await promisify(execFile)(
    path,
    [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:prime256v1",
      "-nodes",
      "-days",
      "2",
    ].concat(...subject, ...["-keyout", `${folder}/key`, "-out", `${folder}/cert`]),
    { env: { ...process.env, ...environment } },
  );
  return { folder, ca: await readFile(`${folder}/cert`, "utf8") };
}

function command(redis: Redis, line: string): Promise<unknown> {
  const [name = "", ...words] = line.split(" ");
  return redis.call(name, ...words);
}

async function closeAll(stores: readonly CounterStore[]): Promise<void> {
  await Promise.all(stores.map((store) => store.close()));
}
