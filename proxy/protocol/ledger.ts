import { ProtocolViolation } from "../wire/frames.ts";
import { Backend, type TransactionStatus } from "../wire/messages.ts";
import { Barrier } from "./barrier.ts";
import { Deque } from "./deque.ts";
import { endsAnswer, endsReady, isStep, mayAnswer, type Request, runs } from "./requests.ts";

/**
 * What the server does with the next message, as far as its answers tell (Postgres docs, 53.2.3 "Extended Query",
 * 53.2.4 "Pipelining", 53.2.6 "COPY Operations"):
 *
 *                Parse, Bind, Describe, Execute, Close
 *     ┌─────────┐ ─────────────────────────────► ┌────────────┐
 *     │ "ready" │                                │ "pipeline" │
 *     └─────────┘ ◄───────────────────────────── └────────────┘
 *        ▲   ▲  ▲        Sync, Query                 │  ▲   │
 *        │   │  │                                    │  │   │ CopyInResponse to an Execute
 *        │   │  └─ Sync ─ ┌────────────┐ ErrorResponse  │   ▼
 *        │   │            │ "skipping" │ ◄──────────┤  │ ┌──────────┐
 *        │   │            └────────────┘ ◄──────────│──│─│ "copyIn" │
 *        │   │                        ErrorResponse │  └─│          │ CopyDone, CopyFail
 *        │   └── CopyDone, CopyFail, ErrorResponse ─┼────│          │
 *        └────── CopyInResponse to a Query ─────────┼───►│          │
 *                                                   ▼    └──────────┘
 *                  (an ErrorResponse leads to "skipping" only if no Sync is outstanding)
 */
export type Intake = "ready" | "pipeline" | "skipping" | "copyIn";

/** Where the client's CopyDone or CopyFail stands among the requests: it has no answer of its own. */
const COPY_END = Symbol("copy end");

/**
 * The conversation with one Postgres server: which requests await their answers, what the server does with what is
 * sent next, its transaction, and what must not be sent yet. It is told of each message in both directions, in the
 * order of the wire. It holds no bytes, and each message costs constant time, amortised, however many a client
 * pipelines.
 */
export class Ledger<R extends Request> {
  readonly barrier = new Barrier();
  readonly #queue = new Deque<R | typeof COPY_END>();
  /** The last request that was sent is a message of the extended protocol, and no Sync. */
  #endsInStep = false;
  #intake: Intake = "ready";
  #transaction: TransactionStatus = "I";
  #pipeline = 0;
  #mustFlush = false;
  /** Statements of the query at the head that have ended. */
  #statements = 0;
  /** The query at the head has been answered in part: ReadyForQuery may follow. */
  #hasAnswer = false;
  /** Syncs sent behind a COPY: the server has read them as a part of it, or, if the COPY failed before, has not. */
  #doubtfulSyncs = 0;
  /** Queries and Executes in the queue. */
  #runs = 0;
  #steps = 0;

  get intake(): Intake {
    return this.#intake;
  }

  /** As the last ReadyForQuery said. */
  get transaction(): TransactionStatus {
    return this.#transaction;
  }

  /** Counts Sync and Query: requests between two of them fail together. */
  get pipeline(): number {
    return this.#pipeline;
  }

  /** The server may keep its answers to itself: neither Sync nor Flush came after what was sent. */
  get mustFlush(): boolean {
    return this.#mustFlush;
  }

  /** The request that is being answered. */
  get head(): R | undefined {
    const { first } = this.#queue;
    return first === COPY_END ? undefined : first;
  }

  /** The request behind it. */
  get second(): R | undefined {
    const second = this.#queue.at(1);
    return second === COPY_END ? undefined : second;
  }

  /** All that was sent has been answered. */
  get isSettled(): boolean {
    return this.#queue.length === 0;
  }

  /** A statement is being run, or will be: what it does to the names that SQL gives is not known yet. */
  get isRunning(): boolean {
    return this.#runs > 0;
  }

  /** Nothing is outstanding, and no transaction and no pipeline is open. */
  get isIdle(): boolean {
    return this.isSettled && this.#intake === "ready" && this.#transaction === "I";
  }

  /**
   * A COPY has failed, and it is not known whether the server has read a Sync behind it before that: it drops what is
   * sent next, or does not. A ReadyForQuery will tell, and a further Sync asks for one.
   */
  get isUncertain(): boolean {
    return this.#intake === "skipping" && this.#doubtfulSyncs > 0;
  }

  /** Which of its statements the query at the head is being answered for. */
  get statementIndex(): number {
    return this.#statements;
  }

  /** Operations on the queue so far: the work that the messages have cost. */
  get steps(): number {
    return this.#steps;
  }

