import { appendFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { holdsFile } from "../../proxy/audit/holds.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { auditForget } from "../../proxy/commands/audit-forget.ts";
import { auditHold } from "../../proxy/commands/audit-hold.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { DAY, entriesOf, makeFolder, NOON, openLog, reading, sessionsOf } from "./support.ts";

const SECRET = Buffer.alloc(32, 5);
const { audit: KEY } = deriveKeys(SECRET);
const fleet = auditKeys(KEY);
const NAMESPACE = "public.customers.id";

let folder: string;
let keyFile: string;
let time: number;

/** Ten days, 6 to 15 May 2026; on day 4, the 10th, somebody read person 4. */
beforeEach(async () => {
  const base = await makeFolder();
  [folder, keyFile, time] = [join(base, "audit"), join(base, "key"), NOON];
  await writeFile(keyFile, SECRET.toString("hex"), { mode: 0o600 });
  const { log } = await openLog(folder, { key: KEY, now: () => time });
  for (let day = 0; day < 10; day++, time += DAY)
    log.write(
      reading({ session: `day${day}`, people: 1, subjects: [log.hashSubject(NAMESPACE, String(day))] }),
    );
  await log.close();
});

async function run(command: typeof auditHold, ...args: string[]) {
  let [output, errors] = ["", ""];
  const status = await command([...args, "--audit", folder, "--key-file", keyFile, "--by", "dpo"], {
    output: { write: (text) => (output += text) },
    errors: { write: (text) => (errors += text) },
  });
  return { status, output, errors };
}

async function place(...args: string[]): Promise<string> {
  const { status, output, errors } = await run(auditHold, "--why", "case 17", ...args);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  return /^Hold ([0-9a-f]{8}) is in force/.exec(output)?.[1] ?? "";
}

async function retain(days: number): Promise<readonly string[]> {
  const { log } = await openLog(folder, { key: KEY, now: () => time, retentionDays: days });
  await log.close();
  return (await sessionsOf(folder)).filter((session) => session.startsWith("day"));
}

const HELD = ["--since", "2026-05-10", "--until", "2026-05-10"];

test("what is on hold stays beyond retention, and goes when the hold is lifted", async () => {
  const id = await place(...HELD);
  // The day before may have statements that ended on the day.
  expect(await retain(2)).toEqual(["day3", "day4", "day5", "day6", "day7", "day8", "day9"]);
  const lifted = await run(auditHold, "--lift", id, "--why", "settled");
  expect(lifted).toEqual({ status: 0, output: `Hold ${id} is lifted.\n`, errors: "" });
  expect(await retain(2)).toEqual(["day8", "day9"]);
  const trusted = new Map([[fleet.id, fleet.publicKey]]);
  expect((await verifyLog(folder, trusted, [])).filter(({ problem }) => problem !== undefined)).toEqual([]);
});

test("a hold is on record and listed, and so is that it was lifted", async () => {
  expect((await run(auditHold)).output).toBe("Nothing is on hold.\n");
  const id = await place(...HELD);
  const all = await place();
  const listed = (await run(auditHold)).output.split("\n");
  expect(listed[1]).toMatch(
    new RegExp(`^${id} +from 2026-05-10 00:00Z to 2026-05-11 00:00Z +.*dpo +case 17$`),
  );
  expect(listed[2]).toMatch(new RegExp(`^${all} +from its beginning on`));
  await run(auditHold, "--lift", id, "--why", "settled");
  const { output } = await run(auditHold, "--json");
  expect((JSON.parse(output) as { id: string }[]).map((hold) => hold.id)).toEqual([all]);
  const events = (await entriesOf(folder)).filter(({ unmapped }) => unmapped.kind.startsWith("hold"));
  expect(events.map(({ actor, unmapped }) => [actor?.user?.name, unmapped])).toEqual([
    [
      "dpo",
      { kind: "hold placed", id, why: "case 17", since: Date.UTC(2026, 4, 10), until: Date.UTC(2026, 4, 11) },
    ],
    ["dpo", { kind: "hold placed", id: all, why: "case 17" }],
    ["dpo", expect.objectContaining({ kind: "hold lifted", id, why: "settled" })],
  ]);
});

test("nobody is forgotten of whom lines on hold speak; others are", async () => {
  const id = await place(...HELD);
  const refused = await run(auditForget, "4");
  expect(refused).toMatchObject({ status: 1, output: "" });
  expect(refused.errors).toContain(`hold ${id} (case 17) is on lines that speak of these people`);
  expect(await run(auditForget, "9")).toMatchObject({ status: 0, output: "1 forgotten.\n" });
  await run(auditHold, "--lift", id, "--why", "settled");
  expect(await run(auditForget, "4")).toMatchObject({ status: 0 });
});

test("whoever can write the folder but has no key lifts nothing", async () => {
  const id = await place(...HELD);
  const forger = auditKeys(Buffer.alloc(32, 9));
  const lift = { order: "lift", id, time: 1, by: "x", why: "y", since: 0, signedBy: fleet.id };
  await appendFile(
    holdsFile(folder),
    `${JSON.stringify({ ...lift, signature: forger.sign("") })}\n{"order":"li\n`,
  );
  const listed = await run(auditHold);
  expect(listed.output).toContain(id);
  expect(listed.errors).toContain("2 lines of holds.jsonl cannot be read or bear no signature");
  expect((await retain(2)).length).toBe(7);
  expect(await readFile(holdsFile(folder), "utf8")).toContain("case 17");
});

test.each([
  [["--why", " "], 2, "--why: empty"],
  [["--since", "2026-05-01"], 2, "--why: missing"],
  [["--lift", "00000000", "--why", "x"], 1, 'no hold "00000000" is in force'],
  [["--why", "x", "--since", "May"], 2, "is no time"],
  [["--key-file", "/nowhere"], 1, "cannot be read"],
])("%j is told apart from a hold", async (args, status, message) => {
  const told = await run(auditHold, ...args);
  expect(told).toMatchObject({ status, output: "" });
  expect(told.errors).toContain(message);
});
