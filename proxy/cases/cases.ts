import type { AlertChange, Change, MadeChange, Outcome } from "./case-changes.ts";

/** Alerts about one user, and what operators did about them. */
export interface Case {
  /** That of its first alert. */
  readonly id: string;
  /** Whom it is about; "" of the guard itself. */
  readonly about: string;
  readonly openedAt: number;
  /** The first of them, in the order of time. */
  readonly alerts: readonly AlertChange[];
  /** What operators did, in the order of time. */
  readonly history: readonly MadeChange[];
  /** Undefined: nobody has taken it. */
  readonly owner: string | undefined;
  /** When it was first answered or closed. */
  readonly answeredAt: number | undefined;
  readonly closedAt: number | undefined;
  readonly outcome: Outcome | undefined;
}

type Draft = {
  -readonly [Key in keyof Case]: Case[Key] extends readonly (infer One)[] ? One[] : Case[Key];
};

/** Later alerts of a case are in the audit log only: nobody fills a disk with alerts. */
export const MOST_ALERTS = 50;
/** The same of what operators do. */
export const MOST_CHANGES = 200;

/**
 * The cases that follow from these changes, whatever their order. An alert joins the open case of its user, or opens one;
 * after a case was closed the next alert opens another.
 */
export function casesOf(changes: Iterable<Change>): readonly Case[] {
  return gathered(changes).cases;
}

/** The same, and to which of them each change belongs; one whose alert is not known belongs to none. */
function gathered(changes: Iterable<Change>) {
  const caseOf = new Map<string, Case>();
  const open = new Map<string, Draft>();
  const byAlert = new Map<string, Draft>();
  const all: Draft[] = [];
  for (const change of [...changes].toSorted((a, b) => a.time - b.time || (a.id < b.id ? -1 : 1))) {
    if (change.kind === "alert") {
      let one = open.get(change.about);
      if (one === undefined) {
        one = begun(change);
        open.set(change.about, one);
        all.push(one);
      }
      if (one.alerts.length < MOST_ALERTS) one.alerts.push(change);
      byAlert.set(change.id, one);
      caseOf.set(change.id, one);
    } else {
      const one = byAlert.get(change.case);
      if (one === undefined) continue;
      caseOf.set(change.id, one);
      if (one.history.length >= MOST_CHANGES) continue;
      if (one.closedAt !== undefined && change.kind !== "comment") continue;
      apply(one, change);
      if (one.closedAt !== undefined && open.get(one.about) === one) open.delete(one.about);
    }
  }
  return { cases: all as readonly Case[], caseOf: caseOf as ReadonlyMap<string, Case> };
}

/** Closed cases that are older are the audit log's alone. */
const KEPT_MS = 400 * 86_400_000;
/** Open ones, and beside them the newest of those that are closed. */
export const MOST_CASES = 2_000;

/** A stretch of time whose cases stay, whatever their age: Unix times in milliseconds. */
export interface Held {
  readonly since: number;
  readonly until: number;
}

/** The cases that are kept, the newest first: those that are open, closed ones within bounds, and those on hold. */
export function keptCases(cases: readonly Case[], now: number, held: readonly Held[]): readonly Case[] {
  const newest = cases.toSorted((a, b) => b.openedAt - a.openedAt);
  const open = newest.filter(({ closedAt }) => closedAt === undefined);
  const room = Math.max(0, MOST_CASES - open.length);
  const closed = newest.filter(({ closedAt = 0 }) => closedAt > now - KEPT_MS).slice(0, room);
  const kept = new Set([...open, ...closed, ...newest.filter((one) => isHeld(one, held))]);
  return newest.filter((one) => kept.has(one));
}

function isHeld({ openedAt, closedAt = Number.POSITIVE_INFINITY }: Case, held: readonly Held[]): boolean {
  return held.some(({ since, until }) => openedAt < until && closedAt >= since);
}

/** The changes that make up the kept cases, and young ones whose alert may still come. */
export function keptChanges(
  changes: readonly Change[],
  now: number,
  held: readonly Held[],
): ReadonlyMap<string, Change> {
  const { cases, caseOf } = gathered(changes);
  const kept = new Set(keptCases(cases, now, held));
  const stays = (change: Change) => {
    const of = caseOf.get(change.id);
    return of === undefined ? change.time > now - KEPT_MS : kept.has(of);
  };
  return new Map(changes.filter(stays).map((change) => [change.id, change]));
}

/**
 * The cases, the newest first, with one alert more. Undefined where that follows from all changes only: it is older than
 * what is known of its user. So a flood of alerts costs no more than its alerts.
 */
export function withAlert(cases: readonly Case[], alert: AlertChange): readonly Case[] | undefined {
  const own = cases.filter(({ about }) => about === alert.about);
  const isLast = ({ alerts, history, openedAt }: Case) =>
    Math.max(openedAt, alerts.at(-1)?.time ?? 0, history.at(-1)?.time ?? 0) < alert.time;
  if (!own.every(isLast)) return undefined;
  const open = own.find(({ closedAt }) => closedAt === undefined);
  if (open !== undefined) {
    if (open.alerts.length >= MOST_ALERTS) return cases;
    return cases.map((one) => (one === open ? { ...open, alerts: [...open.alerts, alert] } : one));
  }
  const place = cases.findIndex(({ openedAt }) => openedAt <= alert.time);
  return cases.toSpliced(place === -1 ? cases.length : place, 0, { ...begun(alert), alerts: [alert] });
}

function begun({ id, about, time }: AlertChange): Draft {
  return {
    ...{ id, about, openedAt: time, alerts: [], history: [] },
    ...{ owner: undefined, answeredAt: undefined, closedAt: undefined, outcome: undefined },
  };
}

function apply(one: Draft, change: MadeChange): void {
  one.history.push(change);
  switch (change.kind) {
    case "owner":
      one.owner = change.text;
      return;
    case "answer":
      one.answeredAt ??= change.time;
      return;
    case "closed":
      one.answeredAt ??= change.time;
      one.closedAt = change.time;
      one.outcome = change.outcome;
      return;
    case "comment":
      return;
  }
}
