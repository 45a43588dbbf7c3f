import { expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Alert, Finding, Severity } from "../../proxy/behaviour/alert.ts";
import { severityOf } from "../../proxy/behaviour/alert.ts";
import { AlertDesk } from "../../proxy/behaviour/alert-desk.ts";
import { createLog } from "../../proxy/log.ts";
import { NOON, reading } from "../audit/support.ts";

function openDesk(claim: () => Promise<boolean> = async () => true) {
  const alerts: Alert[] = [];
  const findings: [Finding, Severity][] = [];
  let id = 0;
  const desk = new AlertDesk({
    claim,
    onAlert: (alert) => alerts.push(alert),
    onFinding: (finding, severity) => findings.push([finding, severity]),
    today: (_, user) =>
      user === "anna" ? { people: 120, newPeople: 90, usualNewPeople: 30, budget: 300 } : undefined,
    newId: () => {
      id += 1;
      return `id${id}`;
    },
    log: createLog({ level: "silent" }),
    console: { url: "https://sluice.internal", user: (user) => `/console/user?name=${user}` },
  });
  return { desk, alerts, findings };
}

const refused = (fields: Partial<StatementEvent> = {}) =>
  reading({
    ...{
      decision: "cut",
      sqlstate: "53400",
      rule: "roles.agent.budget.1d",
      reference: "R1",
      account: "helpdesk",
    },
    revealed: { shown: ["name"], shownWhere: ["text"], found: [] },
    ...fields,
  });

test("an alert says all that somebody needs who has to act on it", async () => {
  const { desk, alerts, findings } = openDesk();
  desk.observe(refused());
  await expect.poll(() => alerts).toHaveLength(1);
  expect(alerts[0]).toEqual({
    ...{ id: "id1", time: NOON, rule: "budget", severity: "low", action: "alert", figure: 1, ordinary: 0 },
    ...{ user: "anna", account: "helpdesk", role: "agent", database: "support", client: "10.0.0.1" },
    ...{ session: "s1", application: "helpdesk", reference: "R1" },
    ...{ tables: ["public.customers"], shown: ["name", "text"], text: "roles.agent.budget.1d is used up" },
    today: { people: 120, newPeople: 90, usualNewPeople: 30, budget: 300 },
    next: {
      what: "See what they have read; an honest day may need a grant (sluice grant).",
      command: "sluice audit read-by anna --since 2026-05-06",
    },
    console: "https://sluice.internal/console/user?name=anna",
  });
  expect(findings).toEqual([[expect.objectContaining({ id: "id1", rule: "budget" }), "low"]]);
});

test("a budget that is hammered is told of at first and then at each tenth attempt, more severely", async () => {
  const { desk, alerts } = openDesk();
  for (let i = 0; i < 31; i++) desk.observe(refused());
  await expect.poll(() => alerts).toHaveLength(4);
  expect(alerts.map(({ figure, severity }) => [figure, severity]).toSorted()).toEqual([
    [1, "low"],
    [10, "medium"],
    [20, "medium"],
    [30, "medium"],
  ]);
  // Another budget, another user and another day have counts of their own.
  desk.observe(refused({ rule: "roles.agent.budget.1h" }));
  desk.observe(refused({ user: "ben" }));
  desk.observe(refused({ time: NOON + 86_400_000 }));
  await expect.poll(() => alerts).toHaveLength(7);
  expect(alerts.at(-1)).toMatchObject({ figure: 1 });
});

test("another proxy may have told of the first attempt; where the fleet cannot be asked it is told twice", async () => {
  const { desk, alerts } = openDesk(async () => false);
  for (let i = 0; i < 10; i++) desk.observe(refused());
  await expect.poll(() => alerts.map(({ figure }) => figure)).toEqual([10]);
  const away = openDesk(() => Promise.reject(new Error("Redis is away")));
  away.desk.observe(refused());
  await expect.poll(() => away.alerts).toHaveLength(1);
});

test("mass writes are told of, and what is only observed or refused otherwise is not", async () => {
  const { desk, alerts } = openDesk();
  desk.observe(refused({ decision: "observe" }));
  desk.observe(refused({ sqlstate: "54000", rule: "roles.agent.rows" }));
  desk.observe(refused({ sqlstate: "42501", rule: "roles.agent.reads" }));
  desk.observe(refused({ sqlstate: "54000", rule: "roles.agent.changes", rowsWritten: 8_000 }));
  await expect.poll(() => alerts).toHaveLength(1);
  expect(alerts[0]).toMatchObject({
    ...{ rule: "changes", severity: "medium" },
    text: "a statement would have written 8000 rows, past roles.agent.changes",
  });
});

test("an order is told of when it is given, and not when a process learns of it at its start", async () => {
  const { desk, alerts } = openDesk();
  const order = { kind: "suspension", time: NOON, user: "anna", by: "dora", why: "stole" } as const;
  desk.observe({ ...order, ordered: NOON - 3_600_000 });
  // Of this one the rule's own alert tells.
  desk.observe({ ...order, ordered: NOON, by: "rule dump" });
  desk.observe({ ...order, ordered: NOON - 500 });
  desk.observe({ ...order, kind: "grant", ordered: NOON - 500 });
  await expect.poll(() => alerts).toHaveLength(2);
  expect(alerts[0]).toMatchObject({
    ...{
      rule: "order",
      severity: "medium",
      user: "anna",
      text: "suspension of anna, ordered by dora: stole",
    },
    console: "https://sluice.internal/console/user?name=anna",
  });
  expect(alerts[1]).toMatchObject({ severity: "info" });
});

test("others of the role of whom there was an alert within a day are named beside it", async () => {
  const { desk, alerts } = openDesk();
  const seen = (user: string, fields: Partial<StatementEvent> = {}) =>
    desk.observe(refused({ user, ...fields }));
  seen("anna");
  seen("ben", { role: "lead" });
  seen("cleo", { time: NOON - 2 * 86_400_000 });
  seen("dora");
  await expect.poll(() => alerts).toHaveLength(4);
  seen("ed");
  await expect.poll(() => alerts).toHaveLength(5);
  expect(alerts[0]).not.toHaveProperty("others");
  expect(alerts[4]?.others).toEqual(expect.arrayContaining(["anna", "dora"]));
  expect(alerts[4]?.others).toHaveLength(2);
});

test("the next step can be pasted to a shell, whatever a user is called", async () => {
  for (const [user, word] of [
    ["anna@example.com", "anna@example.com"],
    ["o'neill; rm -rf /", "'o'\\''neill; rm -rf /'"],
    ["--help", "'--help'"],
    ["a\nb\u202e$(id)", "'a?b?$(id)'"],
  ] as const) {
    const { desk, alerts } = openDesk();
    desk.observe(refused({ user }));
    await expect.poll(() => alerts).toHaveLength(1);
    expect(alerts[0]?.next.command).toBe(`sluice audit read-by ${word} --since 2026-05-06`);
  }
});

test("what was done makes an alert more severe, and nothing less", () => {
  expect(severityOf("hours", "alert")).toBe("low");
  expect(severityOf("hours", "tighten")).toBe("medium");
  expect(severityOf("hours", "suspend")).toBe("high");
  expect(severityOf("canary", "alert")).toBe("critical");
  expect(severityOf("budget", "alert", "medium")).toBe("medium");
});
