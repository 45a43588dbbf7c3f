import { isDeepStrictEqual } from "node:util";
import type { A_Indirection, ColumnRef, Node, ResTarget, RowExpr, SortBy } from "libpg-query";
import { type Body, nodeOf, stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import type { BoundRelation, Meaning, Output } from "./bound.ts";
import { columnName } from "./column-name.ts";
import { findColumn, findRelation, type NameScope, needsSchema } from "./name-scope.ts";
import { operatorNamed } from "./operators.ts";
import { columnMeant } from "./questions.ts";

export interface Outputs {
  readonly outputs: readonly Output[];
  readonly hasUnknownOutputs: boolean;
}

/** A target list with its stars expanded (transformTargetList in parser/parse_target.c). */
export function bindTargets(binder: Binder, nodes: readonly Node[] | undefined, scope: NameScope): Outputs {
  const parts = (nodes ?? []).map((node) => target(binder, nodeOf(node)[1] as ResTarget, scope));
  return {
    outputs: parts.flatMap(({ outputs }) => outputs),
    hasUnknownOutputs: parts.some(({ hasUnknownOutputs }) => hasUnknownOutputs),
  };
}

function target(binder: Binder, { name, val }: ResTarget, scope: NameScope): Outputs {
  if (val === undefined) return { outputs: [], hasUnknownOutputs: false };
  const [type, body] = nodeOf(val);
  if (type === "ColumnRef" && endsInStar((body as ColumnRef).fields)) {
    binder.meet(body);
    return star(binder, body as ColumnRef, scope);
  }
  binder.visit(type, body, scope);
  if (type === "A_Indirection" && endsInStar((body as A_Indirection).indirection))
    return starOfValue(binder, body as A_Indirection);
  const column = columnMeant(binder, body);
  const written = name ?? columnName(val, (query) => binder.queryOf.get(query)?.outputs[0]?.name);
  return {
    outputs: [{ name: written, node: val, column, typeOid: column?.typeOid }],
    hasUnknownOutputs: false,
  };
}

/** `t.*` or `(value).*`, which stands for any number of columns. */
export function isStar(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type === "ColumnRef") return endsInStar((body as ColumnRef).fields);
  return type === "A_Indirection" && endsInStar((body as A_Indirection).indirection);
}

function endsInStar(fields: readonly Node[] | undefined): boolean {
  const last = fields?.at(-1);
  return last !== undefined && nodeOf(last)[0] === "A_Star";
}

/** `*`: all columns that need no qualifier (ExpandAllTables); `t.*`: those of one reference at any level. */
function star(binder: Binder, body: ColumnRef, scope: NameScope): Outputs {
  const names = (body.fields ?? []).slice(0, -1).map(stringOf);
  const relations =
    names.length === 0
      ? scope.items.filter(({ showsColumns }) => showsColumns).map(({ relation }) => relation)
      : relationOfStar(binder, body, names, scope);
  if (names.length === 0 && relations.length === 0)
    binder.problem("42601", "SELECT * with no tables specified is not valid", body);
  return shownBy(binder, body, relations);
}

function relationOfStar(
  binder: Binder,
  body: ColumnRef,
  names: readonly string[],
  scope: NameScope,
): readonly BoundRelation[] {
  const [qualifier = "", schema, database] = names.toReversed();
  if (database !== undefined && database !== binder.environment.catalog.database) {
    binder.problem("0A000", `cross-database references are not implemented: ${names.join(".")}`, body);
    return [];
  }
  const { found, problem } = findRelation(scope, schema, qualifier);
  if (problem !== undefined) binder.problem(problem, `table reference "${qualifier}"`, body);
  if (needsSchema(scope, schema, qualifier)) binder.needSchema.add(body);
  if (found === undefined)
    binder.problem("42P01", `missing FROM-clause entry for table "${qualifier}"`, body);
  return found === undefined ? [] : [found.relation];
}

