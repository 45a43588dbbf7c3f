import { quoteIdentifier } from "../../pg/quote.ts";
import { Ledger } from "../../protocol/ledger.ts";
import type { ServerLeg } from "../../protocol/server-leg.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Verdict } from "../../sql/verdict.ts";
import { decodeParameterStatus, decodeReadyForQuery } from "../../wire/backend-messages.ts";
import { decodeError, errorResponse, isLongAnswer } from "../../wire/errors.ts";
import { type Frame, type FrameReader, MalformedMessage, ProtocolViolation } from "../../wire/frames.ts";
import { Backend, Frontend, isRow } from "../../wire/messages.ts";
import { Outbox } from "../../wire/outbox.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { cancelBehind } from "../context/cancelling.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import { STATEMENT_TIMEOUT } from "../context/time-limits.ts";
import type { Judging } from "../decide/judging.ts";
import type { Trace } from "../record/audit-recorder.ts";
import { traceCommentOf } from "../record/trace-context.ts";
import { endCopy, mayBelongToCopy, waitsForCopy } from "../relay/during-copy.ts";
import type { Relay, Underway } from "../relay/relay.ts";
import { calledFunction } from "../statement/called-function.ts";
import type { Judged } from "../statement/decision.ts";
import { UNKNOWN_STATEMENT } from "../statement/run.ts";
import { CopyNames } from "./copy-names.ts";
import { type NamedStatement, ObservedNames } from "./observed-names.ts";
import { malformed, type ObservedRequest, requestOf, SYNC } from "./observed-requests.ts";
import { type Observed, Observer } from "./observer.ts";

/**
 * The session of a role that sees all, or of a policy that only observes: every byte passes as it came. The ledger
 * tells which answer belongs to which statement, for audit and metrics.
 */
export class TransparentRelay implements Relay {
  readonly toClient = new Outbox();
  terminated = false;
  fatal = false;
  readonly keepsBytes = false;
  readonly sendsMoreSoon = false;
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;
  readonly #trace: Trace;
  readonly #observer: Observer;
  readonly #wake: () => void;
  readonly ledger = new Ledger<ObservedRequest>();
  readonly #leg: ServerLeg;
  readonly #names = new ObservedNames();
  readonly #copies = new CopyNames();
  /** DDL has passed since the last time that no transaction was open. */
  #defined = false;
  /** What runs is being cancelled, with these words. */
  #cancelled: Refusal | undefined;
  /** The beginning of a long message has been sent. */
  #isMidMessage = false;
  /** The pieces that follow of a long message that is no row are the client's as well. */
  #passesLong = true;
  /** Told in place of the error that the server has just sent. */
  #own: Refusal | undefined;

  constructor(
    established: Established,
    parts: SessionParts,
    judging: Judging,
    trace: Trace,
    leg: ServerLeg,
    wake: () => void,
  ) {
    this.#leg = leg;
    this.#wake = wake;
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
    this.#trace = trace;
    this.#observer = new Observer(trace, parts.now);
  }

