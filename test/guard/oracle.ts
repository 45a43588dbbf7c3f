import type { Batch, Grant } from "../../proxy/guard/meter.ts";
import type { BudgetWindow } from "../../proxy/policy/policy.ts";

interface Read {
  readonly time: number;
  /** "" for the row itself. */
  readonly person: string;
}

/** Counts by looking at everything ever released: slow, and too plain to be wrong. */
export class Oracle {
  readonly #windows: readonly BudgetWindow[];
  readonly #grace: number;
  readonly #reads: Read[] = [];
  #now = 0;
  #unknown = 0;

  constructor(windows: readonly BudgetWindow[]) {
    this.#windows = windows;
    const shortest = Math.min(
      ...windows.filter((each) => each.what === "people").map((each) => each.seconds),
    );
    this.#grace = Math.min(5_000, (shortest * 1000) / 10);
  }

  /** Of several full windows it names the longest, which frees last where no limit was ever lowered … */
  charge(wait: number, batch: Batch): Omit<Grant & { kind: "part" }, "kind" | "freesAt"> | { kind: "all" } {
    this.#now += wait;
    for (let row = 0; row < batch.rows; row++) {
      const people = this.#peopleOf(batch, row);
      const full = this.#windows.filter(
        (window) => this.#after(window, people) > Math.max(window.limit, this.#used(window)),
      );
      const window = full.toSorted((a, b) => this.#frees(b, people) - this.#frees(a, people))[0];
      if (window !== undefined) return { rows: row, used: this.#used(window), window };
      for (const person of ["", ...people]) this.#reads.push({ time: this.#now, person });
    }
    return { kind: "all" };
  }

  #peopleOf(batch: Batch, row: number): string[] {
    const width = batch.namespaces.length;
    const known = batch.namespaces.map((namespace, i) => [namespace, batch.people[row * width + i]] as const);
    const unknown = Array.from({ length: batch.unknownPerRow }, () => `unknown ${this.#unknown++}`);
    return [...known.filter(([, id]) => id !== "").map((pair) => pair.join(":")), ...unknown];
  }

  #within(window: BudgetWindow, at: number): Read[] {
    const span = window.seconds * 1000 + (window.what === "people" ? this.#grace : 0);
    const reads = this.#reads.filter((read) => read.time > at - span);
    return reads.filter((read) => (read.person === "") === (window.what === "rows"));
  }

  #used(window: BudgetWindow, at = this.#now): number {
    const reads = this.#within(window, at);
    return window.what === "rows" ? reads.length : new Set(reads.map((read) => read.person)).size;
  }

  #after(window: BudgetWindow, people: readonly string[], at = this.#now): number {
    if (window.what === "rows") return this.#used(window, at) + 1;
    return new Set([...this.#within(window, at).map((read) => read.person), ...people]).size;
  }

  /** The first second at which the row would fit, if nothing else is read. */
  #frees(window: BudgetWindow, people: readonly string[]): number {
    const newcomers = this.#after(window, people) - this.#used(window);
    for (let at = this.#now; at < this.#now + 200_000; at += 500) {
      if (this.#used(window, at) + newcomers <= window.limit || this.#used(window, at) === 0) return at;
    }
    return Number.POSITIVE_INFINITY;
  }
}
