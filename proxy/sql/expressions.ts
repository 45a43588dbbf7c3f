import type {
  A_Expr,
  CaseExpr,
  CollateClause,
  ColumnRef,
  IndexElem,
  Node,
  SortBy,
  SubLink,
  TypeName,
} from "libpg-query";
import {
  type Analysis,
  candidates,
  type FromReference,
  type Level,
  namedReferences,
  type RelationUse,
  referencesAround,
} from "./analysis.ts";
import { askForType, meetRow, meetType } from "./casts.ts";
import { LOOKS_OF_A_WHOLE_COLUMN } from "./effort.ts";
import { isHarmlessFunction } from "./functions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { holdName } from "./held-names.ts";
import { noteCompared, noteOperator } from "./mask-comparisons.ts";

/** A column, a whole row or a star: what it may mean decides whether a write may use it. */
export function columnRef(analysis: Analysis, body: ColumnRef, level: Level): void {
  const fields = body.fields ?? [];
  const last = fields.at(-1);
  if (last === undefined) return;
  const isStar = nodeOf(last)[0] === "A_Star";
  const names = fields.filter((field) => nodeOf(field)[0] === "String").map(stringOf);
  const name = isStar ? undefined : names.at(-1);
  const qualifier = isStar ? names.at(-1) : names.at(-2);
  if (fields.length >= 3) dropSchema(analysis, body, names, isStar, level);
  const schema = isStar ? names.at(-2) : names.at(-3);
  const meantBySchema =
    qualifier === undefined || schema === undefined ? [] : ownNamed(level, schema, qualifier);
  if (isStar) {
    for (const reference of qualifier === undefined ? level.references : namedReferences(level, qualifier))
      wholeRow(analysis, reference);
    for (const reference of meantBySchema) wholeRow(analysis, reference);
    return;
  }
  if (name === undefined) return;
  if (SYSTEM_COLUMNS.has(name)) systemColumn(analysis, level, qualifier, name);
  for (const reference of meantBySchema) oneColumn(analysis, reference, name);
  analysis.look(referencesAround(level));
  const meant = candidates(level, qualifier, name);
  for (const reference of meant) oneColumn(analysis, reference, name);
  if (qualifier === undefined) holdName(analysis, body, level, name);
  if (meant.length === 0 && qualifier !== undefined && inGuardedWrite(level)) {
    analysis.refuse("42501", `"${qualifier}.${name}" is no column that Sluice knows here`, {
      hint: "In a write, name columns of the relations in FROM or of the target.",
    });
  }
  const isSurelyColumn = meant.some(({ columns }) => columns?.has(name) === true);
  if (!isSurelyColumn && !SYSTEM_COLUMNS.has(name) && isUnknown(meant, level, qualifier, name))
    analysis.namesUnknown = true;
  if (qualifier === undefined && !isSurelyColumn)
    for (const reference of namedReferences(level, name)) wholeRow(analysis, reference);
}

/** Whether nothing that the catalog knows is meant: a column may have been made since. */
function isUnknown(
  meant: readonly FromReference[],
  level: Level,
  qualifier: string | undefined,
  name: string,
): boolean {
  if (meant.some(({ columns }) => columns === undefined)) return false;
  if (qualifier !== undefined) return meant.length > 0;
  const { outputs } = level;
  return outputs !== "any" && outputs?.has(name) !== true && namedReferences(level, name).length === 0;
}

/** Postgres docs, "System Columns". */
const SYSTEM_COLUMNS: ReadonlySet<string> = new Set(["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"]);

/** A guarded relation is read through a subquery, which has the system columns that are named and no others. */
function systemColumn(analysis: Analysis, level: Level, qualifier: string | undefined, name: string): void {
  const meant =
    qualifier === undefined
      ? candidates(level, undefined, name).length > 0
        ? []
        : nearestRelations(level)
      : namedReferences(level, qualifier);
  for (const { use, columns } of meant) {
    if (use?.sight?.listed !== true || use.isTarget || columns?.has(name) === true) continue;
    // Places of rows tell of those that a filter hides; only tables have such columns.
    if (
      use.sight.guarded &&
      (use.sight.filter !== undefined || !HAVE_SYSTEM_COLUMNS.has(use.relation.kind))
    ) {
      noSystemColumn(analysis, use, name);
    }
    const named = analysis.systemColumns.get(use) ?? new Set();
    analysis.systemColumns.set(use, named.add(name));
  }
}

const HAVE_SYSTEM_COLUMNS: ReadonlySet<string> = new Set([
  "table",
  "partitioned",
  "materialized view",
  "foreign table",
]);

