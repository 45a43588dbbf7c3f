import { quoteIdentifier } from "../../pg/quote.ts";
import { maskedType } from "../../policy/against-catalog.ts";
import type { KeptAssignment } from "../rules/kept-columns.ts";
import type { MadeEdit } from "../verdict.ts";
import type { Rewriting } from "./rewriting.ts";
import { spanOf } from "./spans.ts";

/** Replaces the value by `CASE WHEN column IS NOT DISTINCT FROM (value) THEN column ELSE (what fails) END`. */
export function keptEdits(
  { source, given }: Rewriting,
  { target, kept }: KeptAssignment,
): readonly MadeEdit[] {
  const { column, value, item } = kept;
  const span = spanOf(source, value);
  if (span === undefined) throw new Error("a value without a place");
  const { start, end } = span;
  const name = `${quoteIdentifier(target.alias)}.${quoteIdentifier(column.name)}`;
  const type = maskedType(given.catalog, column).sql;
  const change = { kind: "kept", location: item.location ?? 0 } as const;
  return [
    { at: start, end: start, text: `CASE WHEN ${name} IS NOT DISTINCT FROM (`, change },
    { at: end, end, text: `) THEN ${name} ELSE ${failing(name, type)} END` },
  ];
}

/**
 * The SQLSTATE of an assignment whose row has another value: that of width_bucket with zero buckets. The failing call
 * depends on the column, so that the planner does not evaluate it in advance (Postgres docs, "Conditional
 * Expressions").
 */
export const CHANGED = "2201G";

function failing(column: string, type: string): string {
  const none = `pg_catalog.length(pg_catalog.concat(${column})) OPERATOR(pg_catalog.*) 0`;
  return `CAST(CAST(pg_catalog.width_bucket(0.0, 0.0, 1.0, ${none}) AS pg_catalog.text) AS ${type})`;
}
