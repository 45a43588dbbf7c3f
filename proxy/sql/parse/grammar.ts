import type { Node } from "libpg-query";

/**
 * The grammar that a guarded role may use, as the shape of the parse tree: every node type that may occur, and its
 * fields that contain further nodes. A node type or a node-valued field that is not listed here is refused: new syntax
 * of a newer parser stays closed until it has been reviewed.
 *
 * `NODE` marks a field of wrapped nodes (`{ "ColumnRef": {…} }`, alone or in a list); a type name marks a field whose
 * value is the bare body of that type. Scalar fields (names, flags, locations) need no entry. Node types: Postgres
 * source, src/include/nodes/parsenodes.h and primnodes.h.
 */
const NODE = "*";

const GRAMMAR: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  A_ArrayExpr: { elements: NODE },
  A_Const: {},
  A_Expr: { name: NODE, lexpr: NODE, rexpr: NODE },
  A_Indices: { lidx: NODE, uidx: NODE },
  A_Indirection: { arg: NODE, indirection: NODE },
  A_Star: {},
  Alias: { colnames: NODE },
  BitString: {},
  BoolExpr: { args: NODE },
  Boolean: {},
  BooleanTest: { arg: NODE },
  CTECycleClause: { cycle_col_list: NODE, cycle_mark_value: NODE, cycle_mark_default: NODE },
  CTESearchClause: { search_col_list: NODE },
  CaseExpr: { arg: NODE, args: NODE, defresult: NODE },
  CaseWhen: { expr: NODE, result: NODE },
  CoalesceExpr: { args: NODE },
  CollateClause: { arg: NODE, collname: NODE },
  ColumnDef: { typeName: "TypeName", collClause: "CollateClause" },
  ColumnRef: { fields: NODE },
  CommonTableExpr: {
    aliascolnames: NODE,
    ctequery: NODE,
    search_clause: "CTESearchClause",
    cycle_clause: "CTECycleClause",
  },
  CurrentOfExpr: {},
  DeleteStmt: {
    relation: "RangeVar",
    usingClause: NODE,
    whereClause: NODE,
    returningClause: "ReturningClause",
    withClause: "WithClause",
  },
  Float: {},
  FuncCall: { funcname: NODE, args: NODE, agg_order: NODE, agg_filter: NODE, over: "WindowDef" },
  GroupingFunc: { args: NODE },
  GroupingSet: { content: NODE },
  IndexElem: { expr: NODE, collation: NODE, opclass: NODE },
  InferClause: { indexElems: NODE, whereClause: NODE },
  InsertStmt: {
    relation: "RangeVar",
    cols: NODE,
    selectStmt: NODE,
    onConflictClause: "OnConflictClause",
    returningClause: "ReturningClause",
    withClause: "WithClause",
  },
  Integer: {},
  JoinExpr: {
    larg: NODE,
    rarg: NODE,
    usingClause: NODE,
    join_using_alias: "Alias",
    quals: NODE,
    alias: "Alias",
  },
  JsonAggConstructor: { output: "JsonOutput", agg_filter: NODE, agg_order: NODE, over: "WindowDef" },
  JsonArgument: { val: "JsonValueExpr" },
  JsonArrayAgg: { constructor: "JsonAggConstructor", arg: "JsonValueExpr" },
  JsonArrayConstructor: { exprs: NODE, output: "JsonOutput" },
  JsonArrayQueryConstructor: { query: NODE, output: "JsonOutput", format: "JsonFormat" },
  JsonBehavior: { expr: NODE },
  JsonFormat: {},
  JsonFuncExpr: {
    context_item: "JsonValueExpr",
    pathspec: NODE,
    passing: NODE,
    output: "JsonOutput",
    on_empty: "JsonBehavior",
    on_error: "JsonBehavior",
  },
  JsonIsPredicate: { expr: NODE, format: "JsonFormat" },
  JsonKeyValue: { key: NODE, value: "JsonValueExpr" },
  JsonObjectAgg: { constructor: "JsonAggConstructor", arg: "JsonKeyValue" },
  JsonObjectConstructor: { exprs: NODE, output: "JsonOutput" },
  JsonOutput: { typeName: "TypeName", returning: "JsonReturning" },
  JsonParseExpr: { expr: "JsonValueExpr", output: "JsonOutput" },
  JsonReturning: { format: "JsonFormat" },
  JsonScalarExpr: { expr: NODE, output: "JsonOutput" },
  JsonSerializeExpr: { expr: "JsonValueExpr", output: "JsonOutput" },
  JsonTable: {
    context_item: "JsonValueExpr",
    pathspec: "JsonTablePathSpec",
    passing: NODE,
    columns: NODE,
    on_error: "JsonBehavior",
    alias: "Alias",
  },
  JsonTableColumn: {
    typeName: "TypeName",
    pathspec: "JsonTablePathSpec",
    format: "JsonFormat",
    columns: NODE,
    on_empty: "JsonBehavior",
    on_error: "JsonBehavior",
  },
  JsonTablePathSpec: { string: NODE },
  JsonValueExpr: { raw_expr: NODE, formatted_expr: NODE, format: "JsonFormat" },
  List: { items: NODE },
  LockingClause: { lockedRels: NODE },
  MergeStmt: {
    relation: "RangeVar",
    sourceRelation: NODE,
    joinCondition: NODE,
    mergeWhenClauses: NODE,
    returningClause: "ReturningClause",
    withClause: "WithClause",
  },
  MergeSupportFunc: {},
  MergeWhenClause: { condition: NODE, targetList: NODE, values: NODE },
  MinMaxExpr: { args: NODE },
  MultiAssignRef: { source: NODE },
  NamedArgExpr: { arg: NODE },
  NullTest: { arg: NODE },
  OnConflictClause: { infer: "InferClause", targetList: NODE, whereClause: NODE },
  ParamRef: {},
  RangeFunction: { functions: NODE, alias: "Alias", coldeflist: NODE },
  RangeSubselect: { subquery: NODE, alias: "Alias" },
  RangeTableFunc: { docexpr: NODE, rowexpr: NODE, namespaces: NODE, columns: NODE, alias: "Alias" },
  RangeTableFuncCol: { typeName: "TypeName", colexpr: NODE, coldefexpr: NODE },
  RangeTableSample: { relation: NODE, method: NODE, args: NODE, repeatable: NODE },
  RangeVar: { alias: "Alias" },
  ResTarget: { indirection: NODE, val: NODE },
  ReturningClause: { options: NODE, exprs: NODE },
  ReturningOption: {},
  RowExpr: { args: NODE, colnames: NODE },
  SQLValueFunction: {},
  SelectStmt: {
    distinctClause: NODE,
    targetList: NODE,
    fromClause: NODE,
    whereClause: NODE,
    groupClause: NODE,
    havingClause: NODE,
    windowClause: NODE,
    valuesLists: NODE,
    sortClause: NODE,
    limitOffset: NODE,
    limitCount: NODE,
    lockingClause: NODE,
    withClause: "WithClause",
    larg: "SelectStmt",
    rarg: "SelectStmt",
  },
  SetToDefault: {},
  SortBy: { node: NODE, useOp: NODE },
  String: {},
  SubLink: { testexpr: NODE, operName: NODE, subselect: NODE },
  TypeCast: { arg: NODE, typeName: "TypeName" },
  TypeName: { names: NODE, typmods: NODE, arrayBounds: NODE },
  UpdateStmt: {
    relation: "RangeVar",
    targetList: NODE,
    whereClause: NODE,
    fromClause: NODE,
    returningClause: "ReturningClause",
    withClause: "WithClause",
  },
  WindowDef: { partitionClause: NODE, orderClause: NODE, startOffset: NODE, endOffset: NODE },
  WithClause: { ctes: NODE },
  XmlExpr: { named_args: NODE, arg_names: NODE, args: NODE },
  XmlSerialize: { expr: NODE, typeName: "TypeName" },
};

