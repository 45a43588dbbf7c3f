import { expect, onTestFinished, test, vi } from "vitest";
import { HouseWatch } from "../../proxy/app/house-watch.ts";
import type { Alert } from "../../proxy/behaviour/alert.ts";
import { AlertDesk } from "../../proxy/behaviour/alert-desk.ts";
import { createLog } from "../../proxy/log.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";

test("a log that cannot be written is told of once, until it could be written again", async () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const alerts: Alert[] = [];
  const told = new Set<string>();
  const desk = new AlertDesk({
    onAlert: (alert) => alerts.push(alert),
    onFinding: () => {},
    today: () => undefined,
    // As a fleet does: the second who claims is told no.
    claim: async (database, whose, what) => {
      const key = JSON.stringify([database, whose, what]);
      const isFirst = !told.has(key);
      told.add(key);
      return isFirst;
    },
    newId: () => "id",
    log: createLog({ level: "silent" }),
  });
  const policies = compilePolicies([{ name: "p.yaml", text: "version: 1\n" }]);
  if (!policies.ok) throw new Error("the policy is wrong");
  const audit = { ready: true };
  let time = 1_000_000;
  const house = new HouseWatch({ alerts: desk, audit, policies: () => policies.policies, now: () => time });
  onTestFinished(() => house.close());
  const pass = async (seconds: number) => {
    time += seconds * 1_000;
    await vi.advanceTimersByTimeAsync(seconds * 1_000);
  };
  audit.ready = false;
  await pass(5);
  expect(alerts).toMatchObject([
    { rule: "audit", severity: "critical", text: "the audit log cannot be written" },
  ]);
  audit.ready = true;
  await pass(2);
  audit.ready = false;
  await pass(2);
  expect(alerts).toHaveLength(2);
  for (let i = 0; i < 3; i++) house.countersLost("support");
  await pass(1);
  expect(alerts.slice(2)).toMatchObject([{ rule: "counters", severity: "high", database: "support" }]);
});
