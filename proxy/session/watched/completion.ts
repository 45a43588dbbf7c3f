import { rowsWritten } from "../../wire/backend-messages.ts";
import type { Frame } from "../../wire/frames.ts";
import { Backend } from "../../wire/messages.ts";
import { SessionEnd } from "../context/parts.ts";
import type { AnswerSteps } from "../relay/lifecycle.ts";
import { applyEffect } from "../statement/effects.ts";
import type { Run } from "../statement/run.ts";
import { peopleAtEnd } from "./copying.ts";
import type { CurrentRun } from "./current-run.ts";
import type { Cutting } from "./cutting.ts";
import type { WatchedRecord } from "./record.ts";
import type { ShownRows } from "./shown-rows.ts";
import type { ExecuteRequest, QueryRequest, WatchedRequest } from "./watched-requests.ts";
import type { WatchedState } from "./watched-state.ts";

interface Ended {
  readonly type: number;
  readonly request: WatchedRequest;
  /** Undefined where it is not known what ran. */
  readonly run: Run | undefined;
}

/** The ends of statements in a watched session: in the server's words, or in ours where a budget has stopped them. */
export class WatchedCompletion implements AnswerSteps<Frame, Ended> {
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

  release(frame: Frame): Ended | "unsettled" {
    const { ledger, toClient } = this.#state;
    const { type } = frame;
    const request = ledger.expect(type);
    if (request.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    const run = isRunning(request) ? this.#run.get() : undefined;
    if (run !== undefined && ENDS.has(type) && !this.#mayStay(run, frame)) return "unsettled";
    this.#run.end();
    if (run !== undefined) this.#state.uncommitted.ran(run.person, run.statement, run.shape);
    if (run !== undefined && type === Backend.CommandComplete && run.statement.kind !== "read")
      run.written = this.#record.writes(run) ? rowsWritten(frame) : undefined;
    if (run?.cut !== undefined) return { type, request, run };
    this.#state.passesLong = request.hidden !== true && !this.#cutting.isUnheard;
    if (this.#state.passesLong) toClient.forward(frame);
    return { type, request, run };
  }

  /** Charges for what it has stored, and what its tag tells. False: it waits for the counters, as rows do. */
  #mayStay(run: Run, frame: Frame): boolean {
    const people = peopleAtEnd(run, frame);
    if (people === 0) return true;
    this.#run.ending();
    if (people !== Number.POSITIVE_INFINITY) return this.#rows.stored(run, people);
    this.#rows.uncountable(run);
    return true;
  }

  record({ run }: Ended): void {
    if (run !== undefined) this.#record.ended(run);
  }

  settle({ type, request, run }: Ended): void {
    const { names, ledger } = this.#state;
    if (run !== undefined && type === Backend.CommandComplete) {
      const index = request.kind === "query" ? ledger.statementIndex : 0;
      applyEffect(names, run.statement.effect, run.judged, index);
    }
    const goesOn =
      run?.cut !== undefined && isRunning(request) && this.#cutting.tooLate(run, run.cut, request);
    if (goesOn) return;
    ledger.answered(type);
    if (request.ofQuery === true) this.#state.sync("told");
  }
}

/** A portal of a write has written all of its rows, also where the client fetches only some of what it returns. */
const ENDS: ReadonlySet<number> = new Set([Backend.CommandComplete, Backend.PortalSuspended]);

function isRunning(request: WatchedRequest): request is QueryRequest | ExecuteRequest {
  return request.kind === "query" || request.kind === "execute";
}
