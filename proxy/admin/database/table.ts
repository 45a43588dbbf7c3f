/** What a SHOW command answers. Numbers are int8 on the wire, all else is text; null is NULL. */
export interface Table {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly Value[])[];
}

export interface Column {
  readonly name: string;
  readonly type: "text" | "number";
}

export type Value = string | number | null;

/** Columns in order, those that hold numbers with a # behind their names: `"user people#"`. */
export function table(columns: string, rows: readonly (readonly Value[])[]): Table {
  return {
    columns: columns.split(" ").map((name) => ({
      name: name.replace("#", ""),
      type: name.endsWith("#") ? "number" : "text",
    })),
    rows,
  };
}
