import type { ColumnRef, Node, ResTarget } from "libpg-query";
import { maskedType } from "../policy/against-catalog.ts";
import { refuse } from "../wire/refusal.ts";
import type { Analysis, FromReference } from "./analysis.ts";
import { isComparedType } from "./conditions.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { givenOf, type Span } from "./lookup-forms.ts";
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
  const kept = new Set<Node>();
  for (const node of assigned ?? []) if (keep(analysis, target, nodeOf(node)[1] as ResTarget)) kept.add(node);
  return kept;
}

function keep(analysis: Analysis, { alias, use }: FromReference, item: ResTarget): boolean {
  const { name = "", val, indirection, location } = item;
  const sight = use?.sight?.columns.find(({ column }) => column.name === name);
  if (use === undefined || sight?.kind !== "real" || val === undefined || location === undefined)
    return false;
  const why = tellsWhose(analysis, use, name) ? "budget" : dependsOn(analysis, use, name);
  const value = why === undefined || indirection !== undefined ? undefined : givenSpan(analysis, val);
  if (why === undefined || value === undefined || !isComparedType(analysis, sight.column.typeOid))
    return false;
  const column = `${quoteIdentifier(alias)}.${quoteIdentifier(name)}`;
  const type = maskedType(analysis.scope.catalog, sight.column).sql;
  analysis.edit(value.start, value.start, `CASE WHEN ${column} IS NOT DISTINCT FROM (`, {
    kind: "kept",
    location,
  });
  analysis.edit(value.end, value.end, `) THEN ${column} ELSE ${failing(column, type)} END`);
  const { role } = analysis.scope;
  analysis.keeps ??= refuse("42501", `role "${role.name}" may not change ${use.key}.${name}`, {
    rule: `roles.${role.name}.${why}`,
    hint: "A row of this statement has another value there. Leave the column out, or send the value that it has.",
  });
  return true;
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
