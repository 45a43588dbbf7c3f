import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import type { AuditEvent, AuditLog } from "../../proxy/audit/event.ts";
import { type FileLogOptions, openFileLog } from "../../proxy/audit/file-log.ts";
import { createLog } from "../../proxy/log.ts";

const KEY = Buffer.alloc(32, 3);
const SILENT = createLog({ level: "silent" });

let folder: string;
let lost: number;
let time: number;

beforeEach(async () => {
  const base = await mkdtemp(join(tmpdir(), "sluice-audit-"));
  onTestFinished(() => rm(base, { recursive: true, force: true }));
  folder = join(base, "deep", "audit");
  lost = 0;
  time = Date.UTC(2026, 4, 6, 12);
});

async function openLog(options: Partial<FileLogOptions> = {}): Promise<AuditLog> {
  const log = await openFileLog({
    folder,
    key: KEY,
    log: SILENT,
    onLost: (events) => {
      lost += events;
    },
    now: () => time,
    ...options,
  });
  onTestFinished(() => log.close());
  return log;
}

function event(session: string): AuditEvent {
  return {
    kind: "login",
    time,
    session,
    user: "anna",
    role: "agent",
    database: "support",
    client: "10.0.0.1",
    application: 'a "quoted"\nname',
  };
}

async function linesOf(name: string): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(folder, name), "utf8");
  expect(text.endsWith("\n")).toBe(true);
  return text
    .slice(0, -1)
    .split("\n")
    .map((line) => JSON.parse(line));
}

describe("the audit log on disk", () => {
  test("holds every event once, in order, numbered without a gap", async () => {
    const log = await openLog();
    for (let i = 0; i < 500; i++) log.write(event(`s${i}`));
    await new Promise(setImmediate);
    for (let i = 500; i < 1000; i++) log.write(event(`s${i}`));
    await log.flush();
    const lines = await linesOf("audit-20260506.jsonl");
    expect(lines.map((line) => line.session)).toEqual(Array.from({ length: 1000 }, (_, i) => `s${i}`));
    expect(lines.map((line) => line.sequence)).toEqual(Array.from({ length: 1000 }, (_, i) => i + 1));
    expect(new Set(lines.map((line) => line.log)).size).toBe(1);
    expect(lines[0]).toMatchObject(event("s0"));
  });

  test("gets events to disk without being asked", async () => {
    const log = await openLog();
    log.write(event("a"));
    await vi.waitUntil(async () =>
      (await readFile(join(folder, "audit-20260506.jsonl"), "utf8")).includes('"a"'),
    );
  });

  test("loses nothing at close, and says so of what comes after", async () => {
    const log = await openLog();
    for (let i = 0; i < 100; i++) log.write(event(`s${i}`));
    await log.close();
    expect(await linesOf("audit-20260506.jsonl")).toHaveLength(100);
    expect(lost).toBe(0);
    log.write(event("late"));
    expect(lost).toBe(1);
  });

  test("begins a new file each day", async () => {
    const log = await openLog();
    log.write(event("a"));
    await log.flush();
    time += 86_400_000;
    log.write(event("b"));
    await log.flush();
    expect(await linesOf("audit-20260506.jsonl")).toHaveLength(1);
    expect(await linesOf("audit-20260507.jsonl")).toMatchObject([{ session: "b", sequence: 2 }]);
  });

  test("is for nobody else to read", async () => {
    const log = await openLog();
    log.write(event("a"));
    await log.flush();
    expect((await stat(folder)).mode & 0o777).toBe(0o700);
    expect((await stat(join(folder, "audit-20260506.jsonl"))).mode & 0o777).toBe(0o600);
  });

  test("does not continue the half line of a process that died", async () => {
    const first = await openLog();
    first.write(event("a"));
    await first.close();
    const name = "audit-20260506.jsonl";
    await appendFile(join(folder, name), '{"log":"torn');
    const second = await openLog();
    second.write(event("b"));
    await second.flush();
    const text = (await readFile(join(folder, name), "utf8")).split("\n");
    expect(text[1]).toBe('{"log":"torn');
    expect(JSON.parse(text[2] ?? "")).toMatchObject({ session: "b", sequence: 1 });
  });

  test("keeps events while the disk takes none, and writes them when it does", async () => {
    const log = await openLog();
    time += 86_400_000;
    // A folder stands where tomorrow's file should be.
    const blocked = join(folder, "audit-20260507.jsonl");
    await mkdir(blocked);
    log.write(event("a"));
    await expect(log.flush()).rejects.toThrow();
    log.write(event("b"));
    expect(lost).toBe(0);
    await rm(blocked, { recursive: true });
    await vi.waitUntil(async () => (await readdir(folder)).includes("audit-20260507.jsonl"), {
      timeout: 5_000,
    });
    await log.flush();
    expect((await linesOf("audit-20260507.jsonl")).map((line) => line.session)).toEqual(["a", "b"]);
  });

  test("counts what it has to give up", async () => {
    const log = await openLog({ maxPending: 1_000 });
    time += 86_400_000;
    await mkdir(join(folder, "audit-20260507.jsonl"));
    for (let i = 0; i < 50; i++) log.write(event(`s${i}`));
    expect(lost).toBeGreaterThan(40);
    await log.close();
    expect(lost).toBe(50);
  });

  test("a folder that cannot be written is told at the start", async () => {
    await mkdir(join(folder, ".."), { recursive: true });
    await writeFile(folder, "");
    await expect(openLog()).rejects.toThrow();
  });
});

test("a person's hash tells nothing of him and is the same for the same key", async () => {
  const log = await openLog();
  const hash = log.hashSubject("public.customers", "4711");
  expect(hash).toMatch(/^[\w-]{22}$/);
  expect(log.hashSubject("public.customers", "4711")).toBe(hash);
  expect(log.hashSubject("public.employees", "4711")).not.toBe(hash);
  expect((await openLog({ key: Buffer.alloc(32, 4) })).hashSubject("public.customers", "4711")).not.toBe(
    hash,
  );
});
