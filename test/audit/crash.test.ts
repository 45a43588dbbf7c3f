import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { listSegments, readSegment } from "../../proxy/audit/segments.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { entriesOf, kindsOf, login, makeFolder, openLog, sessionsOf, TRUSTED } from "./support.ts";

const ROOT = join(import.meta.dirname, "../..");
/** Inside the project, so that the compiled program finds its dependencies. */
let build: string;
let program: string;

beforeAll(async () => {
  const cache = join(ROOT, "node_modules/.cache");
  await mkdir(cache, { recursive: true });
  build = await mkdtemp(join(cache, "sluice-crash-"));
  await copyFile(join(ROOT, "package.json"), join(build, "package.json"));
  const config = {
    extends: join(ROOT, "tsconfig.json"),
    compilerOptions: { noEmit: false, rootDir: ROOT, outDir: build, types: ["node"] },
    include: [join(import.meta.dirname, "crash-writer.ts")],
  };
  await writeFile(join(build, "tsconfig.json"), JSON.stringify(config));
  execFileSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", build], {
    stdio: "pipe",
  });
  program = join(build, "test/audit/crash-writer.js");
});

afterAll(() => rm(build, { recursive: true, force: true }));

/** Runs the writer and kills it at once when it has acknowledged so many events; gives what it acknowledged. */
async function runAndKill(folder: string, first: number, after: number): Promise<readonly number[]> {
  const child = spawn(process.execPath, [program, folder, String(first)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  const acknowledged: number[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    acknowledged.push(Number(line));
    if (acknowledged.length === after) child.kill("SIGKILL");
  }
  // Killed, and not ended by a fault of its own.
  expect(await ended).toEqual([null, "SIGKILL"]);
  return acknowledged;
}

test("a process that is killed again and again loses no event that it acknowledged", {
  timeout: 120_000,
}, async () => {
  const folder = await makeFolder();
  const random = seeded(7);
  const acknowledged: number[] = [];
  for (let round = 0; round < 25; round++) {
    acknowledged.push(...(await runAndKill(folder, round * 100_000, 1 + Math.floor(random() * 300))));
  }
  const { log } = await openLog(folder);
  await log.close();
  const written = await sessionsOf(folder);
  expect(new Set(written).size).toBe(written.length);
  const missing = acknowledged.filter((number) => !new Set(written).has(`n${number}`));
  expect(acknowledged.length).toBeGreaterThan(1000);
  expect(missing).toEqual([]);
  const reports = await verifyLog(folder, TRUSTED, []);
  // One chain: whoever came next went on with it.
  expect(reports).toMatchObject([{ problem: undefined, open: false }]);
});

describe("a torn tail", () => {
  /** A log as a killed process leaves it: not closed. The original is closed at the end of the test. */
  async function abandoned(): Promise<{
    readonly folder: string;
    readonly path: string;
    readonly size: number;
    /** The file with the keys that sign the chain, and what stands in it. */
    readonly keys: { readonly path: string; readonly content: Buffer };
  }> {
    const [original, folder] = [await makeFolder(), await makeFolder()];
    const { log } = await openLog(original);
    for (let i = 0; i < 5; i++) log.write(login(`s${i}`));
    await log.flush();
    const [name = ""] = (await readdir(original)).filter((one) => one.endsWith(".jsonl"));
    const path = join(folder, name);
    await copyFile(join(original, name), path);
    const [keysName = ""] = (await readdir(original)).filter((one) => one.endsWith(".keys"));
    const keys = { path: join(folder, keysName), content: await readFile(join(original, keysName)) };
    await writeFile(keys.path, keys.content);
    return { folder, path, size: (await stat(path)).size, keys };
  }

  test("is cut off wherever it is torn, said, and the chain goes on", async () => {
    const { folder, path, size, keys } = await abandoned();
    const content = await readFile(path);
    const lastLine = size - content.lastIndexOf(10, size - 2) - 1;
    const claim = fc.asyncProperty(fc.integer({ min: 1, max: lastLine - 1 }), async (cut) => {
      for (const name of await readdir(folder)) await rm(join(folder, name));
      await writeFile(path, content);
      await writeFile(keys.path, keys.content);
      await truncate(path, size - cut);
      const { log } = await openLog(folder);
      log.write(login("after"));
      await log.close();
      expect(await sessionsOf(folder)).toEqual(["s0", "s1", "s2", "s3", "after"]);
      const entries = await entriesOf(folder);
      const repaired = entries.find(({ unmapped }) => unmapped.kind === "log repaired");
      expect(repaired?.unmapped.bytes).toBe(lastLine - cut);
      expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined }]);
    });
    await fc.assert(claim, { numRuns: 15 });
  });

  test("of zeroes, as a power cut leaves it, is cut off", async () => {
    const { folder, path } = await abandoned();
    await writeFile(
      path,
      Buffer.concat([await readFile(path), Buffer.alloc(4096), Buffer.from('{"x":1}\n')]),
    );
    const { log } = await openLog(folder);
    await log.close();
    expect(await kindsOf(folder)).toContain("log repaired");
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined }]);
  });

  test("in a first write leaves no file behind and no gap", async () => {
    const { folder, path } = await abandoned();
    await writeFile(path, '{"time":17780');
    const { log } = await openLog(folder);
    log.write(login("a"));
    await log.close();
    expect((await listSegments(folder)).map(({ number }) => number)).toEqual([1]);
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined }]);
  });

  test("in the first write to a second segment leaves the first as it is", async () => {
    const folder = await makeFolder();
    const { log } = await openLog(folder);
    log.write(login("a"));
    await log.close();
    const [first] = await listSegments(folder);
    if (first === undefined) throw new Error("nothing was written");
    const plain = first.path.replace(/\.gz$/, "");
    await writeFile(plain, await readSegment(first));
    await rm(first.path);
    await writeFile(plain.replace("000001", "000002"), '{"time":17');
    const after = await openLog(folder);
    after.log.write(login("b"));
    await after.log.close();
    expect(await sessionsOf(folder)).toEqual(["a", "b"]);
    expect((await listSegments(folder)).map(({ number }) => number)).toEqual([1, 2]);
    expect(await kindsOf(folder)).toContain("log repaired");
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined }]);
  });

  test("is not what a changed line is: that stays as it is, for verify to name", async () => {
    const { folder, path } = await abandoned();
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace('"name":"anna"', '"name":"ben"'));
    const { log } = await openLog(folder);
    log.write(login("after"));
    await log.close();
    expect(await readFile(path, "utf8")).toContain('"name":"ben"');
    expect(await kindsOf(folder)).toContain("log damaged");
    const [report] = await verifyLog(folder, TRUSTED, []);
    expect(report?.problem).toContain("line 2: event 2 was changed");
  });

  test("a lock of a dead process keeps nobody out", async () => {
    const folder = await makeFolder();
    await runAndKill(folder, 0, 1);
    const { log } = await openLog(folder);
    await log.close();
    const names = new Set((await listSegments(folder)).map(({ writer }) => writer));
    expect([...names].every((name) => name.endsWith(".1"))).toBe(true);
    expect((await readdir(folder)).filter((name) => name.includes(".lock."))).toEqual([]);
  });
});

