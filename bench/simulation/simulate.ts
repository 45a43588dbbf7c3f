import type { Role } from "../../proxy/policy/policy.ts";
import { Ledger } from "./ledger.ts";
import { type Agent, DAY, DAYS, demandOf, hire, type Sip, START, workday } from "./organisation.ts";
import { Random } from "./random.ts";
import { type Results, resultsOf } from "./results.ts";
import { FIRST_DAY, type Thief } from "./thieves.ts";
import { World } from "./world.ts";

export interface Scene {
  readonly redis: string;
  /** Of the policy: `agent` and `lead`. */
  readonly roles: ReadonlyMap<string, Role>;
  readonly seed: number;
  readonly agents: number;
  readonly thieves: readonly Thief[];
  readonly days: number;
  /** The users are people behind one application, whose role this is: it alone has an address and a database user. */
  readonly application?: { readonly role: string; readonly address: string };
  /** In how many portions an agent reads what they read in a day. */
  readonly portions: number;
  /** One set of profiles for all proxies, or each with its own, exchanged by Redis. */
  readonly profiles: "one" | "each proxy's";
  readonly onDay?: (day: number) => void;
}

/** The organisation and its thieves, day after day, before the guard. */
export async function simulate(scene: Scene): Promise<Results> {
  const { redis, roles, seed, thieves, profiles, portions, onDay } = scene;
  const world = await World.open(redis, roles, profiles);
  const ledger = new Ledger();
  const random = new Random(seed);
  const demand = demandOf(random);
  const staff = hire(random, scene.agents);
  const rogues = thieves.flatMap((thief) => accountsOf(thief, random));
  try {
    for (const [day, today] of demand.slice(0, scene.days).entries()) {
      const sips = staff.flatMap((agent) => workday(agent, { day, demand: today, portions }, random));
      for (const { agent, thief, account } of rogues) {
        // A month is all that anybody knows of them.
        const works = day >= FIRST_DAY - 32 && !(thief.insteadOfWork && day >= FIRST_DAY);
        if (works) sips.push(...workday(agent, { day, demand: today, portions }, random));
        if (day >= FIRST_DAY) sips.push(...theftOf(agent, thief, account, day, random));
      }
      for (const sip of sips.toSorted((a, b) => a.time - b.time)) {
        const tightened = world.isTightened(sip.user);
        const { role = roleOf(sip.user), address = sip.address } = scene.application ?? {};
        ledger.enter(sip, await world.read({ ...sip, address }, role), tightened);
      }
      onDay?.(day);
    }
    ledger.alerts.push(...world.alerts);
    return resultsOf(ledger, scene, await world.memory());
  } finally {
    await world.close();
  }
}

function roleOf(user: string): string {
  return user.startsWith("lead") ? "lead" : "agent";
}

interface Rogue {
  readonly agent: Agent;
  readonly thief: Thief;
  readonly account: number;
}

/** Long-standing employees of an ordinary volume: nothing in their past gives them away. */
function accountsOf(thief: Thief, random: Random): readonly Rogue[] {
  return hire(random, thief.accounts).map((agent, account) => ({
    agent: { ...agent, user: `${thief.name}#${account}`, lead: false, hired: 0 },
    thief,
    account,
  }));
}

function theftOf(agent: Agent, thief: Thief, account: number, day: number, random: Random): readonly Sip[] {
  return thief
    .steal(account, day, random)
    .filter(({ time }) => time < START + DAYS * DAY)
    .map((haul) => ({
      ...{ lookups: 0, ...haul, user: agent.user, stolen: true, slip: false },
      address: `${agent.network}.${10 + account}`,
      purposeless: thief.ticketsMadeUp ? 0 : haul.people.length,
    }));
}
