import { ProtocolViolation } from "../wire/frames.ts";
import { Backend, type TransactionStatus } from "../wire/messages.ts";
import { Barrier } from "./barrier.ts";
import { type CopyQuestion, copyQuestion } from "./copy-question.ts";
import type { Intake } from "./intake.ts";
import { isOwn, type LegNote, Noted, type OwnRequest } from "./leg-notes.ts";
import { askedOf, COPY_END, type Entry, noteOf, Outstanding, requestOf } from "./outstanding.ts";
import { endsAnswer, endsReady, isStep, mayAnswer, type Request } from "./requests.ts";

/**
 * The conversation with one Postgres server: which requests await their answers, what the server does with what is
 * sent next, its transaction, and what must not be sent yet. It is told of each message in both directions, in the
 * order of the wire. It holds no bytes, and each message costs constant time, amortised, however many a client
 * pipelines.
 *
 * A session and the leg that carries its messages to the server share one: what the leg asks by itself stands in the
 * same queue, and the session sees nothing of it.
 */
export class Ledger<R extends Request = Request> {
  readonly barrier = new Barrier();
  readonly #queue = new Outstanding<R>();
  /** The leg is about to send once more what it has taken back. */
  #isRestarting = false;
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
  /** Whose Executes the open pipeline has. */
  #runner: "nobody" | "proxy" | "client" = "nobody";
  /** Syncs sent behind a COPY: the server has read them as a part of it, or, if the COPY failed before, has not. */
  #doubtfulSyncs = 0;
  /** Outstanding: whether a COPY has failed, and what the server has read behind it. */
  #question: CopyQuestion | undefined;
  /** The server has read a Sync of the proxy's in place of the client's next one, and is not skipping any more. */
  #skipsItself = false;

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

