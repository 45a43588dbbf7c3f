import type { PersonAnswer } from "../audit/ask-person.ts";
import type { LeakAnswer, LeakList } from "../audit/leak.ts";
import type { Found, Position, Searched } from "../audit/log-search.ts";
import type { PolicyLoad } from "../audit/policy-loads.ts";
import type { Period } from "../audit/readings.ts";
import type { UserHistory } from "../audit/user-history.ts";
import type { Counted } from "../audit/who-read.ts";

/** Somebody in the audit log, given by their id. */
export interface NamedPerson {
  readonly id: string;
  /** Where the person is named; undefined: the only such place of the log. */
  readonly namespace: string | undefined;
}

/** A person whom an officer asks the audit log about. */
export interface AskedPerson extends NamedPerson {
  readonly period: Period;
  readonly by: string;
}

/** A list of people whose data leaked. */
export interface AskedLeak {
  readonly by: string;
  readonly list: LeakList;
  readonly namespace: string | undefined;
  readonly period: Period;
  readonly counted: Counted;
}

/** A search of the audit log: an event has to match all that is given. */
export interface LogSearch {
  readonly by: string;
  readonly period: Period;
  readonly kinds: Searched;
  readonly user?: string;
  readonly session?: string;
  readonly statement?: string;
  readonly reference?: string;
  readonly person?: NamedPerson;
  readonly after?: Position;
  readonly limit: number;
  /** What the answer is for: a page, or a file that leaves this machine. */
  readonly purpose: "search" | "export";
}

export type LogAnswer<T> =
  | { readonly ok: true; readonly answer: T }
  /** The question could not be answered: "nothing" would be a false answer. */
  | { readonly ok: false; readonly problem: string };

/**
 * Questions to the audit log on the disk of this machine. Each is an event of the log before its answer is shown; one is
 * answered at a time, and each within a time limit.
 */
export interface LogQuestions {
  /** Who read one person. */
  person(asked: AskedPerson): Promise<PersonAnswer>;
  /** Who read the people of a leaked list; the list is kept nowhere. */
  leak(asked: AskedLeak): Promise<LeakAnswer>;
  /** Whether lists may have email addresses and telephone numbers, and be compared with people alike: the console may ask the database. */
  readonly asksDatabase: boolean;
  search(asked: LogSearch): Promise<LogAnswer<Found>>;
  /** A user's last 30 days. */
  history(user: string, by: string): Promise<LogAnswer<UserHistory>>;
  /** The policies that were loaded in these days, the newest first. */
  policyLoads(days: number, by: string): Promise<LogAnswer<readonly PolicyLoad[]>>;
}
