import { expect, test } from "vitest";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Account, WindowUse } from "../../proxy/meter/meter.ts";
import { budgetMetrics } from "../../proxy/metrics/budgets.ts";
import { denialReason } from "../../proxy/metrics/labels.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { processRegistry } from "../../proxy/metrics/series.ts";
import { expositionOf } from "../../proxy/workers/summary.ts";

/** The lines of one metric, without what prom-client says of the process. */
async function linesOf(name: string, exposition: { exposition: () => Promise<{ text: string }> }) {
  const { text } = await exposition.exposition();
  return text.split("\n").filter((line) => line.startsWith(name));
}

const create = (topUsers = 0) => createMetrics({ version: "1", databases: ["support"], topUsers });

test("a histogram counts each value in its own bucket and all above, on the bound as well", async () => {
  const metrics = create();
  const { took } = metrics.times("support");
  for (const seconds of [0.0005, 0.0006, 0.3, 99]) took(seconds);
  metrics.times("support").took(0.3);
  const lines = await linesOf("sluice_statement_duration_seconds", metrics);
  const of = (le: string) => `sluice_statement_duration_seconds_bucket{le="${le}",database="support"}`;
  expect(lines).toEqual(
    expect.arrayContaining([
      `${of("0.0005")} 1`,
      `${of("0.001")} 2`,
      `${of("0.25")} 2`,
      `${of("0.5")} 4`,
      `${of("10")} 4`,
      `${of("+Inf")} 5`,
      'sluice_statement_duration_seconds_count{database="support"} 5',
    ]),
  );
  const sum = lines.find((line) => line.includes("_sum"));
  expect(Number(sum?.split(" ")[1])).toBeCloseTo(99.6011);
});

test("several processes together: counts add up, shares and lags are the highest, what is up the lowest", async () => {
  const [one, two] = [create(), create()];
  for (const [metrics, lag, suspended, isUp] of [
    [one, 3_000, 2, true],
    [two, 90_000, 2, false],
  ] as const) {
    metrics.sessionOpened("support");
    metrics.upstreamReached("support", isUp);
    metrics.policyLoaded("abc");
    metrics.times("support").took(0.003);
    metrics.redis("charge").failed();
    metrics.ask({ auditWaitsSince: () => Date.now() - lag, suspendedUsers: () => suspended });
  }
  one.budgetUsed(ACCOUNT, [use(30)]);
  two.budgetUsed({ ...ACCOUNT, user: "ben" }, [use(80)]);
  const whole = { exposition: async () => expositionOf([await one.numbers(), await two.numbers()]) };
  const { text } = await whole.exposition();
  const lines = text.split("\n");
  expect(lines).toEqual(
    expect.arrayContaining([
      'sluice_client_connections{database="support"} 2',
      'sluice_sessions_total{database="support"} 2',
      'sluice_statement_duration_seconds_count{database="support"} 2',
      'sluice_statement_duration_seconds_bucket{le="0.005",database="support"} 2',
      'sluice_redis_errors_total{operation="charge"} 2',
      'sluice_upstream_up{database="support"} 0',
      "sluice_suspended_users 2",
      'sluice_policy_info{version="abc"} 1',
      'sluice_budget_used_ratio{role="agent",unit="people",window="1d"} 0.8',
    ]),
  );
  const [lag] = await linesOf("sluice_audit_lag_seconds", whole);
  expect(Number(lag?.split(" ")[1])).toBeGreaterThanOrEqual(90);
  expect(Number(lag?.split(" ")[1])).toBeLessThan(95);
});

test("after a reload only the policy in force is named", async () => {
  const metrics = create();
  metrics.policyLoaded("aaa");
  metrics.policyLoaded("bbb");
  metrics.policyRejected();
  expect(await linesOf("sluice_policy_info", metrics)).toEqual(['sluice_policy_info{version="bbb"} 1']);
  expect(await linesOf("sluice_policy_last_reload_successful", metrics)).toEqual([
    "sluice_policy_last_reload_successful 0",
  ]);
});

