import { expect, test } from "vitest";
import { BOARDS } from "../../dashboards/source/boards.ts";
import { boardText } from "../../dashboards/source/grafana.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { ownNumbers } from "../../proxy/workers/summary.ts";
import {
  type Board,
  DASHBOARDS,
  metricsOf,
  type Panel,
  questionsOf,
  readBoards,
  readRules,
} from "./boards.ts";

/** Prometheus makes it of each target. */
const MADE_BY_PROMETHEUS = ["up"];

test.each(BOARDS)("the file of dashboard $name is what its plan says (vitest -u writes it)", async (plan) => {
  await expect(boardText(plan)).toMatchFileSnapshot(`${DASHBOARDS}${plan.name}.json`);
});

test("each file of a dashboard has a plan", async () => {
  const files = (await readBoards()).map(({ file }) => file);
  expect(files).toEqual(BOARDS.map(({ name }) => `${name}.json`).sort());
});

test("each panel and rule asks for metrics that Sluice has, or that a rule records", async () => {
  const rules = await readRules();
  const { text } = await createMetrics({ version: "1", databases: ["support"] }).exposition();
  const known = new Set([
    ...[...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name),
    ...(await ownNumbers().numbers()).map(({ name }) => name),
    ...rules.map(({ record }) => record),
    ...MADE_BY_PROMETHEUS,
  ]);
  const asked = (await readBoards()).flatMap((board) => questionsOf(board, "a"));
  const used = [...asked, ...rules].flatMap(({ expr }) => metricsOf(expr));
  expect(used.length).toBeGreaterThan(20);
  expect(used.filter((name) => !known.has(name))).toEqual([]);
});

test("dashboards name no data source and no host of their own", async () => {
  for (const { file, text, id, uid, schemaVersion, templating, panels } of await readBoards()) {
    expect(id).toBeNull();
    expect(uid).toBe(`sluice-${file.replace(".json", "")}`);
    expect(schemaVersion).toBeGreaterThanOrEqual(39);
    expect(text).not.toMatch(/localhost|127\.0\.0\.1|https?:/);
    expect(templating.list[0]).toMatchObject({ name: "datasource", type: "datasource", query: "prometheus" });
    for (const { datasource, targets = [] } of panels) {
      for (const uid of [datasource?.uid, ...targets.map((target) => target.datasource.uid)]) {
        expect(uid ?? "$datasource").toBe("$datasource");
      }
    }
  }
});

test("each panel says what it shows in which unit, names its lines, and is the only one of its number", async () => {
  for (const { file, panels } of await readBoards()) {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    for (const { type, title, description, fieldConfig, targets = [] } of panels) {
      if (type === "row") continue;
      const where = `${file}, ${title}`;
      expect(description?.length, where).toBeGreaterThan(30);
      if (type === "text") continue;
      expect(fieldConfig?.defaults.unit, where).toMatch(/^[a-zA-Z]+$/);
      expect(targets.length, where).toBeGreaterThan(0);
      expect(new Set(targets.map(({ refId }) => refId)).size, where).toBe(targets.length);
      for (const { legendFormat } of targets) expect(legendFormat, where).not.toBe("");
    }
  }
});

test("no panel lies on another or beyond the edge", async () => {
  for (const { file, panels } of await readBoards()) {
    for (const [i, panel] of panels.entries()) {
      expect(panel.gridPos.x + panel.gridPos.w, `${file}, ${panel.title}`).toBeLessThanOrEqual(24);
      const under = panels.slice(0, i).filter((other) => overlap(panel, other));
      expect(under.map(({ title }) => `${file}: ${panel.title} on ${title}`)).toEqual([]);
    }
  }
});

function overlap({ gridPos: a }: Panel, { gridPos: b }: Panel): boolean {
  return a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;
}

test("a variable that is chosen narrows something, and what narrows is a variable", async () => {
  for (const board of await readBoards()) {
    const offered = board.templating.list.map(({ name }) => name).sort();
    expect([...new Set(variablesOf(board))].sort(), board.file).toEqual(offered);
  }
});

function variablesOf({ panels }: Board): readonly string[] {
  const texts = panels.flatMap(({ targets = [] }) =>
    targets.flatMap(({ expr, datasource }) => [expr, datasource.uid]),
  );
  return texts.flatMap((text) => text.match(/(?<=\$)[a-z]+/g) ?? []);
}

test("an alert's runbook that a panel points to is there", async () => {
  const alerts = (await readRules()).map(({ alert }) => alert);
  const named = (await readBoards()).flatMap(({ text }) => text.match(/\bSluice[A-Z]\w+/g) ?? []);
  expect(named.length).toBeGreaterThan(4);
  expect(named.filter((name) => !alerts.includes(name))).toEqual([]);
});
