import type { Statement } from "../../sql/verdict.ts";
import { rowsMade, rowsMoved, rowsWritten } from "../../wire/backend-messages.ts";
import type { Frame } from "../../wire/frames.ts";
import { bindMessage, describeMessage, executeMessage, parseMessage } from "../../wire/frontend-messages.ts";
import { Backend } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";
import { portalOf } from "../statement/prepared.ts";
import type { Run } from "../statement/run.ts";
import type { Reader } from "./charged-readers.ts";
import type { WatchedState } from "./watched-state.ts";

/*
 * Statements that store values of people where nobody is counted for reading them: INSERT … SELECT, CREATE TABLE AS and
 * their kin. What they store counts as read. Where a budget stops, the commit waits until it is known that there is room:
 * such a statement is sent without a Sync, and one without room is made to fail.
 */

/** Whether what is sent next has to wait for the counters. */
export function isHeld(state: WatchedState, reader: Reader, shapes: readonly Statement[]): boolean {
  return state.readers.stops(reader) && shapes.some(({ copies }) => copies !== undefined);
}

/** Why it is not sent at all: what it keeps could not be undone. */
export function keptForGood(
  state: WatchedState,
  reader: Reader,
  shapes: readonly Statement[],
): Refusal | undefined {
  return state.readers.stops(reader) && shapes.some(({ isForGood }) => isForGood) ? FOR_GOOD : undefined;
}

/** How many people the end of a statement tells of. Infinity: of what it has stored nothing says how many. */
export function peopleAtEnd(run: Run, complete: Frame): number {
  return peopleStored(run, complete) + peopleMoved(run, complete);
}

/** How many rows MOVE has passed is a number that a condition decides. */
function peopleMoved({ statement, shape }: Run, complete: Frame): number {
  const isMove = statement.command === "MOVE" && shape.metering !== undefined;
  return isMove && rowsMoved(complete) !== 0 ? 1 : 0;
}

/** How many people the rows show that it has written. */
function peopleStored(run: Run, complete: Frame): number {
  const { copies, copiesOne } = run.shape;
  if (copies === undefined) return 0;
  if (copies === 0) return run.statement.effect?.kind === "fetch" ? Number.POSITIVE_INFINITY : 0;
  // No tag says how many rows were written, until the client has fetched all that they return.
  if (complete.type === Backend.PortalSuspended) return Number.POSITIVE_INFINITY;
  const written = rowsWritten(complete);
  if (copies === Number.POSITIVE_INFINITY) return written === 0 ? 0 : copies;
  const rows = written ?? rowsMade(complete) ?? 1;
  return copies * (copiesOne ? Math.min(1, rows) : rows);
}

const UNDONE = "nothing was stored: ";

/** Of a text with several statements nothing can be taken back by itself. */
export const NOT_BY_ITSELF: Refusal = refuse(
  "42501",
  "a statement that copies values of people, or may take rows from them, stands beside others in one text",
  { hint: "Send it by itself: where a budget has no room for it, it is undone." },
);

export const GATHERS: Refusal = refuse("53400", `${UNDONE}how many people are in it is not known`, {
  hint: "Store rows as they are and delete them by their own table, one statement at a time, without aggregates, TRUNCATE, functions that run a text and calls that keep a value elsewhere. Or do it as a user without a budget.",
});

/** A budget has no room for it: what the client is told of a statement that has been taken back. */
export function undone(refusal: Refusal): Refusal {
  const { message, hint } = refusal;
  if (message.startsWith(UNDONE)) return refusal;
  const less =
    "Store fewer rows, or change or delete fewer, or wait until earlier reads have left the window.";
  return { ...refusal, message: `${UNDONE}${message}`, hint: hint === undefined ? less : `${less} ${hint}` };
}

/** Locks and sequences are seen by other sessions at once, and no rollback takes them back. */
export const FOR_GOOD: Refusal = refuse(
  "42501",
  "the statement was not run: a call keeps what no rollback undoes, and how many people are in that is not known",
  {
    hint: "Read the value first, and call the function with it in a statement of its own.",
  },
);

/** A simple query, as messages of the extended protocol: its Sync follows once it may be committed. */
export function sendUncommitted(state: WatchedState, judged: Judged, reader: Reader, at: number): void {
  const { names, ledger } = state;
  const { verdict, text } = judged;
  const [statement] = verdict.statements;
  names.statements.delete("");
  const change = names.portals.propose("", portalOf(judged, statement), ledger.pipeline);
  const step = { at, ofQuery: true } as const;
  const sql = verdict.kind === "rewrite" ? verdict.sql : text;
  state.send(parseMessage("", sql), { kind: "parse", ...step, hidden: true, judged, change: undefined });
  state.send(bindMessage("", ""), { kind: "bind", ...step, hidden: true, judged, change });
  const of = { target: "portal", name: "" } as const;
  state.send(describeMessage(of), { kind: "describe", ...step, of });
  state.send(executeMessage("", 0), { kind: "execute", ...step, portal: "", reader });
  hold(state);
}

/** Nothing is sent before the statement has been answered. */
export function hold(state: WatchedState): void {
  state.ledger.barrier.raise("closed");
  state.flush();
}
