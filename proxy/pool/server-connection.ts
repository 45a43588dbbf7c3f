import type { Socket } from "node:net";
import type { Leaves } from "../pg/statements.ts";
import { type BackendKey, decodeParameterStatus } from "../wire/backend-messages.ts";
import { FrameReader } from "../wire/frames.ts";
import { terminateMessage } from "../wire/frontend-messages.ts";
import { Backend } from "../wire/messages.ts";
import { Outbox } from "../wire/outbox.ts";
import type { Upstream } from "../wire/upstream.ts";
import { ServerStatements } from "./server-statements.ts";

/** A login to the server that succeeded: its first ReadyForQuery has been read. */
export interface Opened {
  readonly socket: Socket;
  /** What came after it. */
  readonly rest: Buffer;
  /** As the server reported them. */
  readonly parameters: ReadonlyMap<string, string>;
  /** Undefined: nothing can be cancelled there. */
  readonly key: BackendKey | undefined;
  readonly at: Upstream;
  /** Whether a server that says this of itself is the one that is wanted (`target_session_attrs`). */
  readonly accepts: (parameters: ReadonlyMap<string, string>) => boolean;
  /** It is not any more: the hosts are asked again. */
  readonly leaveHost: () => void;
  /** It does not answer: others are tried before it. */
  readonly suspect: () => void;
}

/** Who has a connection at the moment, and takes the server's messages from it. */
export interface Holder {
  /** Something has come, or the server has closed the connection, or it takes bytes again after it was full. */
  arrived(): void;
  /** The connection is closed, and all that came has been taken. */
  lost(): void;
  mayStream(type: number, length: number): boolean;
}

/** Longest message of a server: PQ_LARGE_MESSAGE_LIMIT of libpq/libpq.h. */
const LONGEST = 0x3fff_ffff;

/** One connection to the server: one holder at a time, or none. */
export class ServerConnection {
  /** The settings that it was opened with, as one text: no other client's may run here. */
  readonly startup: string;
  readonly opened: Opened;
  readonly parameters: Map<string, string>;
  readonly statements = new ServerStatements();
  readonly toServer = new Outbox();
  /** `performance.now()` */
  readonly since = performance.now();
  idleSince = 0;
  /** When the server has last sent anything, by `performance.now()`. */
  heardAt = performance.now();
  holder: Holder | undefined;
  /** The user of the last transaction: what they left is their own. */
  lastHolder: Holder | undefined;
  /** How much has been left behind since the last reset. */
  leaves: Leaves = "nothing";
  /** Settings that clients have changed, and to what: texts as the server gave them, a byte a character. */
  applied: ReadonlyMap<string, string> = new Map();
  /** It is not to be lent again. */
  isRetired = false;
  /** The server is sent nothing more, and reads that. */
  hasHungUp = false;
  /** Cancel requests on their way: who has the connection next must not be hit. */
  cancels = 0;
  /** The server's messages. */
  readonly reader: FrameReader;
  readonly #onClosed: (connection: ServerConnection) => void;
  readonly #onFault: (error: unknown) => void;
  #isClosed = false;
  #hasEnded = false;

  constructor(
    startup: string,
    opened: Opened,
    onClosed: (connection: ServerConnection) => void,
    onFault: (error: unknown) => void,
  ) {
    this.startup = startup;
    this.opened = opened;
    this.parameters = new Map(opened.parameters);
    this.#onClosed = onClosed;
    this.#onFault = onFault;
    this.reader = new FrameReader(LONGEST, (type, length) => this.holder?.mayStream(type, length) ?? false);
    const { socket } = opened;
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    const onEnd = () => {
      this.#hasEnded = true;
      // Its last words are sent first.
      if (this.holder === undefined) this.#closed();
      else this.holder.arrived();
    };
    socket.on("end", onEnd).on("close", onEnd);
    socket.on("drain", () => this.holder?.arrived());
    // 'close' follows and says enough.
    socket.on("error", () => {});
    if (socket.destroyed || socket.readableEnded) queueMicrotask(onEnd);
    if (opened.rest.length > 0) this.#read(opened.rest);
    socket.resume();
  }

  /** As far as this side has read, the server is there. */
  get isAlive(): boolean {
    const { socket } = this.opened;
    return !this.#isClosed && socket.writable && !socket.readableEnded;
  }

  /** The server says of itself what is not wanted; what a client has set says nothing of the server. */
  get isUnwanted(): boolean {
    return !this.applied.has("default_transaction_read_only") && !this.opened.accepts(this.parameters);
  }

  lend(holder: Holder): void {
    this.holder = holder;
  }

  /** Its holder is done with it: what comes from now on is nobody's. */
  giveUp(): void {
    this.holder = undefined;
    this.flow(true);
    this.#readUnasked();
  }

  /** Moves `reader` on to the next message; false: there is none yet. */
  next(): boolean {
    return !this.#isClosed && this.reader.next();
  }

  /** The server sends no more. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  /** All that came has been taken: it is over. */
  finish(): void {
    this.#closed();
  }

  /** Reads from it, or does not. */
  flow(wanted: boolean): void {
    const { socket } = this.opened;
    if (wanted === !socket.isPaused()) return;
    if (wanted) socket.resume();
    else socket.pause();
  }

  /** More should not be written before it has taken this. */
  get isFull(): boolean {
    return this.opened.socket.writableNeedDrain;
  }

  /** What was written is still wanted where it lies. */
  get isWriting(): boolean {
    return this.toServer.size > 0 || this.opened.socket.writableLength > 0;
  }

  /** A simple query of the pool's own. With it the unnamed statement goes (exec_simple_query of tcop/postgres.c). */
  sendOwn(query: Buffer): void {
    this.toServer.send(query);
    this.statements.dropUnnamed();
  }

  /** Writes what waits. */
  flush(): void {
    const { socket } = this.opened;
    const parts = this.toServer.take();
    const [first] = parts;
    if (first === undefined || !socket.writable) return;
    socket.write(parts.length === 1 ? first : Buffer.concat(parts));
  }

  /** Nothing more is sent: the server answers what it has read, and ends. */
  hangUp(): void {
    this.flush();
    this.hasHungUp = true;
    this.opened.socket.end();
  }

  /** Nobody is to have it any more. */
  close(): void {
    const { socket } = this.opened;
    this.holder = undefined;
    if (this.#isClosed) return;
    if (socket.writable) socket.end(terminateMessage);
    // A transaction that is open ends with the connection; nobody waits for the server's last words.
    socket.destroySoon();
    socket.resume();
    this.#closed();
  }

  #read(bytes: Buffer): void {
    this.heardAt = performance.now();
    this.reader.push(bytes);
    if (this.holder === undefined) this.#readUnasked();
    else this.holder.arrived();
  }

  #readUnasked(): void {
    try {
      while (this.holder === undefined && this.next()) this.#unasked(this.reader);
    } catch (error) {
      this.broke(error);
    }
  }

  /** Nobody knows any more what belongs to what: the connection ends. */
  broke(error: unknown): void {
    this.#onFault(error);
    this.#end();
  }

  /** Nobody has asked anything: only news of the server may come, or its farewell. */
  #unasked(frame: FrameReader): void {
    if (frame.type === Backend.ParameterStatus) {
      const { name, value } = decodeParameterStatus(frame);
      this.parameters.set(name, value);
    } else if (frame.type !== Backend.NoticeResponse && frame.type !== Backend.NotificationResponse) {
      this.#end();
    }
  }

  #end(): void {
    this.opened.socket.destroy();
    this.#closed();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#onClosed(this);
    const { holder } = this;
    this.holder = undefined;
    holder?.lost();
  }
}
