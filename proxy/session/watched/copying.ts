import type { Statement } from "../../sql/verdict.ts";
import { mayCopyUnread } from "../../sql/watched.ts";
import { rowsMade, rowsWritten } from "../../wire/backend-messages.ts";
import type { Frame } from "../../wire/frames.ts";
import { bindMessage, describeMessage, executeMessage, parseMessage } from "../../wire/frontend-messages.ts";
import { Backend } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";
import { portalOf } from "../statement/prepared.ts";
import type { Run } from "../statement/run.ts";
import type { Reader } from "./readers.ts";
import type { WatchedState } from "./state.ts";

/*
 * Statements that store values of people where nobody is counted for reading them: INSERT … SELECT, CREATE TABLE AS and
 * their kin. What they store counts as read. Where a budget stops, the commit waits until it is known that there is room:
 * such a statement is sent without a Sync, and one without room is made to fail.
 */

/** Whether what is sent next has to wait for the counters. */
export function isHeld(state: WatchedState, reader: Reader, shapes: readonly Statement[]): boolean {
  return state.readers.stops(reader) && shapes.some(({ copies }) => copies !== undefined);
}

/** How many people the rows show that it has written. Infinity: nothing says how many. */
export function peopleStored(run: Run, complete: Frame): number {
  const { copies } = run.shape;
  if (copies === undefined) return peopleStoredUnread(run, complete);
  // No tag says how many rows were written, until the client has fetched all that they return.
  if (complete.type === Backend.PortalSuspended) return Number.POSITIVE_INFINITY;
  const written = rowsWritten(complete);
  if (copies === Number.POSITIVE_INFINITY) return written === 0 ? 0 : copies;
  return copies * (written ?? rowsMade(complete) ?? 1);
}

/** Of a text that nobody could read. A SELECT whose rows did not come has made a table of them. */
function peopleStoredUnread({ statement, judged, rows }: Run, complete: Frame): number {
  if (statement.unread !== true || !mayCopyUnread(judged.text)) return 0;
  if (complete.type === Backend.PortalSuspended)
    return /\breturning\b/i.test(judged.text.toString("latin1")) ? Number.POSITIVE_INFINITY : 0;
  return rowsWritten(complete) ?? (rows === 0 ? rowsMade(complete) : undefined) ?? 0;
}

/** Of a text with several statements nothing can be taken back by itself. */
export const NOT_BY_ITSELF: Refusal = refuse(
  "42501",
  "a statement that copies values of people stands beside others in one text",
  { hint: "Send it by itself: where a budget has no room for what it copies, it is undone." },
);

export const GATHERS: Refusal = refuse(
  "53400",
  "it is not known how many people a row that is stored shows",
  {
    hint: "Store the rows one by one, without aggregates, or do it as a user without a budget.",
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
