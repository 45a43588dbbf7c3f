import { ordinaryDays, type Profile, START_UP_DAYS } from "./profile.ts";
import { farAbove, median } from "./robust.ts";

/** How much one user reads, for a comparison of the whole role with itself. */
export interface Pace {
  /** New people on an ordinary day of his; 0 while that is not known. */
  readonly ordinary: number;
  /** Days on which he read, today included, and new people on them. */
  readonly recent: readonly (readonly [day: number, newPeople: number])[];
}

const RECENT_DAYS = 21;
/** A day before this one that lies further back is no part of what he does now. */
const LAST_WORKED = 5;
/** So many times what is ordinary, on average of two days. */
const RUSH = 2.2;
const FEWEST_TOGETHER = 5;
/** Fewer, or a smaller share of the role, say nothing about a day: thieves may be among themselves. */
const FEWEST_OF_A_DAY = 10;
const SHARE_OF_A_DAY = 0.25;
const SPREADS = 6;
/** Whom the rule may see is no example of how many there ever are. */
const DAYS_IN_QUESTION = 3;
const HISTORY_DAYS = 5;

export function paceOf(profile: Profile, today: number): Pace {
  const own = ordinaryDays(profile, today - 1).map(({ newPeople }) => newPeople);
  return {
    ordinary: own.length < START_UP_DAYS ? 0 : median(own),
    recent: profile.days
      .filter(({ day }) => day > today - RECENT_DAYS)
      .map(({ day, newPeople }) => [day, newPeople]),
  };
}

/**
 * A role beside its own past. Colluding accounts can share a theft so that each stays below what somebody does on
 * his busiest days; what they cannot hide is that so many are far above themselves at once. On a day on which
 * everybody calls nobody is: each is measured by what the day is like for the middle one of his role.
 */
export class Crowd {
  readonly #paces: readonly Pace[];
  readonly #ordinary: number;
  readonly #weights = new Map<number, number>();
  readonly #rushing = new Map<number, number>();

  constructor(paces: readonly Pace[]) {
    this.#paces = paces.filter(({ ordinary }) => ordinary > 0);
    this.#ordinary = median(this.#paces.map(({ ordinary }) => ordinary));
  }

  isRushing(pace: Pace, today: number): boolean {
    const [before, last] = pace.recent
      .filter(([day]) => day <= today && day >= today - LAST_WORKED)
      .slice(-2);
    if (last?.[0] !== today || before === undefined || pace.ordinary === 0) return false;
    const [first, second] = [this.#loadOf(pace, before), this.#loadOf(pace, last)];
    // Most are not even without a look at what the days are like.
    if (first + second <= 2 * RUSH) return false;
    return first / this.weightOf(before[0]) + second / this.weightOf(today) > 2 * RUSH;
  }

  /** How many are far above themselves. */
  rushing(day: number): number {
    const known = this.#rushing.get(day);
    if (known !== undefined) return known;
    const count = this.#paces.filter((pace) => this.isRushing(pace, day)).length;
    this.#rushing.set(day, count);
    return count;
  }

  /** How many ever are; undefined: the role has no past. */
  ordinarilyRushing(today: number): number | undefined {
    const days = new Set(this.#paces.flatMap(({ recent }) => recent.map(([day]) => day)));
    const past = [...days].filter((day) => day <= today - DAYS_IN_QUESTION).map((day) => this.rushing(day));
    if (past.length < HISTORY_DAYS) return undefined;
    return Math.max(FEWEST_TOGETHER - 1, Math.floor(farAbove(past, SPREADS)));
  }

  /**
   * How many times as much as ordinarily the middle one of the role reads on this day. A quiet one, or one that has
   * only begun, makes nobody busy: never less than 1.
   */
  weightOf(day: number): number {
    const known = this.#weights.get(day);
    if (known !== undefined) return known;
    const loads = this.#paces.flatMap((pace) =>
      pace.recent.flatMap((recent) => (recent[0] === day ? [this.#loadOf(pace, recent)] : [])),
    );
    const areMany = loads.length >= Math.max(FEWEST_OF_A_DAY, SHARE_OF_A_DAY * this.#paces.length);
    const weight = areMany ? Math.max(1, median(loads)) : 1;
    this.#weights.set(day, weight);
    return weight;
  }

  /** Whoever reads little may well read twice as much: the role's middle is the least that counts as ordinary. */
  #loadOf({ ordinary }: Pace, [, newPeople]: readonly [number, number]): number {
    return newPeople / Math.max(ordinary, this.#ordinary);
  }
}
