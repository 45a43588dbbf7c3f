import type { Asker, Startup } from "./asker.ts";

/** Somebody who waits for a connection. */
export interface Waiting {
  readonly asker: Asker;
  readonly startup: Startup;
  /** By `performance.now()`. */
  readonly since: number;
  /** Ends the waiting. */
  readonly limit: NodeJS.Timeout;
}

/** Those who wait for a connection, in the order in which they came. */
export class WaitingLine implements Iterable<Waiting> {
  readonly #line = new Map<Asker, Waiting>();
  /** How many wait for each kind. */
  readonly #counts = new Map<string, number>();

  get size(): number {
    return this.#line.size;
  }

  get first(): Waiting | undefined {
    for (const waiting of this.#line.values()) return waiting;
    return undefined;
  }

  [Symbol.iterator](): Iterator<Waiting> {
    return this.#line.values();
  }

  add(waiting: Waiting): void {
    const { key } = waiting.startup;
    this.#line.set(waiting.asker, waiting);
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }

  /** False: it has not waited. */
  remove(asker: Asker): boolean {
    const waiting = this.#line.get(asker);
    if (waiting === undefined) return false;
    clearTimeout(waiting.limit);
    this.#line.delete(asker);
    const { key } = waiting.startup;
    const left = (this.#counts.get(key) ?? 1) - 1;
    if (left > 0) this.#counts.set(key, left);
    else this.#counts.delete(key);
    return true;
  }

  /** Whether a client waits for this kind. */
  has(key: string): boolean {
    return this.#counts.has(key);
  }

  firstOf(key: string): Waiting | undefined {
    if (!this.has(key)) return undefined;
    for (const waiting of this.#line.values()) if (waiting.startup.key === key) return waiting;
    return undefined;
  }
}
