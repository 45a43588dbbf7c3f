import { type Attribution, attribute } from "../../../proxy/audit/attribution/attribute.ts";
import { CUSTOMERS } from "../organisation.ts";
import type { Random } from "../random.ts";
import { type House, type Queue, readingsOf } from "./house.ts";

/** A quarter of what `who-read` draws unless it is told otherwise (`--controls`): with more it names more. */
export const CONTROLS = 50_000;

/** Draws controls as `--like region,plan` does, and asks who is the source: the code of `who-read` itself. */
export function ask(house: House, leaked: readonly number[], random: Random): Attribution {
  const strata = new Map<Queue | undefined, number[]>();
  for (const person of leaked) {
    const queue = queueOf(house, person);
    const own = strata.get(queue) ?? [];
    own.push(person);
    strata.set(queue, own);
  }
  const [people, stratum, isLeaked]: [number[], number[], boolean[]] = [[], [], []];
  const gone = new Set(leaked);
  for (const [number, [queue, own]] of [...strata].entries()) {
    const wanted = Math.floor((CONTROLS * own.length) / leaked.length);
    for (const person of own) enter(person, number, true);
    for (const person of draw(queue, wanted, gone, random)) enter(person, number, false);
  }
  return attribute({ stratum, leaked: isLeaked }, readingsOf(house, people));

  function enter(person: number, number: number, leakedToo: boolean): void {
    people.push(person);
    stratum.push(number);
    isLeaked.push(leakedToo);
  }
}

function queueOf({ queues }: House, person: number): Queue | undefined {
  return queues.find(({ first, customers }) => person >= first && person < first + customers);
}

/** Different people of one kind who have not leaked. */
function draw(
  queue: Queue | undefined,
  wanted: number,
  not: ReadonlySet<number>,
  random: Random,
): readonly number[] {
  const { first, customers } = queue ?? { first: 0, customers: CUSTOMERS };
  return sample(first, customers, wanted, not, random);
}

/** `count` different numbers of `[first, first + size)`, or all if there are not so many. */
export function sample(
  first: number,
  size: number,
  count: number,
  not: ReadonlySet<number>,
  random: Random,
): readonly number[] {
  if (count * 2 >= size) {
    const all = Array.from({ length: size }, (_, i) => first + i).filter((person) => !not.has(person));
    return count >= all.length ? all : shuffled(all, random).slice(0, count);
  }
  const drawn = new Set<number>();
  while (drawn.size < count) {
    const person = first + random.whole(size);
    if (!not.has(person)) drawn.add(person);
  }
  return [...drawn];
}

/** Fisher and Yates. */
export function shuffled<T>(items: readonly T[], random: Random): readonly T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.whole(i + 1);
    [order[i], order[j]] = [order[j] as T, order[i] as T];
  }
  return order;
}
