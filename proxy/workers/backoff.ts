const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/** Whoever served for so long did not fail at its start: the next one begins anew. */
const SOUND_MS = 60_000;

/** How long to wait before a process is started again: at once the first time, then longer and longer. */
export class Backoff {
  #failures = 0;

  /** Milliseconds, for a process that ended after having lived for so many. */
  next(livedMs: number): number {
    if (livedMs >= SOUND_MS) this.#failures = 0;
    const wait = this.#failures === 0 ? 0 : Math.min(FIRST_MS * 2 ** (this.#failures - 1), LONGEST_MS);
    this.#failures++;
    return wait;
  }
}
