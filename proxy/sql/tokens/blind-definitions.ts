import type { A_Const, ColumnRef, FuncCall, IndexElem, IndexStmt, Node, RangeVar } from "libpg-query";
import { type Catalog, relationsNamed } from "../../catalog/catalog.ts";
import { quoteIdentifier, quoteQualified } from "../../pg/quote.ts";
import {
  carriedBy,
  fieldOf,
  PART_MARK,
  SEARCH_KINDS,
  type SearchKind,
  WORD_MARK,
} from "../../tokens/blind-index.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { forEachObject } from "../parse/tree.ts";
import { plainCall } from "../rules/lookup-sides.ts";
import { offers, withoutCasts } from "./blind-forms.ts";
import { partOf, wordsPart } from "./blind-text.ts";
import { accessOf } from "./document-access.ts";
import type { ValueColumn } from "./documents.ts";
import type { TokenColumn, TokenColumns } from "./token-columns.ts";

/* Indexes on expressions of a column with tokens: those that serve its searches, and no others. */

/** What an index of a kind of search is made on. */
function indexed(column: string, kind: SearchKind): string {
  const name = quoteIdentifier(column);
  return kind === "words" ? `USING gin (${wordsPart(name)})` : `(${partOf(name, kind)})`;
}

/** The statements for the searches that tokens of a key carry. */
export function indexStatements(
  { schema, name }: { readonly schema: string; readonly name: string },
  column: string,
  { carried }: ValueColumn,
  version = Number.POSITIVE_INFINITY,
): readonly string[] {
  const kinds = carriedBy(carried, version);
  return SEARCH_KINDS.filter((kind) => kinds.has(kind)).map(
    (kind) => `CREATE INDEX ON ${quoteQualified(schema, name)} ${indexed(column, kind)}`,
  );
}

/** So that no two values differ in case alone. */
export function uniqueStatement(
  { schema, name }: { readonly schema: string; readonly name: string },
  column: string,
): string {
  return `CREATE UNIQUE INDEX ON ${quoteQualified(schema, name)} ${indexed(column, "case")}`;
}

/** Why an index may not be made: it would be of tokens where values are meant. */
export function forbiddenIndex(
  { relation = {}, indexParams = [], whereClause }: IndexStmt,
  catalog: Catalog,
  columns: TokenColumns,
): Refusal | undefined {
  for (const param of indexParams) {
    const { expr } = nodeOf(param)[1] as IndexElem;
    const named = expr && tokenIn(expr, relation, catalog, columns);
    if (expr !== undefined && named !== undefined && !isSearchable(expr, named, columns))
      return onTokens(named);
  }
  const named = whereClause && tokenIn(whereClause, relation, catalog, columns);
  const isNullTest = whereClause !== undefined && nodeOf(whereClause)[0] === "NullTest";
  return named === undefined || isNullTest ? undefined : onTokens(named);
}

interface IndexedColumn {
  readonly relation: { readonly schema: string; readonly name: string };
  readonly column: string;
  readonly token: TokenColumn;
}

/** A column with tokens that an expression over a table names. */
function tokenIn(
  expression: Node,
  { schemaname, relname = "" }: RangeVar,
  catalog: Catalog,
  columns: TokenColumns,
): IndexedColumn | undefined {
  const names = new Set<string>();
  const look = (type: string, body: object): void => {
    const last = type === "ColumnRef" ? (body as ColumnRef).fields?.at(-1) : undefined;
    if (last !== undefined) names.add(stringOf(last));
    forEachObject(body, look);
  };
  look(...nodeOf(expression));
  for (const relation of relationsNamed(catalog, { relname, ...(schemaname && { schemaname }) }))
    for (const column of relation.columns) {
      const token = names.has(column.name) ? columns.of(relation, column) : undefined;
      if (token !== undefined) return { relation, column: column.name, token };
    }
  return undefined;
}

/** The expression that a search compares. */
function isSearchable(expression: Node, { token }: IndexedColumn, columns: TokenColumns): boolean {
  if (token.form === "document") return isPlace(expression);
  const list = callOf(expression, "string_to_array", columns);
  if (list !== undefined)
    return list.length === 2 && isText(list[1], WORD_MARK) && isPart(list[0], ["words"], token, columns);
  return isPart(expression, ["case", "last4"], token, columns);
}

function isPart(
  node: Node | undefined,
  kinds: readonly SearchKind[],
  token: ValueColumn,
  columns: TokenColumns,
): boolean {
  const [column, mark, field, ...more] = (node && callOf(node, "split_part", columns)) ?? [];
  if (column === undefined || field === undefined || more.length > 0 || !isText(mark, PART_MARK))
    return false;
  const [type, constant] = nodeOf(field);
  const number = type === "A_Const" ? (constant as A_Const).ival?.ival : undefined;
  const isColumn = nodeOf(withoutCasts(column))[0] === "ColumnRef";
  return isColumn && kinds.some((kind) => offers(token, kind) && fieldOf(kind) === number);
}

function callOf(node: Node, name: string, columns: TokenColumns): readonly Node[] | undefined {
  const [type, body] = nodeOf(node);
  const isCall = type === "FuncCall" && plainCall(body as FuncCall) === name && !columns.hasNamesake(name);
  return isCall ? ((body as FuncCall).args ?? []) : undefined;
}

function isText(node: Node | undefined, text: string): boolean {
  const [type, body] = node === undefined ? [] : nodeOf(withoutCasts(node));
  return type === "A_Const" && (body as A_Const).sval?.sval === text;
}

/** A part of the document at a constant path: its tokens are compared for equality, and indexed for that. */
function isPlace(expression: Node): boolean {
  const [type, body] = nodeOf(withoutCasts(expression));
  const access = accessOf(type, body);
  return type === "ColumnRef" || (access !== undefined && access.steps() !== undefined && isPlace(access.of));
}

function onTokens({ relation, column, token }: IndexedColumn): Refusal {
  if (token.form === "document")
    return refuse(
      "42501",
      `${token.name} has values that are stored as tokens, and an index on this expression may be of tokens`,
      {
        hint: "An index on a value at a constant path (->, ->>, #>>) or on the document (USING gin) serves searches. Another one has to be made beside the proxy.",
      },
    );
  const statements = indexStatements(relation, column, token);
  const usable =
    statements.length > 0 ? statements.join("; ") : `none without "searches:" of class "${token.className}"`;
  return refuse(
    "42501",
    `${token.name} is stored as tokens, and an index on this expression would be of tokens`,
    { hint: `Indexes for searches of the column (docs/tokens.md): ${usable}.` },
  );
}
