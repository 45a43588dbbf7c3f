import type { A_Indirection, ColumnRef, FuncCall, Node } from "libpg-query";
import { type CatalogFunction, isPlainExtensionFunction } from "../../catalog/catalog.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement, Call } from "../bind/bound.ts";
import { takes } from "../bind/function-columns.ts";
import { type Body, stringOf } from "../parse/grammar.ts";
import { builtinCall } from "./builtin-calls.ts";
import { functionsMeant, ownFunctions } from "./calls.ts";
import type { Given } from "./given.ts";
import { forbiddenCall } from "./permission.ts";

/* Allowed calls: of built-ins that read nothing by themselves, or of functions that the policy lets the role call. */

export type CallFinding =
  | { readonly kind: "refused"; readonly refusal: Refusal; readonly call: Call }
  /**
   * Its name gets the schema that it means: another function of the name might be the better match, or be created
   * later.
   */
  | { readonly kind: "schema"; readonly node: FuncCall; readonly schema: string }
  /** Its only argument becomes NULL, and therefore its result too. */
  | { readonly kind: "null"; readonly node: FuncCall }
  /** It changes a setting. */
  | { readonly kind: "sets"; readonly parameter: string };

type CallsGiven = Omit<Given, "castFunctions">;

/** The findings for all calls of a statement. */
export function callFindings(statement: BoundStatement, given: CallsGiven): readonly CallFinding[] {
  return statement.queries.flatMap(({ calls }) =>
    calls.flatMap((call) =>
      ofCall(statement, given, call).map((found) => (found.kind === "refused" ? { ...found, call } : found)),
    ),
  );
}

/** The findings for one call. */
type Found =
  | Exclude<CallFinding, { kind: "refused" }>
  | { readonly kind: "refused"; readonly refusal: Refusal };

function ofCall(statement: BoundStatement, given: CallsGiven, call: Call): readonly Found[] {
  switch (call.form) {
    case "function":
      return functionCall(statement, given, call.node, call);
    case "field":
      return fieldCall(statement, given, call);
    case "syntax":
      return [];
  }
}

/** Why a call is forbidden: the first one in the text, and so an outer call before those in its arguments. */
export function forbiddenCalls(findings: readonly CallFinding[]): Refusal | undefined {
  const refused = findings.filter((finding) => finding.kind === "refused");
  return refused.toSorted((a, b) => placeOf(a.call) - placeOf(b.call))[0]?.refusal;
}

function placeOf({ node }: Call): number {
  return (node as FuncCall).location ?? 0;
}

/** The setting that a statement changes; callers need it because the meaning of names depends on search_path. */
export function settingChanged(findings: readonly CallFinding[]): string | undefined {
  const changed = findings.flatMap((finding) => (finding.kind === "sets" ? [finding.parameter] : []));
  return changed.includes("search_path") ? "search_path" : changed.at(-1);
}

function functionCall(
  statement: BoundStatement,
  given: CallsGiven,
  node: FuncCall,
  call: Call,
): readonly Found[] {
  const { name, schema } = call;
  const names = (node.funcname ?? []).map(stringOf);
  if (names.length > 2)
    return refused(
      refuse("42501", `cross-database references are not implemented: ${names.join(".")}`, {
        hint: "Write schema and name alone.",
      }),
    );
  const all = given.catalog.functionsByName.get(name) ?? [];
  const builtins = all.filter((fn) => fn.schema === "pg_catalog");
  const outside = all.filter((fn) => fn.schema !== "pg_catalog");
  if (isCast(given, node, call)) return schema === undefined ? inSchema(node, "pg_catalog") : [];
  if (schema !== "pg_catalog" && (schema !== undefined || builtins.length === 0))
    return ownCall(statement, given, node, call);
  const found = builtinCall(statement, given, node, { name, functions: builtins });
  // Another function of that name might be the better match for these arguments: qualify Postgres's own.
  if (schema !== undefined || outside.every(isPlainExtensionFunction)) return found;
  const namesake = namesakeOf(given, node, builtins, outside);
  return [...found, ...(namesake === undefined ? inSchema(node, "pg_catalog") : refused(namesake))];
}

function refused(refusal: Refusal): readonly Found[] {
  return [{ kind: "refused", refusal }];
}

