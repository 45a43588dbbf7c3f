/**
 * How well `sluice audit who-read` names the source of a leak, and how seldom an innocent user: thefts by one, four and ten
 * accounts, and leaks without a source in the house, by the code that the command runs on (proxy/audit/attribution).
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/simulation/leaks/run.js --seed 1001 --houses 50
 *
 * prints the tables of docs/audit.md. The numbers of the method were chosen on seeds 1 to 50; 1001 and above are held out.
 */
import { parseArgs } from "node:util";
import { Random } from "../random.ts";
import { openHouse } from "./house.ts";
import { leaksTables } from "./tables.ts";
import { type Outside, type Theft, tryOutside, tryTheft } from "./trials.ts";

const THEFTS: readonly Theft[] = [
  ...[2, 3, 5].map((leaked) => ({ name: "one took 68,000", accounts: 1, each: 68_000, leaked })),
  ...[2, 3, 5].map((leaked) => ({ name: "one, stopped at 300", accounts: 1, each: 300, leaked })),
  {
    name: "one took 68,000, half of the list is from elsewhere",
    accounts: 1,
    each: 68_000,
    leaked: 5,
    strangers: 5,
  },
  { name: "one, stopped at 300 of their own queue", accounts: 1, each: 300, leaked: 20, ownQueue: true },
  ...[15, 25].map((leaked) => ({ name: "four took 2,600 each", accounts: 4, each: 2_600, leaked })),
  {
    name: "four took 50 each, half of the list is from elsewhere",
    accounts: 4,
    each: 50,
    leaked: 100,
    strangers: 100,
  },
  ...[40, 75].map((leaked) => ({ name: "ten took 875 each", accounts: 10, each: 875, leaked })),
];
const OUTSIDE: readonly Outside[] = [
  "customers of one queue",
  "customers of three queues",
  "customers of all",
];
/** The controls are not alike: they are drawn from all customers of the queue, also those who never call. */
const UNALIKE: readonly Outside[] = ["whom a queue has read", "who calls a queue often"];
const LEAKED = [5, 20, 100];

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1001" },
    houses: { type: "string", default: "50" },
    agents: { type: "string", default: "300" },
    // In each house: of each theft, and of leaks without a source.
    thefts: { type: "string", default: "20" },
    outside: { type: "string", default: "200" },
    unalike: { type: "string", default: "40" },
  },
});

const [seed, houses] = [Number(values.seed), Number(values.houses)];
const thefts = THEFTS.map((theft) => ({ ...theft, runs: 0, all: 0, some: 0, members: 0, innocent: 0 }));
const tallies = (kinds: readonly Outside[]) =>
  kinds.flatMap((kind) => LEAKED.map((leaked) => ({ kind, leaked, runs: 0, innocent: 0 })));
const [outside, unalike] = [tallies(OUTSIDE), tallies(UNALIKE)];
for (let at = 0; at < houses; at++) {
  const random = new Random(seed + at);
  const house = openHouse(random, Number(values.agents));
  for (const [kinds, runs] of [
    [outside, Number(values.outside)],
    [unalike, Number(values.unalike)],
  ] as const)
    for (let run = 0; run < runs; run++) {
      const tally = kinds[(run + at) % kinds.length];
      if (tally === undefined) break;
      tally.runs += 1;
      if (tryOutside(house, tally.kind, tally.leaked, random)) tally.innocent += 1;
    }
  for (const tally of thefts)
    for (let run = 0; run < Number(values.thefts); run++) {
      const { found, innocent } = tryTheft(house, tally, random);
      tally.runs += 1;
      tally.members += found;
      if (found === tally.accounts) tally.all += 1;
      if (found > 0) tally.some += 1;
      if (innocent) tally.innocent += 1;
    }
  console.error(`house ${at + 1} of ${houses}`);
}
console.log(leaksTables({ thefts, outside, unalike }).join("\n"));
