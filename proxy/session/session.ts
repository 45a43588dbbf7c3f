import { Turn } from "../protocol/turn.ts";
import { errorResponse } from "../wire/errors.ts";
import { ProtocolViolation } from "../wire/frames.ts";
import { type Refusal, refuseSession, type SessionEndReason } from "../wire/refusal.ts";
import type { Established } from "./established.ts";
import { GuardedRelay } from "./guarded.ts";
import { Judging } from "./judging.ts";
import { SessionEnd, type SessionParts } from "./parts.ts";
import { unrecordedAnswer } from "./recording.ts";
import type { Relay } from "./relay.ts";
import { checkClientType, reasonOf, SERVER_LOST, Side } from "./sides.ts";
import { type Activity, endsAnswer, SERVER_SILENT, STALLED, type Timed } from "./time-limits.ts";
import { Trace } from "./trace.ts";
import { TransparentRelay } from "./transparent.ts";
import { WatchedRelay } from "./watched/watched.ts";

export type { SessionParts } from "./parts.ts";

/**
 * Relays and guards a session from log-in to its end. Resolves when nothing more will be sent to either side;
 * the sockets are left to the caller to close. Gives what ended it; never rejects.
 */
export function runSession(established: Established, parts: SessionParts): Promise<SessionEndReason> {
  return new Session(established, parts).run();
}

const RELAYS = { transparent: TransparentRelay, watched: WatchedRelay, guarded: GuardedRelay } as const;

/**
 * The way of the data: client → `frontend` (judged, rewritten or refused) → server → `backend` (trimmed,
 * limited, metered) → client; and what was decided falls out as events on the way.
 */
class Session implements Timed {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #client: Side;
  readonly #server: Side;
  readonly #trace: Trace;
  #isOver = false;
  #judging: Judging | undefined;
  #unwatch: () => void = () => {};
  #relay: Relay | undefined;
  #resolve: (reason: SessionEndReason) => void = () => {};
  /** A long message has been begun towards the client, and what has been written does not end it. */
  #sentMidMessage = false;
  /** What is made for the client waits until the events that speak of it are on disk. */
  #isHolding = false;
  /** No rows of the last read event wait for the meter. */
  #isSettled = true;
  #answers = 0;
  readonly #turn = new Turn();
  /** Others have their turn: what has been read and not dealt with waits for the next one. */
  #isYielding = false;

  constructor(established: Established, parts: SessionParts) {
    this.#established = established;
    this.#parts = parts;
    this.#trace = new Trace(established, parts);
    const { client, server } = established;
    const onDrain = () => this.#regulate();
    this.#client = new Side(client, onDrain);
    this.#server = new Side(server, onDrain);
  }

  run(): Promise<SessionEndReason> {
    const done = new Promise<SessionEndReason>((resolve) => {
      this.#resolve = resolve;
    });
    try {
      this.#start();
    } catch (error) {
      this.#fail(error, "client");
    }
    return done;
  }

