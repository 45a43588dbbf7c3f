import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import { reportOf } from "../../proxy/audit/report.ts";
import { listSegments, readSegment } from "../../proxy/audit/segments.ts";
import { policyReport } from "../../proxy/commands/policy-report.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { type Captured, captured } from "../commands/captured.ts";
import { DAY, KEY, login, makeFolder, NOON, openLog, reading } from "./support.ts";

const EVER = { since: 0, until: Number.POSITIVE_INFINITY };
const NAMESPACE = "public.customers.id";

/** Writes events as a proxy would, and gives the folder. */
async function logOf(
  events: readonly (Partial<StatementEvent> & {
    readonly ids?: readonly number[];
    readonly kind?: "statement";
  })[],
): Promise<string> {
  const folder = await makeFolder();
  const { log } = await openLog(folder, { key: deriveKeys(KEY).audit });
  for (const { ids = [], ...fields } of events)
    log.write(
      reading({
        ...{ masked: [], people: ids.length, rows: ids.length, decision: "allow" },
        ...{ namespaces: [NAMESPACE], subjects: ids.map((id) => log.hashSubject(NAMESPACE, String(id))) },
        ...fields,
      }),
    );
  await log.close();
  return folder;
}

const report = (folder: string) => reportOf(folder, EVER, async () => {});

test("what was decided is told by outcome, rule, role, user and form of statement", async () => {
  const SQL = "SELECT name FROM customers WHERE id = $1";
  const folder = await logOf([
    { decision: "observe", sqlstate: "42501", rule: "roles.agent.writes", statement: "DELETE FROM tickets" },
    { decision: "observe", sqlstate: "42501", rule: "roles.agent.writes", statement: "DELETE FROM tickets" },
    { decision: "observe", masked: ["name"], statement: SQL, ids: [1] },
    { decision: "observe", sqlstate: "42501", statement: "SELECT FROM JSON_TABLE" },
    { decision: "observe", statement: "SELECT FROM tickets", user: "ben" },
    { decision: "refuse", sqlstate: "42501", rule: "roles.agent.reads", statement: "SELECT FROM secrets" },
    { decision: "cut", sqlstate: "53400", rule: "roles.agent.budget.1d", statement: SQL, ids: [2, 3] },
    { decision: "cut", sqlstate: "54000", rule: "roles.agent.rows", statement: SQL },
    { decision: "mask", masked: ["name"], statement: SQL, count: 40, startTime: NOON - 1 },
    { decision: "allow", statement: "SELECT 1" },
  ]);
  const { decided, statements } = await report(folder);
  expect(statements).toBe(49);
  const told = decided.map(({ outcome, observed, rule, user, times, people, statement }) =>
    [observed ? `would be ${outcome}` : outcome, rule, user, times, people, statement].join(" | "),
  );
  expect(told.sort()).toEqual([
    `cut | roles.agent.rows | anna | 1 | 0 | ${SQL}`,
    `masked |  | anna | 40 | 0 | ${SQL}`,
    "refused | roles.agent.reads | anna | 1 | 0 | SELECT FROM secrets",
    `stopped | roles.agent.budget.1d | anna | 1 | 2 | ${SQL}`,
    "would be filtered |  | ben | 1 | 0 | SELECT FROM tickets",
    `would be masked |  | anna | 1 | 1 | ${SQL}`,
    "would be refused |  | anna | 1 | 0 | SELECT FROM JSON_TABLE",
    "would be refused | roles.agent.writes | anna | 2 | 0 | DELETE FROM tickets",
  ]);
});

test("a statement that failed at the server is no decision of the policy", async () => {
  const folder = await logOf([{ decision: "observe", sqlstate: "22012", ids: [1] }]);
  expect((await report(folder)).decided).toMatchObject([{ outcome: "filtered" }]);
});

test("people of a day are counted once, those without a name beside them, and pieces of a result not again", async () => {
  const folder = await logOf([
    { ids: [1, 2, 3], bytes: 30 },
    { ids: [3, 4], bytes: 20, lookups: 2 },
    { ids: [5], people: 8, uncounted: true, rowsWritten: 4 },
    { ids: [6], decision: "refuse" },
    { ids: [1], time: NOON + DAY },
  ]);
  const [use] = (await report(folder)).use;
  expect(use).toMatchObject({ role: "agent", users: 1, userDays: 2 });
  expect(use?.amounts.people).toMatchObject({ p50: 1, p95: 12, maximum: 12 });
  expect(use?.amounts).toMatchObject({ lookups: { maximum: 2 }, changes: { maximum: 4 } });
});

test("a budget is proposed half above what 95 of 100 user-days need, and says whom it would have stopped", async () => {
  const days = Array.from({ length: 100 }, (_, i) => ({
    ...{ user: `agent ${i % 10}`, time: NOON + Math.floor(i / 10) * DAY },
    ids: Array.from({ length: i < 99 ? 20 + (i % 10) : 400 }, (_, id) => id),
  }));
  const [use] = (await report(await logOf(days))).use;
  expect(use?.amounts.people).toEqual({ p50: 24, p95: 29, maximum: 400, proposed: 44, over: 1 });
  expect(use?.amounts.changes.proposed).toBeUndefined();
});

