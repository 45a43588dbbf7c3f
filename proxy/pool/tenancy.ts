import { Barrier } from "../protocol/barrier.ts";
import { Ledger } from "../protocol/ledger.ts";
import { Names } from "../protocol/object-names.ts";
import type { LegUser, ServerLeg } from "../protocol/server-leg.ts";
import type { Residue } from "../sql/session-residue.ts";
import { errorResponse, isLongError } from "../wire/errors.ts";
import { FrameReader } from "../wire/frames.ts";
import { Backend } from "../wire/messages.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Asker, NoConnection, Startup } from "./asker.ts";
import { Lease } from "./lease.ts";
import { ParameterSync } from "./parameter-sync.ts";
import type { Pool } from "./pool.ts";
import { OwnQuery } from "./pool-requests.ts";
import type { PoolSession } from "./pool-session.ts";
import type { ServerConnection } from "./server-connection.ts";
import { weightOfStatement } from "./server-statements.ts";
import { StatementBarrier } from "./statement-barrier.ts";
import { asking, type SyncedParameters } from "./synced-parameters.ts";
import { isFarewell, type SentMessage, Unanswered } from "./unanswered.ts";

export interface TenancyOptions {
  readonly pool: Pool;
  readonly startup: Startup;
  /** What a statement leaves behind, as the catalog is now; its text is lent. `declared`: types of parameters, by their oids. */
  readonly residueOf: (sql: Buffer, declared: readonly number[]) => Residue;
  /** The settings that are the client's own and no part of the startup packet. */
  readonly settings: SyncedParameters;
  /** As the client was told at login. */
  readonly parameters: ReadonlyMap<string, string>;
  /** Sends a cancel request; resolves when the server has closed the cancel connection, or it got lost. */
  readonly cancel: (connection: ServerConnection) => Promise<"done" | "lost">;
}

/**
 * A client of the pool: which connection it holds and for how long, what of its session is carried from one to the next, and
 * what it is told where there is none.
 */
export class Tenancy implements Asker, PoolSession {
  readonly residueOf: TenancyOptions["residueOf"];
  readonly barriers = new StatementBarrier(new Barrier());
  readonly parameterSync: ParameterSync;
  readonly statements = new Names(weightOfStatement);
  readonly lease: Lease;
  readonly unanswered = new Unanswered();
  /** What the session gets in the server's stead. */
  readonly told = new FrameReader(Number.MAX_SAFE_INTEGER, () => false);
  ledger = new Ledger();
  user: LegUser = NOBODY;
  /** The beginning of a long message has been sent. */
  isMidMessage = false;
  /** A message of the session's has been turned away, and will come again. */
  isAwaited = false;
  /** The client has said that it leaves. */
  terminated = false;
  /** There is no server any more. */
  isOver = false;
  readonly #options: TenancyOptions;
  readonly #leg: Pick<ServerLeg, "send" | "flush">;
  /** What the connection that was lost is asked again on another one. */
  #again: readonly SentMessage[] | undefined;
  /** Ends the session, once the message that waits is in the ledger: what ends is on record. */
  #lastWords: Buffer | undefined;
  #isWaking = false;

  constructor(options: TenancyOptions, leg: Pick<ServerLeg, "send" | "flush">) {
    this.#options = options;
    this.#leg = leg;
    this.residueOf = options.residueOf;
    this.parameterSync = new ParameterSync(this, options.settings, options.parameters);
    this.lease = new Lease(options.pool, options.startup, this);
  }

  get connection(): ServerConnection | undefined {
    return this.lease.connection;
  }

  /** Nothing is held, and nothing is waited for. */
  get isAway(): boolean {
    return this.connection === undefined && !this.lease.isWaiting && this.#again === undefined;
  }

  /** Nobody answers any more: what comes now is entered in the ledger, and no more. */
  get hasLastWords(): boolean {
    return this.#lastWords !== undefined || this.isOver;
  }

  /** Nothing is open, nothing is asked, and nothing of a message is still to come. */
  get isClean(): boolean {
    const { ledger } = this;
    return ledger.isEmpty && ledger.isIdle && !this.isMidMessage && !this.parameterSync.isSettingUp;
  }

  /** Asks for a connection if there is none. True: the client's messages may be sent on it, or to nobody any more. */
  isReady(): boolean {
    if (this.hasLastWords) {
      this.isAwaited = false;
      return true;
    }
    const connection = this.lease.ask();
    if (connection !== undefined) this.#adopt(connection);
    this.sendAgain();
    const isReady = this.connection !== undefined && !this.parameterSync.isSettingUp;
    this.isAwaited = !isReady;
    return isReady;
  }