/** In a star or a whole row the column would show, and Postgres shows no system column there. */
export function noSystemColumn(analysis: Analysis, use: RelationUse, name: string): never {
  return analysis.deny(
    `role "${analysis.scope.role.name}" sees ${use.key} masked or in part, and so without its system column ${name} here`,
    "sees",
    "Name the columns that are needed instead of *; or use the primary key, and for optimistic locking a column that counts versions.",
  );
}

/** Without a qualifier, a system column is one of the nearest level that has relations. */
function nearestRelations(level: Level): readonly FromReference[] {
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    const here = at.references.filter(({ use }) => use !== undefined);
    if (here.length > 0) return here;
  }
  return [];
}

/**
 * `schema.relation.column` finds the relation itself at any level around: a nearer alias of the same name does
 * not hide it (`scanNameSpaceForRelid` in parser/parse_relation.c).
 */
export function ownNamed(level: Level, schema: string, name: string): readonly FromReference[] {
  const found: FromReference[] = [];
  for (let at: Level | undefined = level; at !== undefined; at = at.outer)
    found.push(
      ...at.references.filter(({ use }) => use?.relation.name === name && use.relation.schema === schema),
    );
  return found;
}

/** Only what is known to be no column of the target may stand in a write. */
function inGuardedWrite(level: Level): boolean {
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    if (at.references.some(({ use }) => use?.isTarget === true && use.sight?.guarded === true)) return true;
  }
  return false;
}

function oneColumn(analysis: Analysis, { columns, use }: FromReference, name: string): void {
  const own = columns?.get(name);
  const sight = use?.sight?.columns.find(({ column }) => column.name === own);
  analysis.look(use?.relation.columns.length ?? 1);
  if (use === undefined || sight === undefined) return;
  analysis.costs(sight, "named");
  if (sight.kind === "real") return;
  analysis.masked.add(sight.className ?? sight.column.name);
  if (use.isTarget) {
    analysis.deny(
      `role "${analysis.scope.role.name}" sees ${use.key}.${sight.column.name} masked and may not use it in a write`,
      "sees",
      `Name the row by another column, or let ${analysis.rolePlace} see the class "${sight.className ?? "of this column"}".`,
    );
  }
  analysis.mentionMasked(`${use.key}.${sight.column.name}`);
}

function wholeRow(analysis: Analysis, { use }: FromReference): void {
  analysis.look(LOOKS_OF_A_WHOLE_COLUMN * (use?.relation.columns.length ?? 1));
  if (use !== undefined) analysis.wholes.add(use);
  // Out of a subquery it is a row of no type.
  if (use !== undefined && (use.isTarget || use.sight?.guarded !== true)) meetRow(analysis, use.relation);
  for (const sight of use?.sight?.columns ?? []) {
    const { kind, className, column } = sight;
    // The subquery leaves it out; a write's target has it.
    if (kind === "absent" && use?.isTarget !== true) continue;
    analysis.costs(sight, "named");
    if (kind === "real") continue;
    analysis.masked.add(className ?? column.name);
    if (use?.isTarget === true) {
      analysis.deny(
        `role "${analysis.scope.role.name}" sees ${use.key}.${column.name} masked and may not use the whole row in a write`,
        "sees",
        "Name the columns that are needed.",
      );
    }
    analysis.mentionMasked(`${use?.key}.${column.name}`);
  }
}

/** `public.customers.email` does not reach into a subquery named customers, so the schema goes. */
function dropSchema(
  analysis: Analysis,
  body: ColumnRef,
  names: readonly string[],
  isStar: boolean,
  level: Level,
): void {
  const relation = isStar ? names.at(-1) : names.at(-2);
  const schema = isStar ? names.at(-2) : names.at(-3);
  if (relation === undefined || schema === undefined) return;
  const meant = namedReferences(level, relation).find(
    ({ use }) =>
      use?.sight?.listed === true &&
      !use.isTarget &&
      !use.reference.hasAlias &&
      use.relation.schema === schema,
  );
  if (meant === undefined) return;
  const { source } = analysis;
  const parts = source.nameParts(source.tokenAt(body.location ?? 0));
  // From the right: the column (or star), the relation.
  const [start, end] = [parts[0], parts.at(-2)].map((part) => source.token(part ?? -1)?.start);
  if (start === undefined || end === undefined) throw new Error("a column without tokens");
  analysis.edit(start, end, "", { kind: "column", location: start });
}

/** Operators run functions: one of that name outside pg_catalog must be an extension's own C code. */
export function operatorExpression(analysis: Analysis, body: A_Expr, level: Level): void {
  const meant = SPELLED_OUT[body.kind ?? ""];
  if (meant === undefined) operator(analysis, body.name ?? []);
  else for (const symbol of meant) operatorOf(analysis, symbol);
  noteOperator(analysis, body, level);
  analysis.children("A_Expr", { ...body, name: undefined }, level);
}

