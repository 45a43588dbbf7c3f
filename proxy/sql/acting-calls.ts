import type { FuncCall, RangeFunction, SelectStmt } from "libpg-query";
import type { CatalogFunction } from "../catalog/catalog.ts";
import { limitKey, type Role } from "../policy/policy.ts";
import type { Analysis } from "./analysis.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { forEachObject } from "./tree.ts";

/*
 * A volatile function may write; others may not (Postgres docs, "Function Volatility Categories"). What it writes is in no
 * command tag, and it is committed whatever becomes of the rows: `SELECT count(take_ticket(g)) FROM generate_series(1, 5000) g`.
 */

/** The role may make this call. */
export function meetActingCall(
  analysis: Analysis,
  name: string,
  functions: readonly CatalogFunction[],
): void {
  if (!functions.some(({ volatility }) => volatility === "volatile")) return;
  analysis.lasting ??= `${name}()`;
  analysis.actingCalls.push(name);
}

/** Where changes are limited, a statement makes one such call, once. */
export function refuseRepeatedCalls(analysis: Analysis): void {
  const { actingCalls, scope, raw } = analysis;
  const [name] = actingCalls;
  if (name === undefined || !limitsChanges(scope.role)) return;
  if (actingCalls.length === 1 && runsOnce(analysis, raw.node)) return;
  analysis.deny(
    `role "${scope.role.name}" may call ${name}() once in a statement: how many rows it writes is told by nothing`,
    scope.role.limits.changes === undefined ? "budget" : "changes",
    `Send SELECT ${name}(…) without FROM, one call for each statement. A function that writes nothing can be declared STABLE.`,
  );
}

/** COPY that is cut off may have run to its end: what it did would be committed although its answer is refused. */
export function refuseCopiedActs(analysis: Analysis): void {
  const { actingCalls, writes, scope } = analysis;
  const [name] = actingCalls;
  if (name === undefined && writes.size === 0) return;
  const what = name === undefined ? `write ${[...writes].join(", ")}` : `call ${name}()`;
  analysis.deny(
    `role "${scope.role.name}" has a limit and may not ${what} inside COPY`,
    limitKey(scope.role),
    `Send the ${name === undefined ? "write with RETURNING" : "SELECT"} as a statement of its own.`,
  );
}

function limitsChanges({ limits, budget }: Role): boolean {
  return limits.changes !== undefined || budget.some(({ what }) => what === "changes");
}

/** Clauses of a SELECT that may give more rows than one, of which each is computed. */
const MULTIPLYING = ["withClause", "valuesLists", "larg", "rarg", "groupClause"] as const;

/** Whether all expressions of a statement are computed once at most: one SELECT that reads no rows. */
function runsOnce({ scope }: Analysis, node: object): boolean {
  let selects = 0;
  let isSure = true;
  const look = (field: string, object: object): void => {
    // Nothing stands in a constant.
    if (field === "A_Const") return;
    if (WRITES.has(field)) isSure = false;
    if (field === "SelectStmt") selects++;
    if (field === "SelectStmt") isSure &&= givesOneRow(object as SelectStmt);
    if (field === "FuncCall") isSure &&= !mayReturnSet(object as FuncCall);
    // `('…'::text).ts_stat` calls a function as well.
    if (field === "A_Indirection") isSure = false;
    forEachObject(object, look);
  };
  forEachObject(node, look);
  return isSure && selects <= 1;

  function mayReturnSet({ funcname }: FuncCall): boolean {
    const name = (funcname ?? []).map(stringOf).at(-1) ?? "";
    return scope.catalog.functionsByName.get(name)?.some(({ returnsSet }) => returnsSet) ?? true;
  }
}

const WRITES: ReadonlySet<string> = new Set(["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]);

/** FROM may be one call, which is how drivers write it: `SELECT * FROM take_ticket(7)`. */
function givesOneRow(body: SelectStmt): boolean {
  if (MULTIPLYING.some((clause) => body[clause] !== undefined)) return false;
  const [item, ...more] = body.fromClause ?? [];
  return more.length === 0 && (item === undefined || isCall(nodeOf(item)));
}

function isCall([type, body]: readonly [string, object]): boolean {
  return type === "RangeFunction" && (body as RangeFunction).functions !== undefined;
}
