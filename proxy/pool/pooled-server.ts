import { Duplex } from "node:stream";
import type { Leavings } from "../sql/leavings.ts";
import { parameterStatus, readyForQuery } from "../wire/backend-messages.ts";
import { errorResponse } from "../wire/errors.ts";
import { FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { flushMessage } from "../wire/frontend-messages.ts";
import { Frontend } from "../wire/messages.ts";
import { Outbox } from "../wire/outbox.ts";
import { type Refusal, refuseSession } from "../wire/refusal.ts";
import { Answers } from "./answers.ts";
import { applying, asBytes, asking, type Carried, resetFor } from "./carried-settings.ts";
import { ExpectedAnswers, type OwnQuery } from "./expected.ts";
import type { Asker, NoConnection, Pool, Startup } from "./pool.ts";
import { Requests } from "./requests.ts";
import type { Holder, ServerConnection } from "./server-connection.ts";
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
  /** Sends a cancel request; resolves when the server has closed the cancel connection. */
  readonly cancel: (connection: ServerConnection) => Promise<void>;
}

/** Longest message towards the server, as the server takes it. */
const LONGEST = 0x3fff_ffff;
/** How often a connection that cannot be set up is replaced before the client is told. */
const ATTEMPTS = 3;

/**
 * What a session takes for its server: it writes a client's messages to it, and reads the server's answers. Behind
 * it a connection out of the pool is held from a transaction's first message to its last answer, and no longer.
 */
export class PooledServer extends Duplex implements Asker, Holder {
  readonly options: PooledServerOptions;
  readonly expected = new ExpectedAnswers();
  readonly toClient = new Outbox();
  /** By the client's names; the unnamed one is "". */
  readonly statements = new Map<string, ClientStatement>();
  /** A statement of this transaction may have set search_path for the transaction. */
  hasLocalPath = false;
  /** The one that is held. */
  connection: ServerConnection | undefined;
  /** Messages of the extended protocol were sent, and no Sync after them. */
  inPipeline = false;
  /** The server drops what it gets, up to the next Sync. */
  skipping = false;
  /** The server reads CopyData. */
  copyIn = false;
  /** All prepared statements may be gone once what was sent is answered: until then nothing is said of any. */
  discarding = false;
  settings: Carried;
  /** Settings that may have been changed since the server was asked. */
  readonly touched = new Set<string>();
  readonly #reader: FrameReader;
  readonly #requests: Requests;
  readonly #answers: Answers;
  readonly #parameters: Map<string, string>;
  #isPumping = false;
  #isHeld = false;
  /** The beginning of a long message has been sent. */
  #isMidMessage = false;
  #isWaiting = false;
  #isSettingUp = false;
  #attempts = 0;
  #written: (() => void) | undefined;
  #isDelivering = false;
  #mustFence = false;
  #terminated = false;
  #isOver = false;

  constructor(options: PooledServerOptions) {
    super({ allowHalfOpen: true });
    this.options = options;
    this.settings = options.settings;
    this.#parameters = new Map(options.parameters);
    this.#reader = new FrameReader(LONGEST, (type) => type === Frontend.CopyData);
    this.#requests = new Requests(this);
    this.#answers = new Answers(this);
    this.on("error", () => {});
  }