test("no lag where all is on disk", async () => {
  const metrics = create();
  metrics.ask({ auditWaitsSince: () => undefined });
  expect(await linesOf("sluice_audit_lag_seconds", metrics)).toEqual(["sluice_audit_lag_seconds 0"]);
});

const ACCOUNT: Account = { database: "support", user: "anna", role: "agent", windows: [] };

function use(used: number, window: Partial<WindowUse["window"]> = {}): WindowUse {
  const day = { name: "1d", seconds: 86_400, what: "people", limit: 100, rule: "" } as const;
  return { window: { ...day, ...window }, used };
}

test("users are named only when that is asked for, and then those nearest to the end", async () => {
  const [nobody, two] = [create(0), create(2)];
  for (const metrics of [nobody, two]) {
    metrics.budgetUsed({ ...ACCOUNT, user: "anna" }, [
      use(10),
      use(9, { name: "1h", seconds: 3600, limit: 10 }),
    ]);
    metrics.budgetUsed({ ...ACCOUNT, user: "ben" }, [use(95)]);
    metrics.budgetUsed({ ...ACCOUNT, user: "cleo" }, [use(20)]);
  }
  expect(await linesOf("sluice_budget_user_used_ratio", nobody)).toEqual([]);
  expect((await nobody.exposition()).text).not.toMatch(/anna|ben|cleo/);
  expect(await linesOf("sluice_budget_user_used_ratio", two)).toEqual([
    'sluice_budget_user_used_ratio{user="ben",role="agent"} 0.95',
    'sluice_budget_user_used_ratio{user="anna",role="agent"} 0.9',
  ]);
});

test("a share is forgotten when its window is over, and who has not read for long", async () => {
  const registry = processRegistry();
  let now = 0;
  const { budgetUsed } = budgetMetrics(registry, 0, () => now);
  const shares = async () =>
    (await registry.metrics()).split("\n").filter((line) => line.startsWith("sluice_budget_used_ratio"));
  budgetUsed(ACCOUNT, [use(50), use(5, { name: "1m", seconds: 60, limit: 10 })]);
  expect(await shares()).toHaveLength(2);
  now = 60_000;
  expect(await shares()).toEqual(['sluice_budget_used_ratio{role="agent",unit="people",window="1d"} 0.5']);
  budgetUsed(ACCOUNT, [use(51)]);
  now = 359_999;
  expect(await shares()).toEqual(['sluice_budget_used_ratio{role="agent",unit="people",window="1d"} 0.51']);
  now = 360_000;
  expect(await shares()).toEqual([]);
});

test.each([
  ["roles.agent.reads", "42501", "relation"],
  ["roles.agent.sees", "42501", "column"],
  ["roles.agent.calls", "42501", "function"],
  ["roles.agent.writes", "42501", "write"],
  ["roles.agent", "42501", "statement_kind"],
  ["roles.agent.require_filter", "42501", "filter"],
  ["roles.agent.rows", "54000", "rows"],
  ["roles.agent.bytes", "54000", "bytes"],
  ["roles.agent.budget.1d", "53400", "budget"],
  ["roles.agent.budget.1d.people", "53400", "budget"],
  ["roles.base.budget.1h.lookups", "53400", "lookups"],
  ["roles.agent.changes", "54000", "changes"],
  ["roles.base.budget.1d.changes", "53400", "changes"],
  ["on_audit_loss", "58000", "audit"],
  [undefined, "58000", "counters"],
  [undefined, "54001", "too_long"],
  [undefined, "42601", "not_understood"],
  [undefined, "made up", "other"],
  ["made.up", "42501", "other"],
] as const)("policy line %s with %s counts as %s", (rule, sqlstate, reason) => {
  const event = { role: "agent", sqlstate, ...(rule === undefined ? {} : { rule }) };
  expect(denialReason(event as StatementEvent)).toBe(reason);
});