/** A call that SQL spells as syntax (EXTRACT, OVERLAY) is qualified by the grammar already. */
function inSchema(node: FuncCall, schema: string): readonly Found[] {
  return node.funcformat === "COERCE_EXPLICIT_CALL" ? [{ kind: "schema", node, schema }] : [];
}

/** `regrole('anna')` is a cast if no function has that name (Postgres docs, "Function Type Resolution"). */
function isCast({ catalog }: CallsGiven, { args }: FuncCall, { name, schema }: Call): boolean {
  const { functionsByName, typesByName } = catalog;
  return (
    (schema === undefined || schema === "pg_catalog") &&
    !functionsByName.has(name) &&
    args?.length === 1 &&
    typesByName.get(name)?.some((type) => type.schema === "pg_catalog") === true
  );
}

/**
 * A function on the search_path that takes as many arguments may be the one that Postgres would choose instead of its
 * own function of that name (Postgres docs, "Function Type Resolution").
 */
function namesakeOf(
  { searchPath }: CallsGiven,
  { args }: FuncCall,
  builtins: readonly CatalogFunction[],
  outside: readonly CatalogFunction[],
): Refusal | undefined {
  const namesake = outside.find(
    (fn) =>
      searchPath.includes(fn.schema) &&
      takes(fn, args?.length ?? 0) &&
      // Of two functions with the same arguments, the first on the path is chosen, which is Postgres's own.
      !builtins.some(
        ({ argumentTypes }) =>
          argumentTypes.join() === fn.argumentTypes.join() && !searchPath.includes("pg_catalog"),
      ),
  );
  if (namesake === undefined) return undefined;
  const { name, schema } = namesake;
  return refuse("42501", `${name} may mean pg_catalog.${name} or ${schema}.${name}`, {
    hint: "Write the schema before the name.",
  });
}

/** Functions outside pg_catalog: those that the policy names, and an extension's own immutable C code. */
function ownCall(
  { meanings }: BoundStatement,
  given: CallsGiven,
  node: FuncCall,
  call: Call,
): readonly Found[] {
  const functions = functionsMeant(given.catalog, call);
  const name = (node.funcname ?? []).map(stringOf).join(".");
  if (functions.length === 0) {
    // `email(c)` is the column email of c (Postgres docs, "Field Selection"): it sees the mask like any expression.
    if (meanings.get(node)?.kind === "column") return [];
    return refused(
      refuse("42883", `function ${name} does not exist`, {
        hint: "Sluice knows the functions of its last look at the catalog.",
      }),
    );
  }
  const forbidden = forbiddenOwn(given, call);
  if (forbidden !== undefined) return refused(forbidden);
  const [schema, ...others] = new Set(functions.map((fn) => fn.schema));
  if (call.schema !== undefined || schema === undefined) return [];
  if (others.length === 0) return inSchema(node, schema);
  return refused(
    refuse("42501", `function ${name} exists in several schemas`, {
      hint: "Write the schema before the name.",
    }),
  );
}

function forbiddenOwn(given: CallsGiven, call: Call): Refusal | undefined {
  for (const fn of ownFunctions(given.catalog, call)) {
    const refusal = forbiddenCall(given, fn);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/**
 * `row.name` and `(value).name` call a function of one argument if no column has that name (Postgres docs, "Field
 * Selection"), whatever the value's type: `('…'::text).ts_stat` too. No schema can be written there, so all functions
 * of the name are judged.
 */
function fieldCall(statement: BoundStatement, given: CallsGiven, call: Call): readonly Found[] {
  const { name, node } = call;
  const builtins = functionsMeant(given.catalog, call).filter((fn) => fn.schema === "pg_catalog");
  const argument = argumentOf(node);
  const made: FuncCall = {
    funcname: [{ String: { sval: name } }],
    ...(argument !== undefined && { args: [argument] }),
  };
  const found =
    builtins.length === 0 ? [] : builtinCall(statement, given, made, { name, functions: builtins });
  const forbidden = forbiddenOwn(given, call);
  return forbidden === undefined ? found : [...found, ...refused(forbidden)];
}

/** The part before the field: `(value)`, or `schema.relation` as a name of its own. */
function argumentOf(node: Body): Node | undefined {
  const { arg } = node as A_Indirection;
  if (arg !== undefined) return arg;
  const { fields = [] } = node as ColumnRef;
  return { ColumnRef: { ...(node as ColumnRef), fields: fields.slice(0, -1) } };
}
