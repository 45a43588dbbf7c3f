import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { copyFile, mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { listSegments, readSegment } from "../../proxy/audit/segments.ts";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";
import { entriesOf } from "./support.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], reads: [public.customers], finds: [email], rows: 5000, budget: { 1d: 5000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

const ROOT = join(import.meta.dirname, "../..");
let database: TestDatabase;

beforeAll(async () => {
  database = await freshDatabase("durability");
  await supportSchema(database.uri);
});
afterAll(() => database?.drop());

async function connect(uri: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: uri });
  client.on("error", () => {});
  await client.connect();
  onTestFinished(() => client.end().catch(() => {}));
  return client;
}

function anna(sluice: Pick<TestSluice, "uriFor">): Promise<pg.Client> {
  return connect(sluice.uriFor("anna", PASSWORDS.anna));
}

async function start(flags: readonly string[] = []): Promise<TestSluice> {
  const sluice = await startSluice({ policy: POLICY, upstream: database.uri, flags });
  onTestFinished(() => sluice.close());
  return sluice;
}

test("rows that a client has are on disk already, without waiting for anything", async () => {
  const sluice = await start();
  const client = await anna(sluice);
  for (let id = 1; id <= 20; id++) {
    await client.query("select name from customers where id = $1", [id]);
    const statements = (await entriesOf(sluice.auditFolder)).filter(
      ({ unmapped }) => unmapped.kind === "statement",
    );
    expect(statements).toHaveLength(id);
    expect(statements.at(-1)?.unmapped.subjects).toHaveLength(1);
  }
});

test("a result that leaves in pieces has each piece on record before it leaves", async () => {
  const sluice = await start();
  const client = await anna(sluice);
  const { rows } = await client.query(
    "select c.id, repeat(name, 200) from customers c order by id limit 500",
  );
  const entries = await entriesOf(sluice.auditFolder);
  const pieces = entries.filter(({ unmapped }) => unmapped.kind === "rows");
  const whole = entries.find(({ unmapped }) => unmapped.kind === "statement");
  expect(pieces.length).toBeGreaterThan(1);
  expect(whole?.unmapped.rows).toBe(rows.length);
  expect(whole?.unmapped.subjects).toHaveLength(rows.length);
  const named = pieces.flatMap(({ unmapped }) => unmapped.subjects as string[]);
  expect(new Set(named).size).toBe(named.length);
  expect(whole?.unmapped.subjects).toEqual(expect.arrayContaining(named));
});

test("a proxy that is killed once its client has rows has lost no event of theirs", {
  timeout: 120_000,
}, async () => {
  const cache = join(ROOT, "node_modules/.cache");
  await mkdir(cache, { recursive: true });
  const build = await mkdtemp(join(cache, "sluice-killed-"));
  onTestFinished(() => rm(build, { recursive: true, force: true }));
  const config = {
    extends: join(ROOT, "tsconfig.json"),
    compilerOptions: { noEmit: false, rootDir: ROOT, outDir: build, types: ["node"] },
    include: [join(ROOT, "proxy/main.ts")],
  };
  await copyFile(join(ROOT, "package.json"), join(build, "package.json"));
  await symlink(join(ROOT, "policies"), join(build, "policies"));
  await writeFile(join(build, "tsconfig.json"), JSON.stringify(config));
  execFileSync(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", build], {
    stdio: "pipe",
  });
  await writeFile(join(build, "policy.yaml"), POLICY);
  const auditFolder = join(build, "audit");
  for (let round = 1; round <= 2; round++) {
    const free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    const places = ["--policy", join(build, "policy.yaml"), "--audit", auditFolder];
    const child = spawn(
      process.execPath,
      [join(build, "proxy/main.js"), "serve", "--upstream", database.uri, ...free, ...places],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    const ended = once(child, "exit");
    const uri = new URL(database.uri);
    uri.username = "anna";
    uri.password = PASSWORDS.anna;
    for await (const line of createInterface({ input: child.stderr })) {
      const listen = /"listen":"127\.0\.0\.1:(\d+)"/.exec(line)?.[1];
      if (listen === undefined) continue;
      uri.port = listen;
      break;
    }
    const client = await connect(uri.href);
    const { rows } = await client.query("select name from customers where id = $1", [round]);
    child.kill("SIGKILL");
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect(rows).toHaveLength(1);
    const lines = await rawLines(auditFolder);
    expect(lines.filter((line) => line.includes('"kind":"statement"'))).toHaveLength(round);
  }
});

/** Also of a log whose last line is torn. */
async function rawLines(folder: string): Promise<readonly string[]> {
  const lines: string[] = [];
  for (const file of await listSegments(folder))
    lines.push(...(await readSegment(file)).toString().split("\n"));
  return lines;
}

test("while the disk is full nobody is read, and everybody is told; with room again all goes on", async ({
  skip,
}) => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-full-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { stdio: "pipe" });
  } catch {
    skip("this container may not mount a tmpfs");
  }
  onTestFinished(() => void execFileSync("umount", ["-l", folder]));
  const sluice = await start(["--audit", folder]);
  const filled = join(folder, "filler");
  const { ENOSPC } = await fill(filled);
  expect(ENOSPC).toBe(true);
  const refusals: unknown[] = [];
  // What still fits into the log's last page may pass; for all rows that left, the event is on disk.
  await vi.waitFor(
    async () => {
      const client = await anna(sluice);
      const outcome = await client
        .query("select name from customers where id = 1")
        .catch((error: pg.DatabaseError) => error);
      await client.end().catch(() => {});
      if (outcome instanceof Error) refusals.push((outcome as pg.DatabaseError).code);
      expect(refusals.length).toBeGreaterThan(1);
    },
    { timeout: 30_000, interval: 20 },
  );
  expect(new Set(refusals)).toEqual(new Set(["58000"]));
  expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(503);
  // Refused before it runs, and the session goes on.
  const waiting = await anna(sluice);
  await expect(waiting.query("select name from customers where id = 2")).rejects.toMatchObject({
    code: "58000",
    constraint: "on_audit_loss",
  });
  expect((await waiting.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
  // A role that sees all does not depend on the log.
  const app = await connect(sluice.uriFor("helpdesk_app", PASSWORDS.helpdesk_app));
  expect((await app.query("select name from customers where id = 2")).rows).toHaveLength(1);
  await rm(filled);
  await vi.waitFor(
    async () => expect((await waiting.query("select name from customers where id = 2")).rows).toHaveLength(1),
    { timeout: 20_000, interval: 100 },
  );
  expect((await fetch(`${sluice.adminUrl}/readyz`)).status).toBe(200);
});

async function fill(path: string): Promise<{ readonly ENOSPC: boolean }> {
  try {
    await writeFile(path, Buffer.alloc(1 << 20));
    return { ENOSPC: false };
  } catch (error) {
    return { ENOSPC: (error as NodeJS.ErrnoException).code === "ENOSPC" };
  }
}

test("with on_audit_loss open reading goes on without a record", async ({ skip }) => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-open-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], { stdio: "pipe" });
  } catch {
    skip("this container may not mount a tmpfs");
  }
  onTestFinished(() => void execFileSync("umount", ["-l", folder]));
  const sluice = await start(["--audit", folder, "--on-audit-loss", "open"]);
  await fill(join(folder, "filler"));
  const client = await anna(sluice);
  for (let i = 0; i < 20; i++) {
    expect((await client.query("select name from customers where id = 1")).rows).toHaveLength(1);
  }
  await rm(join(folder, "filler"));
});
