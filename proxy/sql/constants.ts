import type { RawStatement } from "./parse.ts";
import { forEachObject } from "./tree.ts";

/**
 * Sees whether an analysis looks at a constant's value. What does not, judges all texts of one shape alike.
 */
export class Constants {
  #seen = false;

  /** A value has been looked at, or a part of the text that may hold one. */
  get seen(): boolean {
    return this.#seen;
  }

  see(): void {
    this.#seen = true;
  }

  /** From here on each look at a value of these trees is noticed; the trees stay the same for whoever reads them. */
  watch(statements: readonly RawStatement[]): void {
    for (const { node } of statements) forEachObject(node, this.#watch);
  }

  readonly #watch = (field: string, object: object): void => {
    if (field === "A_Const") this.#watchConstant(object);
    else forEachObject(object, this.#watch);
  };

  /** Of a constant only whether it is NULL may be asked: NULL is a word, and part of the shape. */
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