  #start(): void {
    const { dismissal } = this.#established;
    const pump = () => this.#pump();
    const judging = new Judging(this.#established, this.#parts, pump);
    this.#judging = judging;
    if (judging.treatment !== "transparent") this.#unwatch = this.#parts.catalog.watch();
    const relay = new RELAYS[judging.treatment](this.#established, this.#parts, judging, this.#trace, pump);
    const { openMessageBytes } = this.#parts;
    if (judging.treatment === "transparent" && openMessageBytes !== undefined)
      this.#client.reader.maximumLength = openMessageBytes;
    this.#client.reader.streamable = (type) => {
      checkClientType(type);
      return relay.mayClientStream(type);
    };
    this.#server.reader.streamable = (type, length) => relay.mayStream(type, length);
    dismissal.heed(() => (dismissal.atOnce === undefined ? this.#pump() : this.#end(dismissal.atOnce)));
    for (const side of [this.#client, this.#server]) side.listen((bytes) => this.#take(bytes, side), pump);
    this.#parts.timeKeeper?.watch(this);
    // Only now: what has been read already may end the session, and by then there must be nothing left to tie.
    this.#relay = relay;
    this.#pump();
  }

  get answers(): number {
    return this.#answers;
  }

  get activity(): Activity {
    const relay = this.#relay;
    if (relay === undefined || this.#isHolding) return "proxy";
    if (relay.isRunning) return "statement";
    if (this.#client.isHeld) return "proxy";
    return relay.isIdle ? "idle" : "idle in transaction";
  }

  cancelStatement(): void {
    const relay = this.#relay;
    if (relay === undefined) return;
    relay.cancelStatement();
    relay.toServer.flush(this.#server.writer);
  }

  endStatement(): void {
    const isStalled = this.#relay?.copyIn || this.#client.writer.isFull;
    this.end(isStalled ? STALLED : SERVER_SILENT);
  }

  end(refusal: Refusal): void {
    const { id, user } = this.#established;
    this.#parts.log.info(
      { session: id, user, sqlstate: refusal.sqlstate },
      "a session was ended by a time limit",
    );
    this.#end(refusal);
  }

  /** Bytes of a side. True: somebody still points into them. */
  #take(bytes: Buffer, side: Side): boolean {
    side.reader.push(bytes);
    this.#pump();
    return this.#holds(side);
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
      this.#client.writer.holds ||
      this.#server.writer.holds
    );
  }

  /** Deals with all that can be dealt with now. The server first: what it answers lets the client's go on. */
  #pump(): void {
    const relay = this.#relay;
    if (relay === undefined || this.#isOver || this.#isYielding) return;
    let side: "client" | "server" = "server";
    this.#turn.begin();
    try {
      this.#pumpServer(relay);
      side = "client";
      if (!this.#isYielding) this.#pumpClient(relay);
    } catch (error) {
      this.#fail(error, side);
      return;
    }
    relay.toServer.flush(this.#server.writer);
    this.#deliver(relay);
    this.#regulate();
    this.#conclude(relay);
  }

  /** Gives out what was made for the client, once the events that speak of it are on disk. */
  #deliver(relay: Relay): void {
    if (this.#isHolding) return;
    relay.record();
    if (!this.#trace.takeDue()) {
      this.#flush(relay);
      return;
    }
    this.#isHolding = true;
    const asked = performance.now();
    void this.#parts.audit.durable().then((isOnDisk) => {
      if (this.#isOver) return;
      this.#parts.metrics.waited("audit", (performance.now() - asked) / 1000);
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
      if (endsAnswer(reader.type)) this.#answers++;
      if (this.#turn.spend(reader)) {
        this.#yield();
        break;
      }
    }
    this.#isSettled = relay.settle();
  }

  #pumpClient(relay: Relay): void {
    const client = this.#client;
    const { reader } = client;
    while (!relay.terminated && (client.isHeld || reader.next())) {
      client.isHeld = !relay.frontend(reader);
      if (client.isHeld) return;
      if (this.#turn.spend(reader)) {
        this.#yield();
        return;
      }
    }
  }

  /** Goes on after all others that have something to do. */
  #yield(): void {
    this.#isYielding = true;
    setImmediate(() => {
      this.#isYielding = false;
      this.#pump();
    });
  }

  /** Reads from a side only what can be dealt with, and what the other side takes off us. */
  #regulate(): void {
    if (this.#isOver) return;
    const [client, server] = [this.#client, this.#server];
    const goesOn = !this.#isYielding;
    client.flow(goesOn && !client.isHeld && !server.writer.isFull);
    server.flow(goesOn && !server.isHeld && this.#isSettled && !this.#isHolding && !client.writer.isFull);
  }

  /** Sees whether the session is over. */
  #conclude(relay: Relay): void {
    if (this.#isYielding) return;
    const { whenIdle } = this.#established.dismissal;
    const [client, server] = [this.#client, this.#server];
    if (client.isClosed || (client.hasEnded && !client.isHeld)) {
      this.#finish("client");
      return;
    }
    if (this.#isHolding) return;
    if (server.hasEnded && !server.isHeld && this.#isSettled) {
      if (relay.terminated || relay.fatal) this.#finish(relay.terminated ? "client" : "upstream");
      else this.#end(SERVER_LOST);
      return;
    }
    if (whenIdle !== undefined && relay.isIdle && !client.isHeld) this.#end(whenIdle);
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
    const refusal = this.#trace.refer(refuseSession("XX000", "internal error of the proxy"));
    const { reference } = refusal;
    this.#parts.log.error({ err: error, reference, session: this.#established.id }, "a session failed");
    this.#end(refusal);
  }

  /** Ends the session with a word to the client, unless that would stand in the middle of a message. */
  #end(refusal: Refusal): void {
    if (this.#isOver) return;
    this.#relay?.toServer.flush(this.#server.writer);
    this.#sendRest();
    const { socket } = this.#client;
    const told = this.#trace.refer(refusal);
    if (!this.#sentMidMessage && socket.writable) socket.write(errorResponse(told));
    this.#finish(reasonOf(refusal), told);
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
    this.#flush(relay);
  }

  #flush({ toClient }: Relay): void {
    toClient.flush(this.#client.writer);
    this.#sentMidMessage = toClient.isMidMessage;
  }

  #finish(reason: SessionEndReason, told?: Refusal): void {
    if (this.#isOver) return;
    this.#relay?.abandon();
    this.#trace.loggedOut(this.#judging?.role.name ?? "", reason, told);
    this.#isOver = true;
    this.#unwatch();
    this.#client.release();
    this.#server.release();
    this.#parts.timeKeeper?.unwatch(this);
    this.#resolve(reason);
  }
}
