import { Duplex } from "node:stream";
import { Ledger } from "../protocol/ledger.ts";
import { Names } from "../protocol/names.ts";
import { Turn } from "../protocol/turn.ts";
import type { Leavings } from "../sql/leavings.ts";
import { readyForQuery } from "../wire/backend-messages.ts";
import { errorResponse } from "../wire/errors.ts";
import { FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { flushMessage } from "../wire/frontend-messages.ts";
import { Frontend } from "../wire/messages.ts";
import { Outbox } from "../wire/outbox.ts";
import { type Refusal, refuseSession } from "../wire/refusal.ts";
import { Answers } from "./answers.ts";
import { asking, type Carried } from "./carried-settings.ts";
import { Carrying } from "./carrying.ts";
import type { Expected, OwnQuery, PoolLedger } from "./expected.ts";
import { Gate } from "./gate.ts";
import type { Asker, NoConnection, Pool, Startup } from "./pool.ts";
import type { PoolSession } from "./pool-session.ts";
import { Requests } from "./requests.ts";
import type { ServerConnection } from "./server-connection.ts";
import type { ClientStatement } from "./server-statements.ts";

export interface PooledServerOptions {
  readonly pool: Pool;
  readonly startup: Startup;
  /** What a statement's text leaves behind, as the catalog is now; the text is lent. */
  readonly leavingsOf: (sql: Buffer) => Leavings;
  /** The settings that are the client's own and no part of the startup packet. */
  readonly settings: Carried;
  /** As the client was told at log-in. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly onFault: (error: unknown) => void;
  /** Sends a cancel request; resolves when the server has closed the cancel connection, or it got lost. */
  readonly cancel: (connection: ServerConnection) => Promise<"done" | "lost">;
}

/** Longest message towards the server, as the server takes it. */
const LONGEST = 0x3fff_ffff;

/** A server that says nothing for so long, although it was told to stop or asked what takes no time, is not there. */
const SILENT_MS = 4_000;

/**
 * What a session takes for its server: it writes a client's messages to it, and reads the server's answers. Behind
 * it a connection out of the pool is held from a transaction's first message to its last answer, and no longer.
 */
export class PooledServer extends Duplex implements Asker, PoolSession {
  readonly options: PooledServerOptions;
  readonly leavingsOf: PooledServerOptions["leavingsOf"];
  readonly ledger: PoolLedger = new Ledger<Expected>();
  readonly gate = new Gate(this.ledger.barrier);
  readonly carrying: Carrying;
  readonly toClient = new Outbox();
  readonly statements = new Names<ClientStatement>();
  connection: ServerConnection | undefined;
  readonly #reader: FrameReader;
  readonly #requests: Requests;
  readonly #answers: Answers;
  #isPumping = false;
  readonly #turn = new Turn();
  /** Others have their turn: messages wait for the next one. */
  #isYielding = false;
  /** The reader stands on a message that has to wait. */
  #isHeld = false;
  /** The beginning of a long message has been sent. */
  #isMidMessage = false;
  #isWaiting = false;
  #written: (() => void) | undefined;
  #isDelivering = false;
  #mustFence = false;
  #terminated = false;
  #isOver = false;
  /** When the server was last asked for what takes no time, by `performance.now()`. */
  #askedAt = Number.POSITIVE_INFINITY;

  constructor(options: PooledServerOptions) {
    super({ allowHalfOpen: true });
    this.options = options;
    this.leavingsOf = options.leavingsOf;
    this.carrying = new Carrying(this, options.settings, options.parameters);
    this.#reader = new FrameReader(LONGEST, (type) => STREAMED.has(type));
    this.#requests = new Requests(this);
    this.#answers = new Answers(this);
    this.on("error", () => {});
    options.pool.join(this);
  }

  /** Cancels what this client has the server run now; resolves when that can hit nothing any more but itself. */
  async cancel(): Promise<void> {
    const { connection } = this;
    if (connection === undefined || this.carrying.isSettingUp || this.ledger.isSettled) return;
    connection.cancels++;
    this.#askedAt = performance.now();
    try {
      // What may arrive yet must not hit whoever would have the connection by then.
      if ((await this.options.cancel(connection)) === "lost") connection.isRetired = true;
    } finally {
      connection.cancels--;
      if (this.connection === connection) {
        this.#mustFence = true;
        this.settle();
      }
    }
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, written: (error?: Error | null) => void): void {
    this.#reader.push(chunk);
    this.#written = written;
    this.#pump();
  }

  override _read(): void {
    this.connection?.opened.socket.resume();
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#terminate();
    done();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#isOver = true;
    this.#leave();
    this.options.pool.leave(this);
    done(error);
  }

  granted(connection: ServerConnection): void {
    this.#isWaiting = false;
    this.#adopt(connection);
    this.#pump();
  }

  failed({ response }: NoConnection): void {
    this.#isWaiting = false;
    this.toClient.send(response);
    this.#close();
  }

  backend(frame: FrameReader): void {
    this.#answers.handle(frame);
  }

  arrived(): void {
    this.deliver();
    // An answer may have ended what a message had to wait for.
    if (this.#isHeld) this.#pump();
  }

  lost(): void {
    this.connection = undefined;
    this.ledger.clear();
    // Nothing of the client's has been sent yet: another connection will do.
    if (this.carrying.isSettingUp) this.carrying.tryAgain();
    else this.#close();
  }

  mayStream(type: number, length: number): boolean {
    return this.#answers.mayStream(type, length);
  }

  passRest(): void {
    this.#isMidMessage = true;
  }

  note(leavings: Leavings, connection: ServerConnection): void {
    const { leaves } = leavings;
    if (leaves === "anything" || connection.leaves === "nothing") connection.leaves = leaves;
    this.carrying.note(leavings);
  }

  ask(message: Buffer, done: (query: OwnQuery) => void): void {
    this.connection?.toServer.send(message);
    this.ledger.sent({ kind: "ownQuery", row: [], failed: false, done });
  }

  tellAll(): void {
    for (let { head } = this.ledger; head?.kind === "local"; { head } = this.ledger) {
      this.toClient.send(head.message);
      if (head.change !== undefined) this.statements.confirm(head.change);
      this.ledger.done();
    }
  }

  discarded(what: "all" | "statements"): void {
    const { connection } = this;
    this.statements.clear(() => false);
    connection?.statements.clear();
    if (what === "all" && connection !== undefined) this.carrying.discarded(connection);
  }

  settle(): void {
    const { connection } = this;
    if (connection === undefined || !this.#isClean || connection.cancels > 0) return;
    if (this.#mustFence) {
      this.#mustFence = false;
      // A cancel request that came late hits this and nothing else.
      this.ask(asking(["server_version_num"]), () => this.settle());
    } else if (this.carrying.isTouched) {
      this.carrying.learn();
    } else {
      this.#giveBack(connection);
      return;
    }
    connection.flush(() => {});
  }

  fail(refusal: Refusal): void {
    this.toClient.send(errorResponse(refusal));
    this.discard();
    this.#close();
  }

  discard(): void {
    const { connection } = this;
    this.connection = undefined;
    if (connection !== undefined) this.options.pool.discard(connection);
  }

  goOnSoon(): void {
    queueMicrotask(() => this.#pump());
  }

  /** Gives the session what is there for it. */
  deliver(): void {
    for (const part of this.toClient.take()) {
      if (!this.push(part)) this.connection?.opened.socket.pause();
    }
  }

  /** Nothing is open, nothing is asked, and nothing of a message is still to come. */
  get #isClean(): boolean {
    return this.ledger.isIdle && !this.#isMidMessage && !this.carrying.isSettingUp;
  }

  #pump(): void {
    if (this.#isPumping || this.#isYielding) return;
    this.#isPumping = true;
    this.#turn.begin();
    try {
      while (!this.#isOver && (this.#isHeld || this.#reader.next())) {
        this.#isHeld = !this.#frontend(this.#reader);
        if (this.#isHeld) break;
        if (this.#turn.spend(this.#reader)) {
          this.#yield();
          break;
        }
      }
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) this.options.onFault(error);
      this.fail(error instanceof ProtocolViolation ? error.refusal : FAULT);
    } finally {
      this.#isPumping = false;
    }
    if (this.toClient.size > 0) this.#deliverSoon();
    // While a message waits, its memory is still wanted.
    const waits = (this.#isHeld || this.#isYielding) && !this.#isOver;
    const done = waits ? () => {} : () => this.#acknowledge();
    if (this.connection === undefined) done();
    else this.connection.flush(done);
  }

  /** Goes on after all others that have something to do. */
  #yield(): void {
    this.#isYielding = true;
    setImmediate(() => {
      this.#isYielding = false;
      this.#pump();
    });
  }

  /** As `deliver`, but not while the session writes. */
  #deliverSoon(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    queueMicrotask(() => {
      this.#isDelivering = false;
      if (!this.#isOver) this.deliver();
    });
  }

  #acknowledge(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  /** False: the message has to wait. */
  #frontend(frame: FrameReader): boolean {
    if (frame.type === Frontend.Terminate) {
      this.#terminate();
      return true;
    }
    if (frame.piece === "middle" || frame.piece === "last") {
      this.#goOn(frame);
      return true;
    }
    if (this.connection === undefined && !this.#isWaiting && BETWEEN.has(frame.type)) {
      if (frame.type === Frontend.Sync) this.toClient.send(readyForQuery("I"));
      return true;
    }
    const connection = this.#ready();
    if (connection === undefined) return this.#isOver;
    const { ledger } = this;
    if (ledger.isSettled) this.gate.open();
    const copiesIn = ledger.intake === "copyIn";
    this.#isMidMessage = false;
    const mayPass = copiesIn || ledger.barrier.passes(frame.type, ledger.isSettled);
    if (mayPass && this.#requests.handle(frame, connection)) return true;
    // The server may keep to itself what is waited for.
    if (ledger.mustFlush) connection.toServer.send(flushMessage);
    ledger.flushSent();
    return false;
  }

  /** What has been begun is sent to its end, whatever the server says meanwhile: it counts the bytes. */
  #goOn(frame: FrameReader): void {
    if (!this.#isMidMessage) return;
    this.connection?.toServer.forward(frame);
    this.#isMidMessage = frame.piece !== "last";
    this.settle();
  }

  /** A connection that is ready for the client's messages; undefined: not yet. */
  #ready(): ServerConnection | undefined {
    if (this.connection === undefined && !this.#isWaiting) {
      this.#isWaiting = true;
      const connection = this.options.pool.take(this, this.options.startup);
      if (connection !== undefined) this.#adopt(connection);
    }
    return this.carrying.isSettingUp ? undefined : this.connection;
  }

  #adopt(connection: ServerConnection): void {
    this.#isWaiting = false;
    this.#mustFence = false;
    this.connection = connection;
    this.#askedAt = performance.now();
    connection.holder = this;
    connection.opened.socket.resume();
    this.carrying.setUp(connection);
    if (!this.carrying.isSettingUp) this.#askedAt = Number.POSITIVE_INFINITY;
  }

  #giveBack(connection: ServerConnection): void {
    connection.holder = undefined;
    connection.lastHolder = this;
    this.connection = undefined;
    this.gate.close();
    this.carrying.hasLocalPath = false;
    this.options.pool.release(connection);
    if (this.#terminated) {
      this.#close();
      return;
    }
    this.deliver();
    // It waited for these answers, and they do not come to `arrived` any more.
    if (this.#isHeld) this.goOnSoon();
  }

  #terminate(): void {
    if (this.#terminated) return;
    this.#terminated = true;
    // What was sent and asked for is done to its end, as a server does before it reads Terminate.
    if (this.connection !== undefined && !this.ledger.isSettled && this.ledger.intake === "ready") return;
    this.#leave();
    this.#close();
  }

  /** A transaction that is open is rolled back by closing its connection. */
  #leave(): void {
    this.options.pool.forget(this);
    const { connection } = this;
    if (connection === undefined) return;
    const isSettled = this.#isClean && !this.carrying.isTouched && !this.#mustFence;
    if (isSettled && connection.cancels === 0) {
      this.#giveBack(connection);
      return;
    }
    if (this.#isSilent(connection)) this.options.pool.suspect(connection);
    this.discard();
  }

  #isSilent({ heardAt }: ServerConnection): boolean {
    return heardAt < this.#askedAt && performance.now() - this.#askedAt >= SILENT_MS;
  }

  /** The session reads to here. */
  #close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.options.pool.forget(this);
    this.deliver();
    this.push(null);
    this.#acknowledge();
  }
}

/** Of these no more is read than the beginning. */
const STREAMED: ReadonlySet<number> = new Set([Frontend.CopyData, Frontend.Bind, Frontend.FunctionCall]);

/** Between transactions these mean nothing to a server, but that a Sync is answered. */
const BETWEEN: ReadonlySet<number> = new Set([
  Frontend.Sync,
  Frontend.Flush,
  Frontend.CopyData,
  Frontend.CopyDone,
  Frontend.CopyFail,
]);

const FAULT = refuseSession("XX000", "internal error of the proxy");
