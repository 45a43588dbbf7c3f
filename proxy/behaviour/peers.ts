import { Crowd, type Pace, paceOf } from "./crowd.ts";
import { type Profile, START_UP_DAYS, weekUpTo } from "./profile.ts";
import type { Peers } from "./rules.ts";

/** The facts about a user that other users are compared with. */
export interface Summary extends Pace {
  /** Finished days: a user with few of them says nothing about how much is ordinary. */
  readonly days: number;
  readonly newPeople: number;
  /** New people in the busiest seven consecutive days. */
  readonly week: number;
  readonly lookups: number;
  readonly hours: readonly number[];
}

/** Days before today that a rule flagged are not used as examples, for other users either. */
export function summaryOf(profile: Profile, today: number): Summary {
  const days = profile.days.filter(({ day, odd }) => day < today && !odd);
  return {
    days: days.length,
    newPeople: Math.max(0, ...days.map(({ newPeople }) => newPeople)),
    week: Math.max(0, ...days.map(({ day }) => weekUpTo(days, day))),
    lookups: Math.max(0, ...days.map(({ lookups }) => lookups)),
    hours: profile.hours.flatMap((count, hour) => (count > 0 ? [hour] : [])),
    ...paceOf(profile, today),
  };
}

/** `networks`: by name, how many users of the role have connected from it, as of now. */
export function peersOf(summaries: readonly Summary[], networks: ReadonlyMap<string, number>): Peers {
  const inHour = Array.from({ length: 48 }, () => 0);
  for (const summary of summaries) {
    for (const hour of summary.hours) inHour[hour] = (inHour[hour] ?? 0) + 1;
  }
  const working = summaries.filter(({ days }) => days >= START_UP_DAYS);
  return {
    users: working.length,
    busiest: {
      newPeople: working.map(({ newPeople }) => newPeople),
      lookups: working.map(({ lookups }) => lookups),
      week: working.map(({ week }) => week),
    },
    crowd: new Crowd(summaries),
    inHour: (hour) => inHour[hour] ?? 0,
    fromNetwork: (network) => networks.get(network) ?? 0,
  };
}
