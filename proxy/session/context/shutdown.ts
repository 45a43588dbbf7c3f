import type { Refusal } from "../../wire/refusal.ts";

/**
 * Tells a session that it shall end, and what its client is told then. Each of the two orders is given once: the
 * first reason stays. One object and one listener, where two AbortSignals would be a tenth of what an idle session
 * holds in memory.
 */
export class Dismissal {
  #whenIdle: Refusal | undefined;
  #atOnce: Refusal | undefined;
  #onOrder: () => void = () => {};

  /** The session shall end as soon as no transaction is open. */
  get whenIdle(): Refusal | undefined {
    return this.#whenIdle;
  }

  /** The session shall end now: it tells the client between two messages. */
  get atOnce(): Refusal | undefined {
    return this.#atOnce;
  }

  /** `onOrder` is called at each order from here on; it has one listener, the last. */
  heed(onOrder: () => void): void {
    this.#onOrder = onOrder;
  }

  drain(refusal: Refusal): void {
    if (this.#whenIdle !== undefined) return;
    this.#whenIdle = refusal;
    this.#onOrder();
  }

  end(refusal: Refusal): void {
    this.drain(refusal);
    if (this.#atOnce !== undefined) return;
    this.#atOnce = refusal;
    this.#onOrder();
  }
}