  /** A request has been sent, or, if it is a local one, noted. */
  sent(request: R): void {
    if (this.#intake === "copyIn") {
      // Read as a part of the COPY it is ignored, or ends the session; if the COPY has failed by then, it is answered.
      // Behind a message that a COPY does not take, a Sync is surely no part of it.
      if (request.kind === "sync" && this.#queue.length === 1) this.#doubtfulSyncs++;
      else this.#push(request);
      return;
    }
    // The server drops it.
    if (this.#intake === "skipping" && request.kind !== "sync") return;
    this.#push(request);
    this.#intake = this.#endsInStep ? "pipeline" : "ready";
    this.#mustFlush = this.#endsInStep;
    if (!this.#endsInStep) this.#pipeline++;
  }

  /** CopyDone or CopyFail has been sent. Outside of COPY a server drops it (53.2.6). */
  copyEndSent(): void {
    if (this.#intake === "copyIn") this.#leaveCopy();
    // The server may yet come to a COPY that reads it.
    else if (!this.isSettled) this.#queue.push(COPY_END);
  }

  /** A message without an answer of its own has been sent, and more of the answers is to be asked for. */
  needsFlush(): void {
    this.#mustFlush = true;
  }

  /** Flush has been sent. */
  flushSent(): void {
    this.#mustFlush = false;
  }

  /** Whose answer a message of this type is. Throws for one that answers nothing that was asked. */
  expect(type: number): R {
    const { head } = this;
    if (head !== undefined && mayAnswer(head, type)) return head;
    const what = head === undefined ? "nothing" : head.kind;
    throw new ProtocolViolation(`a message of type ${type} does not answer ${what}`);
  }

  /** A part of the answer to the head, other than ErrorResponse and ReadyForQuery, has been dealt with. */
  answered(type: number): void {
    const { head } = this;
    if (head === undefined) return;
    this.#hasAnswer = true;
    this.#doubtfulSyncs = 0;
    if (type === Backend.CopyInResponse) this.#copyBegins(head);
    else if (endsAnswer(head, type)) this.done();
    else if (type === Backend.CommandComplete || type === Backend.EmptyQueryResponse) this.#statements++;
  }

  /** The head has been answered. */
  done(): void {
    this.#shift();
    // What ends a COPY that has not begun by now ends none.
    while (this.#queue.first === COPY_END) this.#shift();
    this.#statements = 0;
    this.#hasAnswer = false;
  }

  /** The head is answered by another request than it was sent for. */
  replaceHead(request: R): void {
    this.#queue.shift();
    this.#queue.unshift(request);
  }

  /**
   * ErrorResponse. An error in the extended protocol makes the server drop all up to the next Sync: gives the requests
   * that will not be answered, the one that failed first. A query, a function call or a Sync stays at the head, as
   * ReadyForQuery still comes.
   */
  failed(): readonly R[] {
    const { head } = this;
    if (this.#intake === "copyIn") this.#leaveCopy();
    this.#hasAnswer = true;
    if (head === undefined || !isStep(head)) return NOTHING;
    const skipped: R[] = [];
    for (let { first } = this.#queue; first !== undefined; { first } = this.#queue) {
      if (first !== COPY_END) {
        if (first.kind === "sync") return skipped;
        skipped.push(first);
      }
      this.#shift();
    }
    this.#statements = 0;
    this.#hasAnswer = false;
    this.#intake = "skipping";
    this.#mustFlush = false;
    return skipped;
  }

  /**
   * ReadyForQuery. Gives the request that it ends; undefined: it answers a Sync behind a COPY that failed before the
   * server had read it. Throws if nothing was asked that ends so.
   */
  ready(status: TransactionStatus): R | undefined {
    const { head } = this;
    const ends = head !== undefined && endsReady(head) && (head.kind === "sync" || this.#hasAnswer);
    if (!ends && this.#doubtfulSyncs > 0) {
      this.#doubtfulSyncs--;
      this.#transaction = status;
      if (this.#intake === "skipping") this.#intake = "ready";
      return undefined;
    }
    if (head === undefined || !endsReady(head)) {
      throw new ProtocolViolation(`ReadyForQuery does not answer ${head?.kind ?? "nothing"}`);
    }
    this.#transaction = status;
    if (this.#intake === "copyIn") this.#leaveCopy();
    this.done();
    return head;
  }

  /** Nobody will answer any more. */
  clear(): void {
    this.#queue.clear();
    this.#runs = 0;
    this.#endsInStep = false;
    this.#intake = "ready";
    this.#transaction = "I";
    this.#statements = 0;
    this.#hasAnswer = false;
    this.#doubtfulSyncs = 0;
    this.#mustFlush = false;
  }

  #push(request: R): void {
    this.#steps++;
    if (runs(request)) this.#runs++;
    this.#queue.push(request);
    this.#endsInStep = isStep(request);
  }

  /**
   * The server has read all that was sent behind the COPY as a part of it, up to CopyDone or CopyFail: it takes no
   * notice of Flush and Sync there, and anything else ends the connection (53.2.6).
   */
  #copyBegins(head: R): void {
    this.#queue.shift();
    let hasEnd = false;
    for (let { first } = this.#queue; first !== undefined && !hasEnd; { first } = this.#queue) {
      if (first === COPY_END) hasEnd = true;
      else if (first.kind === "sync") this.#doubtfulSyncs++;
      this.#shift();
    }
    if (this.isSettled) this.#endsInStep = isStep(head);
    this.#queue.unshift(head);
    if (hasEnd) {
      this.#leaveCopy();
      return;
    }
    this.#intake = "copyIn";
    // It has told all up to here, and a Flush could stand in the middle of a row.
    this.#mustFlush = false;
  }

  /** The server reads messages again. */
  #leaveCopy(): void {
    this.#intake = this.#endsInStep ? "pipeline" : "ready";
    this.#mustFlush = this.#endsInStep;
  }

  #shift(): void {
    this.#steps++;
    const entry = this.#queue.shift();
    if (entry !== undefined && entry !== COPY_END && runs(entry)) this.#runs--;
  }
}

const NOTHING: readonly never[] = [];
