import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { prepare, type Ready } from "../run.ts";
import { differences, type Step } from "../steps.ts";
import { DAY_CLIENTS, type DayClient, type Naming } from "./clients.ts";
import { comparable, planFor, shownIn } from "./plan.ts";
import { type Charges, type DayWay, type DayWorld, startDayWorld, WAYS } from "./world.ts";

/*
 * `npm run frameworks`: a support desk's day of three people by the frameworks that applications are made with. Each person
 * must be charged exactly whom the same day shows without Sluice.
 */

const { values } = parseArgs({
  options: {
    /** Names of frameworks, with commas between them. */
    only: { type: "string" },
    verbose: { type: "boolean", default: false },
  },
});

const MAIN = resolve("dist/main.js");
const PROGRAMS = resolve("bench/compatibility/programs");

/** People at most that a day's counts and conditions cost a guarded person besides whom they are shown. */
const PRICES = 6;

async function main(): Promise<void> {
  const only = values.only?.split(",").map((name) => name.toLowerCase());
  const world = await startDayWorld(MAIN);
  let faults = 0;
  try {
    for (const client of DAY_CLIENTS.filter(({ name }) => only?.includes(name.toLowerCase()) ?? true)) {
      const ready = await prepare(client, PROGRAMS).catch((error: Error) =>
        say(`Not tried: ${client.name}: ${error.message}`),
      );
      if (ready === undefined) continue;
      for (const naming of client.namings) faults += await tryNaming(world, client, ready, naming);
      if (client.isWatchedOnly !== true) faults += await tryOwn(world, client, ready);
    }
  } finally {
    await world.stop();
  }
  say(`Postgres ${world.serverVersion}, Node ${process.version.slice(1)}: ${faults} differences`);
  if (faults > 0) process.exitCode = 1;
}

/** Each way after the direct one. The number of differences. */
async function tryNaming(world: DayWorld, client: DayClient, ready: Ready, naming: Naming): Promise<number> {
  const people = await world.begin(client.isNumbered ?? false);
  const direct = await run(ready, world.directUri("watched"), people, naming);
  const broken = direct.filter((step) => "error" in step);
  for (const { step, error } of broken) say(`WRONG  ${client.name}, ${naming}, direct: ${step}: ${error}`);
  // A day that is not done without Sluice says nothing of one that is done with it.
  if (broken.length > 0) return broken.length;
  let faults = 0;
  for (const way of WAYS.filter(({ account }) => account === "watched" || client.isWatchedOnly !== true)) {
    const own = await world.begin(client.isNumbered ?? false);
    await world.charges(way.through, own);
    const steps = await run(ready, world.uri(way), own, naming, way.account !== "watched");
    const charges = await world.charges(way.through, own);
    const found = [
      ...answers(comparable(direct, people), comparable(steps, own), way.account !== "watched"),
      ...charged(shownOf(direct), own, charges, way.account !== "watched"),
    ];
    report(client, ready, naming, way, direct, found, charges);
    faults += found.length;
  }
  return faults;
}

/** Somebody who logs in and is guarded, with nobody named: what is refused to them, or comes out otherwise. */
async function tryOwn(world: DayWorld, client: DayClient, ready: Ready): Promise<number> {
  const [first = "", ...others] = await world.begin(client.isNumbered ?? false);
  const direct = await run(ready, world.directUri(first), [first], "none");
  const people = await world.begin(client.isNumbered ?? false);
  const [person = ""] = people;
  await world.charges("session", people);
  const steps = await run(ready, world.ownUri(person), [person], "none", true);
  const charges = await world.charges("session", people);
  const found = [
    ...answers(comparable(direct, [first, ...others]), comparable(steps, people), true),
    ...charged(shownOf(direct), [person], charges, true),
  ];
  report(client, ready, "logs in", { name: "agent" }, direct, found, charges);
  return found.length;
}

function run(
  ready: Ready,
  uri: string,
  people: readonly string[],
  naming: string,
  isGuarded = false,
): Promise<readonly Step[]> {
  const plan = JSON.stringify(planFor(people));
  const told = { DAY_NAMING: naming, DAY_PLAN: plan, DAY_GUARDED: isGuarded ? "yes" : "" };
  return ready.run({ name: "direct", uri }, told);
}

function answers(direct: readonly Step[], through: readonly Step[], isGuarded: boolean): readonly string[] {
  return differences(direct, through, isGuarded).map(({ step, what }) => `${step}: ${what}`);
}

/** Customers whom each person's steps show, in the order of people. */
function shownOf(steps: readonly Step[]): readonly ReadonlySet<number>[] {
  const shown: Set<number>[] = [];
  for (const step of steps) {
    const at = Number(step.step.split(".")[0]) - 1;
    const own = shown[at] ?? new Set();
    shown[at] = own;
    if ("value" in step) for (const customer of shownIn(step.value)) own.add(customer);
  }
  return shown;
}

/**
 * Whom the log and the counters charge in place of whom they should, or without a name. Where statements have a price
 * (docs/metering.md), counts of few people and lookups cost a little more than whom they name.
 */
function charged(
  shown: readonly ReadonlySet<number>[],
  people: readonly string[],
  charges: Charges,
  hasPrices: boolean,
): readonly string[] {
  const faults: string[] = [];
  const list = (customers: Iterable<number>) => [...customers].sort((a, b) => a - b).join(" ");
  for (const [at, person] of people.entries()) {
    const wanted = list(shown[at] ?? []);
    const got = list(charges.customers.get(person) ?? []);
    if (wanted !== got) faults.push(`person ${at + 1} was shown ${wanted} and is charged ${got}`);
    // Who has a login of their own and has gone is not listed.
    const used = charges.used.get(person) ?? shown[at]?.size ?? 0;
    const most = (shown[at]?.size ?? 0) + (hasPrices ? PRICES : 0);
    if (used < (shown[at]?.size ?? 0) || used > most)
      faults.push(`person ${at + 1} has used ${used} of a budget in place of ${shown[at]?.size}`);
  }
  for (const [name, customers] of charges.customers)
    if (!people.includes(name) && customers.size > 0) faults.push(`${name} is charged ${list(customers)}`);
  for (const [name, count] of charges.uncounted)
    if (!hasPrices || count > PRICES || !people.includes(name))
      faults.push(`${name} is charged ${count} without a name`);
  return faults;
}

function report(
  client: DayClient,
  ready: Ready,
  naming: string,
  way: Pick<DayWay, "name">,
  direct: readonly Step[],
  found: readonly string[],
  charges: Charges,
): void {
  const shown = shownOf(direct).map(({ size }) => size);
  say(
    `${found.length === 0 ? "right" : "WRONG"}  ${client.name} ${ready.version}, ${naming}, ${way.name}: shown ${shown.join(", ")} in ${direct.length} steps`,
  );
  for (const fault of found) say(`    ${fault}`);
  if (found.length > 0 || values.verbose) for (const refusal of charges.refusals) say(`    log: ${refusal}`);
}

function say(text: string): undefined {
  process.stdout.write(`${text}\n`);
}

await main();
