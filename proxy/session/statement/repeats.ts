import { createHash, type Hash } from "node:crypto";
import type { Meter } from "../../meter/meter.ts";
import type { Role } from "../../policy/policy.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";

/*
 * A widget that asks the same again and gets the same answer learns next to nothing. So a statement whose answer is
 * remembered costs a 256th of a person, and its answer is held back until it has shown to be the same; where it is another
 * one, the rest of the price is charged before it leaves. That the guess holds is all that is paid for: it does not matter
 * where it comes from.
 */

/** Units for an answer that was expected: an eighth of a bit, as most of them are. */
export const REPEATED = 1;
/** Units beside the whole price, for an answer that was not: four bits, as few of them are. */
export const CHANGED = 32;

/** Longer answers are not held back. */
const MOST_ROWS = 1_000;
const MOST_BYTES = 64 * 1024;

/** A question that may have been asked before, and what it answered then. */
export interface Repeat {
  readonly question: string;
  readonly expected: string | undefined;
  /** Units to be charged if it answers something else. */
  readonly owed: number;
}

/** A key for a statement's text and its parameters. */
export function questionOf(...parts: readonly Buffer[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part).update(SEPARATOR);
  return hash.digest("base64");
}

/**
 * Whether a statement may cost less when it is asked again: one that gives rows, all at once. A row of several people who
 * are named is charged by itself, and cannot be held back. What writes does something each time.
 */
export function mayRepeat({ kind, effect, metering, acts }: Statement, { limits }: Role): boolean {
  return (
    kind === "read" &&
    effect === undefined &&
    acts !== true &&
    metering?.price !== undefined &&
    metering.groups?.tell !== "people" &&
    limits.onExcess !== "truncate"
  );
}

const SEPARATOR = Buffer.alloc(1);

/** The question with what the user's last answer to it was. `price`: units for an execution. */
export function repeatOf(question: string, price: number, meter: Meter): Repeat {
  return { question, expected: meter.recall(question), owed: price - REPEATED + CHANGED };
}

/** An answer while it comes. */
export class Answer {
  readonly #repeat: Repeat;
  readonly #hash: Hash = createHash("sha256");
  #rows = 0;
  #bytes = 0;
  /** Of an answer that was expected: whether it is that one, once that is known. */
  #isSame: boolean | undefined;
  /** Once it has come to its end. */
  #digest: string | undefined;

  constructor(repeat: Repeat) {
    this.#repeat = repeat;
    if (repeat.expected === undefined) this.#isSame = false;
  }

  /** A row as the server sent it. */
  row({ buffer, start, end }: Frame): void {
    this.#rows++;
    this.#bytes += end - start;
    if (this.#isTooLong) this.#isSame = false;
    else this.#hash.update(buffer.subarray(start, end));
  }

  /** It has come to its end, with this message. */
  end({ buffer, start, end }: Frame): void {
    if (this.#isTooLong) return;
    this.#digest = this.#hash.update(buffer.subarray(start, end)).digest("base64");
    this.#isSame ??= this.#digest === this.#repeat.expected;
  }

  /** It has been paid for and has left: the next one like it costs less. */
  remember(meter: Meter): void {
    if (this.#digest !== undefined) meter.remember(this.#repeat.question, this.#digest);
  }

  /** It ends in another way than an answer that is remembered. */
  breakOff(): void {
    this.#isSame ??= false;
  }

  /** What was read of it must wait: it may be the one that was expected. */
  get isOpen(): boolean {
    return this.#isSame === undefined;
  }

  get isSame(): boolean {
    return this.#isSame === true;
  }

  /** Units that are charged because it is another one. */
  get owed(): number {
    return this.#repeat.expected === undefined || this.#isSame !== false ? 0 : this.#repeat.owed;
  }

  get #isTooLong(): boolean {
    return this.#rows > MOST_ROWS || this.#bytes > MOST_BYTES;
  }
}
