import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";

/**
 * The life of a statement, in its order: resolve, decide, reserve, forward; then, as the server answers, release,
 * record, settle. Simple and prepared statements of guarded and of watched sessions all go this way. What a step does is
 * in the file of its message: `guarded/` or `watched/`, `query.ts`, `parse.ts`, `bind.ts`, `execute.ts`, and for the
 * answers `completion.ts` and `failure.ts`.
 */

/** A client's message on its way to the server. False: it must be handed in again after a `wake`. */
export function request<Message, Resolved, Decided, Reserved>(
  steps: RequestSteps<Message, Resolved, Decided, Reserved>,
  message: Message,
): boolean {
  const resolved = steps.resolve(message);
  if (isOver(resolved)) return conclude(steps, message, resolved);
  const decided = steps.decide(resolved);
  if (isOver(decided)) return conclude(steps, message, decided);
  const reserved = steps.reserve(decided);
  if (isOver(reserved)) return conclude(steps, message, reserved);
  steps.forward(decided, reserved);
  return true;
}

/**
 * A server's message that ends the answer to a statement; its rows have been released one by one. False: as with
 * `request`. What was released leaves the proxy when the events that `record` wrote are on disk (`session.ts`).
 */
export function answer<Message, Ended extends object>(
  steps: AnswerSteps<Message, Ended>,
  message: Message,
): boolean {
  const ended = steps.release(message);
  if (ended === "unsettled") return false;
  steps.record(ended);
  steps.settle(ended);
  return true;
}

/** What a kind of message does on its way to the server. */
export interface RequestSteps<Message, Resolved, Decided, Reserved> {
  /** What it means: its text or the name in it, the person it runs for, what it is judged by. */
  resolve(message: Message): Outcome<Resolved>;
  /** Whether it may run, and as what text. */
  decide(resolved: Resolved): Outcome<Decided>;
  /** What it takes: a budget, room for a name. */
  reserve(decided: Decided): Outcome<Reserved>;
  /** Sends it and enters it in the ledger; where its result may be cut off, what follows has to wait. */
  forward(decided: Decided, reserved: Reserved): void;
  /** Sends a message that surely fails in its place (docs/decisions/001-poisoned-message.md). */
  refuse(message: Message, refused: Refused): void;
}

/** What a kind of message does on its way to the client. */
export interface AnswerSteps<Message, Ended> {
  /** The rest of the rows, and the words at their end. "unsettled": the meter has not answered yet. */
  release(message: Message): Ended | "unsettled";
  /** Writes the event. */
  record(ended: Ended): void;
  /** Takes over what the statement changed: names, settings, the catalog; and takes it off the ledger. */
  settle(ended: Ended): void;
}

/** "unsettled": this depends on an answer that is still to come, which has been asked for. */
export type Outcome<Value> = Value | Refused | "unsettled";

/** The statement is not run. */
export class Refused {
  readonly refusal: Refusal;
  /** Undefined where no text was judged, such as for a name that does not exist. */
  readonly judged: Judged | undefined;
  /** The open transaction is rolled back as well. */
  readonly rollsBack: boolean;

  constructor(refusal: Refusal, judged: Judged | undefined, also?: "rolls back") {
    this.refusal = refusal;
    this.judged = judged;
    this.rollsBack = also === "rolls back";
  }
}

function isOver(outcome: unknown): outcome is Refused | "unsettled" {
  return outcome === "unsettled" || outcome instanceof Refused;
}

function conclude<Message>(
  steps: Pick<RequestSteps<Message, never, never, never>, "refuse">,
  message: Message,
  outcome: Refused | "unsettled",
): boolean {
  if (outcome === "unsettled") return false;
  steps.refuse(message, outcome);
  return true;
}
