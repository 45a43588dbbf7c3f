import { LRUCache } from "lru-cache";
import type { Account, Batch } from "../meter.ts";

/** So many of somebody's last people are looked at … */
const REMEMBERED = 60;
/** … and so many of them have a neighbour among the others, or fewer where chance makes few: see `enough`. */
const WALKED = 40;
const WALKED_AMONG_OTHERS = 20;
/** A neighbour is an id at most so far away. Ten proxies that share a walk still see every tenth step. */
const NEIGHBOUR = 16;
const USERS_REMEMBERED = 10_000;

/**
 * Sees who walks through ids. Customers who call have ids from anywhere between 1 and millions; ids that lie
 * close to each other again and again are a list. The ids stay in this process' memory: no log or store
 * may hold them, and a part of a walk is a walk.
 */
export class SequenceWatch {
  readonly #walked: (account: Account, ids: number) => void;
  readonly #recent = new LRUCache<string, bigint[]>({ max: USERS_REMEMBERED });

  constructor(walked: (account: Account, ids: number) => void) {
    this.#walked = walked;
  }

  /** The leading `rows` of a batch have been released to this account. */
  released(account: Account, { namespaces, people }: Batch, rows: number): void {
    const width = namespaces.length;
    for (let i = 0; i < rows * width; i++) {
      const id = people[i];
      if (id !== undefined && isNumber(id)) this.#see(account, namespaces[i % width] ?? "", BigInt(id));
    }
  }

  #see(account: Account, namespace: string, id: bigint): void {
    const key = `${account.database}\0${account.user}\0${namespace}`;
    const recent = this.#recent.get(key) ?? [];
    if (recent.includes(id)) return;
    recent.push(id);
    if (recent.length > REMEMBERED) recent.shift();
    this.#recent.set(key, recent);
    // Each one is looked at when it is new: most times its own neighbourhood is empty, and that is all.
    if (recent.length < WALKED_AMONG_OTHERS || !hasNeighbour(recent, id)) return;
    const sorted = recent.toSorted((a, b) => (a < b ? -1 : a > b ? 1 : 0));
    const walked = countNeighbours(sorted);
    if (walked < enough(sorted)) return;
    this.#recent.delete(key);
    this.#walked(account, walked);
  }
}

/** Up to int8; other subjects (uuid, names) have no order that could be walked. */
function isNumber(id: string): boolean {
  return /^-?\d{1,19}$/.test(id);
}

function hasNeighbour(ids: readonly bigint[], id: bigint): boolean {
  return ids.some((other) => other !== id && distance(other, id) <= NEIGHBOUR);
}

/**
 * How many neighbours are no chance. A firm of two thousand customers has neighbours in every queue, so it
 * is asked how many there would be if ids came evenly from where the middle half of them lies; four standard
 * deviations above that is no chance. Ids that lie all in one short stretch are a walk and nothing else.
 */
function enough(sorted: readonly bigint[]): number {
  const quartile = Math.floor(sorted.length / 4);
  const [low = 0n, high = 0n] = [sorted[quartile], sorted[sorted.length - 1 - quartile]];
  const range = 2 * Number(high - low) + 1;
  if (range <= NEIGHBOUR * REMEMBERED) return WALKED;
  const chance = sorted.length * (1 - Math.exp((-2 * NEIGHBOUR * (sorted.length - 1)) / range));
  return Math.max(WALKED_AMONG_OTHERS, chance + 4 * Math.sqrt(chance));
}

function countNeighbours(sorted: readonly bigint[]): number {
  return sorted.filter((id, i) => {
    const [before, after] = [sorted[i - 1], sorted[i + 1]];
    return (
      (before !== undefined && distance(before, id) <= NEIGHBOUR) ||
      (after !== undefined && distance(after, id) <= NEIGHBOUR)
    );
  }).length;
}

function distance(a: bigint, b: bigint): bigint {
  return a < b ? b - a : a - b;
}
