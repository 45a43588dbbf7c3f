/**
 * One protocol message (or a piece of a long one) inside a borrowed buffer: valid until the next read.
 * `FrameReader` is itself the current frame, so that a message costs no object.
 */
export interface Frame {
  /** ASCII code of the message type, 0 for start-up packets. */
  readonly type: number;
  readonly buffer: Buffer;
  /** Offset of the type byte (of the length word in start-up packets). */
  readonly start: number;
  /** Offset past the last byte that is here. */
  readonly end: number;
  /** Long messages of types that need no look inside arrive in pieces. */
  readonly piece: "whole" | "first" | "middle" | "last";
}
