import { existsSync, readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse, parseAllDocuments } from "yaml";
import { loadPolicies } from "../../proxy/policy-files/load.ts";
import { allForms } from "../../proxy/settings/table.ts";

const ROOT = join(import.meta.dirname, "../..");
const DEPLOY = join(ROOT, "deploy");
const read = (path: string) => readFileSync(join(ROOT, path), "utf8");

test("every variable that the Dockerfile and the files beside it set is one of Sluice's", async () => {
  const names = await readdir(DEPLOY, { recursive: true });
  const files = [
    "Dockerfile",
    ...names.filter((name) => /\.(ya?ml|service)$/.test(name)).map((n) => `deploy/${n}`),
  ];
  const known = new Set(["SLUICE_CONFIG", ...allForms().map(({ variable }) => variable)]);
  const used = files.flatMap((file) => read(file).match(/SLUICE_[A-Z][A-Z_]*/g) ?? []);
  expect(used.length).toBeGreaterThan(10);
  expect(used.filter((name) => !known.has(name) && name !== "SLUICE_")).toEqual([]);
});

test("the Kubernetes base names files that are there, and each of its documents is one of a kind", () => {
  const folder = join(DEPLOY, "kubernetes");
  const base = parse(read("deploy/kubernetes/kustomization.yaml"));
  const files: string[] = [...base.resources, ...base.configMapGenerator[0].files];
  for (const file of files) expect(existsSync(join(folder, file)), file).toBe(true);
  const kinds = (base.resources as string[]).flatMap((file) =>
    // A folder is a base of its own.
    (file.endsWith(".yaml") ? parseAllDocuments(read(`deploy/kubernetes/${file}`)) : []).map((document) => {
      if (document.errors.length > 0) throw document.errors[0];
      return document.toJS().kind;
    }),
  );
  expect(kinds.toSorted()).toEqual(
    [
      "Deployment",
      "HorizontalPodAutoscaler",
      "PodDisruptionBudget",
      "PrometheusRule",
      "Service",
      "Service",
      "ServiceMonitor",
    ].toSorted(),
  );
});

test("the policy of the Kubernetes base is a good one", async () => {
  expect(await loadPolicies(join(DEPLOY, "kubernetes/policies"))).toMatchObject({ ok: true });
});

test("a pod is given more time to end than Sluice takes", () => {
  const { spec } = parse(read("deploy/kubernetes/deployment.yaml")).spec.template;
  const delay = spec.containers[0].env.find(
    ({ name }: { name: string }) => name === "SLUICE_DRAIN_DELAY",
  ).value;
  // 30 s is the default of --drain-timeout.
  expect(spec.terminationGracePeriodSeconds).toBeGreaterThan(Number.parseInt(delay, 10) + 30);
});
