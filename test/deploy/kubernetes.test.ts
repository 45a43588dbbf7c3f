import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { parseAllDocuments } from "yaml";

const ROOT = join(import.meta.dirname, "../..");
const FOLDER = join(ROOT, "deploy/kubernetes");

interface Resource {
  readonly apiVersion: string;
  readonly kind: string;
}

/** Those that the API server gets as they are; what kustomize and Sluice read is checked beside. */
const resources = readdirSync(FOLDER)
  .filter((file) => file.endsWith(".yaml") && file !== "kustomization.yaml")
  .flatMap((file) => parseAllDocuments(readFileSync(join(FOLDER, file), "utf8")))
  .map((document) => document.toJS() as Resource);

test("each resource has Kubernetes' own fields and no other, of the right types", {
  timeout: 60_000,
}, async () => {
  expect(resources.length).toBeGreaterThan(6);
  expect(await complaints(resources)).toBe("");
});

test("a field that Kubernetes would not know is seen", { timeout: 60_000 }, async () => {
  const spec = { minAvailabel: 1, selector: { matchLabels: { a: "b" } } };
  const misspelt = { apiVersion: "policy/v1", kind: "PodDisruptionBudget", metadata: { name: "a" }, spec };
  expect(await complaints([misspelt])).toContain("minAvailabel");
});

/**
 * What TypeScript finds wrong with them as literals of the types that are made from Kubernetes' OpenAPI. The API
 * server itself only warns of a misspelt field, and leaves it out: a container's root would be writable again.
 */
async function complaints(checked: readonly Resource[]): Promise<string> {
  // Inside the project, where the types are found.
  const cache = join(ROOT, "node_modules/.cache");
  await mkdir(cache, { recursive: true });
  const folder = await mkdtemp(join(cache, "kubernetes-"));
  try {
    await writeFile(join(folder, "resources.ts"), checked.map(declaration).join(""));
    const options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "nodenext", "--target", "es2023"];
    const tsc = [join(ROOT, "node_modules/typescript/bin/tsc"), ...options, "--types", "", "--ignoreConfig"];
    const args = [...tsc, join(folder, "resources.ts")];
    return await promisify(execFile)(process.execPath, args).then(
      ({ stdout }) => stdout,
      (error: { stdout: string }) => error.stdout,
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function declaration(resource: Resource, i: number): string {
  const { apiVersion, kind } = resource;
  const types = apiVersion.startsWith("monitoring.coreos.com/")
    ? "@kubernetes-models/prometheus-operator"
    : "kubernetes-models";
  return `import type { I${kind} as T${i} } from "${types}/${apiVersion}/${kind}";
export const r${i}: T${i} = ${JSON.stringify(resource, null, 2)};
`;
}
