import { OutsideCopy } from "../protocol/copy-question.ts";
import type { LegUser, ServerLeg } from "../protocol/server-leg.ts";
import { Turn } from "../protocol/turn.ts";
import { errorResponse } from "../wire/errors.ts";
import { ProtocolViolation } from "../wire/frames.ts";
import { type Refusal, refuseSession, type SessionEndReason } from "../wire/refusal.ts";
import { type Established, isConnection, type RunningStatement } from "./context/established.ts";
import { SessionEnd, type SessionParts } from "./context/parts.ts";
import {
  type Activity,
  endsAnswer,
  SERVER_SILENT,
  STALLED,
  STATEMENT_TIMEOUT,
  type Timed,
} from "./context/time-limits.ts";
import { Judging } from "./decide/judging.ts";
import { recordedText } from "./decide/recorded-text.ts";
import { unrecordedAnswer } from "./decide/recording.ts";
import { GuardedRelay } from "./guarded/guarded.ts";
import { Trace } from "./record/audit-recorder.ts";
import { DirectLeg } from "./relay/direct-leg.ts";
import type { Relay } from "./relay/relay.ts";
import { checkClientType, endReasonOf, SERVER_LOST, Side } from "./relay/side.ts";
import { TokenLeg } from "./tokens/token-leg.ts";
import { TransparentRelay } from "./transparent/transparent.ts";
import { WatchedRelay } from "./watched/watched-relay.ts";

export type { SessionParts } from "./context/parts.ts";

/**
 * Relays and guards a session from login to its end. Resolves when nothing more will be sent to either side;
 * the sockets are left to the caller to close. Gives what ended it; never rejects.
 */
export function runSession(established: Established, parts: SessionParts): Promise<SessionEndReason> {
  return new Session(established, parts).run();
}

/** Of COPY into a table with tokens: a line is gathered before its values become tokens. */
const LONGEST_LINE = 16 * 1024 * 1024;

const RELAYS = { transparent: TransparentRelay, watched: WatchedRelay, guarded: GuardedRelay } as const;

/**
 * The way of the data: client → `frontend` (judged, rewritten or refused) → server → `backend` (trimmed,
 * limited, metered) → client; and what was decided falls out as events on the way.
 */
class Session implements Timed, LegUser {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #client: Side;
  #leg: ServerLeg;
  #tokens: TokenLeg | undefined;
  /** The leg is at a message that has to wait. */
  #isServerHeld = false;
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
  /** The server has been told that the client sends no more. */
  #hasHungUp = false;

