import type { A_Indirection, ColumnRef, FuncCall, Node } from "libpg-query";
import type { Catalog, CatalogFunction } from "../../catalog/catalog.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import type { BoundColumn, BoundRelation, Meaning } from "./bound.ts";
import { columnsNamed, findColumn, findRelation, type NameScope, needsSchema } from "./name-scope.ts";

/** A name in an expression: `a`, `a.b`, `a.*`, `s.a.b`, `d.s.a.b` (transformColumnRef in parser/parse_expr.c). */
export function columnRef(binder: Binder, body: ColumnRef, scope: NameScope): void {
  const meaning = meaningOf(binder, body, scope);
  binder.meanings.set(body, meaning);
  const rows = meaning.kind === "uncertain" ? meaning.candidates : [meaning];
  for (const row of rows) if (row.kind === "row") binder.writeOut(row.relation.columns.length, body);
}

function meaningOf(binder: Binder, body: ColumnRef, scope: NameScope): Meaning {
  const fields = body.fields ?? [];
  const last = fields.at(-1);
  const isStar = last !== undefined && nodeOf(last)[0] === "A_Star";
  const names = fields.filter((field) => nodeOf(field)[0] === "String").map(stringOf);
  const name = isStar ? undefined : names.at(-1);
  const [qualifier, schema, database] = (isStar ? names : names.slice(0, -1)).toReversed();
  if (database !== undefined && database !== binder.environment.catalog.database)
    return missing(
      binder,
      "0A000",
      `cross-database references are not implemented: ${names.join(".")}`,
      body,
    );
  if (qualifier !== undefined) return qualified(binder, body, { schema, qualifier, name }, scope);
  // A bare star occurs only in target lists, which expand it.
  return name === undefined ? { kind: "none" } : unqualified(binder, body, name, scope);
}

/** A column of any level takes precedence over a relation of the same name. */
function unqualified(binder: Binder, body: ColumnRef, name: string, scope: NameScope): Meaning {
  binder.lookAround(scope, body);
  const column = findColumn(scope, name, "all");
  if (column.problem !== undefined) binder.problem(column.problem, `column reference "${name}"`, body);
  if (column.found !== undefined && column.found.kind !== "uncertain") {
    if (column.found.kind === "column") noteBehind(binder, body, column.found, scope);
    return column.found;
  }
  const row = findRelation(scope, undefined, name);
  if (row.problem !== undefined) binder.problem(row.problem, `table reference "${name}"`, body);
  const meant: Meaning | undefined = row.found && { kind: "row", ...row.found };
  if (column.found !== undefined) {
    // It may be a column with an unknown name, or otherwise the whole row.
    const { candidates } = column.found;
    return meant === undefined || candidates.some(({ kind }) => kind === "column")
      ? column.found
      : { kind: "uncertain", candidates: [...candidates, meant] };
  }
  return meant ?? missing(binder, "42703", `column "${name}" does not exist`, body);
}

/** Records what has the same name among the targets of enclosing writes. */
function noteBehind(
  binder: Binder,
  body: ColumnRef,
  { column, depth }: Meaning & { readonly kind: "column" },
  scope: NameScope,
): void {
  const { name } = column;
  const targets: BoundRelation[] = [];
  for (let at: NameScope | undefined = scope; at !== undefined; at = at.outer) {
    if (at.depth >= depth || binder.targets.size === 0) continue;
    for (const { relation } of at.items) {
      const target = relation.source.kind === "row of target" ? relation.source.target : relation;
      const hasName = relation.alias === name || columnsNamed(relation, name).length > 0;
      if (binder.targets.has(target) && hasName) targets.push(relation);
    }
  }
  if (targets.length > 0) binder.behind.set(body, { targets, holder: holderOf(column, scope) });
}

/** A join without an alias exposes the names of its sides. */
function holderOf(column: BoundColumn, scope: NameScope): BoundRelation | undefined {
  const { relation, source } = column;
  if (relation.alias !== "")
    return findRelation(scope, undefined, relation.alias).found?.relation === relation ? relation : undefined;
  const [passedOn, ...more] = source.kind === "merged" ? source.columns : [];
  return passedOn === undefined || more.length > 0 ? undefined : holderOf(passedOn, scope);
}

interface QualifiedName {
  readonly schema: string | undefined;
  readonly qualifier: string;
  /** Undefined for a star. */
  readonly name: string | undefined;
}

function qualified(
  binder: Binder,
  body: ColumnRef,
  { schema, qualifier, name }: QualifiedName,
  scope: NameScope,
): Meaning {
  binder.lookAround(scope, body, true);
  const { found, problem } = findRelation(scope, schema, qualifier);
  if (problem !== undefined) binder.problem(problem, `table reference "${qualifier}"`, body);
  if (needsSchema(scope, schema, qualifier)) binder.needSchema.add(body);
  if (found === undefined)
    return missing(binder, "42P01", `missing FROM-clause entry for table "${qualifier}"`, body);
  return name === undefined ? { kind: "row", ...found } : fieldOf(binder, body, found, name);
}

