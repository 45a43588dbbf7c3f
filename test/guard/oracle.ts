import type { Batch, Grant } from "../../proxy/meter/meter.ts";
import type { BudgetWindow } from "../../proxy/policy/policy.ts";

interface Read {
  readonly time: number;
  /** "" for the row itself. */
  readonly person: string;
  readonly cost: number;
}

/** Each person counts for the dearest of these reads of them. */
function summed(reads: readonly Read[]): number {
  const dearest = new Map<string, number>();
  for (const { person, cost } of reads) dearest.set(person, Math.max(cost, dearest.get(person) ?? 0));
  return [...dearest.values()].reduce((sum, cost) => sum + cost, 0);
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
        (window) => this.#after(window, people, batch.cost) > Math.max(window.limit, this.#used(window)),
      );
      const window = full.toSorted(
        (a, b) => this.#frees(b, people, batch.cost) - this.#frees(a, people, batch.cost),
      )[0];
      if (window !== undefined) return { rows: row, used: this.#used(window), window };
      for (const person of ["", ...people])
        this.#reads.push({ time: this.#now, person, cost: batch.cost ?? 1 });
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
    return window.what === "rows" ? reads.length : summed(reads);
  }

  #after(window: BudgetWindow, people: readonly string[], cost = 1, at = this.#now): number {
    if (window.what === "rows") return this.#used(window, at) + 1;
    const more = people.map((person): Read => ({ time: at, person, cost }));
    return summed([...this.#within(window, at), ...more]);
  }

  /** The first second at which the row would fit, if nothing else is read. */
  #frees(window: BudgetWindow, people: readonly string[], cost = 1): number {
    const newcomers = this.#after(window, people, cost) - this.#used(window);
    for (let at = this.#now; at < this.#now + 200_000; at += 500) {
      if (this.#used(window, at) + newcomers <= window.limit || this.#used(window, at) === 0) return at;
    }
    return Number.POSITIVE_INFINITY;
  }
}
