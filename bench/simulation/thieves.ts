import { CUSTOMERS, DAY, HOUR, INSTANCES, type Sip, START } from "./organisation.ts";
import type { Random } from "./random.ts";

/** A user who takes more than their work needs, from this day on. */
export interface Thief {
  readonly name: string;
  readonly what: string;
  readonly accounts: number;
  /** What they try to take on one day with one of their accounts. */
  steal(account: number, day: number, random: Random): readonly Haul[];
  /** They do not work as well: they take as much as they would have read. */
  readonly insteadOfWork?: true;
  /** Each person taken has a ticket assigned to the thief: `purpose` sees nothing. */
  readonly ticketsMadeUp?: true;
}

/** One statement of a thief. */
export interface Haul extends Pick<Sip, "time" | "people" | "instance"> {
  readonly lookups?: number;
}

export const FIRST_DAY = 42;

/** So many people in one day, `atOnce` at a time, between two hours. */
function drip(perDay: number, atOnce: number, from: number, to: number) {
  return (_: number, day: number, random: Random) => {
    if (day % 7 >= 5) return [];
    const turns = Math.ceil(perDay / atOnce);
    return Array.from({ length: turns }, (_, i) => ({
      time: START + day * DAY + Math.floor((from + ((to - from) * i) / turns) * HOUR),
      people: Array.from({ length: Math.min(atOnce, perDay - i * atOnce) }, () => random.whole(CUSTOMERS)),
      instance: i % INSTANCES,
    }));
  };
}

const walked = new Map<number, number>();

/** One id after the other. */
function walk(perDay: number) {
  const turns = drip(perDay, 5, 8, 16);
  return (account: number, day: number, random: Random) =>
    turns(account, day, random).map((turn) => ({
      ...turn,
      people: turn.people.map(() => {
        const next = (walked.get(account) ?? 5_000_000) + 1;
        walked.set(account, next);
        return next;
      }),
    }));
}

/** Every minute so many at once, so often, on the first day. */
function dump(people: number, attempts: number) {
  return (_: number, day: number, random: Random) =>
    Array.from({ length: day === FIRST_DAY ? attempts : 0 }, (_, i) => ({
      time: START + day * DAY + 10 * HOUR + i * 61_000,
      people: Array.from({ length: people }, () => random.whole(CUSTOMERS)),
      instance: i % INSTANCES,
    }));
}

/** Telephone numbers one after the other: most belong to nobody, the rest to anybody. */
function dial(perDay: number, found: number) {
  const turns = drip(Math.round(perDay * found), 1, 8, 16);
  return (account: number, day: number, random: Random) =>
    turns(account, day, random).map((turn) => ({ ...turn, lookups: Math.round(1 / found) }));
}

export const THIEVES: readonly Thief[] = [
  { name: "dump", what: "all of it in one statement", accounts: 1, steal: dump(68_000, 1) },
  {
    name: "stubborn dump",
    what: "again every minute, with other rows, for five hours",
    accounts: 1,
    steal: dump(5_000, 300),
  },
  { name: "5,000 a day", what: "beside their work", accounts: 1, steal: drip(5_000, 50, 8, 16) },
  { name: "750 a day", what: "as in the case of 2019", accounts: 1, steal: drip(750, 10, 8, 16) },
  { name: "200 a day", what: "beside their work", accounts: 1, steal: drip(200, 4, 8, 16) },
  { name: "id walker", what: "40 a day, one id after the other", accounts: 1, steal: walk(40) },
  {
    name: "range dialler",
    what: "200 telephone numbers a day one after the other, a tenth of them somebody's",
    accounts: 1,
    steal: dial(200, 0.1),
  },
  {
    name: "night reader",
    what: "40 a night, beside their work by day",
    accounts: 1,
    steal: drip(40, 5, 1, 3),
  },
  {
    name: "splitter",
    what: "750 a day in short sessions over ten proxies",
    accounts: 1,
    steal: drip(750, 1, 8, 16),
  },
  {
    name: "ten at 500",
    what: "ten colluding accounts, 500 a day each",
    accounts: 10,
    steal: drip(500, 10, 8, 16),
  },
  {
    name: "ten at 75",
    what: "ten colluding accounts, 75 a day each",
    accounts: 10,
    steal: drip(75, 5, 8, 16),
  },
  {
    name: "ten at 500, tickets",
    what: "ten colluding accounts, 500 a day each, a made-up ticket for everybody",
    accounts: 10,
    steal: drip(500, 10, 8, 16),
    ticketsMadeUp: true,
  },
  {
    name: "ten at 75, tickets",
    what: "ten colluding accounts, 75 a day each, a made-up ticket for everybody",
    accounts: 10,
    steal: drip(75, 5, 8, 16),
    ticketsMadeUp: true,
  },
  {
    name: "four at 75, tickets",
    what: "four colluding accounts, 75 a day each, a made-up ticket for everybody",
    accounts: 4,
    steal: drip(75, 5, 8, 16),
    ticketsMadeUp: true,
  },
  {
    name: "ten at 25, tickets",
    what: "ten colluding accounts, 25 a day each, a made-up ticket for everybody",
    accounts: 10,
    steal: drip(25, 5, 8, 16),
    ticketsMadeUp: true,
  },
  {
    name: "neighbour",
    what: "never reads more than their neighbours, and works no more",
    accounts: 1,
    steal: drip(55, 5, 8, 16),
    insteadOfWork: true,
    ticketsMadeUp: true,
  },
];

/** For the curve: one account each that takes so many a day beside its work. */
export const RATES = [25, 50, 75, 100, 150, 300, 1_000, 2_500] as const;

export const CURVE: readonly Thief[] = RATES.flatMap((rate) => {
  const steal = drip(rate, Math.max(1, Math.round(rate / 50)), 8, 16);
  const one = { what: "for the curve", accounts: 1, steal };
  return [
    { ...one, name: curveName(rate, "none") },
    { ...one, name: curveName(rate, "made up"), ticketsMadeUp: true },
  ];
});

export function curveName(rate: number, tickets: "none" | "made up"): string {
  return `rate ${rate}, tickets ${tickets}`;
}
