import type { Request } from "../protocol/requests.ts";
import { decodeError } from "../wire/errors.ts";
import type { Frame } from "../wire/frames.ts";
import { Backend } from "../wire/messages.ts";

/** More than this is not kept for the rare case that it is wanted again. */
const MOST_BYTES = 16 * 1024;
/** What ends later has not ended because it had been idle: it may have ended by what it was asked. */
const SOON_MS = 1_000;
/** Several connections in a row may be dead, as after a restart of the server. */
const ATTEMPTS = 3;

/** A message that was sent, and the request that the session sees in it. */
export interface SentMessage {
  readonly message: Buffer;
  readonly request: Request;
}

/**
 * What a session has sent on a connection that has not answered any of it. The server may have ended the connection while it was
 * idle, or a firewall have forgotten it, and that shows at the first message only. Where running these messages twice does
 * no more than running them once, they may be sent on another connection.
 */
export class Unanswered {
  #messages: SentMessage[] = [];
  #size = 0;
  /** When the first of them was sent. */
  #since = 0;
  #attempts = 0;
  #isOpen = false;

  /** The connection has answered nothing, and was asked nothing that may not be asked twice. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** A connection has been lent. */
  begin(): void {
    this.#isOpen = true;
    this.#forget();
  }

  /** The connection has answered. */
  answered(): void {
    this.#attempts = 0;
    this.close();
  }

  /** What was sent is not to be sent again. */
  close(): void {
    this.#isOpen = false;
    this.#forget();
  }

  /** To be asked before a message is sent: its bytes may be moved by that. */
  copyOf(message: Frame): Buffer | undefined {
    if (!this.#isOpen) return undefined;
    const { buffer, start, end, piece } = message;
    if (piece !== "whole" || this.#size + end - start > MOST_BYTES) {
      this.close();
      return undefined;
    }
    return Buffer.from(buffer.subarray(start, end));
  }

  sent(message: Buffer | undefined, request: Request): void {
    if (!this.#isOpen || message === undefined) return;
    if (this.#messages.length === 0) this.#since = performance.now();
    this.#messages.push({ message, request });
    this.#size += message.length;
  }

  /**
   * The connection is dead: what is to be sent on another one; undefined: nothing may be. `outstanding`: so many of them have
   * no answer. Others the pool has answered by itself.
   */
  take(outstanding: number): readonly SentMessage[] | undefined {
    const isLate = this.#messages.length > 0 && performance.now() - this.#since > SOON_MS;
    if (!this.#isOpen || isLate || this.#attempts === ATTEMPTS) return undefined;
    this.#attempts++;
    const messages = this.#messages.slice(this.#messages.length - outstanding);
    this.close();
    return messages;
  }

  #forget(): void {
    if (this.#messages.length > 0) this.#messages = [];
    this.#size = 0;
  }
}

/** admin_shutdown and idle_session_timeout: a server says them to a session whatever that has been asked. */
const FAREWELLS: ReadonlySet<string | undefined> = new Set(["57P01", "57P05"]);

/** Whether the server ends the connection, and not because of anything that it was asked. */
export function isFarewell(frame: Frame): boolean {
  if (frame.type !== Backend.ErrorResponse) return false;
  const fields = decodeError(frame);
  return fields.get("V") === "FATAL" && FAREWELLS.has(fields.get("C"));
}
