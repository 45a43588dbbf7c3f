import type { ColumnRef, Node, ResTarget } from "libpg-query";
import type { Column } from "../catalog/catalog.ts";
import { maskedType } from "../policy/against-catalog.ts";
import { refuse } from "../wire/refusal.ts";
import type { Analysis, FromReference } from "./analysis.ts";
import { isComparedType } from "./comparisons.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { givenOf, type Span } from "./lookup-sides.ts";
import { dependsOn } from "./own-writes.ts";
import { quoteIdentifier } from "./source.ts";
import { tellsWhose } from "./write-rules.ts";

/*
 * Object mappers that save a row send all of its columns (Django's save(), Rails' upsert_all). A column that the role may
 * not change is let through where the row has the value already: the assignment becomes
 * `CASE WHEN column IS NOT DISTINCT FROM (value) THEN column ELSE (what fails) END`.
 */

/** The assignments that change nothing, or fail: no rule about what is changed has to look at them. */
export function keptColumns(
  analysis: Analysis,
  target: FromReference,
  assigned: readonly Node[] | undefined,
): ReadonlySet<Node> {
  const kept = new Map<Node, Kept>();
  for (const node of assigned ?? []) {
    const found = keptBy(analysis, target, nodeOf(node)[1] as ResTarget);
    if (found !== undefined) kept.set(node, found);
  }
  // Who assigns nothing else means to change it.
  if (kept.size === assigned?.length) return new Set();
  for (const each of kept.values()) keep(analysis, target, each);
  return new Set(kept.keys());
}

interface Kept {
  readonly column: Column;
  /** The key of the role that forbids a change. */
  readonly why: string;
  readonly value: Span;
  /** Where the assignment begins. */
  readonly location: number;
}

function keptBy(analysis: Analysis, { use }: FromReference, item: ResTarget): Kept | undefined {
  const { name = "", val, indirection, location } = item;
  const sight = use?.sight?.columns.find(({ column }) => column.name === name);
  if (use === undefined || sight?.kind !== "real" || val === undefined || location === undefined)
    return undefined;
  const why = tellsWhose(analysis, use, name) ? "budget" : dependsOn(analysis, use, name);
  if (
    why === undefined ||
    indirection !== undefined ||
    !isComparedType(analysis.scope.catalog, sight.column.typeOid)
  )
    return undefined;
  const value = givenSpan(analysis, val);
  return value && { column: sight.column, why, value, location };
}

function keep(
  analysis: Analysis,
  { alias, use }: FromReference,
  { column, why, value, location }: Kept,
): void {
  const name = `${quoteIdentifier(alias)}.${quoteIdentifier(column.name)}`;
  const type = maskedType(analysis.scope.catalog, column).sql;
  analysis.edit(value.start, value.start, `CASE WHEN ${name} IS NOT DISTINCT FROM (`, {
    kind: "kept",
    location,
  });
  analysis.edit(value.end, value.end, `) THEN ${name} ELSE ${failing(name, type)} END`);
  const { role } = analysis.scope;
  analysis.keeps ??= refuse("42501", `role "${role.name}" may not change ${use?.key}.${column.name}`, {
    rule: `roles.${role.name}.${why}`,
    hint: "A row of this statement has another value there. Leave the column out, or send the value that it has.",
  });
}

/** A value that the client gives, or that the row has for which an upsert found another. */
function givenSpan({ source }: Analysis, value: Node): Span | undefined {
  const [type, body] = nodeOf(value);
  const { fields = [], location = 0 } = (type === "ColumnRef" ? body : {}) as ColumnRef;
  const names = fields.filter((field) => nodeOf(field)[0] === "String").map(stringOf);
  if (names.length === 2 && fields.length === 2 && names[0] === "excluded") {
    const end = source.token(source.nameEnd(source.tokenAt(location)))?.end;
    return end === undefined ? undefined : { start: location, end };
  }
  return isNull(value) ? nullSpan(source, value) : givenOf(source, value);
}

function isNull(value: Node): boolean {
  const [type, body] = nodeOf(value);
  return type === "A_Const" && (body as { isnull?: boolean }).isnull === true;
}

function nullSpan(source: Analysis["source"], value: Node): Span | undefined {
  const { location = 0 } = nodeOf(value)[1] as { location?: number };
  const end = source.token(source.tokenAt(location))?.end;
  return end === undefined ? undefined : { start: location, end };
}

/**
 * The SQLSTATE of what an assignment becomes whose row has another value: of width_bucket with no buckets. It is made of
 * the column, so that the planner does not work it out beforehand (Postgres docs, "Conditional Expressions").
 */
export const CHANGED = "2201G";

function failing(column: string, type: string): string {
  const none = `pg_catalog.length(pg_catalog.concat(${column})) OPERATOR(pg_catalog.*) 0`;
  return `CAST(CAST(pg_catalog.width_bucket(0.0, 0.0, 1.0, ${none}) AS pg_catalog.text) AS ${type})`;
}
