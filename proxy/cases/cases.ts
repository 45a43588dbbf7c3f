import type { AlertChange, Change, MadeChange, Outcome } from "./changes.ts";

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
    } else {
      const one = byAlert.get(change.case);
      if (one === undefined || one.history.length >= MOST_CHANGES) continue;
      if (one.closedAt !== undefined && change.kind !== "comment") continue;
      apply(one, change);
      if (one.closedAt !== undefined && open.get(one.about) === one) open.delete(one.about);
    }
  }
  return all;
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
