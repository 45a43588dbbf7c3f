import { type Channel, query } from "./channels.ts";
import { BITS_PER_PERSON } from "./information.ts";
import { EQUAL, PEOPLE } from "./planted.ts";
import type { RoleName } from "./policy.ts";
import type { Reader, Step, Worlds } from "./worlds.ts";

/** What a channel revealed, and what was paid for it. */
export interface Trial {
  readonly name: string;
  /**
   * Planted bits that its answers revealed, at most 32 per person: a user who is charged for a person may know them.
   */
  readonly told: number;
  /** In bits. */
  readonly paid: number;
  /**
   * The number of bits by which the answers of a step distinguished more worlds than they paid for; at most 0 if none
   * did.
   */
  readonly excess: number;
  readonly distinct: number;
}

/** How many bits these are, if each person counts for no more than a person is charged for. */
export function worthOf(told: ReadonlySet<string>): number {
  const people = new Map<string, number>();
  for (const bit of told) {
    const person = bit.slice(0, bit.indexOf("."));
    people.set(person, (people.get(person) ?? 0) + 1);
  }
  return [...people.values()].reduce((sum, bits) => sum + Math.min(bits, BITS_PER_PERSON), 0);
}

/** An answer that costs a person, together with one that costs nothing, gives an excess of 3e-10. */
const ROUNDING = 1e-12;

/** Whether more was revealed than was paid for. */
export function tellsTooMuch({ told, paid, excess }: Pick<Trial, "told" | "paid" | "excess">): boolean {
  return excess > ROUNDING || told > paid;
}

/** A trial as one line. */
export function lineOf({ name, told, paid, excess, distinct }: Trial): string {
  return `${name}: ${told} bits told by letters, ${distinct} answers, ${paid.toFixed(1)} bits paid, ${excess.toPrecision(2)} too many`;
}

/** How much of the channels is tried. */
interface Extent {
  /** In place of each channel's own. */
  readonly role?: RoleName;
  /** Of each channel. */
  readonly mostSteps?: number;
  /** Of worlds. */
  readonly count?: number;
}

/**
 * Tries channels one after the other, each on people of its own. One reader does all channels of their role, because
 * what one channel reads changes nothing for the next.
 */
export async function tryChannels(
  worlds: Worlds,
  channels: readonly Channel[],
  { role: roleOfAll, mostSteps = Number.POSITIVE_INFINITY, count = worlds.count }: Extent = {},
): Promise<readonly Trial[]> {
  const readers = new Map<RoleName, Reader>();
  const trials: Trial[] = [];
  let next = EQUAL + 1;
  for (const channel of channels) {
    const people = Array.from({ length: channel.people }, (_, i) => next + i);
    next += channel.people;
    if (next > PEOPLE) throw new Error("more people are needed: PEOPLE");
    const role = roleOfAll ?? channel.role;
    // A used-up budget stays used up.
    const reader = role === "tight" ? undefined : readers.get(role);
    const used = reader ?? (await worlds.reader(role, count));
    readers.set(role, used);
    trials.push(await tryOne(used, channel, people, mostSteps));
    if (role === "tight") used.close();
  }
  for (const reader of readers.values()) reader.close();
  return trials;
}

async function tryOne(
  reader: Reader,
  { name, before, steps }: Channel,
  people: readonly number[],
  mostSteps: number,
): Promise<Trial> {
  for (const sql of before?.(people) ?? []) await reader.step(query(sql));
  const taken: Step[] = [];
  for (const sent of steps(people).slice(0, mostSteps)) taken.push(await reader.step(sent));
  return {
    name,
    told: worthOf(new Set(taken.flatMap(({ told }) => [...told]))),
    paid: taken.reduce((sum, { paid }) => sum + paid, 0),
    excess: Math.max(...taken.map(({ kraft }) => kraft)),
    distinct: Math.max(...taken.map(({ distinct }) => distinct)),
  };
}
