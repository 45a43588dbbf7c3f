import type { Socket } from "node:net";
import { errorResponse } from "../wire/errors.ts";
import { FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { Frontend } from "../wire/messages.ts";
import { type Refusal, refuseSession } from "../wire/refusal.ts";
import type { Established } from "./established.ts";
import { guardedRelay } from "./guarded.ts";
import { Judging } from "./judging.ts";
import { SessionEnd, type SessionParts } from "./parts.ts";
import { readSocket } from "./reading.ts";
import { unrecordedAnswer } from "./recording.ts";
import type { Relay } from "./relay.ts";
import { Trace } from "./trace.ts";
import { TransparentRelay } from "./transparent.ts";

export type { SessionParts } from "./parts.ts";

/**
 * Relays and guards a session from log-in to its end. Resolves when nothing more will be sent to either side;
 * the sockets are left to the caller to close. Never rejects.
 */
export function runSession(established: Established, parts: SessionParts): Promise<void> {
  return new Session(established, parts).run();
}

/**
 * The way of the data: client → `frontend` (judged, rewritten or refused) → server → `backend` (trimmed,
 * limited, metered) → client; and what was decided falls out as events on the way.
 */
class Session {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #client: Side;
  readonly #server: Side;
  readonly #trace: Trace;
  readonly #ended = new AbortController();
  #judging: Judging | undefined;
  #relay: Relay | undefined;
  #resolve: () => void = () => {};
  /** A long message has been begun towards the client, and not ended. */
  #midMessage = false;
  /** The same of what has been written to it. */
  #sentMidMessage = false;
  /** What is made for the client waits until the events that speak of it are on disk. */
  #isHolding = false;
  /** No rows of the last read event wait for the meter. */
  #isSettled = true;

  constructor(established: Established, parts: SessionParts) {
    this.#established = established;
    this.#parts = parts;
    this.#trace = new Trace(established, parts);
    const { client, server } = established;
    this.#client = {
      socket: client.socket,
      reader: new FrameReader(client.reader.maximumLength, mayClientStream),
      isHeld: false,
      hasEnded: false,
    };
    this.#server = {
      socket: server.socket,
      reader: new FrameReader(server.reader.maximumLength, (type) => this.#relay?.mayStream(type) ?? false),
      isHeld: false,
      hasEnded: false,
    };
  }

  async run(): Promise<void> {
    const done = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    try {
      this.#start();
    } catch (error) {
      this.#fail(error, "client");
    }
    await done;
  }

  #start(): void {
    const { client, server, draining, ending } = this.#established;
    const judging = new Judging(this.#established, this.#parts, () => this.#pump());
    this.#judging = judging;
    this.#relay =
      judging.treatment === "transparent"
        ? new TransparentRelay(this.#established, this.#parts, judging, this.#trace)
        : guardedRelay(this.#established, this.#parts, judging, this.#trace, () => this.#pump());
    this.#client.reader.push(client.reader.drain());
    this.#server.reader.push(server.reader.drain());
    const { signal } = this.#ended;
    ending?.addEventListener("abort", () => this.#end(refusalOf(ending)), { signal });
    draining?.addEventListener("abort", () => this.#pump(), { signal });
    this.#listen(this.#client);
    this.#listen(this.#server);
    this.#pump();
  }

  #listen(side: Side): void {
    const { socket, reader } = side;
    const onBytes = (bytes: Buffer) => {
      reader.push(bytes);
      this.#pump();
      return this.#holds(side);
    };
    const onEnd = () => {
      side.hasEnded = true;
      this.#pump();
    };
    const onDrain = () => this.#regulate();
    // 'close' follows each 'error' and says enough.
    const onError = () => {};
    socket.on("end", onEnd).on("close", onEnd).on("drain", onDrain).on("error", onError);
    const stopReading = readSocket(socket, onBytes);
    this.#ended.signal.addEventListener("abort", () => {
      stopReading();
      socket.off("end", onEnd).off("close", onEnd).off("drain", onDrain);
      socket.pause();
    });
    if (socket.destroyed || socket.readableEnded) side.hasEnded = true;
  }

  /** Whether somebody still points into the bytes that were read last. */
  #holds(side: Side): boolean {
    const relay = this.#relay;
    return (
      relay === undefined ||
      relay.keepsBytes ||
      side.isHeld ||
      side.reader.buffered > 0 ||
      relay.toClient.size > 0 ||
      relay.toServer.size > 0 ||
      this.#client.socket.writableLength > 0 ||
      this.#server.socket.writableLength > 0
    );
  }

  /** Deals with all that can be dealt with now. The server first: what it answers lets the client's go on. */
  #pump(): void {
    const relay = this.#relay;
    if (relay === undefined || this.#ended.signal.aborted) return;
    let side: "client" | "server" = "server";
    try {
      this.#pumpServer(relay);
      side = "client";
      this.#pumpClient(relay);
    } catch (error) {
      this.#fail(error, side);
      return;
    }
    relay.toServer.flush(this.#server.socket);
    this.#deliver(relay);
    this.#regulate();
    this.#conclude(relay);
  }

  /** Gives out what was made for the client, once the events that speak of it are on disk. */
  #deliver(relay: Relay): void {
    if (this.#isHolding) return;
    relay.record();
    if (!this.#trace.takeDue()) {
      relay.toClient.flush(this.#client.socket);
      this.#sentMidMessage = this.#midMessage;
      return;
    }
    this.#isHolding = true;
    void this.#parts.audit.durable().then((isOnDisk) => {
      if (this.#ended.signal.aborted) return;
      if (!isOnDisk) {
        this.#end(unrecordedAnswer());
        return;
      }
      this.#isHolding = false;
      this.#pump();
    });
  }

  #pumpServer(relay: Relay): void {
    const server = this.#server;
    const { reader } = server;
    while (server.isHeld || reader.next()) {
      server.isHeld = !relay.backend(reader);
      if (server.isHeld) return;
      this.#midMessage = reader.piece === "first" || reader.piece === "middle";
    }
    this.#isSettled = relay.settle();
  }

  #pumpClient(relay: Relay): void {
    const client = this.#client;
    const { reader } = client;
    while (!relay.terminated && (client.isHeld || reader.next())) {
      client.isHeld = !relay.frontend(reader);
      if (client.isHeld) return;
    }
  }

  /** Reads from a side only what can be dealt with, and what the other side takes off us. */
  #regulate(): void {
    if (this.#ended.signal.aborted) return;
    const [client, server] = [this.#client, this.#server];
    flow(client.socket, !client.isHeld && !server.socket.writableNeedDrain);
    flow(
      server.socket,
      !server.isHeld && this.#isSettled && !this.#isHolding && !client.socket.writableNeedDrain,
    );
  }

  /** Sees whether the session is over. */
  #conclude(relay: Relay): void {
    const { draining } = this.#established;
    const [client, server] = [this.#client, this.#server];
    if (client.socket.destroyed || (client.hasEnded && !client.isHeld)) {
      this.#finish();
      return;
    }
    if (this.#isHolding) return;
    if (server.hasEnded && !server.isHeld && this.#isSettled) {
      relay.fatal || relay.terminated ? this.#finish() : this.#end(SERVER_LOST);
      return;
    }
    if (draining?.aborted && relay.isIdle && !client.isHeld) this.#end(refusalOf(draining));
  }

  #fail(error: unknown, side: "client" | "server"): void {
    if (error instanceof SessionEnd) {
      this.#end(error.refusal);
      return;
    }
    if (error instanceof ProtocolViolation) {
      this.#end(side === "client" ? error.refusal : SessionEnd.outOfStep(error.message).refusal);
      return;
    }
    this.#parts.log.error({ err: error, session: this.#established.id }, "a session failed");
    this.#end(refuseSession("XX000", "internal error of the proxy"));
  }

  /** Ends the session with a word to the client, unless that would stand in the middle of a message. */
  #end(refusal: Refusal): void {
    if (this.#ended.signal.aborted) return;
    this.#relay?.toServer.flush(this.#server.socket);
    this.#sendRest();
    const { socket } = this.#client;
    if (!this.#sentMidMessage && socket.writable) socket.write(errorResponse(refusal));
    this.#finish();
  }

  /** What is on record may still leave; nobody waits at the end for the disk. */
  #sendRest(): void {
    const relay = this.#relay;
    if (relay === undefined) return;
    relay.record();
    if (this.#trace.takeDue() || this.#isHolding) {
      relay.toClient.clear();
      return;
    }
    relay.toClient.flush(this.#client.socket);
    this.#sentMidMessage = this.#midMessage;
  }

  #finish(): void {
    if (this.#ended.signal.aborted) return;
    this.#relay?.abandon();
    this.#trace.loggedOut(this.#judging?.role.name ?? "");
    this.#ended.abort();
    this.#resolve();
  }
}

/** One side: what it sends, as far as it has been dealt with. */
interface Side {
  readonly socket: Socket;
  readonly reader: FrameReader;
  /** The reader stands on a message that has to wait. */
  isHeld: boolean;
  /** It will send no more. */
  hasEnded: boolean;
}

const FRONTEND_TYPES: ReadonlySet<number> = new Set(Object.values(Frontend));

/**
 * Asked at the head of a message whose end is still to come. One of a type that nobody knows is not waited
 * for: SocketBackend of tcop/postgres.c, too, looks at the type before the length.
 */
function mayClientStream(type: number): boolean {
  if (!FRONTEND_TYPES.has(type)) throw new ProtocolViolation(`invalid frontend message type ${type}`);
  return type === Frontend.CopyData;
}

function flow(socket: Socket, wanted: boolean): void {
  if (socket.isPaused() !== wanted) return;
  if (wanted) socket.resume();
  else socket.pause();
}

const SERVER_LOST = refuseSession("08006", "the database server closed the connection", {
  hint: "Whether the last transaction was committed is not known. Connect again; the server's log may say more.",
});

/** The reason of these signals is what the client is to be told. */
function refusalOf({ reason }: AbortSignal): Refusal {
  return isRefusal(reason) ? reason : refuseSession("57P01", "terminating connection");
}

function isRefusal(reason: unknown): reason is Refusal {
  return typeof reason === "object" && reason !== null && "sqlstate" in reason;
}
