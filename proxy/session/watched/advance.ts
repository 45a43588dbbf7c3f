/** People who were shown to one reader and are not charged yet, by all sessions of this process together. */
export class Advance {
  #people = 0;
  readonly #waiting = new Set<() => void>();

  get people(): number {
    return this.#people;
  }

  shown(people: number): void {
    this.#people += people;
  }

  /** So many of them have been charged. */
  charged(people: number): void {
    this.#people = Math.max(0, this.#people - people);
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  /** Calls `wake` when some of them have been charged. */
  whenCharged(wake: () => void): void {
    this.#waiting.add(wake);
  }
}
