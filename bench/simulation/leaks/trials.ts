import { CUSTOMERS } from "../organisation.ts";
import type { Random } from "../random.ts";
import { type House, type Queue, withThefts } from "./house.ts";
import { ask, sample, shuffled } from "./leak.ts";

/** A theft by accounts of the house: how much each takes, and of how many of it the victims are known. */
export interface Theft {
  readonly name: string;
  readonly accounts: number;
  readonly each: number;
  readonly leaked: number;
  /** So many of the list come from elsewhere, and no account of the house has taken them. */
  readonly strangers?: number;
  /** Each takes customers of their own queue, not of all. */
  readonly ownQueue?: true;
}

/** How many of the accounts are named, and whether an innocent user is. */
export function tryTheft(house: House, theft: Theft, random: Random) {
  const accounts = shuffled(house.users, random).slice(0, theft.accounts);
  const takes = new Map<string, readonly number[]>();
  const gone = new Set<number>();
  for (const account of accounts) {
    const queue = theft.ownQueue && house.queues.find(({ agents }) => agents.includes(account));
    const [first, size] = queue ? [queue.first, queue.customers] : [0, CUSTOMERS];
    const taken = sample(first, size, theft.each, gone, random);
    // Colluders share the work out.
    for (const customer of taken) gone.add(customer);
    takes.set(account, taken);
  }
  const robbed = withThefts(house, takes);
  const leaked = shuffled([...gone], random).slice(0, theft.leaked);
  const strangers = sample(0, CUSTOMERS, theft.strangers ?? 0, gone, random);
  const named = ask(robbed, [...leaked, ...strangers], random).sources.map(({ user }) => user);
  const found = accounts.filter((account) => named.includes(account)).length;
  return { found, innocent: named.some((user) => !accounts.includes(user)) };
}

/** A leak without a source in the house. */
export type Outside =
  | "customers of one queue"
  | "customers of all"
  | "customers of three queues"
  | "whom a queue has read"
  | "who calls a queue often";

/** Whether an innocent user was named. */
export function tryOutside(house: House, kind: Outside, leaked: number, random: Random): boolean {
  return ask(house, victims(house, kind, leaked, random), random).sources.length > 0;
}

const NOBODY: ReadonlySet<number> = new Set();

function victims(house: House, kind: Outside, leaked: number, random: Random): readonly number[] {
  const queue = (): Queue => {
    const one = random.pick(house.queues, undefined as Queue | undefined);
    if (one === undefined) throw new Error("a house without queues");
    return one;
  };
  switch (kind) {
    case "customers of all":
      return sample(0, CUSTOMERS, leaked, NOBODY, random);
    case "customers of one queue": {
      const { first, customers } = queue();
      return sample(first, customers, leaked, NOBODY, random);
    }
    case "customers of three queues":
      return [queue(), queue(), queue()].flatMap(({ first, customers }) =>
        sample(first, customers, Math.ceil(leaked / 3), NOBODY, random),
      );
    case "who calls a queue often": {
      // As often in the list of another system as they were read here.
      const { first, customers } = queue();
      const calls = sample(first, customers, customers, NOBODY, random).flatMap((one) =>
        Array.from(house.readers.get(one) ?? [], () => one),
      );
      return [...new Set(shuffled(calls, random))].slice(0, leaked);
    }
    case "whom a queue has read": {
      // Who called lately: of another system that has only such, or because who calls often is known to more firms.
      const { first, customers } = queue();
      const known = sample(first, customers, customers, NOBODY, random).filter((one) =>
        house.readers.has(one),
      );
      return shuffled(known, random).slice(0, leaked);
    }
  }
}
