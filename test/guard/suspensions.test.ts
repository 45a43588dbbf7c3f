import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import {
  openSuspensions,
  type Suspensions,
  type SuspensionsOptions,
} from "../../proxy/orders/suspensions.ts";
import { redisUrl, startRedis } from "../harness/redis.ts";
import { turns } from "../harness/turns.ts";
import { KEY, SILENT } from "./redis-bench.ts";

let folder: string;
let file: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sluice-suspensions-"));
  file = join(folder, "suspensions.jsonl");
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
});

async function instance(options: Partial<SuspensionsOptions> = {}): Promise<Suspensions> {
  const suspensions = await openSuspensions({ log: SILENT, ...options });
  onTestFinished(() => suspensions.close());
  return suspensions;
}

function redisAt(url: string) {
  return { redis: { url, key: KEY, commandTimeout: 500 } };
}

/** Resolves when this instance cuts the user off. */
function told(suspensions: Suspensions, user: string): Promise<string> {
  return new Promise((resolve) => {
    suspensions.onSuspended((suspension) => {
      if (suspension.user === user) resolve(suspension.why);
    });
  });
}

async function withinASecond<T>(promise: Promise<T>): Promise<T> {
  const since = turns();
  const value = await promise;
  expect(since.elapsed()).toBeLessThan(1_000);
  return value;
}

describe("a suspension without Redis", () => {
  test("holds for a name in whatever form it is given, and is lifted in another", async () => {
    const suspensions = await instance({ file });
    await suspensions.suspend(" zoe\u0308\u00a0ng", "sold data", "eve");
    expect(suspensions.isSuspended("zo\u00eb ng")).toMatchObject({ user: "zo\u00eb ng", why: "sold data" });
    expect(suspensions.isSuspended("zoe\u0308 ng")).toMatchObject({ why: "sold data" });
    await suspensions.resume("zoe\u0308  ng", "", "eve");
    expect(suspensions.isSuspended("zo\u00eb ng")).toBeUndefined();
  });

  test("holds at once, and again after a restart, with its reason", async () => {
    const first = await instance({ file });
    expect(await first.suspend("anna", "sold data", "eve")).toEqual({ file: true, redis: false });
    expect(first.isSuspended("anna")).toMatchObject({ why: "sold data", by: "eve" });
    await first.close();
    const second = await instance({ file });
    expect(second.isSuspended("anna")).toMatchObject({ why: "sold data", by: "eve" });
    expect(second.isSuspended("ben")).toBeUndefined();
    expect((await stat(file)).mode & 0o077).toBe(0);
  });

  test("reaches a running proxy by the file within a second, and so does its end", async () => {
    const proxy = await instance({ file });
    const command = await instance({ file });
    const cut = told(proxy, "anna");
    await command.suspend("anna", "stolen laptop", "eve");
    expect(await withinASecond(cut)).toBe("stolen laptop");
    await command.resume("anna", "", "eve");
    await vi.waitUntil(() => proxy.isSuspended("anna") === undefined, { timeout: 1_000 });
    const again = told(proxy, "anna");
    await command.suspend("anna", "again", "eve");
    expect(await withinASecond(again)).toBe("again");
  });

  test("survives a file with a torn last line and with garbage", async () => {
    const first = await instance({ file });
    await first.suspend("anna", "why", "eve");
    await first.close();
    const [line = ""] = (await readFile(file, "utf8")).split("\n").filter((text) => text !== "");
    await appendFile(file, `garbage\n{"user":"x"}\n${line.replace("anna", "ben").slice(0, 30)}`);
    const second = await instance({ file });
    expect(second.isSuspended("anna")).toBeDefined();
    await second.suspend("cleo", "why", "eve");
    await second.close();
    const third = await instance({ file });
    expect(third.list().map(({ user }) => user)).toEqual(["anna", "cleo"]);
  });

  test("given twice at once from two processes is lifted by one resume", async () => {
    const [one, two] = [await instance({ file }), await instance({ file })];
    await Promise.all([one.suspend("anna", "a", "eve"), two.suspend("anna", "b", "adam")]);
    await one.resume("anna", "", "eve");
    await two.poll();
    expect(two.isSuspended("anna")).toBeUndefined();
  });

  test("holds in the process even where the file cannot be written", async () => {
    await writeFile(join(folder, "no folder"), "");
    const proxy = await instance({ file: join(folder, "no folder", "file") });
    expect(await proxy.suspend("anna", "why", "eve")).toEqual({ file: false, redis: false });
    expect(proxy.isSuspended("anna")).toBeDefined();
  });
});

