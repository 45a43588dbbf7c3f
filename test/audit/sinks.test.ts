import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import pg from "pg";
import { expect, onTestFinished, test, vi } from "vitest";
import { linesOf, listSegments, readSegment } from "../../proxy/audit/segments.ts";
import { stdoutSink } from "../../proxy/audit/sink-stdout.ts";
import { type Sink, SinkBuffer, withBackPressure } from "../../proxy/audit/sinks.ts";
import { auditVerify } from "../../proxy/commands/audit-verify.ts";
import { freshDatabase, PASSWORDS, supportSchema } from "../harness/postgres.ts";
import { redisUrl } from "../harness/redis.ts";
import { startSluice } from "../harness/sluice.ts";
import { turns } from "../harness/turns.ts";
import { makeFolder, openLog, reading, SILENT } from "./support.ts";

const POLICY = `
version: 1
tables: { public.customers: { subject: id } }
roles: { agent: { users: [anna], reads: [public.customers], budget: { 1d: 500 } } }
`;

/** A sink that takes nothing until it is told to. */
function hangingSink() {
  const taken: string[] = [];
  let release: () => void = () => {};
  let hangs = true;
  const sink: Sink = {
    name: "redis",
    async write(lines) {
      if (hangs)
        await new Promise<void>((resolve) => {
          release = resolve;
        });
      taken.push(...lines);
    },
    close() {},
  };
  return {
    sink,
    taken,
    go() {
      hangs = false;
      release();
    },
  };
}

function buffer(sink: Sink, maxPending: number): { readonly buffer: SinkBuffer; dropped: number } {
  const told = { dropped: 0 };
  const made = new SinkBuffer(sink, {
    log: SILENT,
    maxPending,
    retryAfter: 5,
    onDropped: (_, lines) => {
      told.dropped += lines;
    },
  });
  return Object.assign(told, { buffer: made });
}

test("a sink that hangs costs a statement no more than the setting says, and the files have all", async () => {
  const folder = await makeFolder();
  const hanging = hangingSink();
  const made = buffer(hanging.sink, 10_000);
  const { log: files } = await openLog(folder, { onDurable: (lines) => made.buffer.offer(lines) });
  const log = withBackPressure(files, [made.buffer], 30);
  let longest = 0;
  for (let i = 0; i < 40; i++) {
    log.write(reading({ session: `n${i}` }));
    const [start, limit] = [performance.now(), turns()];
    expect(await log.durable()).toBe(true);
    longest = Math.max(longest, performance.now() - start);
    expect(limit.elapsed()).toBeLessThan(1_000);
  }
  // Half of the buffer is full after a few: from then on each one waited for room, and in vain.
  expect(longest).toBeGreaterThan(25);
  expect(made.dropped).toBeGreaterThan(0);
  hanging.go();
  await vi.waitFor(() => expect(hanging.taken.length).toBeGreaterThan(0));
  await log.close();
  const lines: string[] = [];
  for (const file of await listSegments(folder))
    for (const { bytes } of linesOf(await readSegment(file))) lines.push(bytes.toString());
  for (let i = 0; i < 40; i++) expect(lines.some((line) => line.includes(`"uid":"n${i}"`))).toBe(true);
});

test("a sink that fails gets the same lines again, in their order", async () => {
  const taken: string[] = [];
  let failures = 3;
  const made = buffer(
    {
      name: "redis",
      async write(lines) {
        if (failures-- > 0) throw new Error("away");
        taken.push(...lines);
      },
      close() {},
    },
    10_000,
  );
  made.buffer.offer(["1\n", "2\n"]);
  made.buffer.offer(["3\n"]);
  await vi.waitFor(() => expect(taken).toEqual(["1\n", "2\n", "3\n"]));
  expect(made.dropped).toBe(0);
});

test("the end waits for a sink that hangs, but not for ever, and says what it never got", async () => {
  const made = buffer(hangingSink().sink, 10_000);
  made.buffer.offer(["1\n", "2\n"]);
  await made.buffer.close();
  expect(made.dropped).toBe(2);
});

test("standard output gets whole lines, whatever pieces the system takes", async () => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-stdout-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, "out");
  const file = await open(path, "a");
  const sink = stdoutSink(file.fd);
  const lines = Array.from({ length: 300 }, (_, i) => `${JSON.stringify({ i, text: "é".repeat(500) })}\n`);
  await sink.write(lines.slice(0, 100));
  await sink.write(lines.slice(100));
  await file.close();
  expect(await readFile(path, "utf8")).toBe(lines.join(""));
});

test("with Redis the fleet's events are one stream, and its anchors show a tail that was cut off", {
  timeout: 60_000,
}, async () => {
  const database = await freshDatabase("sinks");
  onTestFinished(() => database.drop());
  await supportSchema(database.uri);
  const url = await redisUrl();
  const redis = new Redis(url);
  onTestFinished(() => redis.disconnect());
  const folder = await makeFolder();
  const sluice = await startSluice({
    policy: POLICY,
    upstream: database.uri,
    redis: url,
    flags: ["--audit-sink", "redis", "--audit-stream-length", "1000", "--audit", folder],
  });
  const client = new pg.Client({ connectionString: sluice.uriFor("anna", PASSWORDS.anna) });
  await client.connect();
  await client.query("select name from customers where id = 7");
  await client.end();
  await vi.waitFor(async () => {
    const entries = await redis.xrange("sluice:audit", "-", "+");
    const kinds = entries.map(
      ([, [, line = ""]]) => (JSON.parse(line) as { unmapped: { kind: string } }).unmapped.kind,
    );
    expect(kinds).toEqual(expect.arrayContaining(["policy loaded", "login", "statement", "logout"]));
  });
  await sluice.close();
  const said: string[] = [];
  const streams = { output: { write: (text: string) => said.push(text) }, errors: { write: () => {} } };
  expect(await auditVerify([folder, "--redis", url], streams)).toBe(0);
  expect(said.join("")).toMatch(/[1-9]\d* anchors agree/);
  for (const { path } of await listSegments(folder)) await rm(path);
  expect(await auditVerify([folder, "--redis", url], streams)).toBe(1);
  expect(said.join("")).toContain("were cut off");
});

test("Redis as a sink without a Redis is a mistake that is told at the start", async () => {
  const start = startSluice({
    policy: POLICY,
    upstream: "postgresql://nobody@127.0.0.1:1/none",
    flags: ["--audit-sink", "redis"],
  });
  await expect(start).rejects.toThrow("--redis: missing");
});
