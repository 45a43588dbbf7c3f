import type { Leavings } from "../sql/leavings.ts";
import { Frontend } from "../wire/messages.ts";

/** What is sent after a message that names of prepared statements hang on, they themselves hang on. */
const NAMING: ReadonlySet<number> = new Set([
  Frontend.Query,
  Frontend.Parse,
  Frontend.Bind,
  Frontend.Describe,
  Frontend.Close,
]);

/**
 * Holds back what must not be sent before it is known how a statement has ended. DISCARD ALL takes all prepared
 * statements with it, or fails. COPY FROM STDIN reads whatever follows as a part of it, or, where it has failed, leaves it
 * for a message of its own: the proxy would not know how many answers are to come.
 */
export class Gate {
  /** A portal may be of such a statement. */
  #bound = { discards: false, copiesIn: false };
  #discards = false;
  #copiesIn = false;

  /** A simple query has been sent. */
  queried({ discards, copiesIn }: Leavings): void {
    this.#discards ||= discards;
    this.#copiesIn ||= copiesIn;
  }

  bound({ discards, copiesIn }: Leavings): void {
    this.#bound = { discards: this.#bound.discards || discards, copiesIn: this.#bound.copiesIn || copiesIn };
  }

  /** Some portal is run. */
  executed(): void {
    this.#discards ||= this.#bound.discards;
    this.#copiesIn ||= this.#bound.copiesIn;
  }

  /** Whether a message may be sent now. */
  passes(type: number): boolean {
    return !this.#copiesIn && !(this.#discards && NAMING.has(type));
  }

  get mayDiscard(): boolean {
    return this.#discards;
  }

  get mayCopyIn(): boolean {
    return this.#copiesIn;
  }

  /** All rows of a COPY of the extended protocol have been sent: it is not followed by another. */
  copied(): void {
    this.#copiesIn = false;
  }

  /** All that was sent has been answered. */
  open(): void {
    this.#discards = false;
    this.#copiesIn = false;
  }

  /** The transaction is over, and with it its portals. */
  close(): void {
    this.open();
    this.#bound = { discards: false, copiesIn: false };
  }
}
