import { decodeError, type ErrorFields, errorResponse } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { STATEMENT_TIMEOUT } from "../context/time-limits.ts";
import type { AnswerSteps } from "../relay/lifecycle.ts";
import type { Run } from "../statement/run.ts";
import type { CurrentRun } from "./current-run.ts";
import type { Cutting } from "./cutting.ts";
import { positionOnly } from "./positions.ts";
import type { WatchedRecord } from "./record.ts";
import type { ShownRows } from "./shown-rows.ts";
import { peopleInError, peopleInPlanning } from "./told-texts.ts";
import { isRunRequest, type WatchedRequest } from "./watched-requests.ts";
import type { WatchedState } from "./watched-state.ts";

/** A server error that the client has got. */
interface Failed {
  /** The message that it answers. */
  readonly head: WatchedRequest | undefined;
  /** Undefined where nothing ran. */
  readonly run: Run | undefined;
  readonly sqlstate: string;
  /** The words in place of the server's. */
  readonly told: Refusal | undefined;
}

/** Errors of the server in a watched session: what the client gets of them, and what they undo. */
export class WatchedFailure implements AnswerSteps<Frame, Failed> {
  readonly #state: WatchedState;
  readonly #run: CurrentRun;
  readonly #record: WatchedRecord;
  readonly #cutting: Cutting;
  readonly #rows: ShownRows;

  constructor(
    state: WatchedState,
    run: CurrentRun,
    record: WatchedRecord,
    cutting: Cutting,
    rows: ShownRows,
  ) {
    this.#rows = rows;
    this.#state = state;
    this.#run = run;
    this.#record = record;
    this.#cutting = cutting;
  }

  release(frame: Frame): Failed | "unsettled" {
    const { ledger, trace } = this.#state;
    const fields = decodeError(frame);
    const { head } = ledger;
    const isFatal = fields.get("V") === "FATAL" || fields.get("V") === "PANIC";
    if (isFatal) this.#state.fatal = true;
    const sqlstate = fields.get("C") ?? "XX000";
    const isCancelled = sqlstate === STATEMENT_TIMEOUT.sqlstate && !isFatal;
    // What has a reference is on record already: a result that was cut off too late.
    const isOnRecord = head?.refusal?.reference !== undefined;
    const run = isOnRecord ? undefined : this.#failing(head);
    const words = () => head?.refusal ?? run?.cut ?? (isCancelled ? this.#cutting.words : undefined);
    if (run !== undefined && words() === undefined && !this.#mayQuote(frame, fields, run)) return "unsettled";
    // The counters may have found no room for what the error quotes.
    const own = words();
    const told = own && !isFatal ? trace.refer(own) : undefined;
    this.#run.end();
    this.#tell(frame, told, head);
    return { head, run, sqlstate, told };
  }

  record({ head, run, sqlstate, told }: Failed): void {
    // A step is on record as what it failed in, unless it has shown someone.
    if (run === undefined || (!isRunRequest(head) && run.people.count === 0)) {
      if (head !== undefined) this.#record.failedStep(head, told?.sqlstate ?? sqlstate, told);
    } else if (head?.refusal !== undefined && told !== undefined) this.#state.trace.refused(run, told);
    else this.#record.ended(run, { sqlstate: told?.sqlstate ?? sqlstate, reference: told?.reference });
  }

  settle({ head }: Failed): void {
    const { ledger, certainty } = this.#state;
    certainty.failed();
    for (const skipped of ledger.failed()) this.#undo(skipped);
    this.#cutting.failed();
    if (head?.ofQuery === true) this.#state.sync("told");
  }

  #failing(head: WatchedRequest | undefined): Run | undefined {
    return isRunRequest(head) ? this.#run.failing(head) : this.#run.failingStep(head);
  }

  #tell(frame: Frame, own: Refusal | undefined, head: WatchedRequest | undefined): void {
    const { toClient } = this.#state;
    this.#state.passesLong = false;
    if (head?.quiet === true && !this.#state.fatal) return;
    if (this.#cutting.isUnheard && !this.#state.fatal) return;
    if (own !== undefined) toClient.send(errorResponse(own));
    else {
      const judged = head !== undefined && "judged" in head ? head.judged : this.#judgedOf(head);
      const moved = judged && positionOnly(frame, judged);
      this.#state.passesLong = moved === undefined;
      if (moved === undefined) toClient.forward(frame);
      else toClient.send(moved);
    }
  }

  /** Charges for what an error quotes. False: it waits for the counters, as rows do. */
  #mayQuote(frame: Frame, fields: ErrorFields, run: Run): boolean {
    const told = { frame, fields };
    const isBind = this.#state.ledger.head?.kind === "bind";
    const people = isBind ? peopleInPlanning(told) : peopleInError(told, run.shape);
    return this.#rows.text(run, people, frame.end - frame.start) || this.#state.fatal;
  }

  #judgedOf(head: WatchedRequest | undefined) {
    return head?.kind === "execute" ? this.#state.names.portals.get(head.portal)?.judged : undefined;
  }

  #undo(request: WatchedRequest): void {
    const { statements, portals } = this.#state.names;
    if (request.kind === "parse" && request.change !== undefined) statements.withdraw(request.change);
    if (request.kind === "bind" && request.change !== undefined) portals.withdraw(request.change);
    if (request.kind !== "close") return;
    if (request.statement !== undefined) statements.withdraw(request.statement);
    if (request.portal !== undefined) portals.withdraw(request.portal);
  }
}
