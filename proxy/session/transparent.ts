import type { Scope } from "../sql/scope.ts";
import { decodeParameterStatus, decodeReadyForQuery, rowsWritten } from "../wire/backend-messages.ts";
import { decodeError, errorResponse } from "../wire/errors.ts";
import { type Frame, type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import {
  decodeBind,
  decodeClose,
  decodeExecute,
  decodeParse,
  decodeQuery,
  flushMessage,
} from "../wire/frontend-messages.ts";
import { Backend, Frontend, type TransactionStatus } from "../wire/messages.ts";
import { Outbox } from "../wire/outbox.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Established } from "./established.ts";
import { type Judged, Kept } from "./judged.ts";
import type { Judging } from "./judging.ts";
import type { SessionParts } from "./parts.ts";
import type { Relay } from "./relay.ts";
import { once, Repetitions } from "./repetitions.ts";
import { UNKNOWN_STATEMENT } from "./run.ts";
import { STATEMENT_TIMEOUT } from "./time-limits.ts";
import type { Trace } from "./trace.ts";

/** A message that brings results, or ends a pipeline. */
interface Expected {
  readonly kind: "query" | "execute" | "sync";
  readonly judged: Judged | undefined;
  /** `performance.now()` at the client's message. */
  readonly at: number;
  /** Of a query: the statement that is being answered. */
  index: number;
}

/**
 * The session of a role that sees all, or of a policy that only observes: every byte passes as it came. What
 * is noted beside it, for audit and metrics, hangs on no answer and holds nothing up; where client and server
 * do what nobody foresaw, it is the notes that are wrong.
 */
export class TransparentRelay implements Relay {
  readonly toClient = new Outbox();
  readonly toServer = new Outbox();
  terminated = false;
  fatal = false;
  readonly keepsBytes = false;
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;
  readonly #trace: Trace;
  readonly #repetitions: Repetitions;
  /** None before the first one: most sessions are idle, many prepare nothing. */
  #statements: Map<string, Kept> | undefined;
  #portals: Map<string, Kept> | undefined;
  #expected: Expected[] = [];
  #status: TransactionStatus = "I";
  #copyIn = false;
  /** DDL has passed since the last time that no transaction was open. */
  #defined = false;
  /** Of the statement that is being answered. */
  #rows = 0;
  #bytes = 0;
  #written: number | undefined;
  /** It is a COPY that the client has fed. */
  #copied = false;

  /** The server hears a cancel request: what came now could be hit by it. */
  #cancelling = false;
  #overrun = false;
  /** Told in place of the error that the server has just sent. */
  #own: Refusal | undefined;
  /** Messages of the extended protocol were sent, and no Sync after them. */
  #inPipeline = false;
  readonly #wake: () => void;

  constructor(
    established: Established,
    parts: SessionParts,
    judging: Judging,
    trace: Trace,
    wake: () => void,
  ) {
    this.#wake = wake;
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
    this.#trace = trace;
    this.#repetitions = new Repetitions(trace, parts.now);
  }

  get isIdle(): boolean {
    return this.#expected.length === 0 && this.#status === "I" && !this.#inPipeline;
  }

  get isRunning(): boolean {
    return this.#expected.length > 0;
  }

  get copyIn(): boolean {
    return this.#copyIn;
  }

  frontend(frame: FrameReader): boolean {
    if (this.#cancelling) return false;
    if (SPOKEN[frame.type] !== 1) throw new ProtocolViolation(`invalid frontend message type ${frame.type}`);
    if (frame.piece === "whole" && !this.#copyIn) this.#note(frame);
    else this.#noteCopy(frame);
    this.toServer.forward(frame);
    return true;
  }

  backend(frame: FrameReader): boolean {
    switch (frame.type) {
      case Backend.DataRow:
      case Backend.CopyData:
        this.#row(frame);
        break;
      case Backend.CopyInResponse:
        this.#copyInResponse();
        break;
      case Backend.CommandComplete:
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended:
        this.#completed(frame);
        break;
      case Backend.ErrorResponse:
        this.#failed(frame);
        break;
      case Backend.ReadyForQuery:
        this.#ready(frame);
        break;
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(frame);
        this.#established.parameters.set(name, value);
        if (name === "search_path") this.#judging.path.report(value);
        break;
      }
    }
    if (frame.type === Backend.ErrorResponse) this.#tellError(frame);
    else this.toClient.forward(frame);
    return true;
  }

  cancelStatement(): void {
    if (this.#cancelling) return;
    this.#cancelling = true;
    this.#overrun = true;
    // What has been answered already, and only waits for a Sync, is not to be taken for a statement that runs.
    if (this.#inPipeline && !this.#copyIn) this.toServer.send(flushMessage);
    const done = () => {
      this.#cancelling = false;
      this.#wake();
    };
    this.#established.cancelUpstream().then(done, (error: unknown) => {
      const reason = error instanceof Error ? error.message : "unknown";
      this.#parts.log.warn({ reason }, "a statement past its limit could not be cancelled");
      done();
    });
  }

  settle(): true {
    return true;
  }

  /** A role that sees all waits for no event. */
  record(): void {}

  mayStream(type: number): boolean {
    return type === Backend.DataRow || type === Backend.CopyData;
  }

  abandon(): void {
    if (this.#rows > 0) this.#ended(this.#running(), "08006");
    this.#repetitions.flush();
  }

  #note(frame: Frame): void {
    switch (frame.type) {
      case Frontend.Query: {
        const { sqlStart, sqlEnd } = decodeQuery(frame);
        this.#expect("query", this.#judge(frame.buffer.subarray(sqlStart, sqlEnd)));
        break;
      }
      case Frontend.Parse: {
        const { statement, sqlStart, sqlEnd } = decodeParse(frame);
        this.#statements ??= new Map();
        this.#statements.set(statement, new Kept(this.#judge(frame.buffer.subarray(sqlStart, sqlEnd))));
        break;
      }
      case Frontend.Bind: {
        const { portal, statement } = decodeBind(frame);
        const kept = this.#statements?.get(statement);
        this.#portals ??= new Map();
        if (kept !== undefined) this.#portals.set(portal, kept);
        else this.#portals.delete(portal);
        break;
      }
      case Frontend.Close: {
        const { target, name } = decodeClose(frame);
        (target === "statement" ? this.#statements : this.#portals)?.delete(name);
        break;
      }
      case Frontend.Execute: {
        // Read even where no portal is known: what is no Execute ends the session.
        const { portal } = decodeExecute(frame);
        this.#expect("execute", this.#ofNow(this.#portals?.get(portal)));
        break;
      }
      case Frontend.FunctionCall:
        this.#expect("query", undefined);
        break;
      case Frontend.Sync:
        this.#expect("sync", undefined);
        break;
      case Frontend.Terminate:
        this.terminated = true;
        break;
    }
  }

  #tellError(frame: Frame): void {
    if (this.#own === undefined) this.toClient.forward(frame);
    else this.toClient.send(errorResponse(this.#own));
    this.#own = undefined;
    this.#overrun = false;
  }

  /** In a COPY the server reads whatever comes as part of it, up to its end. */
  #noteCopy({ type }: Frame): void {
    if (type === Frontend.Terminate) this.terminated = true;
    if (type !== Frontend.CopyData && type !== Frontend.Sync && type !== Frontend.Flush) this.#copyIn = false;
  }

  /** What was prepared long ago is on record with the policy of now. */
  #ofNow(kept: Kept | undefined): Judged | undefined {
    return kept && (kept.judged ?? { text: kept.text, verdict: kept.verdict, scope: this.#scope() });
  }

  #scope(): Scope {
    const scope = this.#judging.scope();
    if (scope === undefined) throw new Error("a transparent session needs no answer to have its scope");
    return scope;
  }

  /** `text` is lent: nobody asks for it once the trace has what it keeps of it. */
  #judge(text: Buffer): Judged {
    const judged = this.#judging.judge(text, this.#scope());
    this.#trace.note(judged);
    return judged;
  }

  #expect(kind: Expected["kind"], judged: Judged | undefined): void {
    this.#inPipeline = kind === "execute";
    this.#expected.push({ kind, judged, at: performance.now(), index: 0 });
  }

  /** The statement that is being answered, as far as the notes tell. */
  #running(): Expected | undefined {
    while (this.#expected[0]?.kind === "sync") this.#expected.shift();
    return this.#expected[0];
  }

  #row(frame: FrameReader): void {
    if (frame.piece === "middle" || frame.piece === "last") return;
    const first = frame.buffer.readInt32BE(frame.start + 1) - 4;
    const before = frame.end;
    const rows = frame.widen();
    this.#rows += rows;
    this.#bytes += first + frame.end - before - (rows - 1) * HEADER;
  }

  /** A statement's answer is complete: it goes on record, unless nobody knows what it answers. */
  #ended(head: Expected | undefined, sqlstate?: string): void {
    const [rows, bytes] = [this.#rows, this.#bytes];
    const written = this.#written;
    this.#rows = this.#bytes = 0;
    this.#written = undefined;
    this.#copied = false;
    if (head?.judged === undefined) return;
    const { judged, at } = head;
    const statement = judged.verdict.statements[head.index] ?? UNKNOWN_STATEMENT;
    const duration = performance.now() - at;
    this.#trace.took(duration);
    const isDefinition = statement.effect?.kind === "definition";
    if (sqlstate === undefined && !isDefinition && statement !== UNKNOWN_STATEMENT) {
      this.#repetitions.add(judged, statement, rows, bytes, written, duration);
      return;
    }
    if (isDefinition && sqlstate === undefined) this.#defined = true;
    this.#repetitions.flush();
    const now = this.#parts.now();
    const told = once(judged, statement, rows, bytes, written, duration, now);
    this.#trace.observed(told, sqlstate, this.#own?.reference);
  }

  #copyInResponse(): void {
    const head = this.#running();
    this.#copyIn = this.#copied = true;
    // What was sent behind it is read as part of the copy.
    if (head !== undefined) this.#expected = [head];
  }

  #completed(frame: Frame): void {
    const head = this.#running();
    if (frame.type === Backend.CommandComplete) this.#written = this.#writtenBy(frame, head);
    this.#ended(head);
    if (head === undefined) return;
    head.index++;
    if (head.kind === "execute") this.#expected.shift();
  }

  /** Of reads nobody asks: there are many, and their tags are long to read. */
  #writtenBy(frame: Frame, head: Expected | undefined): number | undefined {
    const statement = head?.judged?.verdict.statements[head.index];
    if (statement === undefined || statement.kind === "read") return undefined;
    return statement.command === "COPY" && !this.#copied ? undefined : rowsWritten(frame);
  }

  #failed(frame: Frame): void {
    const fields = decodeError(frame);
    this.#copyIn = false;
    if (fields.get("V") === "FATAL" || fields.get("V") === "PANIC") this.fatal = true;
    // At a Sync it is the commit that failed.
    const isStatement = this.#expected[0]?.kind !== "sync";
    const sqlstate = fields.get("C") ?? "XX000";
    if (this.#overrun && sqlstate === STATEMENT_TIMEOUT.sqlstate)
      this.#own = this.#trace.refer(STATEMENT_TIMEOUT);
    if (isStatement) this.#ended(this.#running(), sqlstate);
    const [head] = this.#expected;
    if (head === undefined) return;
    // A simple query is over with ReadyForQuery; in the extended protocol all is skipped up to Sync.
    if (head.kind !== "execute") return;
    const sync = this.#expected.findIndex(({ kind }) => kind === "sync");
    this.#expected = sync < 0 ? [] : this.#expected.slice(sync);
  }

  #ready(frame: Frame): void {
    this.#status = decodeReadyForQuery(frame);
    this.#overrun = false;
    const ended = this.#expected.findIndex(({ kind }) => kind !== "execute");
    if (ended >= 0) this.#expected.splice(0, ended + 1);
    if (this.#status !== "I" || !this.#defined) return;
    this.#defined = false;
    this.#parts.catalog.changed();
  }
}

/** Type byte and length word. */
const HEADER = 5;

/** By type: 1 for those that a client may send once it is logged in. */
const SPOKEN = new Uint8Array(256);
for (const type of Object.values(Frontend)) SPOKEN[type] = type === Frontend.Password ? 0 : 1;