  /** The request that is being answered; undefined: none, or one that the leg has asked by itself. */
  get head(): R | undefined {
    return askedOf(this.#queue.first);
  }

  /** The request behind it. */
  get second(): R | undefined {
    return this.#queue.second;
  }

  /** What the leg has asked by itself, and is being answered. */
  get own(): OwnRequest | undefined {
    const { first } = this.#queue;
    return isOwn(first) ? first : undefined;
  }

  /** What the leg has noted of the request that is being answered. */
  get note(): LegNote | undefined {
    const { first } = this.#queue;
    return first instanceof Noted ? first.note : undefined;
  }

  /** So many requests of the session's have no answer. */
  get outstanding(): number {
    return this.#queue.ofSession;
  }

  /**
   * So much is outstanding that no more is to be sent for now: each entry takes memory, and so does each answer. A server
   * keeps 8 kB of answers to itself (PqSendBuffer of libpq/pqcomm.c), 1,638 of the shortest: `mustFlush` tells when to
   * ask for them.
   */
  get isCrowded(): boolean {
    return this.#queue.length > MOST_OUTSTANDING;
  }

  /** All that the session has sent has been answered. */
  get isSettled(): boolean {
    return this.#queue.ofSession === 0 && !this.#isRestarting;
  }

  /** So has all that the leg has asked by itself. */
  get isEmpty(): boolean {
    return this.#queue.isEmpty;
  }

  /** A statement is being run, or will be: what it does to the names that SQL gives is not known yet. */
  get isRunning(): boolean {
    return this.#queue.isRunning;
  }

  /** A Sync or a query has no ReadyForQuery yet: it may end a transaction that no BEGIN has opened. */
  get isEnding(): boolean {
    return this.#queue.isEnding;
  }

  /** Nothing is outstanding, and no transaction and no pipeline is open. */
  get isIdle(): boolean {
    return this.isSettled && this.#intake === "ready" && this.#transaction === "I";
  }

  /**
   * A COPY has failed, and it is not known whether the server has read a Sync behind it before that: it drops what is
   * sent next, or does not. A ReadyForQuery will tell, and a further Sync asks for one; so does `askAboutCopy`.
   */
  get isUncertain(): boolean {
    return this.#intake === "skipping" && this.#doubtfulSyncs > 0;
  }

  /**
   * ReadyForQuery would answer a Sync behind a COPY that failed before the server had read it: what comes first in the queue
   * has not been answered, or does not end so.
   */
  get answersDoubtfulSync(): boolean {
    return this.#isAtQuestion || (this.#doubtfulSyncs > 0 && !this.#endsWithReady());
  }

  /** Whether a COPY has failed is being asked: whatever comes next waits. */
  get asksAboutCopy(): boolean {
    return this.#question !== undefined;
  }

  /** The client's messages are dropped up to its next Sync, and nobody else does that. */
  get skipsItself(): boolean {
    return this.#skipsItself;
  }

  /** Such a Sync may still be answered. */
  get isInDoubt(): boolean {
    return this.#doubtfulSyncs > 0;
  }

  /**
   * The open pipeline has run a question of the proxy's own, and nothing of the client's. A server takes a query behind an
   * Execute for a part of the pipeline's transaction, and loses what it has written (XX000, "unexpected state STARTED"): a
   * Sync must come before it.
   */
  get isOpenedByProxy(): boolean {
    return this.#runner === "proxy" && this.#intake === "pipeline";
  }

  /** The open pipeline has run something of the client's: nothing in it stands alone any more. */
  get isBegunByClient(): boolean {
    return this.#runner === "client";
  }

  /** Which of its statements the query at the head is being answered for. */
  get statementIndex(): number {
    return this.#statements;
  }

  /** Operations on the queue so far: the work that the messages have cost. */
  get steps(): number {
    return this.#queue.steps;
  }

  /** A request has been sent. `note`: what the leg wants to know of how it ends, or gives an answer for. */
  sent(request: R, note?: LegNote): void {
    const entry = note === undefined ? request : new Noted(request, note);
    if (this.#intake === "copyIn") {
      // Read as a part of the COPY it is ignored, or ends the session; if the COPY has failed by then, it is answered.
      // Behind a message that a COPY does not take, a Sync is surely no part of it.
      if (request.kind === "sync" && this.#queue.length === 1) this.#doubtfulSyncs++;
      else this.#push(entry, request);
      return;
    }
    // The server drops it.
    if (this.#intake === "skipping" && request.kind !== "sync") return;
    this.#push(entry, request);
    this.#readsOn();
    if (!this.#endsInStep) this.#pipeline++;
  }

  /** The leg has asked something by itself: a query between those of the client's, or a step of the client's pipeline. */
  asked(own: OwnRequest): void {
    this.#push(own, own);
    this.#readsOn();
  }

  /**
   * Asks whether the COPY that reads rows has failed, and whether the server has read a Sync behind it before that. To be
   * sent in this order; if the COPY has not failed the server ends the session, as it would at whatever else is no part of
   * a COPY (53.2.6).
   */
  askAboutCopy(): Buffer {
    const question = copyQuestion();
    this.#question = question;
    for (const own of question.requests) this.#push(own, own);
    return question.messages;
  }

  /** The client's Sync need not be sent: the server has answered it by now. */
  takesSync(): boolean {
    if (!this.#skipsItself) return false;
    this.#skipsItself = false;
    this.#intake = "ready";
    return true;
  }

  /** CopyDone or CopyFail has been sent. Outside of COPY a server drops it (53.2.6). */
  copyEndSent(): void {
    if (this.#intake === "copyIn") this.#readsOn();
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
    return this.#unexpected(type, head);
  }

  /** As `expect`, for what the leg has asked by itself. */
  expectOwn(type: number): OwnRequest | undefined {
    if (this.#isAtQuestion && type === Backend.ParseComplete) this.#hasSkipped();
    const { own } = this;
    if (own !== undefined && !mayAnswer(own, type)) return this.#unexpected(type, own);
    return own;
  }

  get #isAtQuestion(): boolean {
    return this.#question !== undefined && this.#queue.first === this.#question.requests[0];
  }

  /**
   * The server has dropped the question's first message: the ReadyForQuery that has been told was for the question's Sync, and
   * takes the place of the one for the client's next Sync.
   */
  #hasSkipped(): void {
    this.#queue.shift();
    this.#queue.shift();
    this.#doubtfulSyncs = 0;
    this.#skipsItself = true;
  }

  #settleQuestion(): void {
    this.#question = undefined;
    this.#intake = this.#skipsItself ? "skipping" : "ready";
    this.#mustFlush = false;
  }

  #unexpected(type: number, head: Request | undefined): never {
    const what = head === undefined ? "nothing" : head.kind;
    throw new ProtocolViolation(`a message of type ${type} does not answer ${what}`);
  }

  /** A part of the answer to the head, other than ErrorResponse and ReadyForQuery, has been dealt with. */
  answered(type: number): void {
    const head = requestOf(this.#queue.first);
    if (head === undefined) return;
    this.#hasAnswer = true;
    this.#doubtfulSyncs = 0;
    if (type === Backend.CopyInResponse) this.#copyBegins(this.#queue.first, head);
    else if (endsAnswer(head, type)) this.done();
    else if (type === Backend.CommandComplete || type === Backend.EmptyQueryResponse) this.#statements++;
  }

  /** The head has been answered. */
  done(): void {
    const { first } = this.#queue;
    this.#queue.shift();
    // What ends a COPY that has not begun by now ends none.
    while (this.#queue.first === COPY_END) this.#queue.shift();
    this.#statements = 0;
    this.#hasAnswer = false;
    noteOf(first)?.done();
    if (first !== undefined && first === this.#question?.requests.at(-1)) this.#settleQuestion();
  }

  /** The head is answered by another request than it was sent for. */
  replaceHead(request: R): void {
    const { note } = this;
    this.#queue.replaceFirst(note === undefined ? request : new Noted(request, note));
  }

  /**
   * ErrorResponse. An error in the extended protocol makes the server drop all up to the next Sync: gives the requests
   * that will not be answered, the one that failed first. A query, a function call or a Sync stays at the head, as
   * ReadyForQuery still comes.
   */
  failed(): readonly R[] {
    const head = requestOf(this.#queue.first);
    if (this.#intake === "copyIn") this.#readsOn();
    this.#hasAnswer = true;
    if (head === undefined || !isStep(head)) return NOTHING;
    const skipped: R[] = [];
    let hasFailed = true;
    for (let { first } = this.#queue; first !== undefined; { first } = this.#queue) {
      if (requestOf(first)?.kind === "sync") return skipped;
      // Whether the server drops it is what is asked.
      if (this.#isAtQuestion) break;
      const asked = askedOf(first);
      if (asked !== undefined) skipped.push(asked);
      this.#queue.shift();
      noteOf(first)?.undone(hasFailed);
      hasFailed = false;
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
    const head = requestOf(this.#queue.first);
    const asked = this.head;
    if (this.answersDoubtfulSync) {
      if (this.#doubtfulSyncs > 0) this.#doubtfulSyncs--;
      this.#transaction = status;
      if (this.#intake === "skipping") this.#intake = "ready";
      return undefined;
    }
    if (head === undefined || !endsReady(head)) {
      throw new ProtocolViolation(`ReadyForQuery does not answer ${head?.kind ?? "nothing"}`);
    }
    this.#transaction = status;
    if (this.#intake === "copyIn") this.#readsOn();
    this.done();
    return asked;
  }

  #endsWithReady(): boolean {
    const head = requestOf(this.#queue.first);
    return head !== undefined && endsReady(head) && (head.kind === "sync" || this.#hasAnswer);
  }

  /** What the leg has asked of its own and has failed is not to be told: what it was asked for is being answered now. */
  ownFailed(): void {
    const { first } = this.#queue;
    this.#queue.shift();
    noteOf(first)?.undone(true);
  }

  /** The connection is gone, and what was sent there will be sent on another one. Gives what is outstanding. */
  takeBack(): readonly R[] {
    const left = this.clear();
    this.#isRestarting = true;
    return left;
  }

  /** What was taken back has been sent again. */
  restarted(): void {
    this.#isRestarting = false;
  }

  /** Nobody will answer any more. Gives what was to be answered. */
  clear(): readonly R[] {
    const left: R[] = [];
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const asked = askedOf(next);
      if (asked !== undefined) left.push(asked);
      noteOf(next)?.undone(false);
    }
    this.#endsInStep = false;
    this.#runner = "nobody";
    this.#intake = "ready";
    this.#transaction = "I";
    this.#statements = 0;
    this.#hasAnswer = false;
    this.#doubtfulSyncs = 0;
    this.#question = undefined;
    this.#skipsItself = false;
    this.#mustFlush = false;
    return left;
  }

  #push(entry: Entry<R>, request: Request): void {
    this.#queue.push(entry);
    this.#endsInStep = isStep(request);
    if (!this.#endsInStep) this.#runner = "nobody";
    else if (request.kind === "execute") this.#runner = "client";
    else if (request.kind === "ownExecute" && this.#runner === "nobody") this.#runner = "proxy";
  }

  /** The server reads messages, and those that were sent are what it reads. */
  #readsOn(): void {
    this.#intake = this.#endsInStep ? "pipeline" : "ready";
    this.#mustFlush = this.#endsInStep;
  }

  /**
   * The server has read all that was sent behind the COPY as a part of it, up to CopyDone or CopyFail: it takes no
   * notice of Flush and Sync there, and anything else ends the connection (53.2.6).
   */
  #copyBegins(entry: Entry<R> | undefined, head: Request): void {
    this.#queue.shift();
    let hasEnd = false;
    for (let { first } = this.#queue; first !== undefined && !hasEnd; { first } = this.#queue) {
      if (first === COPY_END) hasEnd = true;
      else if (requestOf(first)?.kind === "sync") this.#doubtfulSyncs++;
      this.#queue.shift();
    }
    if (this.isEmpty) this.#endsInStep = isStep(head);
    if (entry !== undefined) this.#queue.unshift(entry);
    if (hasEnd) {
      this.#readsOn();
      return;
    }
    this.#intake = "copyIn";
    // It has told all up to here, and a Flush could stand in the middle of a row.
    this.#mustFlush = false;
  }
}

const NOTHING: readonly never[] = [];
const MOST_OUTSTANDING = 10_000;