/** The body of a parse-tree node: its fields, without the type. */
export type Body = object;

/** A statement uses syntax that the grammar above does not list. */
export class UnknownSyntax extends Error {
  /** Byte offset of the unknown syntax, or of the node around it. */
  readonly place: number | undefined;
  constructor(what: string, body: Body = {}) {
    super(what);
    const { location } = body as { location?: number };
    this.place = location;
  }
}

/** `{ "ColumnRef": body }` → `["ColumnRef", body]`. */
export function nodeOf(node: object): readonly [type: string, body: Body] {
  // Called for every node: it reads the one key without the arrays of Object.entries.
  for (const type in node) {
    const body: unknown = node[type as keyof typeof node];
    if (typeof body === "object") return [type, body as Body];
    break;
  }
  throw new UnknownSyntax("an empty node");
}

/**
 * Visits the direct children of a node in the order of its fields. Throws UnknownSyntax for anything that is not
 * listed.
 */
export function forEachChild(type: string, body: Body, visit: (type: string, body: Body) => void): void {
  const shape = GRAMMAR[type];
  if (shape === undefined) throw new UnknownSyntax(type, body);
  if (type === "A_Const") return;
  for (const field in body) {
    const value: unknown = body[field as keyof typeof body];
    if (value === null || typeof value !== "object") continue;
    const kind = Object.hasOwn(shape, field) ? shape[field] : undefined;
    if (kind === undefined) throw new UnknownSyntax(`${type}.${field}`, body);
    if (kind !== NODE) visit(kind, value);
    else for (const item of Array.isArray(value) ? value : [value]) visitNode(item, visit);
  }
}

/** Visits one wrapped node; skips an empty one (a NULL in a list, as in `DISTINCT` without ON). */
export function visitNode(node: object, visit: (type: string, body: Body) => void): void {
  for (const _ in node) {
    const [type, body] = nodeOf(node);
    visit(type, body);
    return;
  }
}

/** `{ "String": { "sval": "a" } }` → "a" */
export function stringOf(node: Node): string {
  const [type, body] = nodeOf(node);
  return type === "String" ? ((body as { sval?: string }).sval ?? "") : "";
}

/** Whether a name has no schema, or that of Postgres's own objects. */
export function isBuiltinName(names: readonly Node[]): boolean {
  const [first] = names;
  return names.length === 1 || (first !== undefined && stringOf(first) === "pg_catalog");
}

/** The last part of a name: of a function without its schema. */
export function lastName(names: readonly Node[] | undefined): string {
  return (names ?? []).map(stringOf).at(-1) ?? "";
}