  frontend(frame: FrameReader): boolean {
    const ledger = this.ledger;
    const { type } = frame;
    if (ledger.barrier.isCancelling) return false;
    if (SPOKEN[type] !== 1) throw new ProtocolViolation(`invalid frontend message type ${type}`);
    const isBegun = frame.piece === "middle" || frame.piece === "last";
    if (!isBegun && waitsForCopy(type, ledger, this.#leg)) return false;
    if (!isBegun && type !== Frontend.Terminate && mayBelongToCopy(type, ledger, this.#leg)) return false;
    if (!isBegun && type !== Frontend.Terminate && !this.#leg.admits(frame)) return false;
    this.#isMidMessage = frame.piece === "first" || frame.piece === "middle";
    if (isBegun) this.#leg.pass(frame);
    else this.#send(frame);
    return true;
  }

  backend(frame: FrameReader): boolean {
    if ((frame.piece === "middle" || frame.piece === "last") && !isRow(frame.type)) {
      if (this.#passesLong) this.toClient.forward(frame);
      return true;
    }
    this.#passesLong = true;
    switch (frame.type) {
      case Backend.DataRow:
      case Backend.CopyData:
        this.#observer.row(frame);
        break;
      case Backend.ErrorResponse:
        this.#failed(frame);
        this.#tellError(frame);
        return true;
      case Backend.ReadyForQuery:
        this.#ready(frame);
        break;
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(frame);
        this.#established.parameters.set(name, value);
        if (name === "search_path") this.#judging.path.report(value);
        break;
      }
      case Backend.NoticeResponse:
        // At client_min_messages = debug2 the server says under which names it prepares: no client may know those of ours.
        if (this.ledger.own !== undefined) return true;
        break;
      case Backend.NotificationResponse:
        break;
      default:
        this.#answered(frame);
    }
    this.toClient.forward(frame);
    return true;
  }

  get underway(): Underway | undefined {
    const { head } = this.ledger;
    return head && this.#observed(head);
  }

  /** No people are named behind such a role. */
  stopPerson(): void {}

  cancelStatement(words: Refusal): void {
    const { barrier, mustFlush, intake } = this.ledger;
    if (barrier.isCancelling) return;
    this.#cancelled = words;
    // What has been answered already, and only waits for a Sync, is not to be taken for a statement that runs.
    if (mustFlush && intake !== "copyIn" && !this.#isMidMessage) this.#leg.flush();
    cancelBehind(barrier, this.#established, this.#parts.log, this.#wake);
  }

  settle(): true {
    return true;
  }

  /** A role that sees all waits for no event. */
  record(): void {}

  mayStream(type: number, length: number): boolean {
    return isRow(type) || isLongAnswer(type, length);
  }

  /** Long parameters and arguments are attachments, and not on record. So are long texts. */
  mayClientStream(type: number, length: number): boolean {
    if (type === Frontend.Query || type === Frontend.Parse) {
      const { openMessageBytes: most = 0 } = this.#parts;
      return length > LONGEST_GATHERED && length <= most && this.#leg.passesText(type);
    }
    return type === Frontend.CopyData || type === Frontend.Bind || type === Frontend.FunctionCall;
  }

  abandon(): void {
    const { head } = this.ledger;
    if (this.#observer.hasRows) this.#observer.ended(head && this.#observed(head), { sqlstate: "08006" });
    this.#observer.flush();
  }

  #send(frame: Frame): void {
    const leg = this.#leg;
    switch (frame.type) {
      case Frontend.CopyData:
        leg.pass(frame);
        break;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        endCopy(frame, this.ledger, leg);
        break;
      case Frontend.Flush:
        // One with a body is an error, which is answered.
        if (frame.end - frame.start > EMPTY_MESSAGE) leg.send(frame, malformed(frame.type));
        else leg.flush(frame);
        break;
      case Frontend.Terminate:
        this.terminated = true;
        leg.terminate();
        break;
      case Frontend.Sync:
        leg.send(frame, SYNC);
        break;
      default:
        // Of what the server drops nothing needs to be known.
        if (this.ledger.intake === "skipping") leg.pass(frame);
        else this.#ask(frame, this.#requestOf(frame));
    }
  }

  #ask(frame: Frame, request: ObservedRequest): void {
    this.#leg.send(frame, request);
    if (this.#copies.mayBegin(request)) this.ledger.barrier.raise("closed");
  }

  /** The server finds the fault of a malformed message by itself, and must: nothing is on record of what it asks. */
  #requestOf(frame: Frame): ObservedRequest {
    try {
      return requestOf(frame, this.#judge);
    } catch (error) {
      if (error instanceof MalformedMessage) return malformed(frame.type);
      throw error;
    }
  }

  #tellError(frame: Frame): void {
    this.#passesLong = this.#own === undefined;
    if (this.#own === undefined) this.toClient.forward(frame);
    else this.toClient.send(errorResponse(this.#own));
    this.#own = undefined;
    this.#cancelled = undefined;
  }

  #scope(): Scope {
    const scope = this.#judging.scope();
    if (scope === undefined) throw new Error("a transparent session needs no answer to have its scope");
    return scope;
  }

  /**
   * `text` is lent: more is read into its memory while it runs, and under a name it would keep that memory for days. What
   * is said of it later is what the trace has noted, and its place in a trace of others.
   */
  readonly #judge = {
    text: (text: Buffer, more: number): Judged => {
      const judged = this.#judging.survey(text, this.#scope(), more);
      this.#trace.note(judged);
      return { ...judged, text: traceCommentOf(text) };
    },
    call: (frame: Frame): Judged => calledFunction(frame, this.#scope()),
  };

  /** The statement that a request is about; undefined for one that is about none, or for a name that does not exist. */
  #observed(request: ObservedRequest): Observed | undefined {
    switch (request.kind) {
      case "query":
        return { judged: request.judged, index: this.ledger.statementIndex, at: request.at };
      case "parse":
        return this.#byName({ kept: request.kept, index: 0 }, request.at);
      case "bind":
        return this.#byName(this.#names.statement(request.statement), request.at);
      case "execute":
        return (
          this.#byName(this.#names.portal(request.portal), request.at) ??
          this.#ofCursor(request.portal, request.at)
        );
      case "functionCall":
        return request.judged && { judged: request.judged, index: 0, at: request.at };
      default:
        return undefined;
    }
  }

  /** What was prepared long ago is on record with the policy of now. */
  #byName(named: NamedStatement | undefined, at: number): Observed | undefined {
    if (named === undefined) return undefined;
    const { kept, index } = named;
    const judged = kept.judged ?? { text: kept.text, verdict: kept.verdict, scope: this.#scope() };
    return { judged, index, at };
  }

  /** Portals have names by DECLARE and by functions, too. */
  #ofCursor(name: string, at: number): Observed {
    // Statements of its own: an event's text is remembered by them.
    const verdict: Verdict = {
      kind: "pass",
      statements: [{ ...UNKNOWN_STATEMENT, command: "FETCH", kind: "read" }],
    };
    const text = Buffer.from(`FETCH ALL FROM ${quoteIdentifier(name)}`);
    return { judged: { text, verdict, scope: this.#scope() }, index: 0, at };
  }

  #answered(frame: Frame): void {
    const { type } = frame;
    const request = this.ledger.expect(type);
    switch (type) {
      case Backend.ParseComplete:
        if (request.kind === "parse") this.#names.parsed(request.name, request.kept);
        break;
      case Backend.BindComplete:
        if (request.kind === "bind") this.#names.bound(request.portal, request.statement);
        break;
      case Backend.CloseComplete:
        if (request.kind === "close") this.#names.closed(request.of);
        break;
      case Backend.CopyInResponse:
        this.#observer.copyIn();
        break;
      case Backend.FunctionCallResponse:
        this.#observer.value(frame);
        this.#observer.ended(this.#observed(request));
        break;
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended:
        this.#completed(frame, this.#observed(request));
        break;
    }
    this.ledger.answered(type);
  }

  #completed(frame: Frame, observed: Observed | undefined): void {
    if (observed !== undefined && frame.type === Backend.CommandComplete)
      this.#observer.completed(frame, observed);
    const statement = this.#observer.ended(observed);
    if (observed === undefined) return;
    if (statement?.effect?.kind === "definition") this.#defined = true;
    this.#names.completed(statement?.effect, observed);
  }

  #failed(frame: Frame): void {
    const fields = decodeError(frame);
    if (fields.get("V") === "FATAL" || fields.get("V") === "PANIC") this.fatal = true;
    const { head } = this.ledger;
    const sqlstate = fields.get("C") ?? "XX000";
    if (this.#cancelled !== undefined && sqlstate === STATEMENT_TIMEOUT.sqlstate)
      this.#own = this.#trace.refer(this.#cancelled);
    // At a Sync it is the commit that failed.
    if (head !== undefined && head.kind !== "sync")
      this.#observer.ended(this.#observed(head), { sqlstate, reference: this.#own?.reference });
    this.ledger.failed();
  }

  #ready(frame: Frame): void {
    const status = decodeReadyForQuery(frame);
    this.ledger.ready(status);
    this.#cancelled = undefined;
    if (status !== "I") return;
    this.#names.transactionEnded();
    if (!this.#defined) return;
    this.#defined = false;
    this.#parts.catalog.changed();
  }
}

/** By type: 1 for those that a client may send once it is logged in. */
const SPOKEN = new Uint8Array(256);
for (const type of Object.values(Frontend)) SPOKEN[type] = type === Frontend.Password ? 0 : 1;

/** Type byte and length word. */
const EMPTY_MESSAGE = 5;
/** A longer text is passed on as it comes: to gather it would take its size in memory, and copies of it as it grows. */
const LONGEST_GATHERED = 1024 * 1024;
