import type { Log } from "../log.ts";
import type { Anchor, AnchorSink } from "./anchor.ts";
import { codeOf } from "./error-code.ts";

/** What the log does beside writing: none of it may end the process or hold up an event. */
export class Chores {
  readonly #log: Log;
  #lane: Promise<void> = Promise.resolve();
  #anchoring: Promise<void> | undefined;
  readonly #intervals: NodeJS.Timeout[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  /** Does one task after the other. */
  later(what: string, task: () => Promise<void>): void {
    this.#lane = this.#lane.then(task).catch((error: unknown) => this.#failed(what, error));
  }

  every(milliseconds: number, task: () => void): void {
    const interval = setInterval(task, milliseconds);
    interval.unref();
    this.#intervals.push(interval);
  }

  /**
   * Gives an anchor to its sink, for which it waits so long and no longer. False when the sink still has the
   * one before: the next one will vouch for this one's events too.
   */
  anchor(sink: AnchorSink, anchor: Anchor, patience: number): boolean {
    if (this.#anchoring !== undefined) return false;
    let timer: NodeJS.Timeout | undefined;
    const limit = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error("no answer")), patience);
    });
    this.#anchoring = Promise.race([(async () => sink(anchor))(), limit])
      .catch((error: unknown) => this.#failed("anchor", error))
      .finally(() => {
        clearTimeout(timer);
        this.#anchoring = undefined;
      });
    return true;
  }

  /** Nothing begins by itself any more. */
  stop(): void {
    for (const interval of this.#intervals) clearInterval(interval);
  }

  /** Resolves when what was begun is done. */
  async idle(): Promise<void> {
    await this.#lane;
    await this.#anchoring;
  }

  #failed(task: string, error: unknown): void {
    this.#log.error({ task, problem: codeOf(error) }, "housekeeping of the audit log failed");
  }
}
