import fs, { constants } from "node:fs";
import { mkdir, readdir, readFile, readlink, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { segmentName } from "../../proxy/audit/segments.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { DAY, entriesOf, kindsOf, login, makeFolder, NOON, openLog, sessionsOf, TRUSTED } from "./support.ts";

let folder: string;

beforeEach(async () => {
  folder = join(await makeFolder(), "deep", "audit");
});

async function problems(): Promise<readonly (string | undefined)[]> {
  return (await verifyLog(folder, TRUSTED, [])).map(({ problem }) => problem);
}

/** The writer's name, out of the file that it has begun. */
async function writerOf(): Promise<string> {
  const name = (await readdir(folder)).find((one) => one.endsWith(".jsonl"));
  return /^audit-\d+-(.+)-\d+\.jsonl$/.exec(name ?? "")?.[1] ?? "";
}

describe("the audit log on disk", () => {
  test("holds every event once, in order, numbered without a gap", async () => {
    const { log } = await openLog(folder);
    for (let i = 0; i < 500; i++) log.write(login(`s${i}`));
    await new Promise(setImmediate);
    for (let i = 500; i < 1000; i++) log.write(login(`s${i}`));
    await log.flush();
    const entries = await entriesOf(folder);
    expect(await sessionsOf(folder)).toEqual(Array.from({ length: 1000 }, (_, i) => `s${i}`));
    expect(entries.map(({ metadata }) => metadata.sequence)).toEqual(entries.map((_, i) => i + 1));
    expect(await problems()).toEqual([undefined]);
  });

  test("gets events to disk without being asked", async () => {
    const { log } = await openLog(folder);
    log.write(login("a"));
    await vi.waitUntil(async () => (await sessionsOf(folder)).includes("a"));
  });

  test("loses nothing at close, signs what it closes, and says so of what comes after", async () => {
    const opened = await openLog(folder);
    for (let i = 0; i < 100; i++) opened.log.write(login(`s${i}`));
    await opened.log.close();
    expect(await sessionsOf(folder)).toHaveLength(100);
    expect((await kindsOf(folder)).at(-1)).toBe("segment closed");
    expect((await readdir(folder)).filter((name) => name.endsWith(".jsonl.gz"))).toHaveLength(1);
    expect(opened.lost).toBe(0);
    opened.log.write(login("late"));
    expect(opened.lost).toBe(1);
    expect(await opened.log.durable()).toBe(false);
  });

  test("begins a new segment each day, and the chain goes on", async () => {
    let time = NOON;
    const { log } = await openLog(folder, { now: () => time });
    log.write(login("a"));
    time += DAY;
    log.write(login("b"));
    await log.close();
    const names = (await readdir(folder)).filter((name) => name.startsWith("audit-2026"));
    expect(names.map((name) => name.slice(6, 14))).toEqual(["20260506", "20260507"]);
    expect(await sessionsOf(folder)).toEqual(["a", "b"]);
    expect(await problems()).toEqual([undefined]);
  });

  test("begins a new segment when one is large, compresses the old one, and the chain goes on", async () => {
    const { log } = await openLog(folder, { segmentBytes: 5_000 });
    for (let i = 0; i < 50; i++) log.write(login(`s${i}`));
    await log.close();
    const names = (await readdir(folder)).filter((name) => name.startsWith("audit-2026"));
    expect(names.length).toBeGreaterThan(3);
    expect(names.every((name) => name.endsWith(".jsonl.gz"))).toBe(true);
    expect(await sessionsOf(folder)).toHaveLength(50);
    expect(await problems()).toEqual([undefined]);
  });

  test("is for nobody else to read", async () => {
    const { log } = await openLog(folder, { segmentBytes: 3_000 });
    for (let i = 0; i < 10; i++) log.write(login(`s${i}`));
    await log.close();
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    for (const name of await readdir(folder))
      expect((await stat(join(folder, name))).mode & 0o077, name).toBe(0);
  });

  test("a process that comes after another goes on with its chain; one beside it has its own", async () => {
    const first = await openLog(folder);
    const beside = await openLog(folder);
    first.log.write(login("a"));
    beside.log.write(login("x"));
    await first.log.close();
    const after = await openLog(folder);
    after.log.write(login("b"));
    await Promise.all([after.log.close(), beside.log.close()]);
    const entries = await entriesOf(folder);
    const chain = (name: number) =>
      entries
        .filter(({ metadata }) => metadata.log_name.endsWith(`.${name}`))
        .flatMap(({ actor }) => actor?.session?.uid ?? []);
    expect([chain(1), chain(2)]).toEqual([["a", "b"], ["x"]]);
    expect(await problems()).toEqual([undefined, undefined]);
  });

  test("many that start at once never share a chain", async () => {
    const opened = await Promise.all(Array.from({ length: 12 }, () => openLog(folder)));
    for (const [i, { log }] of opened.entries()) log.write(login(`s${i}`));
    await Promise.all(opened.map(({ log }) => log.close()));
    expect((await problems()).filter((problem) => problem !== undefined)).toEqual([]);
    expect((await sessionsOf(folder)).toSorted()).toEqual(opened.map((_, i) => `s${i}`).toSorted());
  });

  test("a folder that cannot be written is told at the start", async () => {
    await mkdir(join(folder, ".."), { recursive: true });
    await writeFile(folder, "");
    await expect(openLog(folder)).rejects.toThrow();
  });
});

describe("a disk that takes nothing", () => {
  /** A log whose next segment cannot be made, for a folder stands in its place. */
  async function blocked(options: { onLoss?: "open" | "closed"; maxPending?: number } = {}) {
    let time = NOON;
    const opened = await openLog(folder, { now: () => time, ...options });
    time += DAY;
    const obstacle = join(folder, segmentName("20260507", await writerOf(), 2));
    await mkdir(obstacle);
    return { opened, unblock: () => rm(obstacle, { recursive: true }) };
  }

  test("events are kept, and written once it takes them", async () => {
    const { opened, unblock } = await blocked();
    const { log } = opened;
    log.write(login("a"));
    await expect(log.flush()).rejects.toThrow();
    expect(log.ready).toBe(false);
    log.write(login("b"));
    await unblock();
    await vi.waitUntil(() => log.ready, { timeout: 5_000 });
    await log.flush();
    expect(await sessionsOf(folder)).toEqual(["a", "b"]);
    expect(opened.lost).toBe(0);
    expect(await problems()).toEqual([undefined]);
  });

  test("nothing may be released, or all, as the policy says", async () => {
    const closed = await blocked({ onLoss: "closed" });
    closed.opened.log.write(login("a"));
    expect(await closed.opened.log.durable()).toBe(false);
    expect(await closed.opened.log.durable()).toBe(false);
    folder = `${folder}-2`;
    const open = await blocked({ onLoss: "open" });
    open.opened.log.write(login("a"));
    expect(await open.opened.log.durable()).toBe(true);
    expect(open.opened.log.ready).toBe(false);
  });

  test("what is given up is counted, and the log itself tells of it", async () => {
    const { opened, unblock } = await blocked({ maxPending: 1_000 });
    const { log } = opened;
    for (let i = 0; i < 50; i++) log.write(login(`s${i}`));
    expect(opened.lost).toBeGreaterThan(40);
    expect(await log.durable()).toBe(false);
    await unblock();
    await expect(log.flush()).resolves.toBeUndefined();
    await vi.waitUntil(() => log.ready, { timeout: 5_000 });
    log.write(login("later"));
    await log.flush();
    const entries = await entriesOf(folder);
    const told = entries.find(({ unmapped }) => unmapped.kind === "events lost");
    expect(told?.unmapped.events).toBe(opened.lost);
    expect(await sessionsOf(folder)).toHaveLength(51 - opened.lost);
    expect(await problems()).toEqual([undefined]);
  });

  test("what is left at the end is counted as lost", async () => {
    const { opened } = await blocked();
    for (let i = 0; i < 5; i++) opened.log.write(login(`s${i}`));
    await opened.log.close();
    expect(opened.lost).toBe(5);
  });
});

test("statements that wait together share a way to disk", async () => {
  const { log } = await openLog(folder);
  const sync = vi.spyOn(fs, "write");
  onTestFinished(() => sync.mockRestore());
  const waits: Promise<boolean>[] = [];
  for (let i = 0; i < 200; i++) {
    log.write(login(`s${i}`));
    waits.push(log.durable());
    if (i % 10 === 0) await new Promise(setImmediate);
  }
  expect((await Promise.all(waits)).every((released) => released)).toBe(true);
  expect(sync.mock.calls.length).toBeGreaterThan(0);
  expect(sync.mock.calls.length).toBeLessThan(50);
  expect(await sessionsOf(folder)).toHaveLength(200);
});

test("a write that did not get to disk is made good by writing it again, at its place", async () => {
  const { log } = await openLog(folder);
  const write = vi.spyOn(fs, "write").mockImplementationOnce(answering(new Error("EIO"), 0));
  onTestFinished(() => write.mockRestore());
  log.write(login("a"));
  expect(await log.durable()).toBe(false);
  await log.flush();
  // Descriptor, buffer, offset, length, position.
  const places = write.mock.calls.map((args: readonly unknown[]) => args[4]);
  expect(places.length).toBeGreaterThanOrEqual(2);
  expect(places[1]).toBe(places[0]);
  expect(await sessionsOf(folder)).toEqual(["a"]);
  expect(await problems()).toEqual([undefined]);
});

test("a disk that does not answer holds nobody up for longer than the patience", async () => {
  const { log } = await openLog(folder, { patience: 20 });
  let answer: () => void = () => {};
  const write = vi.spyOn(fs, "write").mockImplementationOnce((...args: readonly unknown[]) => {
    // Nothing of it has got there: the rest is written again.
    answer = () => answering(null, 0)(...args);
  });
  onTestFinished(() => write.mockRestore());
  log.write(login("a"));
  expect(await log.durable()).toBe(false);
  expect(log.ready).toBe(false);
  answer();
  await vi.waitUntil(() => log.ready);
  expect(await log.durable()).toBe(true);
});

test("a sink of anchors that hangs or fails holds up nothing, not even the end", async () => {
  const hanging = await openLog(folder, {
    anchor: () => new Promise(() => {}),
    anchorEvery: 5,
    patience: 2_000,
  });
  const failing = await openLog(`${folder}-2`, {
    anchor: () => Promise.reject(new Error("away")),
    anchorEvery: 5,
  });
  for (const { log } of [hanging, failing]) {
    log.write(login("a"));
    expect(await log.durable()).toBe(true);
    await log.close();
  }
  expect(await sessionsOf(folder)).toEqual(["a"]);
  expect(await sessionsOf(`${folder}-2`)).toEqual(["a"]);
});

test("a person's hash tells nothing about them and is the same for the same key", async () => {
  const { log } = await openLog(folder);
  const hash = log.hashSubject("public.customers", "4711");
  expect(hash).toMatch(/^[\w-]{22}$/);
  expect(log.hashSubject("public.customers", "4711")).toBe(hash);
  expect(log.hashSubject("public.employees", "4711")).not.toBe(hash);
  const other = await openLog(folder, { key: Buffer.alloc(32, 4) });
  expect(other.log.hashSubject("public.customers", "4711")).not.toBe(hash);
});

/** Calls the callback of an fs function, which comes last. */
function answering(error: Error | null, written: number): (...args: readonly unknown[]) => void {
  return (...args) => (args.at(-1) as (error: Error | null, written: number) => void)(error, written);
}

test.runIf(process.platform === "linux")(
  "on Linux the file is opened so that a write is durable when it returns",
  async () => {
    const { log } = await openLog(folder);
    log.write(login("a"));
    await log.flush();
    const flags = await openFlagsOf(folder);
    expect(flags.length).toBeGreaterThan(0);
    for (const flag of flags) expect(flag & constants.O_DSYNC).toBe(constants.O_DSYNC);
  },
);

/** Flags of this process' open segments, from /proc/self/fdinfo (proc(5)): octal, as in open(2). */
async function openFlagsOf(of: string): Promise<readonly number[]> {
  const flags: number[] = [];
  for (const fd of await readdir("/proc/self/fd")) {
    const target = await readlink(`/proc/self/fd/${fd}`).catch(() => "");
    if (!target.startsWith(of) || !target.endsWith(".jsonl")) continue;
    const info = await readFile(`/proc/self/fdinfo/${fd}`, "utf8");
    flags.push(Number.parseInt(/^flags:\s+(\d+)$/m.exec(info)?.[1] ?? "0", 8));
  }
  return flags;
}
