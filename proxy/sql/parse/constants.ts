import type { RawStatement } from "./parse-text.ts";
import { forEachObject } from "./tree.ts";

/**
 * Records whether an analysis looks at a constant's value. An analysis that does not judges all texts of one shape
 * alike.
 */
export class Constants {
  #seen = false;

  /** Whether a value has been looked at, or a part of the text that may contain one. */
  get seen(): boolean {
    return this.#seen;
  }

  see(): void {
    this.#seen = true;
  }

  /** From here on each look at a value of these trees is recorded; for their readers the trees are unchanged. */
  watch(statements: readonly RawStatement[]): void {
    for (const { node } of statements) forEachObject(node, this.#watch);
  }

  readonly #watch = (field: string, object: object): void => {
    if (field === "A_Const") this.#watchConstant(object);
    else forEachObject(object, this.#watch);
  };

  /** An analysis may ask only whether a constant is NULL: NULL is a word, and so part of the shape. */
  #watchConstant(constant: object): void {
    for (const kind of VALUES) {
      const value: unknown = Reflect.get(constant, kind);
      if (value === undefined) continue;
      const get = () => {
        this.#seen = true;
        return value;
      };
      Object.defineProperty(constant, kind, { get, enumerable: true });
    }
  }
}

/** Fields of A_Const (nodes/parsenodes.h) that hold a literal's value; TRUE and FALSE are words. */
const VALUES = ["ival", "fval", "sval", "bsval"] as const;
