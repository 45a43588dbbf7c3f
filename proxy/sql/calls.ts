import type { ColumnRef, FuncCall, Node } from "libpg-query";
import { type CatalogFunction, isPlainExtensionFunction } from "../catalog/catalog.ts";
import { meetActingCall } from "./acting-calls.ts";
import { type Analysis, type Level, namedReferences } from "./analysis.ts";
import { meetType } from "./casts.ts";
import { builtinUse, isStandardFunction, tellsOfStatements } from "./functions.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { noteCall } from "./mask-comparisons.ts";
import { mayCall } from "./permission.ts";
import { closingParenthesis, placeOf } from "./places.ts";
import { rowOfSettings, setsSequence, setting } from "./setting-calls.ts";
import { quoteIdentifier } from "./source.ts";
import { hidesTraces, keyOfTraces } from "./traces.ts";

/** A call: of a built-in that reads nothing by itself, or of what the policy lets the role call. */
export function functionCall(analysis: Analysis, body: FuncCall, level: Level): void {
  const names = (body.funcname ?? []).map(stringOf);
  const name = names.at(-1) ?? "";
  const schema = names.length > 1 ? names.at(-2) : undefined;
  if (names.length > 2)
    analysis.refuse("42501", `cross-database references are not implemented: ${names.join(".")}`, {
      hint: "Write schema and name alone.",
    });
  const all = analysis.scope.catalog.functionsByName.get(name) ?? [];
  const builtins = all.filter((fn) => fn.schema === "pg_catalog");
  const outside = all.filter((fn) => fn.schema !== "pg_catalog");
  if (isCast(analysis, body, name, schema)) {
    if (schema === undefined) spliceSchema(analysis, body, "pg_catalog");
  } else if (schema === "pg_catalog" || (schema === undefined && builtins.length > 0)) {
    builtin(analysis, body, name, builtins, level);
    // Another function of that name might be the better match for these arguments: name Postgres's own.
    if (schema === undefined && !outside.every(isPlainExtensionFunction)) {
      refuseNamesake(analysis, body, builtins, outside);
      spliceSchema(analysis, body, "pg_catalog");
    }
  } else {
    ownFunction(
      analysis,
      body,
      names,
      schema === undefined ? outside : outside.filter((fn) => fn.schema === schema),
      level,
    );
  }
  noteCall(analysis, name, body.args, level);
  analysis.children("FuncCall", { ...body, funcname: undefined }, level);
}

/**
 * A function on the search_path that takes as many arguments may be the one that Postgres would choose, and then
 * its own by that name is another (Postgres docs, "Function Type Resolution").
 */
function refuseNamesake(
  analysis: Analysis,
  body: FuncCall,
  builtins: readonly CatalogFunction[],
  outside: readonly CatalogFunction[],
): void {
  const { searchPath } = analysis.scope;
  const count = body.args?.length ?? 0;
  const namesake = outside.find(
    (fn) =>
      searchPath.includes(fn.schema) &&
      takes(fn, count) &&
      // Of two with the same arguments the first on the path is taken, which is Postgres's own.
      !builtins.some(
        ({ argumentTypes }) =>
          argumentTypes.join() === fn.argumentTypes.join() && !searchPath.includes("pg_catalog"),
      ),
  );
  if (namesake === undefined) return;
  analysis.refuse(
    "42501",
    `${namesake.name} may mean pg_catalog.${namesake.name} or ${namesake.schema}.${namesake.name}`,
    { hint: "Write the schema before the name." },
  );
}

function takes({ argumentTypes, defaults = 0, variadic }: CatalogFunction, count: number): boolean {
  const least = argumentTypes.length - defaults - (variadic === true ? 1 : 0);
  return count >= least && (variadic === true || count <= argumentTypes.length);
}

