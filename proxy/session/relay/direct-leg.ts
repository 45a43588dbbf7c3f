import { checkCopyGoesOn } from "../../protocol/copy-question.ts";
import type { Ledger } from "../../protocol/ledger.ts";
import { isUnasked, type Request } from "../../protocol/requests.ts";
import type { LegUser, ServerLeg } from "../../protocol/server-leg.ts";
import { decodeReadyForQuery } from "../../wire/backend-messages.ts";
import type { Frame, FrameReader } from "../../wire/frames.ts";
import { flushMessage, terminateMessage } from "../../wire/frontend-messages.ts";
import { Backend } from "../../wire/messages.ts";
import { Outbox } from "../../wire/outbox.ts";
import type { Side as Connection } from "../context/established.ts";
import { Side } from "./side.ts";

/** The way to the server by a connection of the session's own: all passes as it comes. */
export class DirectLeg implements ServerLeg {
  readonly frame: FrameReader;
  readonly #side: Side;
  readonly #toServer = new Outbox();
  #ledger: Ledger | undefined;
  /** The server reads no more: what the proxy asks by itself from now on gets no answer. */
  #hasHungUp = false;

  constructor(server: Connection, onDrain: () => void) {
    this.#side = new Side(server, onDrain);
    this.frame = server.reader;
  }

  begin(ledger: Ledger, user: LegUser): void {
    this.#ledger = ledger;
    const { reader } = this.#side;
    reader.streamable = (type, length) => user.mayStream(type, length);
    const onBytes = (bytes: Buffer) => {
      reader.push(bytes);
      return user.arrived() || reader.buffered > 0;
    };
    this.#side.listen(onBytes, () => user.wake());
  }

  passesText(): true {
    return true;
  }

  isReady(): true {
    return true;
  }

  admits(): true {
    return true;
  }

  send(message: Buffer | Frame, request: Request): void {
    if (request.kind === "sync" && this.#ledger?.takesSync()) return;
    this.pass(message);
    this.#ledger?.sent(request);
  }

  pass(message: Buffer | Frame): void {
    if (this.#hasHungUp || this.#ledger?.skipsItself) return;
    if (Buffer.isBuffer(message)) this.#toServer.send(message);
    else this.#toServer.forward(message);
  }

  endCopy(message: Buffer | Frame): void {
    this.pass(message);
    this.#ledger?.copyEndSent();
  }

  askAboutCopy(): void {
    const messages = this.#ledger?.askAboutCopy();
    if (messages !== undefined) this.pass(messages);
  }

  flush(message: Buffer | Frame = flushMessage): void {
    this.pass(message);
    this.#ledger?.flushSent();
  }

  terminate(): void {
    this.#toServer.send(terminateMessage);
  }

  hangUp(): void {
    this.#hasHungUp = true;
    this.write();
    this.#side.socket.end();
  }

  next(): boolean {
    const { reader } = this.#side;
    while (reader.next()) {
      if (!this.#ledger?.asksAboutCopy) return true;
      checkCopyGoesOn(reader);
      if (!this.#isOwn(this.#ledger, reader)) return true;
    }
    return false;
  }

  /** It answers what only this leg has asked. */
  #isOwn(ledger: Ledger, frame: FrameReader): boolean {
    const { type } = frame;
    if (ledger.own === undefined || type === Backend.ErrorResponse || isUnasked(type)) return false;
    if (type === Backend.ReadyForQuery) {
      if (ledger.answersDoubtfulSync) return false;
      ledger.ready(decodeReadyForQuery(frame));
    } else if (ledger.expectOwn(type) !== undefined) ledger.answered(type);
    return true;
  }

  flow(wanted: boolean): void {
    this.#side.flow(wanted);
  }

  get hasEnded(): boolean {
    return this.#side.hasEnded;
  }

  get isRunning(): boolean {
    return this.#ledger?.isSettled === false;
  }

  get isIdle(): boolean {
    return this.#ledger?.isIdle === true;
  }

  write(): void {
    this.#toServer.flush(this.#side.writer);
  }

  get isFull(): boolean {
    return this.#side.writer.isFull;
  }

  get holds(): boolean {
    return this.#toServer.size > 0 || this.#side.writer.holds;
  }

  /** The socket is closed by its opener. */
  leave(): void {
    this.#side.release();
  }

  destroy(): void {
    this.#side.socket.destroy();
  }
}
