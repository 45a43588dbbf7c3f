import type { Random } from "./random.ts";

/** A support organisation: who works when, from where, and how many customers call him. */

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
  /** Not for work. */
  readonly stolen: boolean;
  /** Which of the proxies he is connected to. */
  readonly instance: number;
}

export interface Agent {
  readonly user: string;
  readonly lead: boolean;
  /** Customers on an ordinary day. */
  readonly volume: number;
  /** Hour (UTC) at which his shift begins. */
  readonly shift: number;
  readonly network: string;
  readonly weekendTeam: number;
  readonly hired: number;
  readonly recent: number[];
}

export const INSTANCES = 10;
const SHIFTS = [6, 8, 11] as const;
const NETWORKS = ["10.2.1", "10.2.2", "10.3.1", "10.9.0"] as const;
const SHIFT_HOURS = 8;
const SIPS_A_DAY = 16;
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
      recent: [],
    };
  });
}

/** What he reads for his work on one day. */
export function workday(agent: Agent, day: number, random: Random): readonly Sip[] {
  const weekday = day % 7;
  const weekend = weekday >= 5;
  if (day < agent.hired || (weekend && Math.floor(day / 7) % 8 !== agent.weekendTeam)) return [];
  // Holidays and illness.
  if (!weekend && random.chance(0.1)) return [];
  const swapped = random.chance(0.02);
  const shift = swapped ? random.pick(SHIFTS, agent.shift) : agent.shift;
  const overtime = random.chance(0.03) ? 2 : 0;
  // New hires read along at first; one day in a hundred something has happened and everybody calls.
  const learning = Math.min(1, 0.3 + (day - agent.hired) / 30);
  const busy = random.chance(0.01) ? 1.8 : 1;
  const count = Math.round(random.around(agent.volume, 0.35) * busy * (agent.hired > 0 ? learning : 1));
  const address = addressOf(agent, day, random);
  const sips: Sip[] = [];
  for (let i = 0; i < SIPS_A_DAY; i++) {
    const share = Math.floor((count * (i + 1)) / SIPS_A_DAY) - Math.floor((count * i) / SIPS_A_DAY);
    if (share === 0) continue;
    const hours = shift + ((SHIFT_HOURS + overtime) * (i + random.next())) / SIPS_A_DAY;
    sips.push({
      time: START + day * DAY + Math.floor(hours * HOUR),
      user: agent.user,
      address,
      people: Array.from({ length: share }, () => customerFor(agent, random)),
      stolen: false,
      instance: random.whole(INSTANCES),
    });
  }
  return sips;
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
