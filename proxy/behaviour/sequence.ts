import { LRUCache } from "lru-cache";
import type { Account, Batch } from "../meter/meter.ts";

/** The number of a user's latest people that are checked … */
const REMEMBERED = 60;
/** … and how many of them need a neighbour among the others; fewer if chance makes few: see `enough`. */
const WALKED = 40;
const WALKED_AMONG_OTHERS = 20;
/** A neighbour is an id at most this far away. Ten proxies that share a walk still each see every tenth step. */
const NEIGHBOUR = 16;
const USERS_REMEMBERED = 10_000;
/** So many rows of a batch are looked at, its last ones: a walk shows in any part of it. */
const LOOKED_AT = 2 * REMEMBERED;

/**
 * Detects users who walk through ids. Customers who call have ids from anywhere between 1 and millions; ids that are
 * close to each other again and again are a list. The ids stay in this process' memory, because no log or store may
 * hold them; a part of a walk is enough to detect it.
 */
export class SequenceWatch {
  readonly #walked: (account: Account, ids: number) => void;
  readonly #recent = new LRUCache<string, bigint[]>({ max: USERS_REMEMBERED });

  constructor(walked: (account: Account, ids: number) => void) {
    this.#walked = walked;
  }

  /** Called when the leading `rows` of a batch have been released to this account. */
  released(account: Account, { namespaces, people }: Batch, rows: number): void {
    const width = namespaces.length;
    for (let i = Math.max(0, rows - LOOKED_AT) * width; i < rows * width; i++) {
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
    // Each new id is checked first: usually its own neighbourhood is empty, and nothing more is needed.
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
 * The number of neighbours that chance does not explain. A firm of two thousand customers has neighbours in every
 * queue. So this calculates how many there would be if ids were spread evenly over the range of the middle half of
 * them; four standard deviations above that is not chance. Ids that all lie in one short range are always a walk.
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
