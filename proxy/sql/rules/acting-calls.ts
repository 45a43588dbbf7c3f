import type { FuncCall, RangeFunction, SelectStmt } from "libpg-query";
import type { Catalog, CatalogFunction } from "../../catalog/catalog.ts";
import { WRITES } from "../../pg/statements.ts";
import { limitKey, type Role } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundStatement, Call } from "../bind/bound.ts";
import { lastName, nodeOf, stringOf } from "../parse/grammar.ts";
import { forEachObject } from "../parse/tree.ts";
import { ownFunctions } from "./calls.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";

/*
 * A volatile function may write; other functions may not (Postgres docs, "Function Volatility Categories"). No command
 * tag includes its writes, and they are committed whatever happens to the rows: `SELECT count(take_ticket(g)) FROM
 * generate_series(1, 5000) g`.
 */

/** Calls of functions outside pg_catalog that may write. */
export function actingCalls(
  { queries }: BoundStatement,
  { catalog }: Pick<Given, "catalog">,
): readonly Call[] {
  return queries.flatMap(({ calls }) => calls.filter((call) => acts(catalog, call)));
}

export function acts(catalog: Catalog, call: Call): boolean {
  return ownFunctions(catalog, call).some(isVolatile);
}

function isVolatile({ volatility }: CatalogFunction): boolean {
  return volatility === "volatile";
}

/** The name as the statement writes it. */
export function nameOfCall({ node, form, name }: Call): string {
  return form === "function" ? ((node as FuncCall).funcname ?? []).map(stringOf).join(".") : name;
}

/** If changes are limited, a statement may make one such call, once. `node`: the whole statement. */
export function repeatedCalls(
  { role, catalog }: Pick<Given, "role" | "catalog">,
  calls: readonly Call[],
  node: object,
): Refusal | undefined {
  const [first] = calls;
  if (first === undefined || !limitsChanges(role)) return undefined;
  if (calls.length === 1 && runsOnce(catalog, node)) return undefined;
  const name = nameOfCall(first);
  return denied(
    role,
    `role "${role.name}" may call ${name}() once in a statement: nothing reports how many rows it writes`,
    role.limits.changes === undefined ? "budget" : "changes",
    `Send SELECT ${name}(…) without FROM, one call for each statement. A function that writes nothing can be declared STABLE.`,
  );
}

/** A COPY that is cut off may have run to its end: its effects would be committed although its answer is refused. */
export function copiedActs(
  { role }: Pick<Given, "role">,
  calls: readonly Call[],
  written: readonly string[],
): Refusal | undefined {
  const [first] = calls;
  if (first === undefined && written.length === 0) return undefined;
  const what = first === undefined ? `write ${written.join(", ")}` : `call ${nameOfCall(first)}()`;
  return denied(
    role,
    `role "${role.name}" has a limit and may not ${what} inside COPY`,
    limitKey(role),
    `Send the ${first === undefined ? "write with RETURNING" : "SELECT"} as a statement of its own.`,
  );
}

function limitsChanges({ limits, budget }: Role): boolean {
  return limits.changes !== undefined || budget.some(({ what }) => what === "changes");
}

/** Clauses of a SELECT that may return more than one row, computing expressions for each. */
const MULTIPLYING = ["withClause", "valuesLists", "larg", "rarg", "groupClause"] as const;

/** Whether all expressions of a statement are computed at most once: one SELECT that reads no rows. */
function runsOnce(catalog: Catalog, node: object): boolean {
  let selects = 0;
  let isSure = true;
  const look = (field: string, object: object): void => {
    // A constant contains no calls.
    if (field === "A_Const") return;
    if (WRITES.has(field)) isSure = false;
    if (field === "SelectStmt") selects++;
    if (field === "SelectStmt") isSure &&= givesOneRow(object as SelectStmt);
    if (field === "FuncCall") isSure &&= !mayReturnSet(object as FuncCall);
    // `('…'::text).ts_stat` calls a function too.
    if (field === "A_Indirection") isSure = false;
    forEachObject(object, look);
  };
  forEachObject(node, look);
  return isSure && selects <= 1;

  function mayReturnSet({ funcname }: FuncCall): boolean {
    const name = lastName(funcname);
    return catalog.functionsByName.get(name)?.some(({ returnsSet }) => returnsSet) ?? true;
  }
}

/** FROM may be a single call, as drivers write it: `SELECT * FROM take_ticket(7)`. */
function givesOneRow(body: SelectStmt): boolean {
  if (MULTIPLYING.some((clause) => body[clause] !== undefined)) return false;
  const [item, ...more] = body.fromClause ?? [];
  return more.length === 0 && (item === undefined || isCall(nodeOf(item)));
}

function isCall([type, body]: readonly [string, object]): boolean {
  return type === "RangeFunction" && (body as RangeFunction).functions !== undefined;
}
