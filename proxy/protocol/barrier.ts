import { Frontend } from "../wire/messages.ts";

/**
 * Which messages may be sent while answers are outstanding:
 * - "open": all.
 * - "names": none that names a prepared statement or can drop one.
 * - "untilSync": the Sync of the pipeline that is being sent, and nothing behind it.
 * - "closed": none, but for Flush.
 */
export type BarrierLevel = "open" | "names" | "untilSync" | "closed";

const STRICTNESS: Readonly<Record<BarrierLevel, number>> = { open: 0, names: 1, untilSync: 2, closed: 3 };

/** Messages whose meaning depends on which prepared statements there are, or that change it. */
const NAMING: ReadonlySet<number> = new Set([
  Frontend.Query,
  Frontend.Parse,
  Frontend.Bind,
  Frontend.Describe,
  Frontend.Close,
]);

/**
 * Holds back what must not be sent before it is known how an earlier request ends. It is lifted when all that was
 * sent has been answered, and no cancel request is on its way that could hit what is sent next.
 */
export class Barrier {
  #level: BarrierLevel = "open";
  #cancels = 0;

  get level(): BarrierLevel {
    return this.#level;
  }

  /** A cancel request has been sent, and the server may not have heard it yet. */
  get isCancelling(): boolean {
    return this.#cancels > 0;
  }

  /** Makes the barrier at least as strict as this. */
  raise(level: BarrierLevel): void {
    if (STRICTNESS[level] > STRICTNESS[this.#level]) this.#level = level;
  }

  /** What the barrier was raised for cannot happen any more. */
  lift(): void {
    this.#level = "open";
  }

  cancelSent(): void {
    this.#cancels++;
    this.#level = "closed";
  }

  cancelHeard(): void {
    this.#cancels--;
  }

  /** Whether a message of this type may be sent now. `isSettled`: all that was sent has been answered. */
  passes(type: number, isSettled: boolean): boolean {
    if (isSettled && !this.isCancelling) this.#level = "open";
    switch (this.#level) {
      case "open":
        return true;
      case "names":
        return !NAMING.has(type);
      case "untilSync":
        if (type === Frontend.Flush) return true;
        if (type !== Frontend.Sync || this.isCancelling) return false;
        this.#level = "closed";
        return true;
      case "closed":
        return type === Frontend.Flush;
    }
  }
}
