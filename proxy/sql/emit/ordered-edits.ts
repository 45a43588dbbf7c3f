import type { MadeEdit } from "../verdict.ts";
import { inOrder } from "./rewrite.ts";

/** Edits in order of position. They do not overlap. */
export class OrderedEdits {
  readonly all: readonly MadeEdit[];

  constructor(edits: readonly MadeEdit[]) {
    this.all = inOrder(edits);
  }

  /** The edits that begin and end between two bytes. */
  within(start: number, end: number): readonly MadeEdit[] {
    const found: MadeEdit[] = [];
    for (let index = this.#firstFrom(start); index < this.all.length; index++) {
      const edit = this.all[index];
      if (edit === undefined || edit.at >= end) break;
      if (edit.end <= end) found.push(edit);
    }
    return found;
  }

  /** The edits outside all ranges that `others` replace. */
  outside(others: OrderedEdits): readonly MadeEdit[] {
    if (this.all.length === 0 || others.all.length === 0) return this.all;
    return this.all.filter(({ at, end }) => {
      const last = others.all[others.#firstFrom(at + 1) - 1];
      return last === undefined || at >= last.end || end > last.end;
    });
  }

  /** Index of the first edit at or after a byte. */
  #firstFrom(place: number): number {
    let [low, high] = [0, this.all.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.all[middle]?.at ?? 0) < place) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
