import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { DEFINITIONS, type Definition } from "../../proxy/metrics/definitions.ts";
import { createMetrics } from "../../proxy/metrics/metrics.ts";
import { ROLE_RULES } from "../../proxy/policy/rules/all.ts";
import { expositionOf, ownNumbers } from "../../proxy/workers/summary.ts";

const PAGE = fileURLToPath(new URL("../../docs/metrics.md", import.meta.url));
const [BEGIN, END] = [
  '<!-- made from proxy/metrics/definitions.ts by "npm run docs:metrics" -->',
  "<!-- end -->",
];

function row({ name, type, labels, help, ofFirst }: Definition): string {
  const what = ofFirst ? `With \`--workers\`: ${help}` : help;
  return `| \`${name}\` | ${type} | ${labels.join(", ")} | ${what.replaceAll("|", "\\|")} |`;
}

test("docs/metrics.md has the table that the code defines", async () => {
  const page = await readFile(PAGE, "utf8");
  const [before, after] = [page.split(BEGIN)[0], page.split(END)[1]];
  const table = ["| metric | type | labels | what |", "| --- | --- | --- | --- |", ...DEFINITIONS.map(row)];
  await expect([`${before}${BEGIN}`, "", ...table, "", `${END}${after}`].join("\n")).toMatchFileSnapshot(
    PAGE,
  );
});

test("every metric that is defined is exported, as it is defined, and no other of ours", async () => {
  const { text } = await expositionOf([
    await createMetrics({ version: "0", databases: [] }).numbers(),
    await ownNumbers().numbers(),
  ]);
  const helps = [...text.matchAll(/^# HELP (sluice_\w+) (.*)$/gm)].map(([, name, help]) => [name, help]);
  const types = [...text.matchAll(/^# TYPE (sluice_\w+) (.*)$/gm)].map(([, name, type]) => [name, type]);
  expect(helps.toSorted()).toEqual(DEFINITIONS.map(({ name, help }) => [name, help]).toSorted());
  expect(types.toSorted()).toEqual(DEFINITIONS.map(({ name, type }) => [name, type]).toSorted());
});

test("what is no count says how the numbers of several processes become one", () => {
  for (const { name, type, together } of DEFINITIONS) {
    expect([name, together !== undefined]).toEqual([name, type === "gauge"]);
  }
});

test("the page names each reason for which a role's key denies", async () => {
  const page = await readFile(PAGE, "utf8");
  const line = page.split("\n").find((each) => each.startsWith("| `reason` of a denial |")) ?? "";
  const reasons = ROLE_RULES.flatMap(({ keys }) => Object.values(keys).flatMap(({ reason }) => reason ?? []));
  expect(reasons.length).toBeGreaterThan(5);
  expect(reasons.filter((reason) => !line.includes(`\`${reason}\``))).toEqual([]);
});
