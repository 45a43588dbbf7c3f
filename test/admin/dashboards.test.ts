import { readdir, readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { createMetrics } from "../../proxy/metrics.ts";

const FOLDER = fileURLToPath(new URL("../../dashboards/", import.meta.url));

/** Prometheus makes it of each target. */
const MADE_BY_PROMETHEUS = ["up"];

async function expressions(): Promise<readonly string[]> {
  const found: string[] = [];
  for (const file of (await readdir(FOLDER)).filter((name) => name.endsWith(".json"))) {
    const { panels, templating } = JSON.parse(await readFile(FOLDER + file, "utf8"));
    for (const panel of panels) for (const { expr } of panel.targets) found.push(expr);
    for (const { query } of templating.list) if (query !== "prometheus") found.push(query);
  }
  const rules = parse(await readFile(`${FOLDER}rules.yml`, "utf8"));
  for (const group of rules.groups) for (const { expr } of group.rules) found.push(expr);
  return found;
}

test("each panel and rule asks for metrics that Sluice has", async () => {
  const { text } = await createMetrics({ version: "1", databases: ["support"] }).exposition();
  const known = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name));
  const used = (await expressions()).flatMap((expression) => expression.match(/\bsluice_\w+|\bup\b/g) ?? []);
  expect(used.length).toBeGreaterThan(20);
  for (const name of used.filter((each) => !MADE_BY_PROMETHEUS.includes(each))) {
    expect(known, name).toContain(name.replace(/_(?:bucket|sum|count)$/, ""));
  }
});

test("dashboards name no data source and no host of their own, and each panel says what it shows", async () => {
  for (const file of (await readdir(FOLDER)).filter((name) => name.endsWith(".json"))) {
    const text = await readFile(FOLDER + file, "utf8");
    const { id, uid, panels, schemaVersion } = JSON.parse(text);
    expect(id).toBeNull();
    expect(uid).toMatch(/^sluice-/);
    expect(schemaVersion).toBeGreaterThanOrEqual(39);
    expect(text).not.toMatch(/localhost|127\.0\.0\.1|https?:/);
    for (const panel of panels) {
      expect(panel.description.length, panel.title).toBeGreaterThan(5);
      expect(panel.datasource.uid).toBe("${datasource}");
    }
  }
});
