import { castType } from "../sql-pieces.ts";
import { maskKind } from "./mask.ts";

export const nothing = maskKind("null", {
  words: { null: { kind: "null" } },
  examples: ["null"],
  about: 'NULL ("null" in quotes).',
  fits: "all",
  sql: (_, { type }) => ({ ok: true, sql: hiddenSql(type.sql) }),
  shown: () => null,
  text: () => "null",
});

/** The replacement for a column that is hidden entirely: NULL of its type. */
export function hiddenSql(type: string): string {
  return `(NULL)::${castType(type)}`;
}
