import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { ownNumbers } from "../../proxy/workers/summary.ts";
import { findProgram } from "../harness/debian.ts";
import { DASHBOARDS, readRules } from "./boards.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

/** Runs Prometheus's own checker; rejects with what it complains about. */
async function promtool(args: readonly string[], input = ""): Promise<string> {
  const { path, environment } = await findProgram("promtool");
  const running = promisify(execFile)(path, [...args], {
    cwd: DASHBOARDS,
    env: { ...process.env, ...environment },
  });
  running.child.stdin?.end(input);
  const { stdout } = await running;
  return stdout;
}

test("Prometheus reads the rules and finds their tests right", { timeout: 120_000 }, async () => {
  expect(await promtool(["check", "rules", "rules.yml"])).toMatch(/SUCCESS: \d+ rules found/);
  expect(await promtool(["test", "rules", "rules.test.yml"])).toContain("SUCCESS");
});

test("each alert is tested while it fires and while it does not, and each recorded number once", async () => {
  const { tests } = parse(await readFile(`${DASHBOARDS}rules.test.yml`, "utf8")) as RuleTests;
  const checks = tests.flatMap(({ alert_rule_test = [] }) => alert_rule_test);
  const numbers = tests.flatMap(({ promql_expr_test = [] }) => promql_expr_test.map(({ expr }) => expr));
  for (const { alert, record } of await readRules()) {
    if (record !== undefined) expect(numbers).toContain(record);
    if (alert === undefined) continue;
    const fires = checks
      .filter(({ alertname }) => alertname === alert)
      .map(({ exp_alerts }) => exp_alerts.length > 0);
    expect(new Set(fires), alert).toEqual(new Set([false, true]));
  }
});

/** Prometheus docs, "Unit testing for rules". */
interface RuleTests {
  readonly tests: readonly {
    readonly alert_rule_test?: readonly {
      readonly alertname: string;
      readonly exp_alerts: readonly unknown[];
    }[];
    readonly promql_expr_test?: readonly { readonly expr: string }[];
  }[];
}

test("Prometheus has no complaint about what /metrics says", { timeout: 120_000 }, async () => {
  const { text } = await createMetrics({ version: "1", databases: ["support"] }).exposition();
  expect(await promtool(["check", "metrics"], text)).toBe("");
});

test("each alert's runbook link leads to a section of its own that says what to do", async () => {
  const alerts = (await readRules()).flatMap(({ alert, annotations }) =>
    alert === undefined ? [] : [{ alert, link: annotations?.runbook_url }],
  );
  expect(alerts.length).toBeGreaterThan(5);
  const sections = (await readFile(`${ROOT}docs/runbook.md`, "utf8")).split(/^## /m).slice(1);
  expect(sections.map((section) => section.split("\n", 1)[0])).toEqual(alerts.map(({ alert }) => alert));
  for (const { alert, link } of alerts) expect(link).toBe(`docs/runbook.md#${alert.toLowerCase()}`);
  for (const section of sections) {
    for (const part of ["**Means**", "**Look at**", "**Do**"]) expect(section).toContain(part);
  }
});

test("docs/metrics.md lists the alerts that are critical, and no other", async () => {
  const rules = await readRules();
  const critical = rules.filter(({ labels }) => labels?.severity === "critical").map(({ alert }) => alert);
  const page = await readFile(`${ROOT}docs/metrics.md`, "utf8");
  expect((page.match(/(?<=`)Sluice[A-Z]\w+(?=`)/g) ?? []).sort()).toEqual(critical.sort());
});

test("docs/metrics.md names each metric that Sluice exports, and no other", async () => {
  const { text } = await createMetrics({ version: "1", databases: ["support"] }).exposition();
  const exported = [...text.matchAll(/^# TYPE (sluice_\S+)/gm)].map(([, name]) => name);
  const page = await readFile(`${ROOT}docs/metrics.md`, "utf8");
  const documented = [...page.matchAll(/^\| `(sluice_\w+)`/gm)].map(([, name]) => name);
  for (const { name } of await ownNumbers().numbers()) if (name.startsWith("sluice_")) exported.push(name);
  expect(documented.sort()).toEqual(exported.sort());
});
