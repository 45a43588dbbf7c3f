import type { FuncCall } from "libpg-query";
import type { CatalogFunction } from "../../catalog/catalog.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { builtinUse, tellsOfStatements } from "../functions.ts";
import { hidesTraces, keyOfTraces } from "../hidden-traces.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { readsItsArgumentsOnly } from "../reads-more.ts";
import { denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { sequenceSet, settingCall } from "./setting-calls.ts";

type BuiltinFinding =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "null"; readonly node: FuncCall }
  | { readonly kind: "sets"; readonly parameter: string };

/** The call's name, and all pg_catalog functions of that name. */
interface Called {
  readonly name: string;
  readonly functions: readonly CatalogFunction[];
}

/** Judges a call of one of Postgres's own functions, which the role may not be allowed to make. */
export function builtinCall(
  statement: BoundStatement,
  given: Omit<Given, "castFunctions">,
  node: FuncCall,
  { name, functions }: Called,
): readonly BuiltinFinding[] {
  const { role } = given;
  if (functions.length === 0) return refused(refuse("42883", `function pg_catalog.${name} does not exist`));
  // Elsewhere such calls are refused for what they change, or for what a masked value may have left behind.
  if (role.watch === true && name !== "set_config" && functions.every(readsItsArgumentsOnly)) return [];
  if (name === "current_setting" || name === "set_config") {
    const found = settingCall(statement, given, node, name);
    if (found.kind === "reads") return [];
    return found.kind === "refused" ? [found] : [{ kind: "sets", parameter: found.parameter }];
  }
  if (name === "setval") return refused(sequenceSet(given, node));
  if (endsOwnSession(node, name)) return [];
  const hides = tellsOfStatements(name) && hidesTraces(role);
  if (hides && !(ASKED_BY_CLIENTS.has(name) && hasOneArgument(node))) return refused(telling(given, name));
  const forbidden = refused(forbiddenUse(given, functions));
  return hides ? [{ kind: "null", node }, ...forbidden] : forbidden;
}

function refused(refusal: Refusal | undefined): readonly BuiltinFinding[] {
  return refusal === undefined ? [] : [{ kind: "refused", refusal }];
}

function forbiddenUse(
  { role }: Pick<Given, "role">,
  functions: readonly CatalogFunction[],
): Refusal | undefined {
  for (const fn of functions) {
    const use = builtinUse(fn);
    if (use === undefined)
      return refuse("42501", `role "${role.name}" may not call ${fn.name}`, {
        hint: "It can read data or reach other sessions in a way that masks do not cover; only a role that sees, reads and writes all may call it.",
      });
    const writesNothing = role.writes !== "all" && role.writes.tables.size + role.writes.schemas.size === 0;
    if (use === "writer" && writesNothing)
      return denied(
        role,
        `role "${role.name}" writes nothing and may not call ${fn.name}`,
        "writes",
        `Add a relation under "writes:" of ${placeOfRole(role)}.`,
      );
  }
  return undefined;
}

/** The refusal of a function that reveals traces of statements, for roles that may not see them. */
function telling({ role }: Pick<Given, "role">, name: string): Refusal {
  return denied(
    role,
    `role "${role.name}" may not call ${name}`,
    keyOfTraces(role),
    "It could reveal what an earlier statement has read; a role without a limit, a budget or a filter may call it.",
  );
}

/**
 * psql's \db+ and DBeaver's list of indexes call these among other things. Both are strict: they return NULL for NULL.
 */
const ASKED_BY_CLIENTS: ReadonlySet<string> = new Set(["pg_tablespace_size", "pg_stat_get_numscans"]);

/** A call whose argument can be replaced by NULL of the same type, because Postgres chooses the function by it. */
function hasOneArgument({ args = [], location, func_variadic, funcformat }: FuncCall): boolean {
  const [argument, ...more] = args;
  if (argument === undefined || more.length > 0) return false;
  const isWritten = location !== undefined && funcformat === "COERCE_EXPLICIT_CALL";
  return isWritten && nodeOf(argument)[0] !== "NamedArgExpr" && func_variadic !== true;
}

/** `pg_terminate_backend(pg_backend_pid())` affects no other session. */
function endsOwnSession({ args = [] }: FuncCall, name: string): boolean {
  if (name !== "pg_terminate_backend" && name !== "pg_cancel_backend") return false;
  const [argument, ...more] = args;
  if (argument === undefined || more.length > 0) return false;
  const [type, call] = nodeOf(argument);
  const names = type === "FuncCall" ? ((call as FuncCall).funcname ?? []).map(stringOf) : [];
  const isBuiltin = names.length === 1 || (names.length === 2 && names[0] === "pg_catalog");
  return isBuiltin && names.at(-1) === "pg_backend_pid";
}
