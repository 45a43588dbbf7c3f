/** Makes the tables and the picture of docs/simulation.md of the figures in bench/simulation/results. */
import { readdir, readFile, writeFile } from "node:fs/promises";
import { drawCurve } from "./picture.ts";
import type { Results } from "./results.ts";
import { curveOf, curveTable, figure, honestTable, thievesTable } from "./tables.ts";
import { THIEVES } from "./thieves.ts";
import { drawTradeOff, type RoleBudget, tradeOffTable } from "./trade-off.ts";

const RESULTS = "bench/simulation/results";
/** Where the tables stand in docs/simulation.md. */
const FIGURES = /(<!-- figures[^>]*-->).*(<!-- end of figures -->)/s;

const runs: Results[] = [];
for (const name of (await readdir(RESULTS)).toSorted()) {
  runs.push(JSON.parse(await readFile(`${RESULTS}/${name}`, "utf8")) as Results);
}
const behind = runs.filter((run) => run.behind);
const single = runs.filter((run) => run.profiles === "one" && !run.behind);
const fleet = runs.filter(({ profiles }) => profiles !== "one");
const named = THIEVES.map(({ name }) => ({ thief: name }));
const curve = curveOf(single);
const most = Math.max(...single.map(({ redisBytes }) => redisBytes));
const { sizes } = JSON.parse(await readFile("bench/simulation/role-budget.json", "utf8")) as {
  readonly sizes: readonly RoleBudget[];
};
const text = [
  ...thievesTable(single, named),
  "",
  ...honestTable(single),
  "",
  "One account that takes so many a day beside its work, from day 42 to day 90:",
  "",
  ...curveTable(curve),
  "",
  "A budget for the whole role, alone, without any rule: two colluding accounts beside sixty agents, day 42 to 90:",
  "",
  ...tradeOffTable(sizes),
  "",
  `Redis held ${figure(Math.round(most / 2 ** 20))} MB at the end, for all agents and thieves.`,
  ...(fleet.length === 0 ? [] : fleetTables(fleet)),
  ...(behind.length === 0 ? [] : behindTables(behind)),
].join("\n");
const page = await readFile("docs/simulation.md", "utf8");
await writeFile(
  "docs/simulation.md",
  page.replace(FIGURES, (_, start, end) => `${start}\n\n${text}\n\n${end}`),
);
await writeFile("docs/simulation.svg", drawCurve(curve));
await writeFile("docs/role-budget.svg", drawTradeOff(sizes, "75"));

function fleetTables(fleet: readonly Results[]): string[] {
  const agents = figure(fleet[0]?.honest.agents ?? 0);
  return [
    "",
    `The same with ${agents} agents, for fewer days, and a set of profiles for each of the ten proxies, exchanged by Redis (\`--fleet\`):`,
    "",
    ...thievesTable(fleet, fleet[0]?.thieves ?? []),
    "",
    ...honestTable(fleet),
  ];
}

function behindTables(behind: readonly Results[]): string[] {
  return [
    "",
    "The same people at the screens of one application that names them, with a watched role (`--behind`): rows do not wait for the counters, and what the table has is the worst that may leave before the stop:",
    "",
    ...thievesTable(behind, behind[0]?.thieves ?? []),
    "",
    ...honestTable(behind),
  ];
}
