import type { Barrier } from "../protocol/barrier.ts";
import type { Residue } from "../sql/session-residue.ts";

/**
 * Raises the barrier where it must be known how a statement has ended before more is sent. DISCARD ALL takes all
 * prepared statements with it, or fails. COPY FROM STDIN reads whatever follows as a part of it, or, where it has failed,
 * leaves it for a message of its own: the proxy would not know how many answers are to come.
 */
export class StatementBarrier {
  readonly #barrier: Barrier;
  /** A portal may be of such a statement. */
  #bound = { discards: false, copiesIn: false };
  #discards = false;
  #copiesIn = false;

  constructor(barrier: Barrier) {
    this.#barrier = barrier;
  }

  /** Whether a message of this type may be sent now. `isSettled`: all that was sent has been answered. */
  passes(type: number, isSettled: boolean): boolean {
    return this.#barrier.passes(type, isSettled);
  }

  /** A simple query has been sent. */
  queried({ discards, copiesIn }: Pick<Residue, "discards" | "copiesIn">): void {
    this.#discards ||= discards;
    this.#copiesIn ||= copiesIn;
    if (discards) this.#barrier.raise("names");
    if (copiesIn) this.#barrier.raise("closed");
  }

  bound({ discards, copiesIn }: Residue): void {
    this.#bound = { discards: this.#bound.discards || discards, copiesIn: this.#bound.copiesIn || copiesIn };
  }

  /** Some portal is run. */
  executed(): void {
    this.queried(this.#bound);
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
    this.#barrier.lift();
    if (this.#discards) this.#barrier.raise("names");
  }

  /** All that was sent has been answered. */
  open(): void {
    this.#discards = false;
    this.#copiesIn = false;
    this.#barrier.lift();
  }

  /** The transaction is over, and with it its portals. */
  close(): void {
    this.open();
    this.#bound = { discards: false, copiesIn: false };
  }
}