  constructor(established: Established, parts: SessionParts) {
    this.#established = established;
    this.#parts = parts;
    this.#trace = new Trace(established, parts);
    const { client, server } = established;
    const onDrain = () => this.#regulate();
    this.#client = new Side(client, onDrain);
    this.#leg = isConnection(server) ? new DirectLeg(server, onDrain) : server;
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
    const { tokens: sealer, policy } = this.#parts;
    if (sealer !== undefined) {
      const { parameters } = this.#established;
      const { log, catalog, openMessageBytes = LONGEST_LINE } = this.#parts;
      this.#leg = this.#tokens = new TokenLeg(this.#leg, judging, {
        ...{ sealer, policy, parameters, log },
        longestLine: Math.min(openMessageBytes, LONGEST_LINE),
        lookAgain: () => {
          catalog.changed();
          return catalog.lookAgain();
        },
        doubt: () => catalog.lookAgain(),
      });
    }
    if (judging.treatment !== "transparent" || sealer !== undefined)
      this.#unwatch = this.#parts.catalog.watch();
    const { treatment } = judging;
    const relay = new RELAYS[treatment](
      this.#established,
      this.#parts,
      judging,
      this.#trace,
      this.#leg,
      pump,
    );
    const { openMessageBytes } = this.#parts;
    if (judging.treatment === "transparent" && openMessageBytes !== undefined)
      this.#client.reader.maximumLength = openMessageBytes;
    this.#client.reader.streamable = (type, length) => {
      checkClientType(type);
      return this.#tokens?.wantsWhole(type) !== true && relay.mayClientStream(type, length);
    };
    dismissal.heed(() => (dismissal.atOnce === undefined ? this.#pump() : this.#end(dismissal.atOnce)));
    this.#client.listen((bytes) => this.#take(bytes), pump);
    this.#leg.begin(relay.ledger, this);
    this.#parts.timeKeeper?.watch(this);
    this.#established.window.open(
      () => this.#running(),
      (person, words) => this.#stopPerson(person, words),
    );
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
    if (this.#leg.isRunning) return "statement";
    if (this.#client.isHeld) return "proxy";
    return this.#leg.isIdle ? "idle" : "idle in transaction";
  }

  #running(): RunningStatement | undefined {
    if (this.#isOver) return undefined;
    const underway = this.#relay?.underway;
    if (underway === undefined) return undefined;
    const statement = recordedText(underway.judged, this.#parts);
    return { statement, duration: performance.now() - underway.at };
  }

  cancelStatement(): void {
    const relay = this.#relay;
    if (relay === undefined) return;
    relay.cancelStatement(STATEMENT_TIMEOUT);
    this.#leg.write();
  }

  #stopPerson(person: string, words: Refusal): void {
    if (this.#isOver) return;
    this.#relay?.stopPerson(person, words);
    this.#leg.write();
  }

  endStatement(): void {
    const isStalled = this.#relay?.ledger.intake === "copyIn" || this.#client.writer.isFull;
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

  /** Bytes of the client. True: something still points into them. */
  #take(bytes: Buffer): boolean {
    const { reader } = this.#client;
    reader.push(bytes);
    this.#pump();
    return this.#client.isHeld || reader.buffered > 0 || this.#holds();
  }

  arrived(): boolean {
    this.#pump();
    return this.#isServerHeld || this.#holds();
  }

  wake(): void {
    this.#pump();
  }

  mayStream(type: number, length: number): boolean {
    return this.#relay?.mayStream(type, length) === true;
  }

  /** Whether something still points into bytes that were handled. */
  #holds(): boolean {
    const relay = this.#relay;
    if (relay === undefined || relay.keepsBytes || relay.toClient.size > 0) return true;
    return this.#leg.holds || this.#client.writer.holds;
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
    this.#relieve(relay);
    if (!relay.sendsMoreSoon) this.#leg.write();
    this.#deliver(relay);
    this.#regulate();
    this.#conclude(relay);
  }

  /** Before the client is read from again, the server has to answer: so it must not keep its answers to itself. */
  #relieve({ ledger }: Relay): void {
    if (ledger.isCrowded && ledger.mustFlush && !this.#client.reader.isMidMessage) this.#leg.flush();
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
    const leg = this.#leg;
    while (this.#isServerHeld || leg.next()) {
      const { frame } = leg;
      this.#isServerHeld = !relay.backend(frame);
      if (this.#isServerHeld) return;
      if (endsAnswer(frame.type)) this.#answers++;
      if (this.#turn.spend(frame)) {
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
      this.#judging?.dealtWith();
      if (this.#turn.spend(reader)) {
        this.#yield();
        return;
      }
    }
    if (client.hasEnded && !relay.terminated) this.#hangUp(relay);
  }

  /**
   * The client has closed its sending side, and all that it has sent is dealt with: as from the server itself it gets
   * the answers. The server is told where it would wait for more, and else only if the relay asks nothing by itself.
   */
  #hangUp({ ledger }: Relay): void {
    const { piece } = this.#client.reader;
    const isMidMessage = piece === "first" || piece === "middle";
    const waits = isMidMessage || ledger.mustFlush || ledger.isUncertain || ledger.intake === "copyIn";
    const asksNothing = this.#leg.isRunning && this.#judging?.treatment === "transparent";
    if (this.#hasHungUp || !(waits || asksNothing)) return;
    this.#hasHungUp = true;
    this.#leg.hangUp();
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
    const [client, leg] = [this.#client, this.#leg];
    const goesOn = !this.#isYielding;
    const isCrowded = this.#relay?.ledger.isCrowded === true && !client.reader.isMidMessage;
    client.flow(goesOn && !client.isHeld && !leg.isFull && !isCrowded);
    leg.flow(goesOn && !this.#isServerHeld && this.#isSettled && !this.#isHolding && !client.writer.isFull);
  }

  /** Sees whether the session is over. */
  #conclude(relay: Relay): void {
    if (this.#isYielding) return;
    const { whenIdle } = this.#established.dismissal;
    const [client, leg] = [this.#client, this.#leg];
    const isTold = !this.#isServerHeld && this.#isSettled && !this.#isHolding;
    const hasLeft = client.hasEnded && !client.isHeld;
    // The server's last words may follow the answers: it ends the connection by itself.
    const isAnswered = isTold && !leg.isRunning && !this.#hasHungUp;
    if (client.isClosed || (hasLeft && isAnswered)) {
      this.#finish("client");
      return;
    }
    if (this.#isHolding) return;
    if (leg.hasEnded && isTold) {
      if (relay.terminated || hasLeft) this.#finish("client");
      else if (relay.fatal) this.#finish("upstream");
      else this.#end(SERVER_LOST);
      return;
    }
    if (whenIdle !== undefined && leg.isIdle && !client.isHeld) this.#end(whenIdle);
  }

  #fail(error: unknown, side: "client" | "server"): void {
    if (error instanceof SessionEnd) {
      this.#end(error.refusal);
      return;
    }
    if (error instanceof ProtocolViolation) {
      const isOutsideCopy = error instanceof OutsideCopy;
      if (isOutsideCopy) this.#relay?.toClient.send(errorResponse(error.error));
      const isClients = side === "client" || isOutsideCopy;
      this.#end(isClients ? error.refusal : SessionEnd.outOfStep(error.message).refusal);
      return;
    }
    const refusal = this.#trace.refer(refuseSession("XX000", "internal error of the proxy"));
    const { reference } = refusal;
    this.#parts.log.error({ err: error, reference, session: this.#established.id }, "a session failed");
    this.#end(refusal);
  }

  /** Ends the session with a word to the client, unless that would be in the middle of a message. */
  #end(refusal: Refusal): void {
    if (this.#isOver) return;
    this.#leg.write();
    this.#sendRest();
    const { socket } = this.#client;
    const told = this.#trace.refer(refusal);
    if (!this.#sentMidMessage && socket.writable) socket.write(errorResponse(told));
    this.#finish(endReasonOf(refusal), told);
  }

  /** What is on record may still leave; the end of a session does not wait for the disk. */
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
    this.#trace.loggedOut(this.#judging?.account.name ?? "", reason, told);
    this.#isOver = true;
    this.#unwatch();
    this.#client.release();
    this.#leg.leave();
    this.#parts.timeKeeper?.unwatch(this);
    this.#resolve(reason);
  }
}