/** A column of the reference, or otherwise a function of its row: `c.reveal`. */
function fieldOf(
  binder: Binder,
  body: ColumnRef,
  { relation, depth }: { readonly relation: BoundRelation; readonly depth: number },
  name: string,
): Meaning {
  const [column, second] = columnsNamed(relation, name);
  if (second !== undefined) binder.problem("42702", `column reference "${name}" is ambiguous`, body);
  if (column !== undefined) return { kind: "column", column, depth };
  const row: Meaning = { kind: "row", relation, depth };
  if (relation.hasUnknownColumns) return { kind: "uncertain", candidates: [row] };
  return takesRow(binder.environment.catalog, name, relation)
    ? { ...row, call: name }
    : missing(binder, "42703", `column ${relation.alias}.${name} does not exist`, body);
}

function missing(
  binder: Binder,
  sqlstate: "42703" | "42P01" | "0A000",
  message: string,
  node: ColumnRef,
): Meaning {
  binder.problem(sqlstate, message, node);
  return { kind: "none" };
}

/** Whether some function of that name takes the relation's row as its only argument. */
function takesRow(catalog: Catalog, name: string, relation: BoundRelation): boolean {
  return (catalog.functionsByName.get(name) ?? []).some(
    (fn) => takesOne(fn) && isRowType(catalog, fn.argumentTypes[0] ?? 0, relation),
  );
}

/** Whether it can be called with one argument. */
export function takesOne({ argumentTypes, defaults = 0, variadic }: CatalogFunction): boolean {
  const least = argumentTypes.length - defaults - (variadic === true ? 1 : 0);
  return argumentTypes.length >= 1 && least <= 1;
}

/** The relation's row type or that of a parent, or a pseudo-type such as anyelement and record. */
function isRowType({ typesByOid, relationsByOid }: Catalog, oid: number, { source }: BoundRelation): boolean {
  const type = typesByOid.get(oid);
  if (type === undefined || type.kind === "pseudo") return true;
  if (type.relation === 0 || source.kind !== "table") return false;
  const isOrInherits = (own: number): boolean =>
    own === type.relation || (relationsByOid.get(own)?.parents ?? []).some(isOrInherits);
  return isOrInherits(source.relation.oid);
}

/**
 * `email(c)` is the column email of c if no function of that name takes the row (ParseFuncOrColumn in
 * parser/parse_func.c).
 */
export function fieldAsCall(binder: Binder, body: FuncCall): void {
  const [argument, ...more] = body.args ?? [];
  const [name = "", ...qualifiers] = (body.funcname ?? []).map(stringOf).toReversed();
  if (argument === undefined || more.length > 0 || qualifiers.length > 0 || body.over !== undefined) return;
  const row = rowMeant(binder, argument);
  if (row === undefined || takesRow(binder.environment.catalog, name, row.relation)) return;
  const [column] = columnsNamed(row.relation, name);
  if (column !== undefined) binder.meanings.set(body, { kind: "column", column, depth: row.depth });
}

/**
 * `(c).email` is the column email of c, or otherwise a function of its row (ParseComplexProjection in
 * parser/parse_func.c). With further steps, as in `(c).address.city`, the whole row is assumed to be read. Returns the
 * names that may be functions.
 */
export function fieldsOfValue(binder: Binder, body: A_Indirection): readonly string[] {
  const { arg, indirection = [] } = body;
  const [step] = indirection;
  const steps = indirection.filter((each) => nodeOf(each)[0] === "String").map(stringOf);
  const row = arg === undefined ? undefined : rowMeant(binder, arg);
  if (row === undefined || step === undefined || nodeOf(step)[0] !== "String") return steps;
  return fieldOfRow(binder, body, row, stringOf(step)) ? steps.slice(1) : steps;
}

/** Whether the first step is certainly a column. */
function fieldOfRow(
  binder: Binder,
  body: A_Indirection,
  row: Meaning & { readonly kind: "row" },
  name: string,
): boolean {
  const [column] = columnsNamed(row.relation, name);
  if (column !== undefined && body.indirection?.length === 1)
    binder.meanings.set(body, { kind: "column", column, depth: row.depth });
  const { relation } = row;
  const isCall = relation.hasUnknownColumns || takesRow(binder.environment.catalog, name, relation);
  if (column === undefined && !isCall)
    binder.problem("42703", `column ${relation.alias}.${name} does not exist`, body);
  return column !== undefined;
}

function rowMeant(binder: Binder, node: Node): (Meaning & { readonly kind: "row" }) | undefined {
  const [type, body] = nodeOf(node);
  const meaning = type === "ColumnRef" ? binder.meanings.get(body) : undefined;
  return meaning?.kind === "row" && meaning.call === undefined ? meaning : undefined;
}