/** `regrole('anna')` is a cast where no function is called so (Postgres docs, "Function Type Resolution"). */
function isCast({ scope }: Analysis, body: FuncCall, name: string, schema: string | undefined): boolean {
  const { functionsByName, typesByName } = scope.catalog;
  return (
    (schema === undefined || schema === "pg_catalog") &&
    !functionsByName.has(name) &&
    body.args?.length === 1 &&
    typesByName.get(name)?.some((type) => type.schema === "pg_catalog") === true
  );
}

function builtin(
  analysis: Analysis,
  body: FuncCall,
  name: string,
  functions: readonly CatalogFunction[],
  level: Level,
): void {
  if (functions.length === 0) analysis.refuse("42883", `function pg_catalog.${name} does not exist`);
  if (name === "current_setting" || name === "set_config") {
    if (name === "set_config") analysis.lasting ??= "set_config()";
    if (name !== "current_setting" || rowOfSettings(body, level) === undefined)
      setting(analysis, body, name, level);
    return;
  }
  if (name === "setval") {
    analysis.lasting ??= "setval()";
    setsSequence(analysis, body);
    return;
  }
  if (endsOwnSession(body, name)) return;
  hideTraces(analysis, body, name);
  for (const fn of functions) {
    const use = builtinUse(fn);
    if (use === undefined) {
      analysis.refuse("42501", `role "${analysis.scope.role.name}" may not call ${name}`, {
        hint: "It can read data or reach other sessions in a way that masks do not cover; only a role that sees, reads and writes all may call it.",
      });
    }
    if (
      use === "writer" &&
      analysis.scope.role.writes !== "all" &&
      analysis.scope.role.writes.tables.size + analysis.scope.role.writes.schemas.size === 0
    ) {
      analysis.deny(
        `role "${analysis.scope.role.name}" writes nothing and may not call ${name}`,
        "writes",
        `Add a relation under "writes:" of ${analysis.rolePlace}.`,
      );
    }
  }
  if (LASTING.test(name)) analysis.lasting ??= `${name}()`;
}

/**
 * What these do is read elsewhere, where nobody counts whom it is about (pg_locks, currval, the next random number, SHOW,
 * other transactions' numbers); how long a call waits is read off the clock. Constant arguments are no better: a condition decides which
 * of many calls is made. Random uuids come from another source, whose state nobody can read.
 */
const LASTING =
  /^(?:pg_(?:try_)?advisory_.*|pg_sleep.*|nextval|setseed|random|random_normal|pg_current_xact_id|txid_current)$/;

/** What statements leave behind is not asked for by those who may not know it. */
function hideTraces(analysis: Analysis, body: FuncCall, name: string): void {
  const { role } = analysis.scope;
  if (!tellsOfStatements(name) || !hidesTraces(role)) return;
  if (ASKED_BY_CLIENTS.has(name) && answerNull(analysis, body)) return;
  analysis.deny(
    `role "${role.name}" may not call ${name}`,
    keyOfTraces(role),
    "It could tell what an earlier statement has read; a role without a limit, a budget or a filter may call it.",
  );
}

/** psql's \db+ and DBeaver's list of indexes ask for these among other things. Both are strict: of NULL they give NULL. */
const ASKED_BY_CLIENTS: ReadonlySet<string> = new Set(["pg_tablespace_size", "pg_stat_get_numscans"]);

/** Makes the only argument NULL, and keeps its type, by which Postgres chooses the function; false where it is not written so. */
function answerNull(analysis: Analysis, body: FuncCall): boolean {
  const [argument, ...more] = body.args ?? [];
  if (argument === undefined || more.length > 0 || body.location === undefined) return false;
  if (nodeOf(argument)[0] === "NamedArgExpr" || body.func_variadic === true) return false;
  const { source } = analysis;
  const open = source.nameEnd(source.tokenAt(body.location)) + 1;
  if (source.token(open)?.text !== "(") return false;
  const [start, end] = [placeOf(source, open + 1), placeOf(source, closingParenthesis(source, open))];
  analysis.edit(start, start, "CASE WHEN false THEN ", { kind: "argument", location: body.location });
  analysis.edit(end, end, " END");
  return true;
}

