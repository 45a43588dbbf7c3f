import { Redis } from "ioredis";
import { expect, onTestFinished, test, vi } from "vitest";
import { type RedisOptions, type RedisServer, startRedis, startSentinel } from "../harness/redis.ts";
import { account, people, range, released, rowsOf } from "./claims.ts";
import { becomes, openRedisStore } from "./redis-bench.ts";

function connect(url: string, password?: string): Redis {
  const redis = new Redis(url, password === undefined ? {} : { password });
  redis.on("error", () => {});
  onTestFinished(() => redis.disconnect());
  return redis;
}

function server(args: readonly string[]): Promise<RedisServer> {
  return started({ args });
}

async function started(options: RedisOptions): Promise<RedisServer> {
  const redis = await startRedis(options);
  onTestFinished(() => redis.stop());
  return redis;
}

test("when the primary dies, the store finds the one that a Sentinel with a password has chosen, and what was counted", async () => {
  const secret = ["--requirepass", "servers", "--masterauth", "servers"];
  const primary = await server(secret);
  const replica = await server([...secret, "--replicaof", `127.0.0.1 ${primary.port}`]);
  const ask = connect(replica.url, "servers");
  await vi.waitUntil(async () => (await ask.info("replication")).includes("master_link_status:up"), {
    timeout: 20_000,
  });
  const sentinel = await startSentinel([
    `sentinel monitor main 127.0.0.1 ${primary.port} 1`,
    "sentinel auth-pass main servers",
    "sentinel down-after-milliseconds main 500",
    "sentinel failover-timeout main 5000",
    "requirepass sentinels",
  ]);
  onTestFinished(() => sentinel.stop());
  const watch = connect(sentinel.url, "sentinels");
  await vi.waitUntil(
    async () => JSON.stringify(await watch.call("SENTINEL", "replicas", "main")).includes(`${replica.port}`),
    {
      timeout: 20_000,
      interval: 200,
    },
  );
  const store = await openRedisStore(
    `redis+sentinel://:servers@127.0.0.1:${sentinel.port}/main?sentinel=:sentinels`,
  );
  onTestFinished(() => store.close());
  const agent = account(people("1d", 5));
  expect(await released(store, agent, rowsOf("a", "b", "c"))).toBe(3);
  await vi.waitUntil(async () => Number(await connect(primary.url, "servers").wait(1, 100)) === 1, {
    timeout: 5_000,
  });
  await primary.kill();
  await becomes(store, "away");
  expect(await store.charge(agent, rowsOf("d"))).toEqual({ kind: "unreachable" });
  await vi.waitUntil(() => store.ready, { timeout: 30_000 });
  expect(await released(store, agent, rowsOf("a", "b", "c", ...range(0, 5)))).toBe(5);
}, 60_000);

test("a Cluster's keys that move to another server are found there, and nobody reads uncounted meanwhile", async () => {
  const servers = await Promise.all(Array.from({ length: 3 }, () => started({ isClustered: true })));
  const nodes = servers.map(({ url }) => connect(url));
  const [first, second] = nodes;
  if (first === undefined || second === undefined) throw new Error("no servers");
  for (const [i, node] of nodes.entries()) {
    await node.cluster("ADDSLOTSRANGE", Math.ceil((16_384 * i) / 3), Math.ceil((16_384 * (i + 1)) / 3) - 1);
    await node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1);
  }
  for (const { port, busPort = 0 } of servers.slice(1)) {
    await first.call("CLUSTER", "MEET", "127.0.0.1", port, busPort);
  }
  for (const node of nodes) {
    await vi.waitUntil(async () => String(await node.cluster("INFO")).includes("cluster_state:ok"), {
      timeout: 20_000,
    });
  }
  const store = await openRedisStore(`redis+cluster://127.0.0.1:${servers[0]?.port}`);
  onTestFinished(() => store.close());
  const agent = account(people("1d", 5));
  expect(await released(store, agent, rowsOf("a", "b"))).toBe(2);

  const keysOf = async (node: Redis) => (await node.keys("*:people")) as string[];
  const held = await Promise.all(nodes.map(keysOf));
  const slots = await Promise.all(held.flat().map((key) => first.cluster("KEYSLOT", key)));
  const ids = await Promise.all(nodes.map(async (node) => String(await node.call("CLUSTER", "MYID"))));
  for (const slot of new Set(slots)) {
    const from = held.findIndex((keys) => keys.some((key) => slots[held.flat().indexOf(key)] === slot));
    const to = (from + 1) % nodes.length;
    const [source, target] = [nodes[from], nodes[to]];
    if (source === undefined || target === undefined) throw new Error("no such server");
    await target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[from] ?? "");
    await source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to] ?? "");
    const keys = (await source.call("CLUSTER", "GETKEYSINSLOT", slot, 100)) as string[];
    await source.call("MIGRATE", "127.0.0.1", servers[to]?.port ?? 0, "", 0, 5_000, "KEYS", ...keys);
    // Now the old server says ASK, and the new one TRYAGAIN as long as one of a script's keys does not exist there
    // (Redis Cluster specification, "Multiple keys operations"): uncounted nobody reads.
    const { kind } = await store.charge(agent, rowsOf("a", "b", "c"));
    expect(["all", "unreachable"]).toContain(kind);
    for (const node of [target, source]) await node.call("CLUSTER", "SETSLOT", slot, "NODE", ids[to] ?? "");
  }
  // And now MOVED.
  await becomes(store, "ready");
  expect(await released(store, agent, rowsOf("a", "b", "c", "d", "e", "f", "g"))).toBe(5);
}, 60_000);
