import type { A_Indirection, FuncCall } from "libpg-query";
import { type Body, forEachChild, stringOf } from "../grammar.ts";
import type { Binder } from "./binder.ts";
import { columnRef, fieldAsCall, fieldOfRow } from "./names.ts";
import { levelAt, type Scope } from "./scope.ts";

/** What in an expression has a name in it, or tells something of the query around. */
export const EXPRESSION_VISITORS = {
  ColumnRef: columnRef,
  FuncCall: call,
  A_Indirection: (binder: Binder, body: A_Indirection, scope: Scope) => {
    binder.children("A_Indirection", body, scope);
    fieldOfRow(binder, body);
  },
  JsonArrayAgg: (binder: Binder, body: Body, scope: Scope) =>
    jsonAggregate(binder, "JsonArrayAgg", body, scope),
  JsonObjectAgg: (binder: Binder, body: Body, scope: Scope) =>
    jsonAggregate(binder, "JsonObjectAgg", body, scope),
};

function call(binder: Binder, body: FuncCall, scope: Scope): void {
  binder.children("FuncCall", body, scope);
  fieldAsCall(binder, body);
  const name = (body.funcname ?? []).map(stringOf).at(-1) ?? "";
  const called = binder.environment.catalog.functionsByName.get(name) ?? [];
  // What is not in the catalog may do so.
  if (called.length === 0 || called.some(({ returnsSet }) => returnsSet)) scope.level.sets.push(body);
  if (body.over !== undefined) scope.level.windows.push(body);
  else if (called.some(({ kind }) => kind === "aggregate")) aggregate(binder, "FuncCall", body, scope);
}

function jsonAggregate(binder: Binder, type: string, body: Body, scope: Scope): void {
  binder.children(type, body, scope);
  const { constructor: made } = body as { constructor?: { over?: object } };
  if (made?.over !== undefined) scope.level.windows.push(body);
  else aggregate(binder, type, body, scope);
}

/**
 * An aggregate is of the innermost query whose columns its arguments name, and of its own where they name none (Postgres
 * docs, "Aggregate Expressions"). Where they may name a column that is not known it is taken for its own query's.
 */
function aggregate(binder: Binder, type: string, body: Body, scope: Scope): void {
  let depth = -1;
  const look = (childType: string, child: Body): void => {
    const meaning = binder.meanings.get(child);
    if (meaning?.kind === "uncertain") depth = scope.depth;
    if ((meaning?.kind === "column" || meaning?.kind === "row") && meaning.depth <= scope.depth)
      depth = Math.max(depth, meaning.depth);
    forEachChild(childType, child, look);
  };
  forEachChild(type, body, look);
  (levelAt(scope, depth) ?? scope.level).aggregates.push(body);
}
