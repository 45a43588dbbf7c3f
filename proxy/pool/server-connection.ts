import type { Socket } from "node:net";
import { Turn } from "../protocol/turn.ts";
import type { Leaves } from "../sql/leavings.ts";
import { type BackendKey, decodeParameterStatus } from "../wire/backend-messages.ts";
import { FrameReader } from "../wire/frames.ts";
import { terminateMessage } from "../wire/frontend-messages.ts";
import { Backend } from "../wire/messages.ts";
import { Outbox } from "../wire/outbox.ts";
import type { Upstream } from "../wire/upstream.ts";
import { ServerStatements } from "./server-statements.ts";

/** A log-in to the server that succeeded: its first ReadyForQuery has been read. */
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
  /** It is not any more: the hosts are asked anew. */
  readonly leaveHost: () => void;
  /** It does not answer: others are tried before it. */
  readonly suspect: () => void;
}

/** Who has a connection at the moment. */
export interface Holder {
  /** A message of the server's. */
  backend(frame: FrameReader): void;
  /** All that came in one read event has been handed in. */
  arrived(): void;
  /** The server has closed it. */
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
  /** Whose transaction was the last one: what he left is his own. */
  lastHolder: Holder | undefined;
  /** How much has been left behind since the last reset. */
  leaves: Leaves = "nothing";
  /** Settings that clients have changed, and to what: texts as the server gave them, a byte a character. */
  applied: ReadonlyMap<string, string> = new Map();
  /** It is not to be lent again. */
  isRetired = false;
  /** Cancel requests on their way: who has the connection next must not be hit. */
  cancels = 0;
  readonly #reader: FrameReader;
  readonly #onClosed: (connection: ServerConnection) => void;
  readonly #onFault: (error: unknown) => void;
  #isClosed = false;
  readonly #turn = new Turn();
  /** Others have their turn: what has been read waits for the next one. */
  #isYielding = false;
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
    this.#reader = new FrameReader(LONGEST, (type, length) => this.holder?.mayStream(type, length) ?? false);
    const { socket } = opened;
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    const onEnd = () => {
      this.#hasEnded = true;
      // Its last words are told first.
      if (!this.#isYielding) this.#closed();
    };
    socket.on("end", onEnd).on("close", onEnd);
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

  /** Writes what waits; `done`: the memory of it is not wanted any more. */
  flush(done: () => void): void {
    const { socket } = this.opened;
    const parts = this.toServer.take();
    if (parts.length === 0 || !socket.writable) {
      done();
      return;
    }
    let isDone = false;
    const once = () => {
      if (isDone) return;
      isDone = true;
      done();
    };
    const [first] = parts;
    socket.write(parts.length === 1 && first !== undefined ? first : Buffer.concat(parts), once);
    if (socket.writableLength === 0) once();
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
    this.#reader.push(bytes);
    if (!this.#isYielding) this.#pump();
  }

  /** Deals with what has been read, and lets others have their turn in between. */
  #pump(): void {
    const reader = this.#reader;
    let isOver = false;
    this.#turn.begin();
    try {
      while (!isOver && !this.#isClosed && reader.next()) {
        if (this.holder !== undefined) this.holder.backend(reader);
        else this.#unasked(reader);
        isOver = this.#turn.spend(reader);
      }
      this.holder?.arrived();
      if (isOver) this.#yield();
    } catch (error) {
      // Nobody knows any more what belongs to what: the connection ends, and its holder's session.
      this.#onFault(error);
      this.#end();
    }
  }

  #yield(): void {
    const { socket } = this.opened;
    // Its holder may have paused it: the client reads slowly.
    const flows = !socket.isPaused();
    this.#isYielding = true;
    socket.pause();
    setImmediate(() => {
      this.#isYielding = false;
      if (this.#isClosed) return;
      if (flows) socket.resume();
      this.#pump();
      if (this.#hasEnded && !this.#isYielding) this.#closed();
    });
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
