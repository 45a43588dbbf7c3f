import type { BehaviourAction, BehaviourRule, Role } from "../../policy/policy.ts";
import {
  dayOf,
  enter,
  enterHabits,
  hourOf,
  networkOf,
  ordinaryDays,
  type Profile,
  type Reading,
  weekUpTo,
} from "./profile.ts";
import { farAbove, median } from "./robust.ts";

/** What a rule saw. */
export interface Sighting {
  readonly rule: BehaviourRule;
  /** What was seen, and what would have been ordinary. */
  readonly figure: number;
  readonly ordinary: number;
  readonly what: string;
  /** He goes on although his budgets were tightened: the next harder action is due. */
  readonly again?: true;
}

/** What the others of a role do. */
export interface Peers {
  readonly users: number;
  /** Each one's busiest day, and week, of the last month. */
  readonly busiest: Readonly<Record<"newPeople" | "lookups" | "week", readonly number[]>>;
  /** How many of them ever worked in an hour (0-47), and came from a network. */
  readonly inHour: (hour: number) => number;
  readonly fromNetwork: (network: string) => number;
}

/** Before so many days he is new: only his peers say what is ordinary. */
export const START_UP_DAYS = 7;
/** Habits of time and place need longer. */
const HABIT_DAYS = 10;
const FEWEST_PEERS = 5;
/** Nobody is odd below this. */
const FLOOR = 60;
const OWN_SPREADS = 6;
const OWN_FACTOR = 2.5;
const PEER_SPREADS = 5;
const ODD_HOUR_PEOPLE = 10;
const REFUSALS_IN_A_ROW = 10;
/** One a day is a slip: a forgotten LIMIT. */
const DUMPS = 2;
/** Colleagues ask, customers call who have no ticket yet. */
const PURPOSELESS = 30;
const PURPOSELESS_SHARE = 0.5;
const PRESSED_DAYS = 3;
/** Of a week: chance evens out over its days, so less is far. */
const WEEK_FLOOR = 150;
const WEEK_FACTOR = 1.8;
const WEEK_PEER_SPREADS = 4;

/** What is done where the policy does not say. */
export function actionOf(role: Role, rule: BehaviourRule): BehaviourAction {
  return role.behaviour?.get(rule) ?? (role.budget.length > 0 ? "alert" : "off");
}

/** What becomes of him who goes on. */
export function actionFor(role: Role, { rule, again }: Sighting): BehaviourAction {
  const action = actionOf(role, rule);
  return again && action === "tighten" ? "suspend" : action;
}

/**
 * Enters one statement in its user's profile and gives what the rules see in it, each rule once a day. It knows
 * no clock and asks nobody: the same events give the same alerts.
 */
export function observe(
  profile: Profile,
  event: Reading,
  peers: Peers,
  tightened: boolean,
): readonly Sighting[] {
  const isNewPlace = !profile.networks.has(networkOf(event.client));
  const fresh = enter(profile, event);
  const seen = [
    amountRule("new_people", profile, peers, event, "newPeople"),
    amountRule("lookups", profile, peers, event, "lookups"),
    weekRule(profile, peers, event),
    hoursRule(profile, peers, event, fresh),
    isNewPlace ? addressRule(profile, peers, event) : undefined,
    refusalsRule(profile),
    dumpRule(profile),
    purposeRule(profile),
    pressedRule(profile, event, tightened),
  ].filter((sighting) => sighting !== undefined);
  enterHabits(profile, event);
  return seen.filter((sighting) => isNews(profile, sighting, event.time));
}

/** Enters a sighting of somebody else: the watch on ids. */
export function isNews(profile: Profile, { rule, again }: Sighting, time: number): boolean {
  const today = dayOf(time);
  const key = again ? `${rule} again` : rule;
  if (profile.alerted.get(key) === today) return false;
  profile.alerted.set(key, today);
  const day = profile.days.at(-1);
  if (day !== undefined && rule !== "addresses") day.odd = true;
  return true;
}

type Amount = "newPeople" | "lookups";

function amountRule(
  rule: "new_people" | "lookups",
  profile: Profile,
  peers: Peers,
  event: Reading,
  amount: Amount,
): Sighting | undefined {
  const figure = profile.days.at(-1)?.[amount] ?? 0;
  if (figure <= FLOOR) return undefined;
  const ordinary = Math.max(FLOOR, ordinaryFor(profile, peers, dayOf(event.time), amount));
  if (figure <= ordinary) return undefined;
  const what = rule === "new_people" ? "people whom he never read before" : "exact look-ups";
  return { rule, figure, ordinary: Math.round(ordinary), what: `${what}, in one day` };
}

