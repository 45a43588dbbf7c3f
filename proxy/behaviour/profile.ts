import { LRUCache } from "lru-cache";
import type { StatementEvent } from "../audit/event.ts";
import type { Today } from "./alert.ts";
import { median } from "./robust.ts";

/** The parts of a statement that the rules use. */
export type Reading = Pick<
  StatementEvent,
  "time" | "client" | "people" | "purposeless" | "subjects" | "lookups" | "decision" | "sqlstate"
>;

/** What a user read on one day. */
export interface Day {
  /** Days since 1970 (UTC). */
  readonly day: number;
  /** People whom the user had not read in the last month. */
  newPeople: number;
  lookups: number;
  /** Statements that asked for far more than the user may have: see `overreach`. */
  overreached: number;
  /** The new people whose connection to the user's work was checked, and those of them who had none. */
  asked: number;
  purposeless: number;
  /** A rule flagged the user on this day: it is not an example of their ordinary work. */
  odd: boolean;
}

/** A user with fewer days is new: only their peers show what is ordinary. */
export const START_UP_DAYS = 7;

const DAY = 86_400_000;
const HOUR = 3_600_000;
const DAYS_KEPT = 30;
/** About three months of a busy agent; beyond it the oldest people count as new again. */
const PEOPLE_KEPT = 10_000;
const NETWORKS_KEPT = 50;

/** How one user works: the baseline that the rules compare an event with. */
export interface Profile {
  /** Days on which the user read; the last one is today. */
  readonly days: Day[];
  /** People by the hash used in audit events, with the day of the last read, in the order of these days. */
  readonly people: Map<string, number>;
  /** On how many days the user worked in each hour of working days (0-23) and of weekends (24-47), UTC. */
  readonly hours: number[];
  /** People read today in hours in which the user never works. */
  oddHours: number;
  /** The hour of the last event, in hours since 1970. */
  lastHour: number;
  readonly networks: Map<string, number>;
  /** Refusals since the last allowed statement. */
  refusals: number;
  /** The recent days on which the user continued although their budgets were tightened. */
  readonly pressed: number[];
  /** Day (for refusals: hour) of the last alert of each rule. */
  readonly alerted: Map<string, number>;
}

export function newProfile(): Profile {
  return {
    days: [],
    people: new Map(),
    hours: Array.from({ length: 48 }, () => 0),
    oddHours: 0,
    lastHour: -1,
    networks: new Map(),
    refusals: 0,
    pressed: [],
    alerted: new Map(),
  };
}

export function dayOf(time: number): number {
  return Math.floor(time / DAY);
}

/** Index into `Profile.hours`. */
export function hourOf(time: number): number {
  // 1970-01-01 was a Thursday.
  const weekday = (dayOf(time) + 3) % 7;
  return Math.floor((time % DAY) / HOUR) + (weekday >= 5 ? 24 : 0);
}

/** Addresses change within a network, so networks are compared instead (a /24 of IPv4, a /64 of IPv6). */
export function networkOf(address: string): string {
  let network = networks.get(address);
  if (network === undefined) {
    network = address.includes(":") ? firstParts(address, ":", 4) : firstParts(address, ".", 3);
    networks.set(address, network);
  }
  return network;
}

/** Asked at each statement, of the same few addresses. */
const networks = new LRUCache<string, string>({ max: 1_000 });

function firstParts(address: string, separator: string, count: number): string {
  return address.split(separator).slice(0, count).join(separator);
}

/** New people in the seven days that end with `last`. */
export function weekUpTo(days: readonly Day[], last: number): number {
  let sum = 0;
  for (const { day, newPeople } of days) if (day > last - 7 && day <= last) sum += newPeople;
  return sum;
}

/** The days before today on which the user worked as usual. */
export function ordinaryDays(profile: Profile, today: number): readonly Day[] {
  return profile.days.filter(({ day, odd }) => day < today && !odd);
}

/** How much a user has read today, and how many new people are the median of their ordinary days. */
export function todayOf(profile: Profile, time: number): Today {
  const today = dayOf(time);
  const usual = ordinaryDays(profile, today).map(({ newPeople }) => newPeople);
  let people = 0;
  for (const day of profile.people.values()) if (day === today) people += 1;
  const last = profile.days.at(-1);
  return {
    people,
    newPeople: last?.day === today ? last.newPeople : 0,
    ...(usual.length >= START_UP_DAYS && { usualNewPeople: Math.round(median(usual)) }),
  };
}

/** Whether recording the statement would leave the profile unchanged: looking at a screen again adds nothing. */
export function tellsNothing(profile: Profile, event: Reading): boolean {
  const { people, subjects, lookups, decision, sqlstate, time, client } = event;
  const isPlain = decision === "allow" || decision === "mask";
  if (!isPlain || sqlstate !== undefined || lookups > 0 || people !== subjects.length) return false;
  const day = dayOf(time);
  if (profile.days.at(-1)?.day !== day || profile.refusals > 0) return false;
  if (people > 0 && Math.floor(time / HOUR) > profile.lastHour) return false;
  for (const person of subjects) if (profile.people.get(person) !== day) return false;
  return profile.networks.get(networkOf(client)) === day;
}

