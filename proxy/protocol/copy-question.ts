import { randomBytes } from "node:crypto";
import { decodeError } from "../wire/errors.ts";
import { type Frame, ProtocolViolation } from "../wire/frames.ts";
import { closeMessage, parseMessage, syncMessage } from "../wire/frontend-messages.ts";
import { Backend } from "../wire/messages.ts";
import { refuse } from "../wire/refusal.ts";
import { OwnRequest } from "./leg-notes.ts";
import type { RequestKind } from "./requests.ts";

/** Under a name that no client can guess: what is prepared under it already would fail the question. */
const MARK = `sluice ${randomBytes(8).toString("hex")}`;

/**
 * Messages that tell by their answers whether a COPY has failed and what the server has read behind it. Rows that are wrong
 * end a COPY when the server comes to them, and it says nothing of a Sync that it has read as a part of the COPY. Behind
 * the error come
 *
 * - in a query, or where a Sync behind the COPY has not been read before it failed: ReadyForQuery for each such Sync,
 *   CloseComplete, ReadyForQuery, ParseComplete, CloseComplete, ReadyForQuery;
 * - where the server skips all up to the next Sync: ReadyForQuery, ParseComplete, CloseComplete, ReadyForQuery.
 */
const messages = Buffer.concat([
  closeMessage({ target: "portal", name: MARK }),
  syncMessage,
  parseMessage(MARK, Buffer.alloc(0)),
  closeMessage({ target: "statement", name: MARK }),
  syncMessage,
]);

const KINDS: readonly RequestKind[] = ["close", "sync", "parse", "close", "sync"];

class CopyCheck extends OwnRequest {
  done(): void {}

  undone(): void {}
}

export interface CopyQuestion {
  readonly messages: Buffer;
  readonly requests: readonly OwnRequest[];
}

export function copyQuestion(): CopyQuestion {
  return { messages, requests: KINDS.map((kind) => new CopyCheck(kind)) };
}

/** The client has sent what is no part of a COPY while the server reads one. Servers end the session, from Postgres 14 on. */
export class OutsideCopy extends ProtocolViolation {
  /** What the server says first (CopyGetData of commands/copyfromparse.c). */
  readonly error = refuse("08P01", "unexpected message during COPY from stdin");

  constructor() {
    super("terminating connection because protocol synchronization was lost");
  }
}

/** An answer that says so, while the question is outstanding: the COPY has read the question, and nobody knows what follows. */
export function checkCopyGoesOn(frame: Frame): void {
  if (frame.type !== Backend.ErrorResponse || frame.piece !== "whole") return;
  if (decodeError(frame).get("C") === "08P01") throw new OutsideCopy();
}