  /** Cancels what this client has the server run now; resolves when that can hit nothing any more but itself. */
  async cancel(): Promise<void> {
    const { connection } = this;
    if (connection === undefined || this.#isSettingUp || this.expected.isEmpty) return;
    connection.cancels++;
    try {
      await this.options.cancel(connection);
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
    this.expected.clear();
    // Nothing of the client's has been sent yet: another connection will do.
    if (this.#isSettingUp) this.#tryAgain();
    else this.#close();
  }

  mayStream(type: number): boolean {
    return this.#answers.mayStream(type);
  }

  /** A connection that is ready for the client's messages; undefined: not yet. */
  ready(): ServerConnection | undefined {
    if (this.connection === undefined && !this.#isWaiting) {
      const connection = this.options.pool.take(this, this.options.startup);
      if (connection === undefined) this.#isWaiting = !this.#isOver;
      else this.#adopt(connection);
      if (this.connection !== undefined) this.#isWaiting = false;
    }
    return this.#isSettingUp ? undefined : this.connection;
  }

  /** What a statement may leave is noted when it is sent: that it fails later takes nothing of it back. */
  note({ leaves, sets, resets, discards, localPath }: Leavings, connection: ServerConnection): void {
    if (leaves === "anything" || connection.leaves === "nothing") connection.leaves = leaves;
    for (const name of sets) this.touched.add(asBytes(name));
    if (resets) for (const name of this.settings.keys()) this.touched.add(name);
    if (discards) this.discarding = true;
    if (localPath) this.hasLocalPath = true;
  }

  /** A query of the pool's own, of which the client hears nothing. */
  ask(message: Buffer, done: (query: OwnQuery) => void): void {
    this.connection?.toServer.send(message);
    this.expected.push({ kind: "own", row: [], failed: false, done });
  }

  /** Tells what needs no answer of the server's, once it is its turn. */
  tellAll(): void {
    for (
      let { head } = this.expected;
      head?.kind === "told" || head?.kind === "copyEnd";
      { head } = this.expected
    ) {
      if (head.kind === "told") this.toClient.send(head.message);
      this.expected.shift();
    }
  }

  /** The server reports a parameter while it answers the client. */
  report(name: string, value: string): void {
    this.connection?.parameters.set(name, value);
    if (this.#parameters.get(name) === value) return;
    this.#parameters.set(name, value);
    const pinned = PINNED.get(name);
    if (pinned !== undefined && pinned !== value) {
      // Code of the database's has set it: texts would be read here as the server does not read them.
      this.fail(refuseSession("22023", `${name} must stay ${pinned} with --pool transaction`));
      return;
    }
    this.toClient.send(parameterStatus(name, value));
  }

  /** DISCARD ALL, or DEALLOCATE ALL, has been done. */
  discarded(what: "all" | "statements"): void {
    this.discarding = false;
    this.statements.clear();
    this.connection?.statements.clear();
    if (what === "statements") return;
    this.settings = this.options.settings;
    if (this.connection !== undefined) {
      this.connection.applied = new Map();
      this.connection.leaves = "nothing";
    }
  }

  /** Gives the connection back if the client's transaction is over. */
  settle(): void {
    const { connection } = this;
    if (connection === undefined || !this.#isClean) return;
    if (connection.cancels > 0) return;
    if (this.#mustFence) {
      this.#mustFence = false;
      // A cancel request that came late hits this and nothing else.
      this.ask(asking(["server_version_num"]), () => this.settle());
    } else if (this.touched.size > 0) {
      this.#learn();
    } else {
      this.#giveBack(connection);
      return;
    }
    connection.flush(() => {});
  }

  /** Ends the session with a word. */
  fail(refusal: Refusal): void {
    this.toClient.send(errorResponse(refusal));
    this.#discard();
    this.#close();
  }

  /** Gives the session what is there for it. */
  deliver(): void {
    for (const part of this.toClient.take()) {
      if (!this.push(part)) this.connection?.opened.socket.pause();
    }
  }

  /** As `deliver`, but not while the session writes. */
  deliverSoon(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    queueMicrotask(() => {
      this.#isDelivering = false;
      if (!this.#isOver) this.deliver();
    });
  }

  get #isClean(): boolean {
    return (
      this.expected.isEmpty &&
      !this.inPipeline &&
      !this.skipping &&
      !this.copyIn &&
      !this.#isMidMessage &&
      !this.#isSettingUp &&
      this.#answers.status === "I"
    );
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      while (!this.#isOver && (this.#isHeld || this.#reader.next())) {
        this.#isHeld = !this.#frontend(this.#reader);
        if (this.#isHeld) break;
      }
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) this.options.onFault(error);
      this.fail(error instanceof ProtocolViolation ? error.refusal : FAULT);
    } finally {
      this.#isPumping = false;
    }
    if (this.toClient.size > 0) this.deliverSoon();
    // While a message waits, its memory is still wanted.
    const done = this.#isHeld && !this.#isOver ? () => {} : () => this.#acknowledge();
    if (this.connection === undefined) done();
    else this.connection.flush(done);
  }

  #acknowledge(): void {
    const written = this.#written;
    this.#written = undefined;
    written?.();
  }

  #frontend(frame: FrameReader): boolean {
    if (frame.type === Frontend.Terminate) {
      this.#terminate();
      return true;
    }
    if (frame.piece === "middle" || frame.piece === "last") {
      this.#goOn(frame);
      return true;
    }
    if (this.connection === undefined && !this.#isWaiting) {
      // Between transactions these mean nothing to a server, but that a Sync is answered.
      switch (frame.type) {
        case Frontend.Sync:
          this.toClient.send(readyForQuery("I"));
          return true;
        case Frontend.Flush:
        case Frontend.CopyData:
        case Frontend.CopyDone:
        case Frontend.CopyFail:
          return true;
      }
    }
    const connection = this.ready();
    if (connection === undefined || this.#isOver) return this.#isOver;
    if (this.discarding && this.expected.isEmpty) this.discarding = false;
    if (this.discarding && NAMING.has(frame.type)) {
      connection.toServer.send(flushMessage);
      return false;
    }
    this.#isMidMessage = frame.piece === "first" && !this.skipping;
    this.#requests.handle(frame, connection);
    return true;
  }

  /** What has been begun is sent to its end, whatever the server says meanwhile: it counts the bytes. */
  #goOn(frame: FrameReader): void {
    if (!this.#isMidMessage) return;
    this.connection?.toServer.forward(frame);
    this.#isMidMessage = frame.piece !== "last";
    this.settle();
  }

  #adopt(connection: ServerConnection): void {
    this.connection = connection;
    connection.holder = this;
    connection.opened.socket.resume();
    this.#mustFence = false;
    this.#setUp(connection);
  }

  /** Nothing of the client's is sent before this is done: it could fail, and the client's would run all the same. */
  #setUp(connection: ServerConnection): void {
    const reset = connection.lastHolder === this ? undefined : resetFor(connection.leaves);
    const isClosed = connection.leaves === "anything";
    const settings = applying(this.settings, reset === undefined ? connection.applied : new Map());
    if (reset === undefined && settings === undefined) {
      this.#compareParameters(connection);
      return;
    }
    this.#isSettingUp = true;
    let failed = false;
    const done = (query: OwnQuery, isLast: boolean) => {
      failed ||= query.failed;
      if (isLast) this.#isSetUp(connection, failed);
    };
    if (reset !== undefined) {
      this.ask(reset, (query) => {
        if (!query.failed && isClosed) connection.statements.clear();
        if (!query.failed) connection.leaves = "nothing";
        done(query, settings === undefined);
      });
    }
    if (settings !== undefined) this.ask(settings, (query) => done(query, true));
    connection.flush(() => {});
  }

  #isSetUp(connection: ServerConnection, failed: boolean): void {
    this.#isSettingUp = false;
    if (!failed) {
      this.#attempts = 0;
      connection.applied = this.settings;
      this.#compareParameters(connection);
      return;
    }
    this.#discard();
    this.#tryAgain();
  }

