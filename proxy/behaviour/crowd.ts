import { ordinaryDays, type Profile, START_UP_DAYS } from "./profile.ts";
import { farAbove, median } from "./robust.ts";

/** How much one user reads, to compare the whole role with its own past. */
export interface Pace {
  /** New people on the user's ordinary day; 0 if unknown. */
  readonly ordinary: number;
  /** Days on which the user read, including today, with the new people on them. */
  readonly recent: readonly (readonly [day: number, newPeople: number])[];
}

const RECENT_DAYS = 21;
/** A previous day further back than this many days is not part of what the user does now. */
const LAST_WORKED = 5;
/** This many times the ordinary, on average over two days. */
const RUSH = 2.2;
const FEWEST_TOGETHER = 5;
/** Fewer users, or a smaller share of the role, say nothing about a day: they may all be thieves. */
const FEWEST_OF_A_DAY = 10;
const SHARE_OF_A_DAY = 0.25;
const SPREADS = 6;
/** Days that the rule may flag are not used as examples of how many users rush ordinarily. */
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
 * Compares a role with its own past. Colluding accounts can split a theft so that each stays below some user's busiest
 * days. But they cannot hide that many users are far above their own level at once. On a day when every customer calls,
 * no one counts as rushing: each user is measured relative to the day's median user of the role.
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
    // Most users are not above it even without considering how busy the days are.
    if (first + second <= 2 * RUSH) return false;
    return first / this.weightOf(before[0]) + second / this.weightOf(today) > 2 * RUSH;
  }

  /** How many users are far above their own level on this day. */
  rushing(day: number): number {
    const known = this.#rushing.get(day);
    if (known !== undefined) return known;
    const count = this.#paces.filter((pace) => this.isRushing(pace, day)).length;
    this.#rushing.set(day, count);
    return count;
  }

  /** How many users ordinarily are; undefined if the role has no past. */
  ordinarilyRushing(today: number): number | undefined {
    const days = new Set(this.#paces.flatMap(({ recent }) => recent.map(([day]) => day)));
    const past = [...days].filter((day) => day <= today - DAYS_IN_QUESTION).map((day) => this.rushing(day));
    if (past.length < HISTORY_DAYS) return undefined;
    return Math.max(FEWEST_TOGETHER - 1, Math.floor(farAbove(past, SPREADS)));
  }

  /**
   * How many times its ordinary amount the median user of the role reads on this day. A quiet day, or one that has only
   * begun, makes no one look busy: at least 1.
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

  /** A user who reads little may well read twice as much: the role's median is the least that counts as ordinary. */
  #loadOf({ ordinary }: Pace, [, newPeople]: readonly [number, number]): number {
    return newPeople / Math.max(ordinary, this.#ordinary);
  }
}