function shownBy(binder: Binder, body: Body, relations: readonly BoundRelation[]): Outputs {
  binder.writeOut(
    relations.reduce((sum, { columns }) => sum + columns.length, 1),
    body,
  );
  const columns = relations.flatMap((relation) =>
    relation.columns.filter(({ isHidden }) => isHidden !== true),
  );
  binder.meanings.set(body, { kind: "star", relations, columns });
  return {
    outputs: columns.map((column) => ({
      name: column.name,
      node: undefined,
      column,
      typeOid: column.typeOid,
    })),
    hasUnknownOutputs: relations.some(({ hasUnknownColumns }) => hasUnknownColumns),
  };
}

/** `(value).*`: known only if the value is the row of a reference. */
function starOfValue(binder: Binder, body: A_Indirection): Outputs {
  const row = body.arg === undefined ? undefined : binder.meanings.get(nodeOf(body.arg)[1]);
  return row?.kind === "row" && row.call === undefined && body.indirection?.length === 1
    ? shownBy(binder, body, [row.relation])
    : { outputs: [], hasUnknownOutputs: true };
}

/** Clauses whose items may name an output (findTargetlistEntrySQL92 in parser/parse_clause.c). */
export type OutputClause = "sort" | "group" | "distinct";

/** ORDER BY, GROUP BY, DISTINCT ON: an output's name or number, or an expression. */
export function bindOutputClause(
  binder: Binder,
  nodes: readonly Node[] | undefined,
  { clause, outputs }: { readonly clause: OutputClause; readonly outputs: readonly Output[] },
  scope: NameScope,
): void {
  for (const node of nodes ?? []) {
    // DISTINCT without ON is a list with an empty element.
    if (Object.keys(node).length > 0) outputItem(binder, node, { clause, outputs }, scope);
  }
}

function outputItem(
  binder: Binder,
  node: Node,
  within: { readonly clause: OutputClause; readonly outputs: readonly Output[] },
  scope: NameScope,
): void {
  const [type, body] = nodeOf(node);
  const inside = (nodes: readonly Node[] | undefined) => bindOutputClause(binder, nodes, within, scope);
  if (type === "SortBy") {
    const { node: inner, useOp } = body as SortBy;
    binder.meet(body);
    scope.level.operators.push(...operatorNamed(useOp));
    inside(inner === undefined ? [] : [inner]);
  } else if (type === "GroupingSet") inside((body as { content?: Node[] }).content);
  else if (type === "RowExpr" && within.clause === "group" && isImplicit(body as RowExpr))
    inside((body as RowExpr).args);
  else if (type === "A_Const") binder.meanings.set(body, { kind: "some output" });
  else {
    const output = outputNamed(binder, type, body, within, scope);
    if (output === undefined) binder.visit(type, body, scope);
    else {
      binder.meet(body);
      binder.meanings.set(body, output);
    }
  }
}

/** `(a, b)`, but not `ROW(a, b)`. */
function isImplicit({ row_format }: RowExpr): boolean {
  return row_format === "COERCE_IMPLICIT_CAST";
}

/** A bare name refers to an output; in GROUP BY only if no column of FROM has that name. */
function outputNamed(
  binder: Binder,
  type: string,
  body: Body,
  { clause, outputs }: { readonly clause: OutputClause; readonly outputs: readonly Output[] },
  scope: NameScope,
): Meaning | undefined {
  const fields = type === "ColumnRef" ? ((body as ColumnRef).fields ?? []) : [];
  const [field] = fields;
  if (fields.length !== 1 || field === undefined || nodeOf(field)[0] !== "String") return undefined;
  const name = stringOf(field);
  binder.lookAround(scope, body);
  binder.look(outputs.length, body);
  if (clause === "group" && findColumn(scope, name, "local").found !== undefined) return undefined;
  const [first, ...others] = outputs.filter((output) => output.name === name);
  if (first === undefined) return undefined;
  if (!others.every((other) => isSame(first, other)))
    binder.problem("42702", `"${name}" may mean several outputs`, body);
  return { kind: "output", output: first };
}

/** Two outputs of one name are not ambiguous if they are the same expression. */
function isSame(one: Output, other: Output): boolean {
  if (one.column !== undefined || other.column !== undefined) return one.column === other.column;
  return isDeepStrictEqual(withoutPlaces(one.node), withoutPlaces(other.node));
}

function withoutPlaces(node: Node | undefined): unknown {
  return node && JSON.parse(JSON.stringify(node, (key, value) => (key === "location" ? undefined : value)));
}
