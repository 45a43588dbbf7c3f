import { randomUUID } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Finding } from "../../proxy/behaviour/alert.ts";
import { Behaviour } from "../../proxy/behaviour/behaviour-watch.ts";
import { enter, type Profile, type Reading } from "../../proxy/behaviour/profile.ts";
import { openFileProfiles } from "../../proxy/behaviour/profile-file.ts";
import { RedisProfiles } from "../../proxy/behaviour/profile-redis.ts";
import { SharedProfiles } from "../../proxy/behaviour/shared-profiles.ts";
import { createLog } from "../../proxy/log.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { redisUrl, startRedis } from "../harness/redis.ts";
import { turns } from "../harness/turns.ts";

const SILENT = createLog({ level: "silent" });
const KEY = Buffer.alloc(32, 7);
const NOON = Date.UTC(2026, 0, 5, 12);
const TODAY = NOON / 86_400_000 - 0.5;

async function proxyOn(url: string, { commandTimeout = 5_000 } = {}) {
  const backend = new RedisProfiles({ url, key: KEY, commandTimeout, onProblem: () => {} });
  await vi.waitUntil(() => backend.reachable, { timeout: 10_000, interval: 5 });
  const profiles = new SharedProfiles({ backend, writer: randomUUID(), log: SILENT, every: 0 });
  onTestFinished(() => profiles.close());
  return { profiles, backend };
}

function reading(...subjects: readonly string[]): Reading {
  return {
    time: NOON,
    client: "10.2.1.9",
    subjects,
    people: subjects.length,
    lookups: 1,
    decision: "mask",
  };
}

function read(proxy: { readonly profiles: SharedProfiles }, ...subjects: readonly string[]): Promise<number> {
  return proxy.profiles.update("support", "anna", "agent", (profile) =>
    enter(profile, reading(...subjects), false),
  );
}

function known<T>(proxy: { readonly profiles: SharedProfiles }, look: (profile: Profile) => T): Promise<T> {
  return proxy.profiles.update("support", "anna", "agent", look);
}

const newPeople = ({ days }: Profile) => days.at(-1)?.newPeople ?? 0;

describe("what rules know of a user", () => {
  test("is the sum of what the user read through any proxy, and a person read through two counts once", async () => {
    const url = await redisUrl();
    const [one, two] = [await proxyOn(url), await proxyOn(url)];
    expect(await read(one, "a", "b")).toBe(2);
    await one.profiles.exchange();
    expect(await read(two, "b", "c")).toBe(1);
    await two.profiles.exchange();
    expect(await known(one, newPeople)).toBe(3);
  });

  test("loses nothing when ten proxies write at once", async () => {
    const url = await redisUrl();
    const proxies = await Promise.all(Array.from({ length: 10 }, () => proxyOn(url)));
    await Promise.all(
      proxies.map(async (proxy, n) => {
        for (let turn = 0; turn < 10; turn++) {
          await read(proxy, `${n} ${turn}`, `everybody's ${turn}`);
          await proxy.profiles.exchange();
        }
      }),
    );
    for (const { profiles } of proxies) await profiles.exchange();
    const late = await proxyOn(url);
    expect(await known(late, newPeople)).toBe(110);
    expect(await known(late, ({ days }) => days.at(-1)?.lookups)).toBe(100);
  });

  test("outlives the proxies", async () => {
    const url = await redisUrl();
    const first = await proxyOn(url);
    await read(first, "a", "b");
    await first.profiles.close();
    const second = await proxyOn(url);
    expect(await read(second, "a", "new")).toBe(1);
  });

  test("goes on where Redis is away, waits for nothing, and is added up when it is back", async () => {
    const server = await startRedis({});
    const [one, two] = [await proxyOn(server.url), await proxyOn(server.url)];
    await read(one, "a");
    await one.profiles.exchange();
    await read(two, "b");
    await two.profiles.exchange();
    await server.kill();
    await vi.waitUntil(() => !one.backend.reachable && !two.backend.reachable);
    const since = turns();
    expect(await read(one, "c")).toBe(1);
    expect(await read(two, "c", "d")).toBe(2);
    expect(since.elapsed()).toBeLessThan(200);
    await one.profiles.exchange();
    const again = await startRedis({ port: server.port });
    onTestFinished(() => again.stop());
    await vi.waitUntil(() => one.backend.reachable && two.backend.reachable, { timeout: 10_000 });
    // This Redis has lost all it had: what the proxies know is put there again.
    await one.profiles.exchange();
    await two.profiles.exchange();
    const everybody = ["a", "b", "c", "d"];
    for (const proxy of [two, one]) {
      expect(await known(proxy, ({ people }) => [...people.keys()].toSorted())).toEqual(everybody);
    }
  });

  test("does not count twice what was written without an answer", async () => {
    const url = await redisUrl();
    const proxy = await proxyOn(url, { commandTimeout: 100 });
    const other = new Redis(url);
    onTestFinished(() => other.disconnect());
    await read(proxy, "a");
    await other.client("PAUSE", 400, "ALL");
    await proxy.profiles.exchange();
    await read(proxy, "b");
    // The answer came too late, and yet it was written.
    await vi.waitUntil(async () => (await other.keys("*:profile:*")).length === 1, { timeout: 5_000 });
    await vi.waitUntil(() => proxy.backend.reachable, { timeout: 10_000 });
    await proxy.profiles.exchange();
    const late = await proxyOn(url);
    expect(await known(late, newPeople)).toBe(2);
    expect(await known(late, ({ days }) => days.at(-1)?.lookups)).toBe(2);
  });

  test("shows whoever reads Redis no name, goes by itself, and is believed from nobody without the key", async () => {
    const url = await redisUrl();
    const proxy = await proxyOn(url);
    await read(proxy, "person");
    await proxy.profiles.exchange();
    const redis = new Redis(url);
    onTestFinished(() => redis.disconnect());
    const keys = await redis.keys("*");
    expect(keys).toHaveLength(2);
    for (const key of keys) {
      const fields = Object.entries(await redis.hgetallBuffer(key)).map(
        ([field, value]) => `${field} ${value.toString("latin1")}`,
      );
      expect([key, ...fields].join()).not.toMatch(/anna|agent|person|support|10\.2/);
      expect(await redis.pttl(key)).toBeGreaterThan(30 * 86_400_000);
    }
    const [key = ""] = await redis.keys("*:profile:*");
    await redis.hset(key, "version", 99, "profile", Buffer.from("made up"));
    expect(await known(await proxyOn(url), newPeople)).toBe(0);
  });

  test("makes peers of all who read through any proxy", async () => {
    const url = await redisUrl();
    const [one, two] = [await proxyOn(url), await proxyOn(url)];
    for (const [n, { profiles }] of [one, two].entries()) {
      for (let day = 0; day < 9; day++) {
        const event = { ...reading(`${n} ${day}`), time: NOON + day * 86_400_000 };
        await profiles.update("support", `user${n}`, "agent", (profile) => enter(profile, event, false));
      }
      await profiles.exchange();
    }
    const peers = await one.profiles.peers("support", "agent", TODAY + 9);
    expect(peers.users).toBe(2);
    expect(peers.busiest.newPeople).toEqual([1, 1]);
  });
});

