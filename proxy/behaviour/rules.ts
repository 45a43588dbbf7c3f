import type { BehaviourAction, BehaviourRule, Role } from "../policy/policy.ts";
import { type Crowd, paceOf } from "./crowd.ts";
import {
  dayOf,
  enter,
  enterHabits,
  hourOf,
  networkOf,
  ordinaryDays,
  type Profile,
  type Reading,
  START_UP_DAYS,
  weekUpTo,
} from "./profile.ts";
import { farAbove, median } from "./robust.ts";

/** A rule's match. */
export interface Sighting {
  readonly rule: BehaviourRule;
  /** The observed value, and the highest that would be ordinary. */
  readonly figure: number;
  readonly ordinary: number;
  readonly what: string;
  /** The user continues although their budgets were tightened: the next stronger action is due. */
  readonly again?: true;
}

/** What the other users of a role do. */
export interface Peers {
  readonly users: number;
  /** Each user's busiest day, and week, of the last month. */
  readonly busiest: Readonly<Record<"newPeople" | "lookups" | "week", readonly number[]>>;
  readonly crowd: Crowd;
  /** How many of them have ever worked in an hour (0-47), or connected from a network. */
  readonly inHour: (hour: number) => number;
  readonly fromNetwork: (network: string) => number;
}

/** Habits of time and place need more days. */
const HABIT_DAYS = 10;
const FEWEST_PEERS = 5;
/** Below this no one is unusual; a user who looks up an e-mail address that has changed searches twice. */
const FLOOR = { newPeople: 60, lookups: 150 } as const;
const OWN_SPREADS = 6;
const OWN_FACTOR = 2.5;
const PEER_SPREADS = 5;
const ODD_HOUR_PEOPLE = 10;
const REFUSALS_IN_A_ROW = 10;
/** One a day may be a slip: a forgotten LIMIT. */
const DUMPS = 2;
/** Too many to be slips. */
const DUMPS_OF_TIGHTENED = 4;
/** Colleagues ask for help, and customers call who have no ticket yet. */
const PURPOSELESS = 30;
const PURPOSELESS_SHARE = 0.5;
const PRESSED_DAYS = 3;
/** Users flagged for what they did in a week continue if today exceeds this many times their ordinary day. */
const GOES_ON_FACTOR = 1.5;
/** For a week: chance evens out over its days, so a smaller excess is significant. */
const WEEK_FLOOR = 150;
const WEEK_FACTOR = 1.8;
const WEEK_PEER_SPREADS = 4;

/** The action of the policy, or the default. */
export function actionOf(role: Role, rule: BehaviourRule): BehaviourAction {
  return role.behaviour?.get(rule) ?? (role.budget.length > 0 ? "alert" : "off");
}

/** The action for users who continue. */
export function actionFor(role: Role, { rule, again }: Sighting): BehaviourAction {
  const action = actionOf(role, rule);
  return again && action === "tighten" ? "suspend" : action;
}

/**
 * Records one statement in its user's profile and returns the rules' matches, each rule at most once a day. It uses no
 * clock and no I/O: the same events give the same alerts.
 */
export function observe(
  profile: Profile,
  event: Reading,
  peers: Peers,
  tightenedBy: BehaviourRule | undefined,
): readonly Sighting[] {
  const isNewPlace = !profile.networks.has(networkOf(event.client));
  const fresh = enter(profile, event, tightenedBy !== undefined);
  const seen = [
    amountRule("new_people", profile, peers, event, "newPeople"),
    amountRule("lookups", profile, peers, event, "lookups"),
    weekRule(profile, peers, event),
    hoursRule(profile, peers, event, fresh),
    isNewPlace ? addressRule(profile, peers, event) : undefined,
    refusalsRule(profile),
    dumpRule(profile, tightenedBy),
    purposeRule(profile),
    togetherRule(profile, peers, event, tightenedBy),
  ].filter((sighting) => sighting !== undefined);
  const pressed = tightenedBy && pressedRule(profile, event, seen, tightenedBy);
  if (pressed !== undefined) seen.push(pressed);
  enterHabits(profile, event);
  return seen.filter((sighting) => isNews(profile, sighting, event.time));
}

