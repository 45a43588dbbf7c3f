import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse, stringify } from "yaml";

const ROOT = join(import.meta.dirname, "../..");
const yaml = (path: string) => parse(readFileSync(join(ROOT, path), "utf8"));

test("the Prometheus operator gets the rules of dashboards/rules.yml (vitest -u writes them)", async () => {
  const { groups } = yaml("dashboards/rules.yml");
  const rule = {
    apiVersion: "monitoring.coreos.com/v1",
    kind: "PrometheusRule",
    metadata: { name: "sluice" },
    spec: { groups },
  };
  const text = `# Made of dashboards/rules.yml by test/deploy/monitoring.test.ts.\n${stringify(rule, { lineWidth: 0 })}`;
  await expect(text).toMatchFileSnapshot(join(ROOT, "deploy/kubernetes/rules.yaml"));
});

test("Grafana's sidecar gets each dashboard, short enough for kubectl to keep a copy of", () => {
  const { configMapGenerator, generatorOptions } = yaml("dashboards/kustomization.yaml");
  const files = readdirSync(join(ROOT, "dashboards")).filter((name) => name.endsWith(".json"));
  const maps = files.map((file) => ({
    name: `sluice-dashboard-${file.replace(".json", "")}`,
    files: [file],
  }));
  expect(configMapGenerator).toEqual(expect.arrayContaining(maps));
  expect(configMapGenerator).toHaveLength(files.length);
  expect(generatorOptions.labels).toEqual({ grafana_dashboard: "1" });
  // Kubernetes docs: all annotations of an object together have 256 KiB, and kubectl's has the text in quotes.
  for (const file of files) expect(statSync(join(ROOT, "dashboards", file)).size).toBeLessThan(150_000);
});

test("Prometheus in Kubernetes calls the job as the alerts do", () => {
  const { jobLabel } = yaml("deploy/kubernetes/monitor.yaml").spec;
  const { labels } = yaml("deploy/kubernetes/kustomization.yaml");
  // The Service has the label, whose value is the job's name.
  expect(labels).toEqual([{ pairs: { [jobLabel]: "sluice" } }]);
  expect(readFileSync(join(ROOT, "dashboards/rules.yml"), "utf8")).toContain('up{job="sluice"}');
});
