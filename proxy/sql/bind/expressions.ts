import type {
  A_Expr,
  A_Indirection,
  CaseExpr,
  ColumnRef,
  FuncCall,
  SortBy,
  SubLink,
  TypeName,
} from "libpg-query";
import type { CatalogFunction } from "../../catalog/catalog.ts";
import { type Body, forEachChild, nodeOf, stringOf } from "../parse/grammar.ts";
import type { Binder } from "./binder.ts";
import type { Call } from "./bound.ts";
import { levelAt, type NameScope } from "./name-scope.ts";
import { columnRef, fieldAsCall, fieldsOfValue, takesOne } from "./names.ts";
import { operatorNamed, operatorsOfCase, operatorsOfExpression, operatorsOfSubquery } from "./operators.ts";

/** The parts of an expression that contain a name or determine something about the enclosing query. */
export const EXPRESSION_VISITORS = {
  ColumnRef: column,
  FuncCall: call,
  A_Indirection: indirection,
  JsonArrayAgg: (binder: Binder, body: Body, scope: NameScope) =>
    jsonAggregate(binder, "JsonArrayAgg", body, scope),
  JsonObjectAgg: (binder: Binder, body: Body, scope: NameScope) =>
    jsonAggregate(binder, "JsonObjectAgg", body, scope),
  JsonArrayQueryConstructor: (binder: Binder, body: Body, scope: NameScope) => {
    scope.level.calls.push(syntax(body, "JSON_ARRAY(…)"));
    binder.children("JsonArrayQueryConstructor", body, scope);
  },
  SubLink: (binder: Binder, body: SubLink, scope: NameScope) => {
    if (body.subLinkType === "ARRAY_SUBLINK") scope.level.calls.push(syntax(body, "ARRAY(…)"));
    scope.level.operators.push(...operatorsOfSubquery(body));
    binder.children("SubLink", body, scope);
  },
  A_Expr: (binder: Binder, body: A_Expr, scope: NameScope) => {
    scope.level.operators.push(...operatorsOfExpression(body));
    binder.children("A_Expr", body, scope);
  },
  CaseExpr: (binder: Binder, body: CaseExpr, scope: NameScope) => {
    scope.level.operators.push(...operatorsOfCase(body));
    binder.children("CaseExpr", body, scope);
  },
  // The ORDER BY of an aggregate or a window; that of a query may name an output (outputs.ts).
  SortBy: (binder: Binder, body: SortBy, scope: NameScope) => {
    scope.level.operators.push(...operatorNamed(body.useOp));
    binder.children("SortBy", body, scope);
  },
  TypeName: (binder: Binder, body: TypeName, scope: NameScope) => {
    scope.level.types.push(body);
    binder.children("TypeName", body, scope);
  },
};

function syntax(node: Body, name: string): Call {
  return { node, name, schema: undefined, form: "syntax" };
}

function column(binder: Binder, body: ColumnRef, scope: NameScope): void {
  columnRef(binder, body, scope);
  const { fields = [] } = body;
  const last = fields.at(-1);
  if (last === undefined || fields.length < 2 || nodeOf(last)[0] !== "String") return;
  if (binder.meanings.get(body)?.kind !== "column") field(binder, "ColumnRef", body, stringOf(last), scope);
}

function indirection(binder: Binder, body: A_Indirection, scope: NameScope): void {
  binder.children("A_Indirection", body, scope);
  for (const name of fieldsOfValue(binder, body)) field(binder, "A_Indirection", body, name, scope);
}

/**
 * `c.reveal` and `(value).reveal` call a function of one argument, possibly an aggregate (ParseFuncOrColumn in
 * parser/parse_func.c).
 */
function field(binder: Binder, type: string, node: Body, name: string, scope: NameScope): void {
  const called = (binder.environment.catalog.functionsByName.get(name) ?? []).filter(takesOne);
  const made: Call = { node, name, schema: undefined, form: "field" };
  meet(binder, type, made, called, scope);
}

function call(binder: Binder, body: FuncCall, scope: NameScope): void {
  binder.children("FuncCall", body, scope);
  fieldAsCall(binder, body);
  const [name = "", schema] = (body.funcname ?? []).map(stringOf).toReversed();
  const called = binder.environment.catalog.functionsByName.get(name) ?? [];
  // A function that is not in the catalog may return a set.
  if (called.length === 0) scope.level.sets.push(body);
  const made: Call = { node: body, name, schema, form: "function" };
  if (body.over === undefined) meet(binder, "FuncCall", made, called, scope);
  else {
    scope.level.calls.push(made);
    scope.level.windows.push(body);
  }
}

function meet(
  binder: Binder,
  type: string,
  made: Call,
  called: readonly CatalogFunction[],
  scope: NameScope,
): void {
  scope.level.calls.push(made);
  if (called.some(({ returnsSet }) => returnsSet)) scope.level.sets.push(made.node);
  if (called.some(({ kind }) => kind === "aggregate")) aggregate(binder, type, made, scope);
}

function jsonAggregate(
  binder: Binder,
  type: "JsonArrayAgg" | "JsonObjectAgg",
  body: Body,
  scope: NameScope,
): void {
  binder.children(type, body, scope);
  const made = syntax(body, type === "JsonArrayAgg" ? "JSON_ARRAYAGG" : "JSON_OBJECTAGG");
  scope.level.calls.push(made);
  const { constructor: options } = body as { constructor?: { over?: object } };
  if (options?.over !== undefined) scope.level.windows.push(body);
  else aggregate(binder, type, made, scope);
}

/**
 * An aggregate belongs to the innermost query whose columns its arguments name, or to its own query if they name none
 * (Postgres docs, "Aggregate Expressions"). If they may name an unknown column, it is assigned to its own query.
 */
function aggregate(binder: Binder, type: string, made: Call, scope: NameScope): void {
  let depth: number | undefined;
  const look = (childType: string, child: Body): void => {
    const meaning = binder.meanings.get(child);
    if (meaning?.kind === "uncertain") depth = scope.depth;
    if ((meaning?.kind === "column" || meaning?.kind === "row") && meaning.depth <= scope.depth)
      depth = Math.max(depth ?? meaning.depth, meaning.depth);
    forEachChild(childType, child, look);
  };
  look(type, made.node);
  const level = depth === undefined ? undefined : levelAt(scope, depth);
  (level ?? scope.level).aggregates.push(made);
}
