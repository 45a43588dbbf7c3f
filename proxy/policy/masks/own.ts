import { parseMaskExpression, splice, valueReferences } from "../policy-sql.ts";
import { sql } from "../schema.ts";
import { maskKind, typed } from "./mask.ts";

export const own = maskKind("sql", {
  mapping: {
    key: "sql",
    value: sql,
    compile(expression, place, problems) {
      const parsed = parseMaskExpression(expression);
      if (parsed.ok) return { kind: "sql", expression: parsed.sql };
      problems.error(place, `mask: ${parsed.problem}`, parsed.hint);
      return undefined;
    },
  },
  examples: [{ sql: "left(value, 3)" }],
  about:
    "An expression of your own, where value is the column; one that can fail may show the value in its error message.",
  fits: "all to which its result can be cast",
  sql: ({ expression }, { column, type }) => typed(column, ownExpression(expression, column), type),
  text: ({ expression }) => ({ sql: expression }),
});

/** Replaces `value` in an `{ sql: … }` mask by the column. Only column references are replaced; literals stay. */
export function ownExpression(expression: string, column: string): string {
  return splice(
    expression,
    valueReferences(expression).map(({ start, end }) => ({ start, end, text: `(${column})` })),
  );
}
