import type { ColumnDef, FuncCall, List, Node, RangeFunction } from "libpg-query";
import type { Catalog, CatalogFunction } from "../../catalog/catalog.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import { columnName } from "./column-name.ts";
import type { PlainColumn } from "./relation.ts";
import { isScalar, typeNamed, typeOf } from "./types.ts";

/** The columns of a function in FROM; undefined if they are unknown. */
type Columns = readonly PlainColumn[] | undefined;

/** The columns of `f(…)`, `ROWS FROM (…)`, WITH ORDINALITY (addRangeTableEntryForFunction in parser/parse_relation.c). */
export function functionColumns(binder: Binder, body: RangeFunction): Columns {
  const calls = (body.functions ?? []).flatMap(callsOf);
  const ownName = calls.length === 1 ? body.alias?.aliasname : undefined;
  const all = calls.map(({ call, definitions }) =>
    definitions.length > 0
      ? defined(binder, definitions)
      : body.coldeflist !== undefined
        ? defined(binder, body.coldeflist)
        : columnsOfCall(binder, call, ownName ?? nameOf(call)),
  );
  if (all.includes(undefined)) return undefined;
  return [...all.flatMap((columns) => columns ?? []), ...(body.ordinality ? [computed("ordinality")] : [])];
}

/** A function without an alias is named after itself. */
export function functionName({ functions = [] }: RangeFunction): string {
  const [first] = functions.flatMap(callsOf);
  return first === undefined ? "" : nameOf(first.call);
}

interface Call {
  readonly call: Node;
  readonly definitions: readonly Node[];
}

/**
 * Each item is a list of a call and its column definitions; `unnest(a, b)` becomes one call per argument
 * (transformRangeFunction).
 */
function callsOf(node: Node): readonly Call[] {
  const [call, definitions] = (nodeOf(node)[1] as List).items ?? [];
  if (call === undefined) return [];
  const [type, body] = nodeOf(call);
  const { funcname, args = [] } = body as FuncCall;
  const isUnnest = type === "FuncCall" && (funcname ?? []).map(stringOf).join(".") === "unnest";
  if (isUnnest && args.length > 1)
    return args.map((arg) => ({ call: calledWith(body, arg), definitions: [] }));
  const isGiven = definitions !== undefined && Object.keys(definitions).length > 0;
  return [{ call, definitions: isGiven ? ((nodeOf(definitions)[1] as List).items ?? []) : [] }];
}

function calledWith(body: FuncCall, arg: Node): Node {
  return { FuncCall: { ...body, args: [arg] } };
}

function nameOf(call: Node): string {
  return columnName(call, () => undefined);
}

function computed(name: string, typeOid?: number): PlainColumn {
  return { name, typeOid, source: { kind: "computed" } };
}

/** `AS (a int, b text)` */
function defined(binder: Binder, definitions: readonly Node[]): readonly PlainColumn[] {
  return definitions.map((node) => {
    const { colname = "", typeName } = nodeOf(node)[1] as ColumnDef;
    return computed(colname, typeNamed(binder.environment, typeName)?.oid);
  });
}

function columnsOfCall(binder: Binder, call: Node, name: string): Columns {
  const [type, body] = nodeOf(call);
  if (type === "FuncCall") return ofFunctions(binder, body as FuncCall, name);
  const isCast = type === "TypeCast";
  if (isCast && !isScalar(binder.environment.catalog, typeOf(binder.environment, call, binder.meanings)))
    return undefined;
  // Functions with SQL syntax of their own: current_date, coalesce(…), xmlelement(…).
  return type === "CoalesceExpr" || type === "MinMaxExpr" ? undefined : [computed(name)];
}

/** Argument types decide which of several functions is called: only columns that all of them return are known. */
function ofFunctions(binder: Binder, body: FuncCall, name: string): Columns {
  const { catalog, searchPath } = binder.environment;
  const [own = "", schema] = (body.funcname ?? []).map(stringOf).toReversed();
  const schemas = schema === undefined ? ["pg_catalog", ...searchPath] : [schema];
  const called = (catalog.functionsByName.get(own) ?? []).filter(
    (fn) => schemas.includes(fn.schema) && takes(fn, body.args?.length ?? 0),
  );
  const [first, ...others] = called.map((fn) => ofFunction(binder, fn, body, name));
  return first !== undefined && others.every((each) => haveSameNames(each, first)) ? first : undefined;
}

export function takes({ argumentTypes, defaults = 0, variadic }: CatalogFunction, count: number): boolean {
  const least = argumentTypes.length - defaults - (variadic === true ? 1 : 0);
  return count >= least && (variadic === true || count <= argumentTypes.length);
}

function haveSameNames(columns: Columns, others: readonly PlainColumn[]): boolean {
  return (
    columns?.length === others.length && columns.every(({ name }, index) => name === others[index]?.name)
  );
}

function ofFunction(binder: Binder, fn: CatalogFunction, body: FuncCall, name: string): Columns {
  const { catalog } = binder.environment;
  const { outputs = [] } = fn;
  if (outputs.length === 1) return [computed(outputs[0]?.name || name, outputs[0]?.typeOid)];
  // OUT parameters without names get generated ones (build_function_result_tupdesc_d in utils/fmgr/funcapi.c).
  if (outputs.length > 1)
    return outputs.map((output, index) => computed(output.name || `column${index + 1}`, output.typeOid));
  if (isPolymorphic(catalog, fn.returnType)) return ofArgument(binder, body, name);
  return ofType(binder, fn.returnType, name);
}

function ofType(binder: Binder, oid: number, name: string): Columns {
  const { environment } = binder;
  const type = environment.catalog.typesByOid.get(oid);
  if (type === undefined) return undefined;
  if (isScalar(environment.catalog, type) || type.name === "void") return [computed(name, oid)];
  return environment.catalog.relationsByOid
    .get(type.relation)
    ?.columns.map((column) => computed(column.name, column.typeOid));
}

/** For unnest and similar functions: the element type of the argument's array. */
function ofArgument(binder: Binder, { args = [] }: FuncCall, name: string): Columns {
  const { environment, meanings } = binder;
  const types = args.map((arg) => typeOf(environment, arg, meanings));
  const elements = types.map((type) =>
    type !== undefined && type.element !== 0 ? environment.catalog.typesByOid.get(type.element) : type,
  );
  return elements.length > 0 && elements.every((type) => isScalar(environment.catalog, type))
    ? [computed(name)]
    : undefined;
}

function isPolymorphic({ typesByOid }: Catalog, oid: number): boolean {
  const type = typesByOid.get(oid);
  return type?.kind === "pseudo" && type.name.startsWith("any");
}
