import type { Duplex } from "node:stream";
import { type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { Frontend } from "../wire/messages.ts";
import { type Refusal, refuseSession, type SessionEndReason } from "../wire/refusal.ts";
import type { SocketWriter } from "./writing.ts";

/** One side: what it sends, as far as it has been dealt with. */
export interface Side {
  readonly socket: Duplex;
  readonly writer: SocketWriter;
  readonly reader: FrameReader;
  /** The reader stands on a message that has to wait. */
  isHeld: boolean;
  /** It is read from. */
  isFlowing: boolean;
  /** It will send no more. */
  hasEnded: boolean;
  /** It takes no more either. */
  isClosed: boolean;
}

const FRONTEND_TYPES: ReadonlySet<number> = new Set(Object.values(Frontend));

/**
 * Asked at the head of a message whose end is still to come. One of a type that nobody knows is not waited
 * for: SocketBackend of tcop/postgres.c, too, looks at the type before the length.
 */
export function mayClientStream(type: number): boolean {
  if (!FRONTEND_TYPES.has(type)) throw new ProtocolViolation(`invalid frontend message type ${type}`);
  return type === Frontend.CopyData;
}

/** Reads from a side, or does not. Nobody else has it paused or resumed. */
export function flow(side: Side, wanted: boolean): void {
  if (side.isFlowing === wanted) return;
  side.isFlowing = wanted;
  if (wanted) side.socket.resume();
  else side.socket.pause();
}

export const SERVER_LOST = refuseSession("08006", "the database server closed the connection", {
  hint: "Whether the last transaction was committed is not known. Connect again; the server's log may say more.",
});

/** As metrics and the log name it. */
export function reasonOf({ ends, sqlstate }: Refusal): SessionEndReason {
  return ends ?? REASONS.get(sqlstate) ?? "other";
}

const REASONS: ReadonlyMap<Refusal["sqlstate"], SessionEndReason> = new Map([
  ["08006", "upstream"],
  ["08P01", "protocol"],
  ["25P03", "idle"],
  ["28000", "policy"],
  ["57014", "timeout"],
  ["57P05", "idle"],
]);
