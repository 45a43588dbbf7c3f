import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createMetrics } from "../../proxy/metrics.ts";
import { expositionOf, ownNumbers } from "../../proxy/workers/summary.ts";

const read = (name: string) => readFileSync(new URL(`../../${name}`, import.meta.url), "utf8");

test("docs/metrics.md has every metric that is exposed, and no other", async () => {
  const { text } = await expositionOf([
    await createMetrics({ version: "0", databases: [] }).numbers(),
    await ownNumbers().numbers(),
  ]);
  const exposed = [...text.matchAll(/^# HELP (sluice_\w+)/gm)].map(([, name]) => name);
  const documented = [...read("docs/metrics.md").matchAll(/^\| `(sluice_\w+)`/gm)].map(([, name]) => name);
  expect(documented.toSorted()).toEqual(exposed.toSorted());
});

test("every file that the README points to is there", () => {
  const links = [...read("README.md").matchAll(/\]\(([^)#]+)\)/g)].map(([, target = ""]) => target);
  expect(links.length).toBeGreaterThan(0);
  for (const link of links) expect(() => read(link), link).not.toThrow();
});