  /** Cancels what this client has the server run now; resolves when that can hit nothing any more but itself. */
  async cancel(): Promise<void> {
    const { connection } = this;
    if (connection === undefined || this.parameterSync.isSettingUp || this.ledger.isEmpty) return;
    connection.cancels++;
    this.lease.answerIsDue();
    try {
      // A late arrival must not hit the next user of the connection.
      if ((await this.#options.cancel(connection)) === "lost") connection.isRetired = true;
    } finally {
      connection.cancels--;
      if (this.connection === connection) {
        this.lease.mustFence = true;
        this.goOnSoon();
      }
    }
  }

  granted(connection: ServerConnection): void {
    this.#adopt(connection);
    this.goOnSoon();
  }

  failed({ response }: NoConnection): void {
    this.lease.isWaiting = false;
    this.#end(response);
  }

  arrived(): void {
    this.user.arrived();
  }

  lost(): void {
    const { isSettingUp } = this.parameterSync;
    if (!isSettingUp && this.#startOver()) return;
    this.lease.connection = undefined;
    if (isSettingUp) {
      this.ledger.clear();
      // Nothing of the client's has been sent yet: another connection will do.
      this.parameterSync.tryAgain();
    } else {
      this.isOver = true;
    }
  }

  mayStream(type: number, length: number): boolean {
    if (isLongError(type, length)) return true;
    return this.ledger.own === undefined && this.user.mayStream(type, length);
  }

  passRest(): void {
    this.isMidMessage = true;
  }

  note(residue: Residue, connection: ServerConnection): void {
    const { leaves, isRepeatable } = residue;
    if (!isRepeatable) this.unanswered.close();
    if (leaves === "anything" || connection.leaves === "nothing") connection.leaves = leaves;
    this.parameterSync.note(residue);
  }

  ask(message: Buffer, ended: (query: OwnQuery) => void): void {
    this.connection?.sendOwn(message);
    this.ledger.asked(new OwnQuery(ended));
  }

  tell(message: Buffer): void {
    this.told.push(message);
  }

  discarded(what: "all" | "statements"): void {
    const { connection } = this;
    this.statements.clear(() => false);
    connection?.statements.clear();
    if (what === "all" && connection !== undefined) this.parameterSync.discarded(connection);
  }

  settle(): void {
    const { connection, ledger } = this;
    const isKept = this.lease.isReserved || (connection?.cancels ?? 0) > 0;
    if (connection === undefined || !this.isClean || isKept) return;
    if (this.lease.mustFence || ledger.isInDoubt) {
      this.lease.mustFence = false;
      // A cancel request that came late hits this and nothing else, and what comes before its answer is this client's.
      this.ask(asking(["server_version_num"]), () => this.settle());
    } else if (this.parameterSync.isTouched) {
      this.parameterSync.learn();
    } else {
      this.#transactionOver();
      this.lease.giveBack();
      if (this.terminated) this.isOver = true;
      return;
    }
    connection.flush();
  }

  fail(refusal: Refusal): void {
    this.discard();
    this.#end(errorResponse(refusal));
  }

  discard(): void {
    this.lease.discard();
  }

  goOnSoon(): void {
    if (this.#isWaking) return;
    this.#isWaking = true;
    queueMicrotask(() => {
      this.#isWaking = false;
      this.user.wake();
    });
  }

  /** The last words, if it is their turn: they are sent on. */
  speak(): void {
    if (this.#lastWords === undefined || this.isAwaited) return;
    this.tell(this.#lastWords);
    this.#lastWords = undefined;
    this.isOver = true;
  }

  /** The client is gone. */
  leave(): void {
    this.isOver = true;
    const isDone = this.isClean && !this.parameterSync.isTouched && !this.lease.mustFence;
    if (isDone && this.connection?.cancels === 0) this.lease.giveBack();
    else this.lease.abandon();
    this.lease.end();
  }

  /**
   * The client sends no more, and the server waits for it: the connection ends with the client, and before that with the
   * answers to what the server has read.
   */
  hangUp(): void {
    const { connection, ledger } = this;
    if (connection?.hasHungUp === true) return;
    if (connection === undefined || ledger.isEmpty) this.#abandon();
    else connection.hangUp();
  }

  #abandon(): void {
    this.lease.abandon();
    this.isOver = true;
    this.goOnSoon();
  }

  /** The server has said farewell before it answered anything, and another one is asked. */
  hasDied(frame: FrameReader): boolean {
    const isFirst = this.unanswered.isOpen && !this.parameterSync.isSettingUp;
    if (!isFirst || frame.type === Backend.ParameterStatus) return false;
    if (isFarewell(frame) && this.#startOver()) return true;
    this.unanswered.answered();
    return false;
  }

  /** What a connection that was lost has not answered goes to the one that took its place. */
  sendAgain(): void {
    const again = this.#again;
    if (again === undefined || this.connection === undefined || this.parameterSync.isSettingUp) return;
    this.#again = undefined;
    this.ledger.restarted();
    for (const { message, request } of again) this.#leg.send(message, request);
    if (this.ledger.mustFlush) this.#leg.flush();
    this.lease.isReserved = false;
  }

  #end(response: Buffer): void {
    for (const { request } of this.#again ?? []) this.ledger.sent(request);
    this.#again = undefined;
    this.ledger.restarted();
    this.#lastWords = response;
    this.goOnSoon();
  }

  #adopt(connection: ServerConnection): void {
    this.lease.hold(connection);
    this.unanswered.begin();
    this.parameterSync.setUp(connection);
    if (!this.parameterSync.isSettingUp) this.lease.noAnswerIsDue();
  }

  /** The connection has died before it answered anything: what it was sent goes to another one, if it may. */
  #startOver(): boolean {
    const isCancelled = this.lease.mustFence || (this.connection?.cancels ?? 0) > 0;
    const { ledger } = this;
    if (isCancelled || this.terminated || !this.unanswered.isOpen) return false;
    const again = this.unanswered.take(ledger.outstanding);
    if (again === undefined) return false;
    ledger.takeBack();
    this.lease.discard();
    this.#transactionOver();
    this.#again = again;
    const connection = this.lease.ask();
    if (connection !== undefined) this.#adopt(connection);
    this.goOnSoon();
    return true;
  }

  #transactionOver(): void {
    this.barriers.close();
    this.parameterSync.hasLocalPath = false;
  }
}

/** Before the session begins. */
const NOBODY: LegUser = { arrived: () => true, wake: () => {}, mayStream: () => false };
