import type { Operations } from "../operations.ts";

/** Makes the answer of one SHOW; `argument` is the word behind it. */
export type Show = (operations: Operations, argument: string | undefined) => Table | Promise<Table>;

/** What a SHOW command answers; null is NULL. */
export interface Table {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Value[])[];
}

export interface Column {
  readonly name: string;
  readonly type: "text" | NumberType;
}

export type NumberType = "int4" | "int8" | "numeric";
export type Value = string | number | null;

/** Columns in order, those that hold numbers with a # behind their names: `"user people#"`. */
export function table(
  columns: string,
  rows: readonly (readonly Value[])[],
  numbers: NumberType = "int8",
): Table {
  return {
    columns: columns.split(" ").map((name) => ({
      name: name.replace("#", ""),
      type: name.endsWith("#") ? numbers : "text",
    })),
    rows,
  };
}