/** Records a match found elsewhere: by the watch on ids. */
export function isNews(profile: Profile, { rule, again }: Sighting, time: number): boolean {
  const today = dayOf(time);
  const key = again ? `${rule} again` : rule;
  if (profile.alerted.get(key) === today) return false;
  profile.alerted.set(key, today);
  const day = profile.days.at(-1);
  if (day !== undefined && rule !== "addresses") day.odd = true;
  return true;
}

type Amount = keyof typeof FLOOR;

function amountRule(
  rule: "new_people" | "lookups",
  profile: Profile,
  peers: Peers,
  event: Reading,
  amount: Amount,
): Sighting | undefined {
  const figure = profile.days.at(-1)?.[amount] ?? 0;
  if (figure <= FLOOR[amount]) return undefined;
  const today = dayOf(event.time);
  const limit = Math.max(FLOOR[amount], ordinaryFor(profile, peers, today, amount));
  if (figure <= limit) return undefined;
  // A day on which every customer calls is busy for all users.
  const ordinary = limit * peers.crowd.weightOf(today);
  if (figure <= ordinary) return undefined;
  const what = rule === "new_people" ? "people they had never read before" : "exact lookups";
  return { rule, figure, ordinary: Math.round(ordinary), what: `${what}, in one day` };
}

/** More than the user ever does, and more than their peers' busiest days. */
function ordinaryFor(profile: Profile, peers: Peers, today: number, amount: Amount): number {
  const own = ordinaryDays(profile, today).map((day) => day[amount]);
  const limits: number[] = [];
  if (own.length >= START_UP_DAYS) limits.push(farAbove(own, OWN_SPREADS), OWN_FACTOR * median(own));
  if (peers.users >= FEWEST_PEERS) limits.push(farAbove(peers.busiest[amount], PEER_SPREADS));
  // There is no one to compare them with: only the budget applies.
  return limits.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...limits);
}

/**
 * Detects a drip below a busy day's amount that continues day after day. The user's own past ends a week ago: the days
 * being checked are not examples.
 */
function weekRule(profile: Profile, peers: Peers, event: Reading): Sighting | undefined {
  const today = dayOf(event.time);
  const figure = weekUpTo(profile.days, today);
  if (figure <= WEEK_FLOOR || peers.users < FEWEST_PEERS) return undefined;
  const before = ordinaryDays(profile, today - 6).map(({ newPeople }) => newPeople);
  if (before.length < START_UP_DAYS) return undefined;
  const worked = profile.days.filter(({ day }) => day > today - 7);
  const limit = Math.max(
    WEEK_FLOOR,
    WEEK_FACTOR * worked.length * median(before),
    farAbove(peers.busiest.week, WEEK_PEER_SPREADS),
  );
  if (figure <= limit) return undefined;
  const weights = worked.reduce((sum, { day }) => sum + peers.crowd.weightOf(day), 0);
  const ordinary = (limit * weights) / worked.length;
  if (figure <= ordinary) return undefined;
  const what = "people they had never read before, in seven days";
  return { rule: "new_people", figure, ordinary: Math.round(ordinary), what };
}

function hoursRule(profile: Profile, peers: Peers, event: Reading, fresh: number): Sighting | undefined {
  if (fresh === 0 || ordinaryDays(profile, dayOf(event.time)).length < HABIT_DAYS) return undefined;
  const hour = hourOf(event.time);
  const start = hour - (hour % 24);
  const near = [hour, start + ((hour + 23) % 24), start + ((hour + 1) % 24)];
  // Working in an hour makes it the user's own on the same day, but what was unusual this morning must stay so until
  // midnight.
  const days = near.reduce((sum, one) => sum + (profile.hours[one] ?? 0), 0);
  if (days > (profile.oddHours > 0 ? near.length : 0)) return undefined;
  if (peers.users >= FEWEST_PEERS && peers.inHour(hour) > 0.02 * peers.users) return undefined;
  profile.oddHours += fresh;
  if (profile.oddHours < ODD_HOUR_PEOPLE) return undefined;
  return {
    rule: "hours",
    figure: profile.oddHours,
    ordinary: 0,
    what: "people in hours when they never work",
  };
}