/** More than he ever does, and more than his peers' busiest days. */
function ordinaryFor(profile: Profile, peers: Peers, today: number, amount: Amount): number {
  const own = ordinaryDays(profile, today).map((day) => day[amount]);
  const limits: number[] = [];
  if (own.length >= START_UP_DAYS) limits.push(farAbove(own, OWN_SPREADS), OWN_FACTOR * median(own));
  if (peers.users >= FEWEST_PEERS) limits.push(farAbove(peers.busiest[amount], PEER_SPREADS));
  // Nobody to compare him with: the budget alone holds.
  return limits.length === 0 ? Number.POSITIVE_INFINITY : Math.max(...limits);
}

/**
 * A drip below what anybody does on a busy day, but day after day. His own past ends a week ago: the days in
 * question are no example.
 */
function weekRule(profile: Profile, peers: Peers, event: Reading): Sighting | undefined {
  const today = dayOf(event.time);
  const figure = weekUpTo(profile.days, today);
  if (figure <= WEEK_FLOOR || peers.users < FEWEST_PEERS) return undefined;
  const before = ordinaryDays(profile, today - 6).map(({ newPeople }) => newPeople);
  if (before.length < START_UP_DAYS) return undefined;
  const worked = profile.days.filter(({ day }) => day > today - 7).length;
  const ordinary = Math.max(
    WEEK_FLOOR,
    WEEK_FACTOR * worked * median(before),
    farAbove(peers.busiest.week, WEEK_PEER_SPREADS),
  );
  if (figure <= ordinary) return undefined;
  const what = "people whom he never read before, in seven days";
  return { rule: "new_people", figure, ordinary: Math.round(ordinary), what };
}

function hoursRule(profile: Profile, peers: Peers, event: Reading, fresh: number): Sighting | undefined {
  if (fresh === 0 || ordinaryDays(profile, dayOf(event.time)).length < HABIT_DAYS) return undefined;
  const hour = hourOf(event.time);
  const start = hour - (hour % 24);
  const near = [hour, start + ((hour + 23) % 24), start + ((hour + 1) % 24)];
  // Once a day an hour becomes his: what was odd this morning stays odd until midnight.
  const days = near.reduce((sum, one) => sum + (profile.hours[one] ?? 0), 0);
  if (days > (profile.oddHours > 0 ? near.length : 0)) return undefined;
  if (peers.users >= FEWEST_PEERS && peers.inHour(hour) > 0.02 * peers.users) return undefined;
  profile.oddHours += fresh;
  if (profile.oddHours < ODD_HOUR_PEOPLE) return undefined;
  return {
    rule: "hours",
    figure: profile.oddHours,
    ordinary: 0,
    what: "people in hours when he never works",
  };
}

function addressRule(profile: Profile, peers: Peers, event: Reading): Sighting | undefined {
  if (ordinaryDays(profile, dayOf(event.time)).length < HABIT_DAYS) return undefined;
  if (peers.fromNetwork(networkOf(event.client)) > 0) return undefined;
  return { rule: "addresses", figure: 1, ordinary: 0, what: "an address where nobody of his role came from" };
}

function refusalsRule({ refusals }: Profile): Sighting | undefined {
  if (refusals < REFUSALS_IN_A_ROW) return undefined;
  return { rule: "refusals", figure: refusals, ordinary: REFUSALS_IN_A_ROW - 1, what: "refusals in a row" };
}

function dumpRule({ days }: Profile): Sighting | undefined {
  const figure = days.at(-1)?.overreached ?? 0;
  if (figure < DUMPS) return undefined;
  const what = "statements in one day that asked for far more than he may have";
  return { rule: "dump", figure: Math.floor(figure), ordinary: DUMPS - 1, what };
}

function purposeRule({ days }: Profile): Sighting | undefined {
  const { purposeless = 0, asked = 0 } = days.at(-1) ?? {};
  const ordinary = Math.max(PURPOSELESS - 1, Math.floor(PURPOSELESS_SHARE * asked));
  if (purposeless <= ordinary) return undefined;
  const what = `of ${asked} people whom he never read before have nothing to do with his work`;
  return { rule: "purpose", figure: purposeless, ordinary, what };
}

/** A tightened budget that stops him day after day: honest work would have shrunk, or somebody would have called. */
function pressedRule(profile: Profile, event: Reading, tightened: boolean): Sighting | undefined {
  if (!tightened || event.sqlstate !== "53400") return undefined;
  const today = dayOf(event.time);
  if (profile.pressed.at(-1) !== today) profile.pressed.push(today);
  while ((profile.pressed[0] ?? today) < today - 7) profile.pressed.shift();
  if (profile.pressed.length < PRESSED_DAYS) return undefined;
  const what = "days on which his tightened budget stopped him";
  return { rule: "new_people", figure: profile.pressed.length, ordinary: 0, what, again: true };
}
