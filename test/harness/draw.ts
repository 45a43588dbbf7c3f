/** Draws from a list of numbers, so that fast-check can shrink it; past its end every draw is the simplest. */
export class Draw {
  readonly #choices: readonly number[];
  #at = 0;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  below(limit: number): number {
    return (this.#choices[this.#at++] ?? 0) % limit;
  }

  chance(percent: number): boolean {
    return this.below(100) >= 100 - percent;
  }

  of<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)];
    if (item === undefined) throw new Error("nothing to choose from");
    return item;
  }

  many<T>(most: number, make: (index: number) => T): readonly T[] {
    return Array.from({ length: 1 + this.below(most) }, (_, index) => make(index));
  }
}