describe("a suspension over Redis", () => {
  test("reaches every instance within a second, and one that starts later at its start", async () => {
    const url = await redisUrl();
    const proxies = await Promise.all([1, 2, 3].map(() => instance(redisAt(url))));
    const cut = proxies.map((proxy) => told(proxy, "anna"));
    const command = await instance(redisAt(url));
    expect(await command.suspend("anna", "sold data", "eve")).toEqual({ file: false, redis: true });
    expect(await withinASecond(Promise.all(cut))).toEqual(["sold data", "sold data", "sold data"]);
    expect((await instance(redisAt(url))).isSuspended("anna")).toMatchObject({ by: "eve" });
  });

  test("is not lost with its message", async () => {
    const url = await redisUrl();
    const proxy = await instance(redisAt(url));
    const redis = new Redis(url);
    onTestFinished(() => redis.disconnect());
    // Whoever listens is cut off the moment before: the poll has to find it.
    await redis.call("CLIENT", "KILL", "TYPE", "pubsub");
    const cut = told(proxy, "anna");
    const command = await instance(redisAt(url));
    await command.suspend("anna", "sold data", "eve");
    expect(await withinASecond(cut)).toBe("sold data");
  });

  test("outlives a Redis that loses all it had", async () => {
    const server = await startRedis({});
    const proxy = await instance(redisAt(server.url));
    await proxy.suspend("anna", "sold data", "eve");
    await proxy.suspend("ben", "mistake", "eve");
    await proxy.resume("ben", "", "eve");
    await server.kill();
    const empty = await startRedis({ port: server.port });
    onTestFinished(() => empty.stop());
    await vi.waitUntil(
      async () => {
        const other = await openSuspensions({ log: SILENT, ...redisAt(empty.url) });
        const suspended = other.list().map(({ user }) => user);
        await other.close();
        return suspended.join() === "anna";
      },
      { timeout: 10_000, interval: 200 },
    );
  });

  test("given while Redis is away holds here, in the file, and everywhere once it is back", async () => {
    const server = await startRedis({});
    const [here, there] = [
      await instance({ file, ...redisAt(server.url) }),
      await instance(redisAt(server.url)),
    ];
    await server.kill();
    await vi.waitUntil(async () => {
      const reached = await here.suspend("anna", "sold data", "eve");
      return reached.file && !reached.redis;
    });
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    await vi.waitUntil(() => there.isSuspended("anna") !== undefined, { timeout: 10_000 });
  });

  test("shows whoever reads Redis neither the user nor the reason, and takes no word from who writes there", async () => {
    const url = await redisUrl();
    const redis = new Redis(url);
    onTestFinished(() => redis.disconnect());
    const proxy = await instance(redisAt(url));
    await proxy.suspend("anna", "sold data", "eve");
    const held = await redis.hgetallBuffer("sluice:measures");
    const text = Object.entries(held)
      .map(([name, value]) => name + value.toString("latin1"))
      .join();
    expect(text).not.toMatch(/anna|sold|eve/);
    await redis.hset("sluice:measures", "forged", '99:{"user":"ben","kind":"suspended"}');
    await redis.publish("sluice:measures", "suspend ben");
    await proxy.poll();
    expect(proxy.isSuspended("ben")).toBeUndefined();
    expect(proxy.isSuspended("anna")).toBeDefined();
  });
});

test("a tightening ends by itself", async () => {
  let now = 1_000;
  const proxy = await instance({ now: () => now });
  await proxy.tighten("anna", "reads too much", "rule new_people", 5_000);
  expect(proxy.tightened("anna")).toMatchObject({ why: "reads too much" });
  expect(proxy.isSuspended("anna")).toBeUndefined();
  now = 5_000;
  expect(proxy.tightened("anna")).toBeUndefined();
});