  #tryAgain(): void {
    this.#isSettingUp = false;
    this.#attempts++;
    // The message that waits asks for another one.
    if (this.#attempts < ATTEMPTS) queueMicrotask(() => this.#pump());
    else this.fail(NOT_SET_UP);
  }

  /** A connection that was opened earlier or later may have other defaults: the client is told. */
  #compareParameters(connection: ServerConnection): void {
    for (const [name, value] of connection.parameters) {
      if (this.#parameters.get(name) !== value) this.report(name, value);
    }
  }

  #learn(): void {
    const names = [...new Set([...this.settings.keys(), ...this.touched])];
    this.touched.clear();
    this.ask(asking(names), ({ row, failed }) => {
      if (failed) {
        this.fail(NOT_SET_UP);
        return;
      }
      const learnt = names.map((name, i) => [name, row[i]] as const);
      this.settings = new Map(learnt.filter((each): each is [string, string] => each[1] !== undefined));
      if (this.connection !== undefined) this.connection.applied = this.settings;
      this.settle();
    });
  }

  #giveBack(connection: ServerConnection): void {
    connection.holder = undefined;
    connection.lastHolder = this;
    this.connection = undefined;
    this.discarding = false;
    this.hasLocalPath = false;
    this.options.pool.release(connection);
    if (this.#terminated) {
      this.#close();
      return;
    }
    this.deliver();
    // It waited for these answers, and they do not come to `arrived` any more.
    if (this.#isHeld) queueMicrotask(() => this.#pump());
  }

  #terminate(): void {
    if (this.#terminated) return;
    this.#terminated = true;
    // What was sent and asked for is done to its end, as a server does before it reads Terminate.
    if (this.connection !== undefined && !this.expected.isEmpty && !this.inPipeline && !this.copyIn) return;
    this.#leave();
    this.#close();
  }

  /** A transaction that is open is rolled back by closing its connection. */
  #leave(): void {
    this.options.pool.forget(this);
    const { connection } = this;
    if (connection === undefined) return;
    if (this.#isClean && this.touched.size === 0 && connection.cancels === 0 && !this.#mustFence) {
      this.#giveBack(connection);
    } else {
      this.#discard();
    }
  }

  #discard(): void {
    const { connection } = this;
    this.connection = undefined;
    if (connection !== undefined) this.options.pool.discard(connection);
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

const NAMING: ReadonlySet<number> = new Set([
  Frontend.Query,
  Frontend.Parse,
  Frontend.Bind,
  Frontend.Describe,
  Frontend.Close,
]);

/** The analysis reads texts as the server does with these. */
export const PINNED: ReadonlyMap<string, string> = new Map([
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
]);

const FAULT = refuseSession("XX000", "internal error of the proxy");

const NOT_SET_UP = refuseSession(
  "08006",
  "the settings of this session cannot be carried to another connection",
  {
    hint: "A setting may name something that is gone, or statement_timeout may be too short. Connect again.",
  },
);