/** What BETWEEN is read as (transformAExprBetween of parser/parse_expr.c); its node has another name. */
const SPELLED_OUT: Readonly<Record<string, readonly string[]>> = {
  AEXPR_BETWEEN: [">=", "<="],
  AEXPR_BETWEEN_SYM: [">=", "<="],
  AEXPR_NOT_BETWEEN: ["<", ">"],
  AEXPR_NOT_BETWEEN_SYM: ["<", ">"],
};

/** `CASE a WHEN b` compares by the `=` that it does not write. */
export function caseExpression(analysis: Analysis, body: CaseExpr, level: Level): void {
  if (body.arg !== undefined) {
    operatorOf(analysis, "=");
    noteCompared(analysis, [body.arg], level);
  }
  analysis.children("CaseExpr", body, level);
}

export function sortBy(analysis: Analysis, body: SortBy, level: Level): void {
  operator(analysis, body.useOp ?? []);
  analysis.nodes(body.node, level);
}

export function subLink(analysis: Analysis, body: SubLink, level: Level): void {
  // IN and a row's comparison have no name: `=`.
  if (body.testexpr !== undefined && body.operName === undefined) operatorOf(analysis, "=");
  else operator(analysis, body.operName ?? []);
  if (body.subLinkType === "ARRAY_SUBLINK") analysis.gathers ??= "ARRAY(…)";
  noteCompared(analysis, [body.testexpr], level);
  analysis.nodes(body.testexpr, level);
  analysis.nodes(body.subselect, level);
}

export function operator(analysis: Analysis, name: readonly Node[]): void {
  const names = name.map(stringOf);
  const symbol = names.at(-1);
  if (symbol !== undefined && !(names.length === 2 && names[0] === "pg_catalog"))
    operatorOf(analysis, symbol);
}

/** An operator as it is found by its mere name. */
export function operatorOf(analysis: Analysis, symbol: string): void {
  const { operatorsOutside, functionsByOid } = analysis.scope.catalog;
  for (const { schema, function: oid } of operatorsOutside.get(symbol) ?? []) {
    meetType(analysis, functionsByOid.get(oid)?.returnType ?? 0);
    if (!isHarmlessFunction(functionsByOid.get(oid))) {
      analysis.refuse("42501", `an operator ${schema}.${symbol} runs code that Sluice does not know`, {
        hint: `Write OPERATOR(pg_catalog.${symbol}) for Postgres's own.`,
      });
    }
  }
}

/** A cast runs the type's input function: no domain's CHECK, no row type, no input function in SQL or PL code. */
export function typeName(analysis: Analysis, body: TypeName, level: Level): void {
  if (body.pct_type)
    analysis.refuse("42501", "%TYPE is not known in a statement of a guarded role", {
      hint: "Write the type itself.",
    });
  analysis.nodes(body.typmods, level);
  const names = (body.names ?? []).map(stringOf);
  const name = names.at(-1) ?? "";
  const all = analysis.scope.catalog.typesByName.get(name) ?? [];
  const schema = names.length > 1 ? names.at(-2) : undefined;
  for (const { oid, schema: own } of all) {
    if (schema !== undefined && own !== schema) continue;
    meetType(analysis, oid);
    askForType(analysis, oid);
  }
  const builtin = all.some((type) => type.schema === "pg_catalog");
  if (builtin && (schema === undefined || schema === "pg_catalog")) return;
  const meant = schema === undefined ? all : all.filter((type) => type.schema === schema);
  if (meant.length === 0 || !meant.every((type) => type.plainInput)) {
    analysis.refuse("42501", `role "${analysis.scope.role.name}" may not cast to ${names.join(".")}`, {
      hint: "Allowed are Postgres's own types, enums, and types of extensions; not domains and row types.",
    });
  }
}

/** Collations and operator classes are names, not code of a user's. */
export function collate(analysis: Analysis, body: CollateClause, level: Level): void {
  analysis.nodes(body.arg, level);
}

export function indexElement(analysis: Analysis, body: IndexElem, level: Level): void {
  if (body.name !== undefined) columnRef(analysis, { fields: [{ String: { sval: body.name } }] }, level);
  analysis.nodes(body.expr, level);
}

/** Holds nothing of a relation. */
export function isGiven(node: Node): boolean {
  let given = true;
  const look = (type: string, body: object): void => {
    given &&= type !== "ColumnRef" && type !== "SubLink";
    if (given) forEachChild(type, body, look);
  };
  visitNode(node, look);
  return given;
}

/** The names of a column reference; none for other expressions. */
export function plainFields(node: Node): readonly string[] {
  const [type, body] = nodeOf(node);
  return type === "ColumnRef" ? ((body as ColumnRef).fields ?? []).map(stringOf) : [];
}