async function ran(folder: string, ...flags: string[]): Promise<Captured> {
  const keyFile = join(await makeFolder(), "key");
  await writeFile(keyFile, KEY.toString("base64"), { mode: 0o600 });
  return captured(() => policyReport(["--audit", folder, "--key-file", keyFile, ...flags]));
}

test("the report ends with lines that a policy takes", async () => {
  const folder = await logOf([{ ids: [1, 2], bytes: 100, lookups: 1 }]);
  const { status, out, errors } = await ran(folder);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  const budget = /^ {4}budget: .*$/m.exec(out)?.[0] ?? "";
  expect(budget).toContain("people: 3");
  const policy = `version: 1\nclasses: { name: { mask: initials } }\ntables:\n  public.customers: { subject: id, columns: { name: name } }\nroles:\n  agent:\n    users: [anna]\n    reads: [public.customers]\n${budget}\n`;
  expect(compilePolicies([{ name: "p.yaml", text: policy }])).toMatchObject({ ok: true });
  expect(out).toContain("only 1 days of users");
});

test("an application's own days are no days of the people behind it, and its lines are those of a watched role", async () => {
  const named = Array.from({ length: 40 }, (_, i) => ({
    ...{ user: `agent ${i % 4}`, account: "desk_app", role: "desk", time: NOON + Math.floor(i / 4) * DAY },
    ...{ ids: Array.from({ length: 10 }, (__, id) => id), rowsWritten: 2 },
  }));
  const own = Array.from({ length: 10 }, (_, i) => ({
    ...{ user: "desk_app", role: "desk", time: NOON + i * DAY },
    ids: Array.from({ length: 500 }, (__, id) => id),
  }));
  const folder = await logOf([...named, ...own]);
  const { use } = await report(folder);
  expect(use).toMatchObject([
    { role: "desk", unnamed: false, users: 4, userDays: 40, amounts: { people: { p95: 10, proposed: 15 } } },
    { role: "desk", unnamed: true, users: 1, userDays: 10, amounts: { people: { p95: 500, proposed: 750 } } },
  ]);
  const { out } = await ran(folder);
  expect(out).toMatch(/desk, nobody named +1 +10 +people +500/);
  const lines = out.slice(out.indexOf("roles:\n"));
  expect(lines).toContain("unless it is watched: changes: 3");
  const role = `  desk:\n    users: [desk_app]\n    reads: all\n    writes: all\n    sees: all\n    watch: true\n    people_behind: [{ setting: app.agent }]\n`;
  const policy = `version: 1\nclasses: { name: { mask: initials } }\ntables:\n  public.customers: { subject: id, columns: { name: name } }\n${lines.replace('  "desk":\n', role)}`;
  expect(compilePolicies([{ name: "p.yaml", text: policy }])).toMatchObject({ ok: true });
});

test("an application that reads by another role where nobody is named is a user of that role", async () => {
  const folder = await makeFolder();
  const { log } = await openLog(folder, { key: deriveKeys(KEY).audit });
  // The session has begun before the time that is asked about.
  log.write(login("s1", { user: "desk_app", role: "desk", time: NOON - DAY }));
  const ids = (count: number) =>
    Array.from({ length: count }, (_, id) => log.hashSubject(NAMESPACE, String(id)));
  const desk = { namespaces: [NAMESPACE], decision: "allow", masked: [] } as const;
  log.write(
    reading({ ...desk, user: "anna", account: "desk_app", role: "agent", subjects: ids(4), people: 4 }),
  );
  log.write(reading({ ...desk, user: "desk_app", role: "batch", subjects: ids(10), people: 10 }));
  log.write(reading({ ...desk, user: "cron", role: "batch", subjects: ids(2), people: 2 }));
  await log.close();
  const { use } = await reportOf(folder, { since: NOON, until: NOON + DAY }, async () => {});
  expect(use).toMatchObject([
    { role: "agent", unnamed: false, users: 1 },
    { role: "batch", unnamed: false, users: 2, amounts: { people: { maximum: 10, proposed: 15 } } },
  ]);
  const { out } = await ran(folder);
  expect(out).not.toContain("unnamed:");
  expect(out).toMatch(/^ {2}"batch":\n {4}budget: \{ 1d: \{ people: 15/m);
});

test("who asks is on record, and a question that cannot be answered is not", async () => {
  const folder = await logOf([{ ids: [1] }]);
  expect(await ran(folder, "--top", "0")).toMatchObject({ status: 2 });
  expect(await ran(folder, "--until", "2020-01-01")).toMatchObject({ status: 1 });
  expect(await ran(`${folder}-none`)).toMatchObject({ status: 1 });
  const other = join(await makeFolder(), "other");
  await writeFile(other, Buffer.alloc(32, 9).toString("base64"), { mode: 0o600 });
  const wrong = await captured(() => policyReport(["--audit", folder, "--key-file", other]));
  expect(wrong).toMatchObject({
    status: 2,
    errors: expect.stringContaining("no line of this log was written with this key"),
  });
  const { status, out } = await ran(folder, "--json", "--by", "olga");
  expect(status).toBe(0);
  expect(JSON.parse(out)).toMatchObject({ statements: 1 });
  const segments = await listSegments(folder);
  const text = Buffer.concat(await Promise.all(segments.map(readSegment))).toString();
  const questions = text.split("\n").filter((line) => line.includes('"kind":"question"'));
  expect(questions).toHaveLength(1);
  expect(questions[0]).toContain('"olga"');
});
