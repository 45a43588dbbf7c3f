import { Frontend } from "../wire/messages.ts";

/** For so long a connection's messages are dealt with before other connections have their turn (milliseconds). */
const LENGTH = 1;

/** Messages are short or long: the clock is read when so much has been dealt with since the last time. */
const LOOK_AFTER = 16 * 1024;
/** What a message counts for beside its bytes: thirty of them are worth a look. */
const MESSAGE = 512;

/** The parts of a frame that tell how long it may have taken. */
export interface Dealt {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/**
 * Limits what one connection does at a time. All connections share one thread: a client that pipelines 200,000 messages
 * must not keep the others waiting until all are dealt with.
 */
export class Turn {
  #began = 0;
  #untilLook = LOOK_AFTER;

  begin(): void {
    this.#began = performance.now();
    this.#untilLook = LOOK_AFTER;
  }

  /** A message, or a piece of one, has been dealt with. True: the turn is over. */
  spend({ type, start, end }: Dealt): boolean {
    // A text may have been analysed, which takes as long as hundreds of other messages.
    this.#untilLook -=
      type === Frontend.Query || type === Frontend.Parse ? LOOK_AFTER : MESSAGE + end - start;
    if (this.#untilLook > 0) return false;
    this.#untilLook = LOOK_AFTER;
    return performance.now() - this.#began >= LENGTH;
  }
}
