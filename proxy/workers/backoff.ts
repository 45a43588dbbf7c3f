const FIRST_MS = 100;
const LONGEST_MS = 30_000;
/** A process that served for this many milliseconds did not fail at its start: the delays start over. */
const SOUND_MS = 60_000;

/** How long to wait before a process is started again: not at all the first time, then longer and longer. */
export class Backoff {
  #failures = 0;

  /** Milliseconds to wait, given how many milliseconds the process lived. */
  next(livedMs: number): number {
    if (livedMs >= SOUND_MS) this.#failures = 0;
    const wait = this.#failures === 0 ? 0 : Math.min(FIRST_MS * 2 ** (this.#failures - 1), LONGEST_MS);
    this.#failures++;
    return wait;
  }
}
