import { expect, test } from "vitest";
import { readSettings } from "../../proxy/settings/settings.ts";

const BASE = ["--config", "/dev/null", "--upstream", "postgresql://u@localhost/d"];

function read(flags: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const result = readSettings([...BASE, ...flags], env);
  return result.ok ? result.settings : result.problems;
}

test("who says nothing gets the strict log: events first, closed when it cannot be written, kept for ever", () => {
  expect(read([])).toMatchObject({
    auditDurability: "before",
    onAuditLoss: "closed",
    auditSink: ["none"],
    auditSegment: 64 * 2 ** 20,
    auditRetention: undefined,
    auditSinkWait: 100,
  });
});

test("flags and variables set all of the audit log", () => {
  const flags = ["--audit-durability", "after", "--on-audit-loss", "open", "--audit-sink", "stdout"];
  const env = { SLUICE_AUDIT_RETENTION: "400d", SLUICE_AUDIT_SEGMENT: "8MB", SLUICE_AUDIT_SINK_WAIT: "1s" };
  expect(read(flags, env)).toMatchObject({
    auditDurability: "after",
    onAuditLoss: "open",
    auditSink: ["stdout"],
    auditRetention: 400,
    auditSegment: 8 * 2 ** 20,
    auditSinkWait: 1000,
  });
});

test.each([
  ["--audit-durability", "never", "before, after"],
  ["--audit-retention", "400", "400d"],
  ["--audit-retention", "0d", "400d"],
  ["--audit-sink", "stdout,rabbit", "none, stdout, redis"],
  ["--on-audit-loss", "ignore", "closed, open"],
])("%s %s is a mistake, and what is right is told", (flag, value, right) => {
  expect(String(read([flag, value]))).toContain(right);
});