/** `pg_terminate_backend(pg_backend_pid())` reaches nobody else's session. */
function endsOwnSession(body: FuncCall, name: string): boolean {
  if (name !== "pg_terminate_backend" && name !== "pg_cancel_backend") return false;
  const [argument, ...more] = body.args ?? [];
  if (argument === undefined || more.length > 0) return false;
  const [type, call] = nodeOf(argument);
  const names = type === "FuncCall" ? ((call as FuncCall).funcname ?? []).map(stringOf) : [];
  const isBuiltin = names.length === 1 || (names.length === 2 && names[0] === "pg_catalog");
  return isBuiltin && names.at(-1) === "pg_backend_pid";
}

/** Functions outside pg_catalog: those that the policy names, and an extension's own immutable C code. */
function ownFunction(
  analysis: Analysis,
  body: FuncCall,
  names: readonly string[],
  functions: readonly CatalogFunction[],
  level: Level,
): void {
  const name = names.join(".");
  if (functions.length === 0) {
    if (names.length === 1 && isAttribute(body, names[0] ?? "", level)) return;
    analysis.refuse("42883", `function ${name} does not exist`, {
      hint: "Sluice knows the functions of its last look at the catalog.",
    });
  }
  judgeOwn(analysis, name, functions);
  const schemas = new Set(functions.map((fn) => fn.schema));
  const [schema] = schemas;
  if (names.length > 1 || schema === undefined) return;
  if (schemas.size > 1)
    analysis.refuse("42501", `function ${name} exists in several schemas`, {
      hint: "Write the schema before the name.",
    });
  spliceSchema(analysis, body, schema);
}

function judgeOwn(analysis: Analysis, name: string, functions: readonly CatalogFunction[]): void {
  const unknown = functions.filter((fn) => !isPlainExtensionFunction(fn) && !isStandardFunction(fn));
  for (const fn of unknown) mayCall(analysis, fn);
  for (const { returnType } of functions) meetType(analysis, returnType);
  meetActingCall(analysis, name, unknown);
}

/**
 * `row.name` and `(value).name` call a function of one argument where no column is of that name (Postgres docs, "Field
 * Selection"), whatever the value's type: `('…'::text).ts_stat` as well. No schema can be written there, so all
 * functions of the name are judged.
 */
export function attributeCall(analysis: Analysis, name: string, argument: Node, level: Level): void {
  const called = (analysis.scope.catalog.functionsByName.get(name) ?? []).filter((fn) => takes(fn, 1));
  const builtins = called.filter((fn) => fn.schema === "pg_catalog");
  const body: FuncCall = { funcname: [{ String: { sval: name } }], args: [argument] };
  if (builtins.length > 0) builtin(analysis, body, name, builtins, level);
  judgeOwn(
    analysis,
    name,
    called.filter((fn) => fn.schema !== "pg_catalog"),
  );
}

/** `email(c)` is the column email of c (Postgres docs, "Field Selection"): it sees the mask like any expression. */
function isAttribute(body: FuncCall, name: string, level: Level): boolean {
  const [argument, ...more] = body.args ?? [];
  if (argument === undefined || more.length > 0 || body.agg_star || body.over !== undefined) return false;
  const [type, reference] = nodeOf(argument);
  const field = type === "ColumnRef" ? (reference as ColumnRef).fields : undefined;
  if (field?.length !== 1 || field[0] === undefined) return false;
  return namedReferences(level, stringOf(field[0])).some(({ columns }) => columns?.has(name) === true);
}

function spliceSchema(analysis: Analysis, body: FuncCall, schema: string): void {
  // A call that SQL spells as syntax (EXTRACT, OVERLAY) is qualified by the grammar already.
  if (body.funcformat !== "COERCE_EXPLICIT_CALL" || body.location === undefined) return;
  analysis.edit(
    body.location,
    body.location,
    `${schema === "pg_catalog" ? schema : quoteIdentifier(schema)}.`,
    { kind: "call", location: body.location, schema },
  );
}
