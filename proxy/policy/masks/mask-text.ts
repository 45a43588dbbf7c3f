import { type Masked, type MaskedType, type MaskSql, typed, unfit } from "./mask.ts";

/* Parts shared by the masks of text. */

export const TEXT_TYPES: ReadonlySet<string> = new Set(["text", "varchar", "bpchar", "name", "citext"]);

/** The mask of a text column, made from the SQL of its text. */
export function onText({ column, type }: Masked, mask: (value: string) => string): MaskSql {
  if (!TEXT_TYPES.has(type.name)) return unfit(type, "text");
  return typed(column, mask(textOf(column, type)), type);
}

export function textOf(column: string, type: MaskedType): string {
  const value = `(${column})::pg_catalog.text`;
  // Pattern functions fail on nondeterministic collations; the "C" collation always works.
  return type.collation === undefined ? value : `(${value} COLLATE pg_catalog."C")`;
}

/** The number of characters that fit into a text column. */
export function capacity(type: MaskedType): number {
  // NAMEDATALEN minus the terminating zero byte.
  if (type.name === "name") return 63;
  const modifier = /\((\d+)\)$/.exec(type.sql)?.[1];
  return modifier === undefined ? Number.POSITIVE_INFINITY : Number(modifier);
}
