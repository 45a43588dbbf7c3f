/**
 * What a budget for a whole role stops, and whom it stands in the way of: two colluding accounts of sixty whom no rule sees
 * beside honest agents, the counters of one process, no rules of behaviour, budgets of 1d in several sizes.
 *
 *   node dist/bench/bench/simulation/role-budget.js      (a minute; writes bench/simulation/role-budget.json)
 */
import { writeFile } from "node:fs/promises";
import { median } from "../../proxy/behaviour/robust.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import type { BudgetWindow } from "../../proxy/policy/policy.ts";
import { CUSTOMERS, DAY, DAYS, demandOf, hire, type Sip, START, workday } from "./organisation.ts";
import { Random } from "./random.ts";
import { FIRST_DAY } from "./thieves.ts";
import type { RoleBudget } from "./trade-off.ts";

const AGENTS = 60;
const ACCOUNTS = 2;
const RATES = [75] as const;
const SHARES = [1, 1.25, 1.5, 2, 3] as const;
const SEED = 7;

const random = new Random(SEED);
const demand = demandOf(random);
const staff = hire(random, AGENTS).filter(({ lead }) => !lead);
const honest = demand.flatMap((today, day) =>
  staff.flatMap((agent) => workday(agent, { day, demand: today, portions: 10 }, random)),
);
const honestDays = new Set(honest.map(({ user, time }) => `${user} ${dayOf(time)}`)).size;
const stolen = new Map(RATES.map((rate) => [rate, theft(rate)]));
const ordinary = median(workingDays(honest));

const sizes: RoleBudget[] = [];
for (const share of SHARES) {
  const limit = Math.round(share * ordinary);
  const runs = new Map<number, Awaited<ReturnType<typeof run>>>();
  for (const rate of RATES) runs.set(rate, await run(limit, stolen.get(rate) ?? []));
  const quiet = await run(limit, []);
  sizes.push({
    ...{ share, limit },
    lost: Object.fromEntries([...runs].map(([rate, { lost }]) => [rate, lost])),
    blocked: (1_000 * quiet.blocked) / honestDays,
    blockedBeside: (1_000 * (runs.get(75)?.blocked ?? 0)) / honestDays,
  });
  console.log(JSON.stringify(sizes.at(-1)));
}
await writeFile(
  "bench/simulation/role-budget.json",
  `${JSON.stringify({ ordinary, sizes }, undefined, 2)}\n`,
);

async function run(limit: number, thefts: readonly Sip[]): Promise<{ lost: number; blocked: number }> {
  let now = START;
  const store = createMemoryStore({ now: () => now });
  const window: BudgetWindow = {
    ...{
      name: "1d",
      seconds: 86_400,
      what: "people",
      limit,
      rule: "roles.agent.role_budget.1d",
      scope: "role",
    },
  };
  const lost = new Set<number>();
  let blocked = 0;
  for (const { time, user, people, stolen, slip } of [...honest, ...thefts].sort((a, b) => a.time - b.time)) {
    if (slip) continue;
    now = time;
    const grant = await store.charge(
      { database: "support", user, role: "agent", windows: [window] },
      { rows: people.length, people: people.map(String), namespaces: ["customers"], unknownPerRow: 0 },
    );
    const released = grant.kind === "all" ? people.length : grant.kind === "part" ? grant.rows : 0;
    if (stolen) for (const person of people.slice(0, released)) lost.add(person);
    else if (released < people.length) blocked += 1;
  }
  await store.close();
  return { lost: lost.size, blocked };
}

/** Five at a time, from eight to four. */
function theft(rate: number): readonly Sip[] {
  const sips: Sip[] = [];
  for (let day = FIRST_DAY; day < DAYS; day++) {
    if (day % 7 >= 5) continue;
    for (let i = 0; i < (ACCOUNTS * rate) / 5; i++) {
      sips.push({
        time: START + day * DAY + 8 * 3_600_000 + Math.floor((i * 8 * 3_600_000 * 5) / (ACCOUNTS * rate)),
        ...{ user: `colluder#${i % ACCOUNTS}`, address: "", lookups: 0, purposeless: 0, instance: 0 },
        people: Array.from({ length: 5 }, () => random.whole(CUSTOMERS)),
        ...{ stolen: true, slip: false },
      });
    }
  }
  return sips;
}

/** Distinct people whom the role reads, by working day. */
function workingDays(sips: readonly Sip[]): readonly number[] {
  const days = new Map<number, Set<number>>();
  for (const { time, people, slip } of sips) {
    if (slip || dayOf(time - START) % 7 >= 5) continue;
    const day = days.get(dayOf(time)) ?? new Set();
    for (const person of people) day.add(person);
    days.set(dayOf(time), day);
  }
  return [...days.values()].map(({ size }) => size);
}

function dayOf(time: number): number {
  return Math.floor(time / DAY);
}
