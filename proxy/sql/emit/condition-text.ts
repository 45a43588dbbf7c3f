import { isDeepStrictEqual } from "node:util";
import type { A_Expr, Node } from "libpg-query";
import type { Catalog } from "../../catalog/catalog.ts";
import { quoteIdentifier } from "../../pg/quote.ts";
import { isComparedType } from "../comparisons.ts";
import { type Body, nodeOf } from "../parse/grammar.ts";
import { parseText } from "../parse/parse-text.ts";
import type { Source } from "../parse/source.ts";
import type { Comparison, Test } from "../rules/lookup-forms.ts";
import type { Fold } from "../rules/lookup-sides.ts";
import type { SimpleComparison } from "../rules/simple-comparisons.ts";
import { mayFail } from "../rules/sure-values.ts";
import type { Edit } from "../verdict.ts";
import { applyInOrder } from "./rewrite.ts";
import { type Span, spanOf } from "./spans.ts";

/*
 * Turns the client's conditions into conditions on the table itself: with the table's own column names and the client's
 * values.
 */

/** A condition on a table, and the values in it whose computation can fail. */
export interface ConditionText {
  readonly test: string;
  readonly unsure: readonly string[];
}

/**
 * A condition that fails in advance if the value's computation does, and is otherwise true: see rules/sure-values.ts.
 */
export function workedOutFirst(value: string): string {
  return `(CASE WHEN (${value}) IS NULL THEN true ELSE true END)`;
}

/** The edits between two bytes of the client's text, in order. */
export type EditsWithin = (start: number, end: number) => readonly Edit[];

/** `editsWithin` gives the edits of the values that move. Returns undefined if the text of a value cannot be found. */
export function lookupText(
  source: Source,
  catalog: Catalog,
  test: Test,
  editsWithin: EditsWithin,
): ConditionText | undefined {
  if (test.kind === "comparison") return comparisonText(source, catalog, test, editsWithin);
  const parts = test.args.map((each) => lookupText(source, catalog, each, editsWithin));
  const known = parts.filter((part) => part !== undefined);
  if (known.length < parts.length) return undefined;
  return {
    test: `(${known.map((part) => part.test).join(test.kind === "and" ? " AND " : " OR ")})`,
    unsure: known.flatMap(({ unsure }) => unsure),
  };
}

function comparisonText(
  source: Source,
  catalog: Catalog,
  { column, folds, givens, isArray, symbol }: Comparison,
  editsWithin: EditsWithin,
): ConditionText | undefined {
  if (column.source.kind !== "own") return undefined;
  const name = folds.reduce(folded, quoteIdentifier(column.source.column.name));
  const isOwn = folds.length > 0 || isComparedType(catalog, column.typeOid);
  const operator = isOwn ? `OPERATOR(pg_catalog.${symbol})` : symbol;
  const values = valueTexts(source, givens, editsWithin);
  if (values === undefined) return undefined;
  const { texts, unsure } = values;
  const test = isArray ? `(${name} ${operator} ANY (${texts[0]}))` : anyOf(texts, `${name} ${operator}`);
  return { test, unsure };
}

function anyOf(values: readonly string[], compared: string): string {
  const tests = values.map((value) => `${compared} ${value}`);
  return tests.length === 1 ? `(${tests[0]})` : `((${tests.join(") OR (")}))`;
}

function valueTexts(
  source: Source,
  nodes: readonly Node[],
  editsWithin: EditsWithin,
): { readonly texts: readonly string[]; readonly unsure: readonly string[] } | undefined {
  const texts = nodes.map((node) => textWith(source, node, editsWithin));
  const known = texts.filter((text) => text !== undefined);
  const unsure = nodes.flatMap((node, index) => (mayFail(node) ? (texts[index] ?? []) : []));
  return known.length < texts.length || known.length === 0 ? undefined : { texts: known, unsure };
}

function folded(sql: string, fold: Fold): string {
  return "call" in fold ? `pg_catalog.${fold.call}(${sql})` : `CAST(${sql} AS ${fold.cast})`;
}

function unchanged(): readonly Edit[] {
  return [];
}

/** A value as written. */
export function valueText(source: Source, value: Node): string {
  const text = textWith(source, value, unchanged);
  if (text === undefined) throw new Error("a value whose text cannot be found");
  return text;
}

/** The text with its edits applied. */
function textWith(source: Source, given: Node, editsWithin: EditsWithin): string | undefined {
  const span = spanOf(source, given);
  if (span === undefined) return undefined;
  const { start, end } = span;
  const moved = editsWithin(start, end).map((edit) => ({
    ...edit,
    at: edit.at - start,
    end: edit.end - start,
  }));
  const text = applyInOrder(Buffer.from(source.slice(start, end)), moved).toString("utf8");
  return nodeOf(given)[0] === "A_Expr" ? `(${text})` : text;
}

/** The same for a plain comparison with constants, which has no edits. */
export function repeatedText(
  source: Source,
  { node, column, operator, values }: SimpleComparison,
): ConditionText | undefined {
  if (column.source.kind !== "own" || spanOfCondition(source, node) === undefined) return undefined;
  const known = valueTexts(source, values, unchanged);
  const name = quoteIdentifier(column.source.column.name);
  return (
    known && {
      test: anyOf(known.texts, `${name} OPERATOR(pg_catalog.${operator})`),
      unsure: known.unsure,
    }
  );
}

/** The bytes of a condition, which on their own parse as exactly this condition. */
export function spanOfCondition(source: Source, condition: Node): Span | undefined {
  const span = spanOf(source, condition);
  return span !== undefined && readsBackTheSame(source, span, nodeOf(condition)[1]) ? span : undefined;
}

/** The same for one comparison among others. */
export function spanOfComparison(source: Source, body: A_Expr): Span | undefined {
  return spanOfCondition(source, { A_Expr: body });
}

function readsBackTheSame(source: Source, { start, end }: Span, body: Body): boolean {
  const parsed = parseText(`SELECT 1 WHERE ${source.slice(start, end)}`);
  const statement = parsed.ok ? parsed.statements[0] : undefined;
  if (statement === undefined) return false;
  const { whereClause } = nodeOf(statement.node)[1] as { whereClause?: Node };
  return (
    whereClause !== undefined && isDeepStrictEqual(withoutPlaces(nodeOf(whereClause)[1]), withoutPlaces(body))
  );
}

function withoutPlaces(tree: object): unknown {
  return JSON.parse(
    JSON.stringify(tree, (key, value) =>
      key === "location" || key.endsWith("list_start") || key.endsWith("list_end") ? undefined : value,
    ),
  );
}
