import type { Readings } from "../../../proxy/audit/attribution/who-read-whom.ts";
import { CUSTOMERS, DAYS, demandOf, hire, workday } from "../organisation.ts";
import type { Random } from "../random.ts";

/** Agents who serve one kind of customers (a region's, a plan's), and hardly anybody else does. */
export interface Queue {
  readonly agents: readonly string[];
  /** Its customers are those from `first` on. */
  readonly first: number;
  readonly customers: number;
}

/** What 90 days have left in the log of a house: who read whom for work. */
export interface House {
  readonly queues: readonly Queue[];
  /** By customer: who has read them. */
  readonly readers: ReadonlyMap<number, ReadonlySet<string>>;
  /** By customer: who has taken them. Nobody takes whom an accomplice has. */
  readonly thieves?: ReadonlyMap<number, string>;
  readonly users: readonly string[];
}

/** Of an agent's customers so many belong to the agent's own queue, the others to all. */
const OWN = 0.85;
/** Each agent of a queue reads this share of its customers in 90 days, more or less. */
const SHARE = { least: 0.05, most: 0.3 };
/** As many as an agent reads in 90 days, roughly; only the sizes of queues are made from it. */
const READ = 2_100;

/** So many of the agents serve a queue, the others whoever calls. */
const IN_QUEUES = 0.5;

/** Agents in queues of 3 to 30, and what they read: the volumes and repetitions are those of `organisation.ts`. */
export function openHouse(random: Random, agents: number): House {
  const staff = hire(random, agents);
  const queues: Queue[] = [];
  let first = CUSTOMERS;
  for (let at = 0; at < IN_QUEUES * staff.length; ) {
    const members = staff.slice(at, at + 3 + random.whole(28));
    const share = SHARE.least + random.next() * (SHARE.most - SHARE.least);
    const customers = Math.round((READ * OWN) / share);
    queues.push({ agents: members.map(({ user }) => user), first, customers });
    first += customers;
    at += members.length;
  }
  const readers = new Map<number, Set<string>>();
  const demand = demandOf(random);
  const queueOf = new Map(queues.flatMap((queue) => queue.agents.map((user) => [user, queue] as const)));
  for (const [day, today] of demand.slice(0, DAYS).entries()) {
    for (const agent of staff) {
      const queue = queueOf.get(agent.user);
      for (const { people } of workday(agent, { day, demand: today, portions: 10 }, random))
        for (const caller of people) read(readers, agent.user, customerOf(caller, queue));
    }
  }
  return { queues, readers, users: staff.map(({ user }) => user) };
}

/** The same caller is the same customer: who calls again is known again. */
function customerOf(caller: number, queue: Queue | undefined): number {
  return queue === undefined || caller % 1_000 >= OWN * 1_000
    ? caller
    : queue.first + (Math.floor(caller / 1_000) % queue.customers);
}

function read(readers: Map<number, Set<string>>, user: string, customer: number): void {
  const known = readers.get(customer);
  if (known === undefined) readers.set(customer, new Set([user]));
  else known.add(user);
}

/** The same house, in which these users have read these customers beside their work. */
export function withThefts(house: House, thefts: ReadonlyMap<string, readonly number[]>): House {
  const thieves = new Map(
    [...thefts].flatMap(([user, people]) => people.map((person) => [person, user] as const)),
  );
  return { ...house, thieves };
}

/** Who of the house read which of these people, by their places. */
export function readingsOf({ readers, thieves }: House, people: readonly number[]): Readings {
  const readings = new Map<string, number[]>();
  const enter = (user: string, place: number) => {
    const own = readings.get(user);
    if (own === undefined) readings.set(user, [place]);
    else own.push(place);
  };
  for (const [place, person] of people.entries()) {
    const workers = readers.get(person);
    for (const user of workers ?? []) enter(user, place);
    const thief = thieves?.get(person);
    if (thief !== undefined && workers?.has(thief) !== true) enter(thief, place);
  }
  return readings;
}
