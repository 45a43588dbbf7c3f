import { checkCopyGoesOn } from "../protocol/copy-question.ts";
import type { Ledger } from "../protocol/ledger.ts";
import type { Request } from "../protocol/requests.ts";
import type { LegUser, ServerLeg } from "../protocol/server-leg.ts";
import { readyForQuery } from "../wire/backend-messages.ts";
import { type Frame, type FrameReader, frameOf } from "../wire/frames.ts";
import { flushMessage } from "../wire/frontend-messages.ts";
import { Frontend } from "../wire/messages.ts";
import { Answers } from "./answers.ts";
import { Requests } from "./held-requests.ts";
import { Passed } from "./pool-requests.ts";
import { Tenancy, type TenancyOptions } from "./tenancy.ts";
import { Unheard } from "./unheard.ts";

/**
 * The way to the server through a pool: a connection is held from a transaction's first message to its last answer, and no
 * longer. Questions for that are in the session's own ledger.
 */
export class PooledLeg implements ServerLeg {
  frame: FrameReader;
  readonly #tenancy: Tenancy;
  readonly #requests: Requests;
  readonly #answers: Answers;
  readonly #onFault: (error: unknown) => void;
  #unheard: Unheard | undefined;

  constructor(options: TenancyOptions, onFault: (error: unknown) => void) {
    this.#tenancy = new Tenancy(options, this);
    this.#requests = new Requests(this.#tenancy);
    this.#answers = new Answers(this.#tenancy);
    this.#onFault = onFault;
    this.frame = this.#tenancy.told;
  }

  begin(ledger: Ledger, user: LegUser): void {
    this.#tenancy.ledger = ledger;
    this.#tenancy.user = user;
  }

  /** What a long query leaves behind nobody knows anyway. What is prepared is kept, to be prepared again elsewhere. */
  passesText(type: number): boolean {
    return type === Frontend.Query;
  }

  isReady(): boolean {
    return this.#tenancy.isReady();
  }

