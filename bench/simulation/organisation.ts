import type { Random } from "./random.ts";

/** A support organisation: who works when, from where, how many customers call them, and what they look up. */

export const DAYS = 90;
export const CUSTOMERS = 12_000_000;
/** The first Monday of the simulated time. */
export const START = Date.UTC(2026, 0, 5);
export const DAY = 86_400_000;
export const HOUR = 3_600_000;

/** People read at one moment, for work or not. */
export interface Sip {
  readonly time: number;
  readonly user: string;
  readonly address: string;
  readonly people: readonly number[];
  /** Exact lookups of a masked column. */
  readonly lookups: number;
  /** How many of the people have no ticket that is assigned to the reader. */
  readonly purposeless: number;
  /** Not for work. */
  readonly stolen: boolean;
  /** A condition that an honest agent forgot. */
  readonly slip: boolean;
  /** Which of the proxies they are connected to. */
  readonly instance: number;
}

export interface Agent {
  readonly user: string;
  readonly lead: boolean;
  /** Customers on an ordinary day. */
  readonly volume: number;
  /** Hour (UTC) at which their shift begins. */
  readonly shift: number;
  readonly network: string;
  readonly weekendTeam: number;
  readonly hired: number;
  /** Share of their customers who have no ticket (yet), or a colleague's. */
  readonly helps: number;
  readonly recent: number[];
}

/** How much more than usual is to do on one day, for all and for one network's office alone. */
export interface Demand {
  readonly all: number;
  readonly office: string;
  readonly there: number;
}

export const INSTANCES = 10;
const SHIFTS = [6, 8, 11] as const;
const NETWORKS = ["10.2.1", "10.2.2", "10.3.1", "10.9.0"] as const;
const SHIFT_HOURS = 8;
const AT_ONCE = 6;
/** Of 2,000 working days; every third one who forgets a condition forgets it again, in other words. */
const SLIPS = 1 / 2_000;
const SLIP_PEOPLE = 500;
/** Another egress of the VPN from this day on: nobody came from there before. */
const NEW_EGRESS = { day: 50, of: "10.9.0", becomes: "10.9.7" } as const;

export function hire(random: Random, count: number): readonly Agent[] {
  return Array.from({ length: count }, (_, i): Agent => {
    const lead = i % 30 === 29;
    return {
      user: `${lead ? "lead" : "agent"}_${i}`,
      lead,
      volume: random.around(lead ? 70 : 45, 0.25),
      shift: random.pick(SHIFTS, 8),
      network: random.pick(NETWORKS, "10.2.1"),
      weekendTeam: i % 8,
      // One in twenty begins while we watch.
      hired: i % 20 === 7 ? 5 + random.whole(60) : 0,
      helps: Math.min(0.4, random.around(0.12, 0.5)),
      recent: [],
    };
  });
}

/** Mondays, good and bad days, a day in fifty on which everybody calls, and a day in twenty when one office drowns. */
export function demandOf(random: Random): readonly Demand[] {
  return Array.from({ length: DAYS }, (_, day): Demand => {
    const outage = random.chance(0.02) ? 1.7 : 1;
    return {
      all: random.around(day % 7 === 0 ? 1.15 : 1, 0.08) * outage,
      office: random.pick(NETWORKS, NETWORKS[0]),
      there: random.chance(0.05) ? 1.8 : 1,
    };
  });
}

/** What they read for their work on one day. */
export function workday(
  agent: Agent,
  { day, demand, portions }: { readonly day: number; readonly demand: Demand; readonly portions: number },
  random: Random,
): readonly Sip[] {
  const weekday = day % 7;
  const weekend = weekday >= 5;
  if (day < agent.hired || (weekend && Math.floor(day / 7) % 8 !== agent.weekendTeam)) return [];
  // Holidays and illness.
  if (!weekend && random.chance(0.1)) return [];
  const swapped = random.chance(0.02);
  const shift = swapped ? random.pick(SHIFTS, agent.shift) : agent.shift;
  const overtime = random.chance(0.03) ? 2 : 0;
  const address = addressOf(agent, day, random);
  const count = customersOn(agent, day, demand, random);
  const sips: Sip[] = [];
  // Nobody looks up more at once than this.
  const turns = Math.max(portions, Math.ceil(count / AT_ONCE));
  for (let i = 0; i < turns; i++) {
    const share = Math.floor((count * (i + 1)) / turns) - Math.floor((count * i) / turns);
    if (share === 0) continue;
    const hours = shift + ((SHIFT_HOURS + overtime) * (i + random.next())) / turns;
    sips.push({
      time: START + day * DAY + Math.floor(hours * HOUR),
      user: agent.user,
      address,
      people: Array.from({ length: share }, () => customerFor(agent, random)),
      // One lookup for most, another one for whoever has a mail address is an old one.
      lookups: howMany(share, 0.8, random) + howMany(share, 0.3, random),
      purposeless: howMany(share, agent.helps, random),
      stolen: false,
      slip: false,
      instance: random.whole(INSTANCES),
    });
  }
  return [...sips, ...slipsAmong(sips, random)];
}

function customersOn(agent: Agent, day: number, { all, office, there }: Demand, random: Random): number {
  // New hires read along at first; some days are theirs alone.
  const learning = agent.hired > 0 ? Math.min(1, 0.3 + (day - agent.hired) / 30) : 1;
  const busy = random.chance(0.01) ? 1.8 : 1;
  const here = office === agent.network ? there : 1;
  return Math.round(random.around(agent.volume, 0.35) * busy * learning * all * here);
}

function slipsAmong(sips: readonly Sip[], random: Random): readonly Sip[] {
  const first = sips[0];
  if (first === undefined || !random.chance(SLIPS)) return [];
  const again = random.chance(1 / 3) ? 2 : 1;
  return Array.from({ length: again }, (_, i) => ({
    ...first,
    time: first.time + (i + 1) * 120_000,
    people: Array.from({ length: SLIP_PEOPLE }, () => random.whole(CUSTOMERS)),
    lookups: 0,
    purposeless: SLIP_PEOPLE,
    slip: true,
  }));
}

function howMany(of: number, probability: number, random: Random): number {
  let count = 0;
  for (let i = 0; i < of; i++) if (random.chance(probability)) count += 1;
  return count;
}

/** Every fourth call is about an earlier one. */
function customerFor({ recent }: Agent, random: Random): number {
  if (recent.length > 0 && random.chance(0.25)) return random.pick(recent, 0);
  const customer = random.whole(CUSTOMERS);
  recent.push(customer);
  if (recent.length > 400) recent.shift();
  return customer;
}

function addressOf(agent: Agent, day: number, random: Random): string {
  const host = `.${10 + ((agent.user.length * 7 + agent.weekendTeam * 31) % 200)}`;
  // A hotel, a new line at home that does not go through the VPN.
  if (random.chance(0.0003)) return `203.0.${random.whole(256)}${host}`;
  const moved = day >= NEW_EGRESS.day && agent.network === NEW_EGRESS.of;
  return `${moved ? NEW_EGRESS.becomes : agent.network}${host}`;
}
