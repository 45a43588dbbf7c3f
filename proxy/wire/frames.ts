/** One protocol message inside a borrowed buffer: valid until the next read. */
export interface Frame {
  /** ASCII code of the message type, 0 for start-up packets. */
  readonly type: number;
  /** Offset of the type byte (of the length word in start-up packets). */
  readonly start: number;
  /** Offset past the last byte. */
  readonly end: number;
}
