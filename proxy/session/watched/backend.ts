import { extraFields } from "../../sql/verdict.ts";
import { decodeParameterStatus, decodeReadyForQuery } from "../../wire/backend-messages.ts";
import { errorResponse, isLongAnswer } from "../../wire/errors.ts";
import type { Frame, FrameReader } from "../../wire/frames.ts";
import { Backend, isRow } from "../../wire/messages.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { trimRowDescription } from "../../wire/rows.ts";
import { SessionEnd } from "../context/parts.ts";
import { surroundingsIn } from "../decide/probe.ts";
import { answer } from "../relay/lifecycle.ts";
import { isHeld } from "../statement/effects.ts";
import { type Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import { WatchedCompletion } from "./completion.ts";
import { undone } from "./copying.ts";
import { CurrentRun } from "./current-run.ts";
import { Cutting } from "./cutting.ts";
import { WatchedFailure } from "./failure.ts";
import { LONGEST_ROW } from "./long-rows.ts";
import { WatchedRecord } from "./record.ts";
import { ShownRows } from "./shown-rows.ts";
import { peopleInNotice } from "./told-texts.ts";
import { isRunRequest, type WatchedRequest } from "./watched-requests.ts";
import type { WatchedState } from "./watched-state.ts";

/** The server's messages on their way to the client of a watched session. */
export class WatchedBackend {
  readonly #state: WatchedState;
  readonly #rows: ShownRows;
  readonly #record: WatchedRecord;
  readonly #run: CurrentRun;
  readonly #cutting: Cutting;
  readonly #completion: WatchedCompletion;
  readonly #failure: WatchedFailure;

  constructor(state: WatchedState) {
    this.#state = state;
    this.#record = new WatchedRecord(state);
    this.#cutting = new Cutting(state);
    this.#rows = new ShownRows(state, (run, refusal) => this.#stop(run, refusal));
    this.#run = new CurrentRun(state, this.#rows);
    const parts = [state, this.#run, this.#record, this.#cutting] as const;
    this.#completion = new WatchedCompletion(...parts, this.#rows);
    this.#failure = new WatchedFailure(...parts, this.#rows);
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: FrameReader): boolean {
    if ((frame.piece === "middle" || frame.piece === "last") && !isRow(frame.type)) {
      if (this.#state.passesLong) this.#state.toClient.forward(frame);
      return true;
    }
    switch (frame.type) {
      case Backend.DataRow:
      case Backend.CopyData:
        return this.#row(frame);
      case Backend.FunctionCallResponse:
        return this.#returned(frame);
      case Backend.CommandComplete:
      case Backend.PortalSuspended:
      case Backend.EmptyQueryResponse:
        return answer(this.#completion, frame);
      case Backend.ErrorResponse:
        return answer(this.#failure, frame);
      case Backend.ReadyForQuery:
        this.#ready(frame);
        return true;
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(frame);
        this.#state.established.parameters.set(name, value);
        if (name === "search_path") this.#state.judging.path.report(value);
        break;
      }
      case Backend.NoticeResponse:
        return this.#noticed(frame);
      case Backend.NotificationResponse:
        this.#state.passesLong = true;
        break;
      default:
        this.#answered(frame);
        return true;
    }
    this.#state.toClient.forward(frame);
    return true;
  }

  settle(): true {
    this.#rows.flush();
    return true;
  }

  mayStream(type: number, length: number): boolean {
    if (!isRow(type)) return isLongAnswer(type, length);
    if (this.#state.ledger.head?.kind === "ownExecute") return false;
    const run = this.#run.get();
    return run === undefined || run.cut !== undefined || extraFields(run.shape) === 0 || length > LONGEST_ROW;
  }

  /** What runs is to be ended with these words. */
  cancel(refusal: Refusal): void {
    this.#cutting.cancel(refusal);
  }

  underway(): void {
    if (this.#run.known !== undefined) this.#record.underway(this.#run.known);
  }

  abandon(): void {
    if (this.#run.known !== undefined) this.#record.ended(this.#run.known, { sqlstate: "08006" });
    this.#record.flush();
    this.#rows.flush();
  }

  #row(frame: FrameReader): boolean {
    const { ledger, certainty, judging, toClient } = this.#state;
    if (ledger.head?.kind === "ownExecute") {
      const surroundings = surroundingsIn(frame, ledger.head.settings);
      judging.path.answer(surroundings.searchPath);
      judging.actAs(surroundings.currentUser);
      certainty.answered(surroundings);
      return true;
    }
    if (this.#cutting.isUnheard) return true;
    const run = this.#run.get();
    if (run === undefined) {
      toClient.forward(frame);
      return true;
    }
    return this.#rows.row(frame, run);
  }

  /** Code of the client's own may say in notices what it has read. False: it must wait, as rows do. */
  #noticed(frame: FrameReader): boolean {
    const { ledger, toClient } = this.#state;
    const { head, own } = ledger;
    // At client_min_messages = debug2 the server says under which names it prepares and binds.
    if (own !== undefined || head?.hidden === true || head?.refusal !== undefined) {
      this.#state.passesLong = false;
      return true;
    }
    const isRun = isRunRequest(head);
    const run = isRun ? this.#run.get() : undefined;
    const people = run === undefined ? 0 : peopleInNotice(frame, run.shape, run.judged.text);
    if (run !== undefined && !this.#rows.text(run, people, frame.end - frame.start)) return false;
    this.#state.passesLong = people === 0 || run?.cut === undefined;
    if (this.#state.passesLong) toClient.forward(frame);
    return true;
  }

  /** What a function has returned: one value, or the first piece of one. */
  #returned(frame: FrameReader): boolean {
    const { ledger, toClient, uncommitted } = this.#state;
    const run = this.#run.get();
    if (run === undefined) ledger.expect(frame.type);
    else if (!this.#rows.row(frame, run)) return false;
    if (run === undefined) toClient.forward(frame);
    // The call has come to its end: there is nothing to be cancelled any more.
    else if (run.cut !== undefined) toClient.send(errorResponse(run.cut));
    this.#state.passesLong = run?.cut === undefined;
    if (run !== undefined) {
      uncommitted.ran(run.person, run.statement, run.shape);
      this.#record.ended(run);
    }
    this.#run.end();
    ledger.answered(frame.type);
    return true;
  }

  #answered(frame: Frame): void {
    const { ledger, toClient } = this.#state;
    const { type } = frame;
    const request = ledger.expect(type);
    if (request.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    switch (type) {
      case Backend.RowDescription:
        if (!this.#cutting.isUnheard) this.#describe(frame, request);
        ledger.answered(type);
        return;
      case Backend.ParseComplete:
      case Backend.BindComplete:
      case Backend.CloseComplete:
        this.#named(request);
        break;
      case Backend.CopyInResponse:
        this.#record.copyIn();
        break;
      case Backend.CopyOutResponse: {
        const run = this.#run.get();
        // The overall format: 0 is text, 1 binary (Postgres docs, "CopyOutResponse").
        if (run !== undefined) run.copy = { binary: frame.buffer[frame.start + 5] === 1, headerLine: false };
        break;
      }
    }
    ledger.answered(type);
    const isHidden = request.hidden === true || (type === Backend.NoData && request.ofQuery === true);
    this.#state.passesLong = !isHidden && !this.#cutting.isUnheard;
    if (this.#state.passesLong) toClient.forward(frame);
  }

  #describe(frame: Frame, request: WatchedRequest): void {
    const { toClient } = this.#state;
    const extra = this.#extraOf(request);
    if (extra === 0) toClient.forward(frame);
    else toClient.lend(frame.buffer, frame.start, trimRowDescription(frame, extra));
  }

  #extraOf(request: WatchedRequest): number {
    if (request.kind === "query") return extraFields(this.#run.get()?.shape ?? UNKNOWN_STATEMENT);
    if (request.kind !== "describe") return 0;
    const { names } = this.#state;
    const { target, name } = request.of;
    const found = target === "statement" ? names.statements.get(name) : names.portals.get(name);
    return found?.statement === undefined ? 0 : extraFields(this.#run.shapeOf(found.statement));
  }

  #named(request: WatchedRequest): void {
    const { statements, portals } = this.#state.names;
    switch (request.kind) {
      case "parse":
        if (request.change !== undefined) statements.confirm(request.change);
        break;
      case "bind":
        if (request.change !== undefined) portals.confirm(request.change);
        break;
      case "close":
        if (request.statement !== undefined) statements.confirm(request.statement);
        if (request.portal !== undefined) portals.confirm(request.portal);
        break;
    }
  }

  #ready(frame: Frame): void {
    const { ledger, names, certainty, uncommitted, parts, toClient } = this.#state;
    const status = decodeReadyForQuery(frame);
    const request = ledger.ready(status);
    this.#run.end();
    certainty.ready(status, ledger.isSettled);
    uncommitted.ready(status);
    if (status === "I") {
      if (ledger.isSettled) this.#state.transactionEnded();
      names.portals.clear(isHeld);
      if (this.#state.defined) parts.catalog.changed();
    }
    if (!this.#cutting.ready(status) && request?.hidden !== true) toClient.forward(frame);
  }

  /** A budget is used up: if the statement still runs, it ends. */
  #stop(run: Run, refusal: Refusal): void {
    if (run !== this.#run.known || run.cut !== undefined) return;
    run.cut = this.#state.trace.refer(run.shape.copies === undefined ? refusal : undone(refusal));
    if (!this.#run.isOver) this.cancel(run.cut);
  }
}