/** Records one statement and returns how many of its people are new. The same events give the same profile. */
export function enter(profile: Profile, event: Reading, tightened: boolean): number {
  const today = openDay(profile, dayOf(event.time));
  const fresh = enterPeople(profile, event, today.day);
  today.newPeople += fresh;
  today.lookups += event.lookups;
  const over = overreach(event, fresh, tightened ? MANY_OF_TIGHTENED : MANY_AT_ONCE);
  today.overreached += over;
  // A forgotten condition shows strangers: the rule on dumps handles that.
  if (event.purposeless !== undefined && over === 0) {
    today.asked += fresh;
    // It is unknown which of them are new; counts those that must be.
    today.purposeless += Math.max(0, fresh - (event.people - event.purposeless));
  }
  const refused = event.decision === "refuse" && isProbing(event.sqlstate ?? "");
  profile.refusals = refused ? profile.refusals + 1 : event.decision === "refuse" ? profile.refusals : 0;
  return fresh;
}

/** Called after the rules have run: from now on this hour and this network count as the user's own. */
export function enterHabits(profile: Profile, event: Reading): void {
  const hour = Math.floor(event.time / HOUR);
  if (event.people > 0 && hour > profile.lastHour) {
    const position = hourOf(event.time);
    profile.hours[position] = (profile.hours[position] ?? 0) + 1;
    profile.lastHour = hour;
  }
  const network = networkOf(event.client);
  profile.networks.delete(network);
  profile.networks.set(network, dayOf(event.time));
  forgetOldest(profile.networks, NETWORKS_KEPT);
}

function openDay(profile: Profile, day: number): Day {
  const last = profile.days.at(-1);
  if (last !== undefined && last.day >= day) return last;
  const today: Day = { day, newPeople: 0, lookups: 0, overreached: 0, asked: 0, purposeless: 0, odd: false };
  profile.days.push(today);
  if (profile.days.length > DAYS_KEPT) profile.days.shift();
  profile.oddHours = 0;
  return today;
}

function enterPeople({ people }: Profile, event: Reading, day: number): number {
  // People without a hash (unknown, or beyond what an event holds) count as new: never fewer than were read.
  let fresh = Math.max(0, event.people - event.subjects.length);
  for (const person of event.subjects) {
    const last = people.get(person);
    if (last === undefined || last < day - DAYS_KEPT) fresh += 1;
    if (last === day) continue;
    people.delete(person);
    people.set(person, day);
  }
  forgetOldest(people, PEOPLE_KEPT);
  return fresh;
}

/** Merges two incomplete records of the same work: the result holds at least as much as either. */
export function mergeInto(profile: Profile, other: Profile): void {
  for (const theirs of other.days) {
    const day = profile.days.find(({ day }) => day === theirs.day);
    if (day === undefined) {
      profile.days.push({ ...theirs });
      continue;
    }
    day.newPeople = Math.max(day.newPeople, theirs.newPeople);
    day.lookups = Math.max(day.lookups, theirs.lookups);
    day.overreached = Math.max(day.overreached, theirs.overreached);
    day.asked = Math.max(day.asked, theirs.asked);
    day.purposeless = Math.max(day.purposeless, theirs.purposeless);
    day.odd ||= theirs.odd;
  }
  profile.days.sort((a, b) => a.day - b.day).splice(0, profile.days.length - DAYS_KEPT);
  mergeDays(profile.people, other.people, PEOPLE_KEPT);
  mergeDays(profile.networks, other.networks, NETWORKS_KEPT);
  mergeDays(profile.alerted, other.alerted, Number.POSITIVE_INFINITY);
  for (const [hour, days] of other.hours.entries()) {
    profile.hours[hour] = Math.max(profile.hours[hour] ?? 0, days);
  }
  profile.oddHours = Math.max(profile.oddHours, other.oddHours);
  profile.lastHour = Math.max(profile.lastHour, other.lastHour);
  profile.refusals = Math.max(profile.refusals, other.refusals);
  const pressed = new Set([...profile.pressed, ...other.pressed]);
  profile.pressed.splice(0, profile.pressed.length, ...[...pressed].sort((a, b) => a - b));
}

function mergeDays(map: Map<string, number>, other: ReadonlyMap<string, number>, kept: number): void {
  const both = new Map(map);
  for (const [key, day] of other) both.set(key, Math.max(day, both.get(key) ?? day));
  map.clear();
  for (const [key, day] of [...both].sort(([, a], [, b]) => a - b)) map.set(key, day);
  forgetOldest(map, kept);
}

function forgetOldest(map: Map<string, number>, kept: number): void {
  for (const key of map.keys()) {
    if (map.size <= kept) return;
    map.delete(key);
  }
}

/** This many new people in the first rows of one statement are not a lookup. */
const MANY_AT_ONCE = 20;
/** Halved budgets stop the user after half as many. */
const MANY_OF_TIGHTENED = 10;

/**
 * Counts 1 for a statement that was stopped after it had shown many new people, and 0.5 for one that was refused before
 * it ran (without a required condition), because it showed no one. A stopped statement that is run again shows the same
 * people and counts 0; so does one that a used-up budget stops after a few.
 */
function overreach({ decision, sqlstate }: Reading, fresh: number, many: number): number {
  if (decision === "refuse") return sqlstate === "54000" ? 0.5 : 0;
  return (sqlstate === "54000" || sqlstate === "53400") && fresh >= many ? 1 : 0;
}

/** Missing rights, unknown names, too much at once; not a used-up budget, and nothing that is the proxy's fault. */
function isProbing(sqlstate: string): boolean {
  return sqlstate.startsWith("42") || sqlstate === "54000";
}