test("many that start at once after one that was killed: one goes on with its chain, none shares one", async () => {
  const folder = await makeFolder();
  await runAndKill(folder, 0, 5);
  const opened = await Promise.all(Array.from({ length: 8 }, () => openLog(folder)));
  for (const [i, { log }] of opened.entries()) log.write(login(`s${i}`));
  await Promise.all(opened.map(({ log }) => log.close()));
  const reports = await verifyLog(folder, TRUSTED, []);
  expect(reports.filter(({ problem }) => problem !== undefined)).toEqual([]);
  expect(reports.length).toBeLessThanOrEqual(8);
  expect(await sessionsOf(folder)).toEqual(expect.arrayContaining(opened.map((_, i) => `s${i}`)));
});

test.skipIf(process.getuid?.() !== 0)(
  "a disk that runs full loses nothing that was acknowledged",
  async ({ skip }) => {
    const folder = await makeFolder();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { stdio: "pipe" });
    } catch {
      skip("this container may not mount a tmpfs");
    }
    onTestFinished(() => void execFileSync("umount", ["-l", folder]));
    const opened = await openLog(folder, { maxPending: 200_000, segmentBytes: 40_000 });
    const ballast = join(folder, "ballast");
    await writeFile(ballast, Buffer.alloc(100_000));
    const acknowledged: string[] = [];
    let refused = 0;
    for (let i = 0; refused < 20; i++) {
      opened.log.write(login(`s${i}`, { application: `${i}`.repeat(50) }));
      if (await opened.log.durable()) acknowledged.push(`s${i}`);
      else refused += 1;
    }
    expect(opened.log.ready).toBe(false);
    await rm(ballast);
    await expect.poll(() => opened.log.ready).toBe(true);
    await opened.log.close();
    const written = new Set(await sessionsOf(folder));
    expect(acknowledged.filter((session) => !written.has(session))).toEqual([]);
    expect(written.size).toBe(acknowledged.length + refused - opened.lost);
    expect(await verifyLog(folder, TRUSTED, [])).toMatchObject([{ problem: undefined, open: false }]);
  },
);

/** Mulberry32: the same kills in each run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
