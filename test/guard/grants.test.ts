import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { grant } from "../../proxy/commands/grant.ts";
import { withGrants } from "../../proxy/meter/store-layers.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { openSuspensions } from "../../proxy/orders/suspensions.ts";
import { SILENT } from "./redis-bench.ts";

const KEY = { SLUICE_KEY: "ab".repeat(32) };

async function folderOf(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-grants-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

async function run(folder: string, ...args: readonly string[]) {
  const told = { output: "", errors: "" };
  const to = (name: keyof typeof told) => ({ write: (text: string) => (told[name] += text) });
  const status = await grant(
    ["--audit", folder, ...args],
    { output: to("output"), errors: to("errors") },
    KEY,
  );
  return { status, ...told };
}

test("what an operator grants is in force on a running proxy, lets just so many more through, and can be revoked", async () => {
  const folder = await folderOf();
  const learned: string[] = [];
  const proxy = await openSuspensions({
    file: join(folder, "suspensions.jsonl"),
    log: SILENT,
    onLearned: ({ kind, inForce, by }) => learned.push(`${kind} ${inForce} ${by}`),
  });
  onTestFinished(() => proxy.close());
  const store = withGrants(createMemoryStore(), (user) => proxy.granted(user)?.more);
  const windows = [
    { name: "1d", seconds: 86_400, limit: 3, what: "people", rule: "roles.agent.budget.1d" },
  ] as const;
  const read = (user: string, ...people: readonly string[]) =>
    store.charge(
      { database: "support", user, windows },
      { rows: people.length, people, namespaces: ["c"], unknownPerRow: 0 },
    );
  expect(await read("anna", "1", "2", "3", "4")).toMatchObject({ kind: "part", rows: 3 });
  const given = await run(
    folder,
    "anna",
    "--budget",
    "1d=+2",
    "--for",
    "4h",
    "--why",
    "audit",
    "--by",
    "eve",
  );
  expect(given).toMatchObject({ status: 0, errors: "" });
  expect(given.output).toContain("+2 people in 86400 s");
  await vi.waitUntil(() => proxy.granted("anna") !== undefined, { timeout: 5_000 });
  expect(await read("anna", "4", "5", "6")).toMatchObject({
    kind: "part",
    rows: 2,
    used: 5,
    window: { limit: 5 },
  });
  expect(await read("ben", "1", "2", "3", "4")).toMatchObject({ kind: "part", rows: 3 });
  expect(await run(folder, "anna", "--revoke", "--why", "done", "--by", "eve")).toMatchObject({ status: 0 });
  await vi.waitUntil(() => proxy.granted("anna") === undefined, { timeout: 5_000 });
  expect(await read("anna", "7")).toMatchObject({ kind: "part", rows: 0, window: { limit: 3 } });
  expect(learned).toEqual(["granted true eve", "granted false eve"]);
  expect((await run(folder, "--list")).output).toBe("Nothing is granted.\n");
  expect(await readFile(join(folder, "suspensions.jsonl"), "utf8")).toContain(
    '"more":{"people":2,"seconds":86400}',
  );
});

test("a grant ends by itself", async () => {
  let now = 1_000;
  const proxy = await openSuspensions({ log: SILENT, now: () => now });
  onTestFinished(() => proxy.close());
  await proxy.grant("anna", { people: 5, seconds: 60 }, "fair", "eve", 2_000);
  expect(proxy.grants()).toHaveLength(1);
  now = 2_000;
  expect(proxy.granted("anna")).toBeUndefined();
  expect(proxy.grants()).toEqual([]);
});

test.each([
  [["anna", "--for", "4h", "--why", "x"], "--budget: missing; how many more people"],
  [["anna", "--budget", "1d=+0", "--for", "4h", "--why", "x"], "--budget: missing; how many more people"],
  [["anna", "--budget", "1d=+5", "--why", "x"], "--for: missing; how long"],
  [["anna", "--budget", "1d=+5", "--for", "4h"], "--why: missing; give a reason"],
])("%j is misused, with a hint", async (args, hint) => {
  const { status, errors } = await run(await folderOf(), ...args);
  expect(status).toBe(2);
  expect(errors).toContain(hint);
});
