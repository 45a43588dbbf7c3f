import { extraFields, type Statement } from "../../sql/verdict.ts";
import { decodeParameterStatus, decodeReadyForQuery, rowsWritten } from "../../wire/backend-messages.ts";
import { decodeError, type ErrorFields, errorResponse, isLongAnswer } from "../../wire/errors.ts";
import type { Frame, FrameReader } from "../../wire/frames.ts";
import { Backend } from "../../wire/messages.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { trimRowDescription } from "../../wire/rows.ts";
import { SessionEnd } from "../context/parts.ts";
import { STATEMENT_TIMEOUT } from "../context/time-limits.ts";
import { surroundingsIn } from "../decide/probe.ts";
import type { Judged } from "../statement/decision.ts";
import { applyEffect, isHeld } from "../statement/effects.ts";
import { asAnswered, isSource, sourceOf } from "../statement/prepared.ts";
import { type Counts, Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import { Cutting } from "./cutting.ts";
import { LONGEST_ROW } from "./long-rows.ts";
import { positionOnly } from "./positions.ts";
import type { Reader } from "./readers.ts";
import { WatchedRecord } from "./record.ts";
import type { ExecuteRequest, FunctionCallRequest, QueryRequest, WatchedRequest } from "./requests.ts";
import { ShownRows } from "./shown-rows.ts";
import type { WatchedState } from "./state.ts";
import { peopleInError, peopleInNotice, withheld } from "./told-texts.ts";

/** The server's messages on their way to the client of a watched session. */
export class WatchedBackend {
  readonly #state: WatchedState;
  readonly #rows: ShownRows;
  readonly #record: WatchedRecord;
  /** The statement that is being answered, from its first row on. */
  #run: Run | undefined;
  readonly #cutting: Cutting;
  /** The pieces that follow of a long message that is no row are the client's as well. */
  #passesLong = false;

  constructor(state: WatchedState) {
    this.#state = state;
    this.#record = new WatchedRecord(state);
    this.#cutting = new Cutting(state);
    this.#rows = new ShownRows(state, (run, refusal) => this.#stop(run, refusal));
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: FrameReader): boolean {
    if ((frame.piece === "middle" || frame.piece === "last") && !isRow(frame.type)) {
      if (this.#passesLong) this.#state.toClient.forward(frame);
      return true;
    }
    switch (frame.type) {
      case Backend.DataRow:
      case Backend.CopyData:
        return this.#row(frame);
      case Backend.FunctionCallResponse:
        return this.#returned(frame);
      case Backend.ErrorResponse:
        this.#failed(frame);
        return true;
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
        this.#passesLong = true;
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
    const run = this.#running();
    return run === undefined || run.cut !== undefined || extraFields(run.shape) === 0 || length > LONGEST_ROW;
  }

  /** What runs is to be ended with these words. */
  cancel(refusal: Refusal): void {
    this.#cutting.cancel(refusal);
  }

  underway(): void {
    if (this.#run !== undefined) this.#record.underway(this.#run);
  }

  abandon(): void {
    if (this.#run !== undefined) this.#record.ended(this.#run, { sqlstate: "08006" });
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
    const run = this.#running();
    if (run === undefined) {
      toClient.forward(frame);
      return true;
    }
    return this.#rows.row(frame, run);
  }

  /** Code of the client's own may say in notices what it has read. False: it must wait, as rows do. */
  #noticed(frame: FrameReader): boolean {
    const { ledger, toClient } = this.#state;
    const isRun = isRunRequest(ledger.head) && ledger.head.refusal === undefined;
    const run = isRun ? this.#running() : undefined;
    const people = run === undefined ? 0 : peopleInNotice(frame, run.shape);
    if (run !== undefined && !this.#rows.text(run, people, frame.end - frame.start)) return false;
    this.#passesLong = people === 0 || run?.cut === undefined;
    if (this.#passesLong) toClient.forward(frame);
    return true;
  }

  /** What a function has returned: one value, or the first piece of one. */
  #returned(frame: FrameReader): boolean {
    const { ledger, toClient } = this.#state;
    const run = this.#running();
    if (run === undefined) ledger.expect(frame.type);
    else if (!this.#rows.row(frame, run)) return false;
    if (run === undefined) toClient.forward(frame);
    // The call has come to its end: there is nothing to be cancelled any more.
    else if (run.cut !== undefined) toClient.send(errorResponse(run.cut));
    this.#passesLong = run?.cut === undefined;
    ledger.answered(frame.type);
    if (run !== undefined) this.#record.ended(run);
    this.#run = undefined;
    return true;
  }

  /** Undefined where it is not known what runs. */
  #running(): Run | undefined {
    const { head } = this.#state.ledger;
    if (!isRunRequest(head)) return undefined;
    if (head.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    this.#run ??= this.#runOf(head);
    return this.#run;
  }

  #runOf(request: RunRequest): Run | undefined {
    const { ledger, names } = this.#state;
    if (request.kind === "functionCall") {
      const { judged, reader } = request.called;
      return this.#begun(judged, judged.verdict.statements[0] ?? UNKNOWN_STATEMENT, reader, request.at);
    }
    const portal = request.kind === "execute" ? names.portals.get(request.portal) : undefined;
    const judged = request.kind === "query" ? request.judged : portal?.judged;
    if (judged === undefined) return undefined;
    if (request.kind === "query" && ledger.statementIndex === 0) this.#dropUnnamed();
    const index = request.kind === "query" ? ledger.statementIndex : 0;
    const statement =
      (request.kind === "query" ? judged.verdict.statements[index] : portal?.statement) ?? UNKNOWN_STATEMENT;
    const counts = portal?.counts ?? { rows: 0, bytes: 0 };
    return this.#begun(judged, statement, request.reader, request.at, counts);
  }

  #begun(
    judged: Judged,
    statement: Statement,
    reader: Reader,
    at: number,
    counts: Counts = { rows: 0, bytes: 0 },
  ): Run {
    const run = new Run(judged, statement, this.#shapeOf(statement), counts, at);
    run.person = reader.person;
    this.#rows.begin(run, reader);
    return run;
  }

  /** A simple query ends the unnamed statement and the unnamed portal (exec_simple_query of tcop/postgres.c). */
  #dropUnnamed(): void {
    this.#state.names.statements.delete("");
    this.#state.names.portals.delete("");
  }

  #shapeOf(statement: Statement): Statement {
    const source = sourceOf(statement, { rows: 0, bytes: 0 }, asAnswered(this.#state.names));
    return isSource(source) ? source.shape : statement;
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
        const run = this.#running();
        // The overall format: 0 is text, 1 binary (Postgres docs, "CopyOutResponse").
        if (run !== undefined) run.copy = { binary: frame.buffer[frame.start + 5] === 1, headerLine: false };
        break;
      }
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended: {
        const cut = this.#completed(frame, request);
        if (cut === "goes on") return;
        if (cut === "told") {
          ledger.answered(type);
          return;
        }
        break;
      }
    }
    ledger.answered(type);
    this.#passesLong = request.hidden !== true && !this.#cutting.isUnheard;
    if (this.#passesLong) toClient.forward(frame);
  }

  #describe(frame: Frame, request: WatchedRequest): void {
    const extra = this.#extraOf(request);
    if (extra === 0) this.#state.toClient.forward(frame);
    else this.#state.toClient.send(trimRowDescription(frame, extra));
  }

  #extraOf(request: WatchedRequest): number {
    if (request.kind === "query") return extraFields(this.#running()?.shape ?? UNKNOWN_STATEMENT);
    if (request.kind !== "describe") return 0;
    const { names } = this.#state;
    const { target, name } = request.of;
    const found = target === "statement" ? names.statements.get(name) : names.portals.get(name);
    return found?.statement === undefined ? 0 : extraFields(this.#shapeOf(found.statement));
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

  /** "told": the client has heard an error in its place; "goes on": it will. */
  #completed(frame: Frame, request: WatchedRequest): "told" | "goes on" | undefined {
    const run = this.#running();
    this.#run = undefined;
    if (run === undefined || (request.kind !== "query" && request.kind !== "execute")) return undefined;
    if (frame.type === Backend.CommandComplete && run.statement.kind !== "read")
      run.written = this.#record.writes(run) ? rowsWritten(frame) : undefined;
    const { names, ledger } = this.#state;
    if (frame.type === Backend.CommandComplete) {
      const index = request.kind === "query" ? ledger.statementIndex : 0;
      applyEffect(names, run.statement.effect, run.judged, index);
    }
    this.#record.ended(run);
    if (run.cut === undefined) return undefined;
    return this.#cutting.tooLate(run, run.cut, request) ? "goes on" : "told";
  }

  #failed(frame: Frame): void {
    const { ledger, certainty, trace } = this.#state;
    const fields = decodeError(frame);
    const { head } = ledger;
    const isFatal = fields.get("V") === "FATAL" || fields.get("V") === "PANIC";
    if (isFatal) this.#state.fatal = true;
    const sqlstate = fields.get("C") ?? "XX000";
    const isCancelled = sqlstate === STATEMENT_TIMEOUT.sqlstate && !isFatal;
    const own = head?.refusal ?? this.#run?.cut ?? (isCancelled ? this.#cutting.words : undefined);
    const told = own && !isFatal ? trace.refer(own) : undefined;
    certainty.failed();
    // What has a reference is on record already: a result that was cut off too late.
    const isOnRecord = head?.refusal?.reference !== undefined;
    const run = isRunRequest(head) && !isOnRecord ? this.#failing(head) : undefined;
    this.#run = undefined;
    const isLong = run !== undefined && told === undefined && !this.#quotes(frame, fields, run);
    if (run !== undefined) {
      if (head?.refusal !== undefined && told !== undefined) trace.refused(run, told);
      else this.#record.ended(run, { sqlstate: told?.sqlstate ?? sqlstate, reference: told?.reference });
    } else if (head !== undefined) this.#record.failedStep(head, told?.sqlstate ?? sqlstate, told);
    this.#tell(frame, isLong ? withheld(sqlstate) : told, head);
    for (const skipped of ledger.failed()) this.#undo(skipped);
    this.#cutting.failed();
  }

  /** Charges for what an error quotes. False: it is too much to be told. */
  #quotes(frame: Frame, fields: ErrorFields, run: Run): boolean {
    const people = peopleInError(frame, fields, run.shape);
    return this.#rows.quoted(run, people, frame.end - frame.start);
  }

  /** The statement at an error, also one that has had no row. */
  #failing(head: RunRequest): Run | undefined {
    return this.#run ?? this.#runOf(head);
  }

  #tell(frame: Frame, own: Refusal | undefined, head: WatchedRequest | undefined): void {
    const { toClient, ledger } = this.#state;
    this.#passesLong = false;
    // What the proxy asks between two messages of the client's is nobody else's business; within a pipeline it fails that.
    if (head?.hidden === true && !this.#state.fatal && ledger.intake === "ready") return;
    if (this.#cutting.isUnheard && !this.#state.fatal) return;
    if (own !== undefined) toClient.send(errorResponse(own));
    else {
      const judged = head !== undefined && "judged" in head ? head.judged : this.#judgedOf(head);
      const moved = judged && positionOnly(frame, judged);
      this.#passesLong = moved === undefined;
      if (moved === undefined) toClient.forward(frame);
      else toClient.send(moved);
    }
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

  #ready(frame: Frame): void {
    const { ledger, names, certainty, parts, toClient } = this.#state;
    const status = decodeReadyForQuery(frame);
    const request = ledger.ready(status);
    this.#run = undefined;
    certainty.ready(status, ledger.isSettled);
    if (status === "I") {
      names.portals.clear(isHeld);
      if (this.#state.defined) parts.catalog.changed();
    }
    if (!this.#cutting.ready(status) && request?.hidden !== true) toClient.forward(frame);
  }

  /** A budget is used up: if the statement still runs, it ends. */
  #stop(run: Run, refusal: Refusal): void {
    if (run !== this.#run || run.cut !== undefined) return;
    run.cut = this.#state.trace.refer(refusal);
    this.cancel(run.cut);
  }
}

type RunRequest =
  | QueryRequest
  | ExecuteRequest
  | (FunctionCallRequest & { readonly called: NonNullable<FunctionCallRequest["called"]> });

/** Whether a request runs something that is on record by itself. */
function isRunRequest(request: WatchedRequest | undefined): request is RunRequest {
  if (request?.kind === "functionCall") return request.called !== undefined;
  return request?.kind === "query" || request?.kind === "execute";
}

function isRow(type: number): boolean {
  return type === Backend.DataRow || type === Backend.CopyData;
}