test("what ten proxies see at once is told by one of them", async () => {
  const compiled = compilePolicies([
    { name: "p.yaml", text: 'version: 1\nroles:\n  agent: { users: ["*"], budget: { 1d: 300 } }\n' },
  ]);
  if (!compiled.ok) throw new Error("the policy is not good");
  const { roles } = compiled.policies.forDatabase("support");
  const url = await redisUrl();
  const alerts: Finding[] = [];
  const proxies = await Promise.all(Array.from({ length: 10 }, () => proxyOn(url)));
  const watches = proxies.map(
    ({ profiles }) =>
      new Behaviour({
        profiles,
        role: (_, name) => roles.get(name),
        measures: { tightened: () => undefined, suspend: expect.fail, tighten: expect.fail },
        onFinding: (alert) => alerts.push(alert),
        log: SILENT,
        newId: randomUUID,
      }),
  );
  const probing: StatementEvent = {
    ...reading(),
    ...{ kind: "statement", session: "s", user: "anna", role: "agent", database: "support", application: "" },
    ...{ command: "SELECT", statement: "", relations: [], masked: [], policy: "", rows: 0, bytes: 0 },
    ...{ duration: 0, decision: "refuse", sqlstate: "42501" },
  };
  for (let i = 0; i < 12; i++) for (const watch of watches) watch.observe(probing);
  await Promise.all(watches.map((watch) => watch.settled()));
  expect(alerts.map(({ rule, user }) => `${user} ${rule}`)).toEqual(["anna refusals"]);
});

describe("without Redis what rules know of a user", () => {
  async function folder() {
    const path = await mkdtemp(join(tmpdir(), "sluice-profiles-"));
    onTestFinished(() => rm(path, { recursive: true, force: true }));
    return join(path, "profiles.jsonl");
  }
  const open = async (path: string, onProblem: (problem: string) => void = expect.fail) => {
    const backend = await openFileProfiles({ path, onProblem });
    return { profiles: new SharedProfiles({ backend, writer: randomUUID(), log: SILENT, every: 0 }) };
  };

  test("outlives the proxy in a file that only its owner can read", async () => {
    const path = await folder();
    const first = await open(path);
    await read(first, "a", "b");
    await first.profiles.close();
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const second = await open(path);
    expect(await read(second, "a", "new")).toBe(1);
    await second.profiles.close();
  });

  test("survives a damaged line, which is told of", async () => {
    const path = await folder();
    const first = await open(path);
    await read(first, "a");
    await first.profiles.close();
    await writeFile(path, `{"half": \n${await readFile(path, "utf8")}`);
    const problems: string[] = [];
    const second = await open(path, (problem) => problems.push(problem));
    expect(problems).toEqual(["a line is no profile"]);
    expect(await read(second, "a", "new")).toBe(1);
    await second.profiles.close();
  });
});