  admits(message: Frame): boolean {
    if (message.piece === "middle" || message.piece === "last" || this.#isIdleTalk(message)) return true;
    if (!this.isReady()) return false;
    const { ledger, barriers, connection, hasLastWords } = this.#tenancy;
    if (connection === undefined || hasLastWords) return true;
    if (ledger.isEmpty) barriers.open();
    if (ledger.intake === "copyIn") return true;
    if (ledger.intake === "skipping" && message.type !== Frontend.Sync) return true;
    const isSettled = this.#requests.isSettled(message, connection);
    if (isSettled && barriers.passes(message.type, ledger.isEmpty)) return true;
    // The server may keep to itself what is waited for.
    if (ledger.mustFlush) this.flush();
    return false;
  }

  send(message: Buffer | Frame, request: Request): void {
    const frame = Buffer.isBuffer(message) ? frameOf(message) : message;
    const { connection, ledger, unanswered, lease } = this.#tenancy;
    if (connection === undefined) {
      this.#sendNowhere(frame, request);
      return;
    }
    if (ledger.intake === "copyIn") {
      // Nothing but copy data may reach the server then: by the time it arrives the copy may have failed. A Sync does nothing
      // within it, and if it has failed its client waits for the answer.
      if (frame.type !== Frontend.Sync) return;
      connection.toServer.forward(frame);
      ledger.sent(request);
      return;
    }
    if (ledger.intake === "skipping" && frame.type !== Frontend.Sync) return;
    if (frame.type === Frontend.Sync && ledger.takesSync()) {
      this.#tenancy.goOnSoon();
      return;
    }
    lease.isReserved = false;
    this.#tenancy.isMidMessage = false;
    // What a query in an open pipeline leaves behind the server tells with the next one (XX000, "unexpected state STARTED").
    if (frame.type === Frontend.Query && ledger.intake === "pipeline") lease.mustFence = true;
    const kept = unanswered.copyOf(frame);
    this.#requests.send(frame, request, connection);
    unanswered.sent(kept, request);
    if (this.#localAnswer !== undefined) this.#tenancy.goOnSoon();
  }

  pass(message: Buffer | Frame): void {
    const frame = Buffer.isBuffer(message) ? frameOf(message) : message;
    if (frame.piece === "middle" || frame.piece === "last") {
      this.#passMore(frame);
      return;
    }
    const { connection, ledger } = this.#tenancy;
    if (connection === undefined) return;
    if (ledger.intake === "copyIn") {
      if (frame.type !== Frontend.CopyData) return;
    } else if (frame.type === Frontend.CopyData || ledger.intake === "skipping") return;
    connection.toServer.forward(frame);
    if (frame.piece === "first") this.#tenancy.passRest();
  }

  endCopy(message: Buffer | Frame): void {
    const { connection, ledger, barriers } = this.#tenancy;
    // Outside of COPY a server drops it (PostgresMain).
    if (connection === undefined || ledger.intake !== "copyIn") return;
    if (Buffer.isBuffer(message)) connection.toServer.send(message);
    else connection.toServer.forward(message);
    ledger.copyEndSent();
    // A simple query may hold another COPY, and which Syncs the server reads is known when the COPY has ended.
    if (ledger.head?.kind === "execute" && !ledger.isInDoubt) barriers.copied();
  }

  askAboutCopy(): void {
    const { connection, ledger } = this.#tenancy;
    connection?.toServer.send(ledger.askAboutCopy());
  }

  flush(): void {
    const { connection, ledger } = this.#tenancy;
    // CopyGetData takes no notice of it.
    if (ledger.intake === "copyIn") return;
    connection?.toServer.send(flushMessage);
    ledger.flushSent();
  }

  terminate(): void {
    this.hangUp();
  }

  hangUp(): void {
    this.#tenancy.terminated = true;
    if (!this.#mayFinish) this.#tenancy.hangUp();
  }

  /** Cancels what this client has the server run now; resolves when that can hit nothing any more but itself. */
  cancel(): Promise<void> {
    return this.#tenancy.cancel();
  }

  next(): boolean {
    const tenancy = this.#tenancy;
    for (;;) {
      if (this.#tellNext()) return true;
      tenancy.settle();
      tenancy.sendAgain();
      if (tenancy.terminated && this.#staysOpen) tenancy.hangUp();
      const { connection } = tenancy;
      if (connection === undefined || tenancy.isOver) return false;
      if (!connection.next()) {
        if (!connection.hasEnded) return false;
        connection.finish();
        continue;
      }
      if (tenancy.ledger.asksAboutCopy) checkCopyGoesOn(connection.reader);
      if (tenancy.hasDied(connection.reader)) continue;
      if (!this.#answers.isForSession(connection.reader)) continue;
      this.frame = connection.reader;
      return true;
    }
  }

  flow(wanted: boolean): void {
    this.#tenancy.lease.flow(wanted);
  }

  get hasEnded(): boolean {
    return this.#tenancy.isOver && this.#tenancy.told.idle && this.#localAnswer === undefined;
  }

  get isRunning(): boolean {
    const { ledger, lease } = this.#tenancy;
    return !ledger.isEmpty || !ledger.isSettled || lease.isWaiting;
  }

  get isIdle(): boolean {
    return this.#tenancy.ledger.isIdle && !this.isRunning;
  }

  write(): void {
    this.#tenancy.connection?.flush();
  }

  get isFull(): boolean {
    return this.#tenancy.connection?.isFull === true;
  }

  get holds(): boolean {
    return this.#tenancy.connection?.isWriting === true;
  }

  leave(): void {
    if (this.#unheard !== undefined) return;
    const tenancy = this.#tenancy;
    tenancy.terminated = true;
    this.#unheard = new Unheard(tenancy, this, this.#onFault);
    tenancy.user = this.#unheard;
    if (this.#mayFinish) this.#unheard.begin();
    else this.destroy();
  }

  destroy(): void {
    this.#tenancy.leave();
  }

  /** What was sent and asked for is done to its end, as a server does before it reads Terminate. */
  get #mayFinish(): boolean {
    const { connection, ledger } = this.#tenancy;
    return connection !== undefined && !ledger.isEmpty && ledger.intake === "ready";
  }

  /** The server waits for what a client that has left will not send: more of a transaction, or of a COPY. */
  get #staysOpen(): boolean {
    const { ledger, isClean } = this.#tenancy;
    return ledger.intake === "copyIn" || (ledger.isEmpty && !isClean);
  }

  /** An answer in place of the server's, as it is its turn. */
  get #localAnswer(): Passed | undefined {
    const { note } = this.#tenancy.ledger;
    return note instanceof Passed && note.parts.local !== undefined && !note.isTold ? note : undefined;
  }

  /** Between transactions these mean nothing to a server, but that a Sync is answered. */
  #isIdleTalk({ type, start, end }: Frame): boolean {
    if (!this.#tenancy.isAway) return false;
    if (OF_COPY.has(type)) return true;
    // With a body it is an error, which is the server's to tell.
    return (type === Frontend.Sync || type === Frontend.Flush) && end - start === EMPTY_MESSAGE;
  }

  #sendNowhere({ type }: Frame, request: Request): void {
    const { ledger, statements, hasLastWords } = this.#tenancy;
    const isSync = type === Frontend.Sync && !hasLastWords;
    if (!isSync && !hasLastWords) throw new Error("a message was sent that had not been admitted");
    ledger.sent(request, isSync ? new Passed(statements, { local: readyForQuery("I") }) : undefined);
    this.#tenancy.goOnSoon();
  }

  /** What has been begun is sent to its end, whatever the server says meanwhile: it counts the bytes. */
  #passMore(frame: Frame): void {
    const tenancy = this.#tenancy;
    if (!tenancy.isMidMessage) return;
    tenancy.connection?.toServer.forward(frame);
    tenancy.isMidMessage = frame.piece !== "last";
    if (!tenancy.isMidMessage) tenancy.goOnSoon();
  }

  /** Hands out what replaces the server's answer. */
  #tellNext(): boolean {
    const { told } = this.#tenancy;
    const local = this.#localAnswer;
    if (local?.parts.local !== undefined && told.idle) {
      local.isTold = true;
      told.push(local.parts.local);
    } else this.#tenancy.speak();
    if (!told.next()) return false;
    this.frame = told;
    return true;
  }
}

const OF_COPY: ReadonlySet<number> = new Set([Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail]);
/** Type byte and length word. */
const EMPTY_MESSAGE = 5;