function addressRule(profile: Profile, peers: Peers, event: Reading): Sighting | undefined {
  if (ordinaryDays(profile, dayOf(event.time)).length < HABIT_DAYS) return undefined;
  if (peers.fromNetwork(networkOf(event.client)) > 0) return undefined;
  return {
    rule: "addresses",
    figure: 1,
    ordinary: 0,
    what: "an address that no one of their role had used",
  };
}

function refusalsRule({ refusals }: Profile): Sighting | undefined {
  if (refusals < REFUSALS_IN_A_ROW) return undefined;
  return { rule: "refusals", figure: refusals, ordinary: REFUSALS_IN_A_ROW - 1, what: "refusals in a row" };
}

function dumpRule({ days }: Profile, tightenedBy: BehaviourRule | undefined): Sighting | undefined {
  const figure = days.at(-1)?.overreached ?? 0;
  if (figure < DUMPS) return undefined;
  const what =
    "statements in one day that asked for far more than they may have, or that lacked a required condition";
  const sighting: Sighting = { rule: "dump", figure: Math.floor(figure), ordinary: DUMPS - 1, what };
  return tightenedBy !== undefined && figure >= DUMPS_OF_TIGHTENED ? { ...sighting, again: true } : sighting;
}

function purposeRule({ days }: Profile): Sighting | undefined {
  const { purposeless = 0, asked = 0 } = days.at(-1) ?? {};
  const ordinary = Math.max(PURPOSELESS - 1, Math.floor(PURPOSELESS_SHARE * asked));
  if (purposeless <= ordinary) return undefined;
  const what = `of ${asked} people they had never read before have nothing to do with their work`;
  return { rule: "purpose", figure: purposeless, ordinary, what };
}

/** A user whose budgets are already tightened, for whatever reason, is not among the others by chance. */
function togetherRule(
  profile: Profile,
  { crowd }: Peers,
  event: Reading,
  tightenedBy: BehaviourRule | undefined,
): Sighting | undefined {
  const today = dayOf(event.time);
  if (!crowd.isRushing(paceOf(profile, today), today)) return undefined;
  const [figure, ordinary] = [crowd.rushing(today), crowd.ordinarilyRushing(today)];
  if (ordinary === undefined || figure <= ordinary) return undefined;
  const what = "users of the role at once read far more new people than usual, this user among them";
  const sighting: Sighting = { rule: "together", figure, ordinary, what };
  const isSecond = tightenedBy !== undefined && profile.alerted.get("together") !== today;
  return isSecond ? { ...sighting, again: true } : sighting;
}

/** The user continues day after day: with honest work they would read less, or someone would have called. */
function pressedRule(
  profile: Profile,
  event: Reading,
  seen: readonly Sighting[],
  tightenedBy: BehaviourRule,
): Sighting | undefined {
  if (event.sqlstate !== "53400" && !goesOn(profile, event, seen)) return undefined;
  const today = dayOf(event.time);
  if (profile.pressed.at(-1) !== today) profile.pressed.push(today);
  while ((profile.pressed[0] ?? today) < today - 7) profile.pressed.shift();
  if (profile.pressed.length < PRESSED_DAYS) return undefined;
  const what = "days on which they went on although their budgets were tightened";
  return { rule: tightenedBy, figure: profile.pressed.length, ordinary: PRESSED_DAYS - 1, what, again: true };
}

function goesOn(profile: Profile, event: Reading, seen: readonly Sighting[]): boolean {
  if (!seen.some(({ rule }) => rule === "new_people" || rule === "purpose" || rule === "together"))
    return false;
  const own = ordinaryDays(profile, dayOf(event.time)).map(({ newPeople }) => newPeople);
  return (profile.days.at(-1)?.newPeople ?? 0) > GOES_ON_FACTOR * median(own);
}
