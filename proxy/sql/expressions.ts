import type {
  A_Const,
  A_Expr,
  CollateClause,
  ColumnRef,
  FuncCall,
  IndexElem,
  Node,
  SortBy,
  SubLink,
  TypeName,
} from "libpg-query";
import { type CatalogFunction, isPlainExtensionFunction, returnsNothing } from "../catalog/catalog.ts";
import {
  type Analysis,
  candidates,
  type FromReference,
  type Level,
  namedReferences,
  type RelationUse,
} from "./analysis.ts";
import { stringOf } from "./from.ts";
import { builtinUse, isHarmlessFunction, isStandardFunction } from "./functions.ts";
import { gather } from "./gathering.ts";
import { forEachChild, nodeOf, visitNode } from "./grammar.ts";
import { mayChangeSetting } from "./session-settings.ts";
import { quoteIdentifier } from "./source.ts";

/** A column, a whole row or a star: what it may mean decides whether a write may use it. */
export function columnRef(analysis: Analysis, body: ColumnRef, level: Level): void {
  const fields = body.fields ?? [];
  const last = fields.at(-1);
  if (last === undefined) return;
  const isStar = nodeOf(last)[0] === "A_Star";
  const names = fields.filter((field) => nodeOf(field)[0] === "String").map(stringOf);
  const name = isStar ? undefined : names.at(-1);
  const qualifier = isStar ? names.at(-1) : names.at(-2);
  if (fields.length >= 3) dropSchema(analysis, body, names, isStar, level);
  const schema = isStar ? names.at(-2) : names.at(-3);
  const meantBySchema =
    qualifier === undefined || schema === undefined ? [] : ownNamed(level, schema, qualifier);
  if (isStar) {
    for (const reference of qualifier === undefined ? level.references : namedReferences(level, qualifier))
      wholeRow(analysis, reference);
    for (const reference of meantBySchema) wholeRow(analysis, reference);
    return;
  }
  if (name === undefined) return;
  if (SYSTEM_COLUMNS.has(name)) systemColumn(analysis, level, qualifier, name);
  for (const reference of meantBySchema) oneColumn(analysis, reference, name);
  const meant = candidates(level, qualifier, name);
  for (const reference of meant) oneColumn(analysis, reference, name);
  if (meant.length === 0 && qualifier !== undefined && inGuardedWrite(level)) {
    analysis.refuse("42501", `"${qualifier}.${name}" is no column that Sluice knows here`, {
      hint: "In a write, name columns of the relations in FROM or of the target.",
    });
  }
  const isSurelyColumn = meant.some(({ columns }) => columns?.has(name) === true);
  if (qualifier === undefined && !isSurelyColumn)
    for (const reference of namedReferences(level, name)) wholeRow(analysis, reference);
}

/** Postgres docs, "System Columns". */
const SYSTEM_COLUMNS: ReadonlySet<string> = new Set(["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"]);

/** A guarded relation is read through a subquery, which has the system columns that are named and no others. */
function systemColumn(analysis: Analysis, level: Level, qualifier: string | undefined, name: string): void {
  const meant =
    qualifier === undefined
      ? candidates(level, undefined, name).length > 0
        ? []
        : nearestRelations(level)
      : namedReferences(level, qualifier);
  for (const { use, columns } of meant) {
    if (use?.sight?.guarded !== true || use.isTarget || columns?.has(name) === true) continue;
    // Places of rows tell of those that a filter hides; only tables have such columns.
    if (use.sight.filter !== undefined || !HAVE_SYSTEM_COLUMNS.has(use.relation.kind)) {
      noSystemColumn(analysis, use, name);
    }
    const named = analysis.systemColumns.get(use) ?? new Set();
    analysis.systemColumns.set(use, named.add(name));
  }
}

const HAVE_SYSTEM_COLUMNS: ReadonlySet<string> = new Set([
  "table",
  "partitioned",
  "materialized view",
  "foreign table",
]);

/** In a star or a whole row the column would show, and Postgres shows no system column there. */
export function noSystemColumn(analysis: Analysis, use: RelationUse, name: string): never {
  return analysis.deny(
    `role "${analysis.scope.role.name}" sees ${use.key} masked or in part, and so without its system column ${name} here`,
    "sees",
    "Name the columns that are needed instead of *; or use the primary key, and for optimistic locking a column that counts versions.",
  );
}

/** Without a qualifier, a system column is one of the nearest level that has relations. */
function nearestRelations(level: Level): readonly FromReference[] {
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    const here = at.references.filter(({ use }) => use !== undefined);
    if (here.length > 0) return here;
  }
  return [];
}

/**
 * `schema.relation.column` finds the relation itself at any level around: a nearer alias of the same name does
 * not hide it (`scanNameSpaceForRelid` in parser/parse_relation.c).
 */
function ownNamed(level: Level, schema: string, name: string): readonly FromReference[] {
  const found: FromReference[] = [];
  for (let at: Level | undefined = level; at !== undefined; at = at.outer)
    found.push(
      ...at.references.filter(({ use }) => use?.relation.name === name && use.relation.schema === schema),
    );
  return found;
}

/** Only what is known to be no column of the target may stand in a write. */
function inGuardedWrite(level: Level): boolean {
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    if (at.references.some(({ use }) => use?.isTarget === true && use.sight?.guarded === true)) return true;
  }
  return false;
}

function oneColumn(analysis: Analysis, { columns, use }: FromReference, name: string): void {
  const own = columns?.get(name);
  const sight = use?.sight?.columns.find(({ column }) => column.name === own);
  if (use === undefined || sight === undefined) return;
  analysis.costs(sight, "named");
  if (sight.kind === "real") return;
  analysis.masked.add(sight.className ?? sight.column.name);
  if (use.isTarget) {
    analysis.deny(
      `role "${analysis.scope.role.name}" sees ${use.key}.${sight.column.name} masked and may not use it in a write`,
      "sees",
      `Name the row by another column, or let ${analysis.rolePlace} see the class "${sight.className ?? "of this column"}".`,
    );
  }
  analysis.mentionMasked(`${use.key}.${sight.column.name}`);
}

function wholeRow(analysis: Analysis, { use }: FromReference): void {
  if (use !== undefined) analysis.wholes.add(use);
  for (const sight of use?.sight?.columns ?? []) {
    const { kind, className, column } = sight;
    analysis.costs(sight, "named");
    if (kind === "real") continue;
    analysis.masked.add(className ?? column.name);
    if (use?.isTarget === true) {
      analysis.deny(
        `role "${analysis.scope.role.name}" sees ${use.key}.${column.name} masked and may not use the whole row in a write`,
        "sees",
        "Name the columns that are needed.",
      );
    }
    analysis.mentionMasked(`${use?.key}.${column.name}`);
  }
}

/** `public.customers.email` does not reach into a subquery named customers, so the schema goes. */
function dropSchema(
  analysis: Analysis,
  body: ColumnRef,
  names: readonly string[],
  isStar: boolean,
  level: Level,
): void {
  const relation = isStar ? names.at(-1) : names.at(-2);
  const schema = isStar ? names.at(-2) : names.at(-3);
  if (relation === undefined || schema === undefined) return;
  const meant = namedReferences(level, relation).find(
    ({ use }) =>
      use?.sight?.guarded === true && !use.isTarget && !use.hasAlias && use.relation.schema === schema,
  );
  if (meant === undefined) return;
  const { source } = analysis;
  const first = source.tokenAt(body.location ?? 0);
  // From the right: the column (or star), a dot, the relation.
  const relationToken = source.token(source.nameEnd(first) - 2);
  const start = source.token(first)?.start;
  if (relationToken !== undefined && start !== undefined) analysis.edit(start, relationToken.start, "");
}

/** Operators run functions: one of that name outside pg_catalog must be an extension's own C code. */
export function operatorExpression(analysis: Analysis, body: A_Expr, level: Level): void {
  operator(analysis, body.name ?? []);
  analysis.children("A_Expr", { ...body, name: undefined }, level);
}

export function sortBy(analysis: Analysis, body: SortBy, level: Level): void {
  operator(analysis, body.useOp ?? []);
  analysis.nodes(body.node, level);
}

export function subLink(analysis: Analysis, body: SubLink, level: Level): void {
  operator(analysis, body.operName ?? []);
  if (body.subLinkType === "ARRAY_SUBLINK") analysis.gathers ??= "ARRAY(…)";
  analysis.nodes(body.testexpr, level);
  analysis.nodes(body.subselect, level);
}

export function operator(analysis: Analysis, name: readonly Node[]): void {
  const names = name.map(stringOf);
  const symbol = names.at(-1);
  if (symbol === undefined || (names.length === 2 && names[0] === "pg_catalog")) return;
  const { operatorsOutside, functionsByOid } = analysis.scope.catalog;
  for (const { schema, function: oid } of operatorsOutside.get(symbol) ?? []) {
    if (!isHarmlessFunction(functionsByOid.get(oid))) {
      analysis.refuse("42501", `an operator ${schema}.${symbol} runs code that Sluice does not know`, {
        hint: `Write OPERATOR(pg_catalog.${symbol}) for Postgres's own.`,
      });
    }
  }
}

/** A cast runs the type's input function: no domain's CHECK, no row type, no input function in SQL or PL code. */
export function typeName(analysis: Analysis, body: TypeName, level: Level): void {
  if (body.pct_type) analysis.refuse("42501", "%TYPE is not known in a statement of a guarded role");
  analysis.nodes(body.typmods, level);
  const names = (body.names ?? []).map(stringOf);
  const name = names.at(-1) ?? "";
  const all = analysis.scope.catalog.typesByName.get(name) ?? [];
  const schema = names.length > 1 ? names.at(-2) : undefined;
  const builtin = all.some((type) => type.schema === "pg_catalog");
  if (builtin && (schema === undefined || schema === "pg_catalog")) return;
  const meant = schema === undefined ? all : all.filter((type) => type.schema === schema);
  if (meant.length === 0 || !meant.every((type) => type.plainInput)) {
    analysis.refuse("42501", `role "${analysis.scope.role.name}" may not cast to ${names.join(".")}`, {
      hint: "Allowed are Postgres's own types, enums, and types of extensions; not domains and row types.",
    });
  }
}

/** Collations and operator classes are names, not code of a user's. */
export function collate(analysis: Analysis, body: CollateClause, level: Level): void {
  analysis.nodes(body.arg, level);
}

export function indexElement(analysis: Analysis, body: IndexElem, level: Level): void {
  if (body.name !== undefined) columnRef(analysis, { fields: [{ String: { sval: body.name } }] }, level);
  analysis.nodes(body.expr, level);
}

export function functionCall(analysis: Analysis, body: FuncCall, level: Level): void {
  const names = (body.funcname ?? []).map(stringOf);
  const name = names.at(-1) ?? "";
  const schema = names.length > 1 ? names.at(-2) : undefined;
  if (names.length > 2)
    analysis.refuse("42501", `cross-database references are not implemented: ${names.join(".")}`);
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
    if (name !== "current_setting" || rowOfSettings(body, level) === undefined)
      setting(analysis, body, name, level);
    return;
  }
  if (name === "setval") {
    setsSequence(analysis, body);
    return;
  }
  if (endsOwnSession(body, name)) return;
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
  if (functions.some((fn) => builtinUse(fn) === "gathering")) gather(analysis, `${name}()`, body, level);
  if (functions.some((fn) => builtinUse(fn) === "picking")) analysis.picks++;
  // Locks are read in pg_locks, where nobody counts what their keys are made of.
  if (/^pg_(try_)?advisory_/.test(name) && !(body.args ?? []).every(isGiven))
    analysis.gathers ??= `${name}()`;
  if (picksMany(body, name, level)) analysis.gathers ??= `${name}() of several values`;
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

/** Holds nothing of a relation. */
function isGiven(node: Node): boolean {
  let given = true;
  const look = (type: string, body: object): void => {
    given &&= type !== "ColumnRef" && type !== "SubLink";
    if (given) forEachChild(type, body, look);
  };
  visitNode(node, look);
  return given;
}

/**
 * `percentile_disc(ARRAY[…])` gives a value for each fraction, and bits of many rows fit into one long bit string: in
 * a column that a table has they are what they are, one made in a subquery may give each row bits of its own.
 */
function picksMany(body: FuncCall, name: string, level: Level): boolean {
  const [argument] = body.args ?? [];
  if (name === "percentile_disc" || name === "percentile_cont")
    return argument === undefined || nodeOf(argument)[0] !== "A_Const";
  if (name !== "bit_or" && name !== "bit_and" && name !== "bit_xor") return false;
  const fields = argument === undefined ? [] : plainFields(argument);
  const meant = candidates(level, fields.at(-2), fields.at(-1) ?? "");
  return fields.length === 0 || meant.length === 0 || meant.some(({ use }) => use === undefined);
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
  for (const fn of functions) {
    const full = `${fn.schema}.${fn.name}`;
    const isKnown = isPlainExtensionFunction(fn) || isStandardFunction(fn);
    if (!isKnown) mayCall(analysis, fn, full);
  }
  // What it reads is nobody's mask's business, but whoever it speaks of is counted.
  if (functions.some((fn) => !isPlainExtensionFunction(fn) && !isStandardFunction(fn))) analysis.calls++;
  // What another's aggregate makes of its rows is not known.
  if (functions.some(({ kind }) => kind === "aggregate")) analysis.gathers ??= `${name}()`;
  const schemas = new Set(functions.map((fn) => fn.schema));
  const [schema] = schemas;
  if (names.length > 1 || schema === undefined) return;
  if (schemas.size > 1)
    analysis.refuse("42501", `function ${name} exists in several schemas`, {
      hint: "Write the schema before the name.",
    });
  spliceSchema(analysis, body, schema);
}

/** What a function reads is not masked, and so what it returns is nobody's to see unless the policy says so. */
function mayCall(analysis: Analysis, fn: CatalogFunction, name: string): void {
  const { role, catalog } = analysis.scope;
  const result = role.calls.get(name);
  if (result === undefined) {
    analysis.deny(
      `role "${role.name}" may not call ${name}`,
      "calls",
      `What a function reads is not masked. If it may be called, add ${name} under "calls:" of ${analysis.rolePlace}; if the role may see what it returns, { ${name}: shown }.`,
    );
  }
  if (result === "hidden" && role.sees !== "all" && !returnsNothing(catalog, fn)) {
    analysis.deny(
      `role "${role.name}" may not see what ${name} returns`,
      "calls",
      `What a function reads is not masked. If the role may see what it returns, say { ${name}: shown } under "calls:" of ${analysis.rolePlace}.`,
    );
  }
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
  );
}

/** `current_setting(s.name)` of pg_settings s, as psql's \dconfig asks: that view shows the setting anyway. */
function rowOfSettings(body: FuncCall, level: Level): FromReference | undefined {
  const [argument] = body.args ?? [];
  const fields = argument === undefined ? [] : plainFields(argument);
  if (fields.length === 0 || fields.length > 2 || fields.at(-1) !== "name") return undefined;
  const [reference, ...others] = candidates(level, fields.at(-2), "name");
  return others.length === 0 &&
    reference?.use?.key === "pg_catalog.pg_settings" &&
    reference.columns?.get("name") === "name"
    ? reference
    : undefined;
}

/**
 * `set_config(name, …) FROM pg_settings WHERE name = '…'`, as pg_dump writes: a setting that older servers lack. The
 * condition is the whole WHERE and nothing else stands in FROM, so the call is of that one row.
 */
function settingOfRow(body: FuncCall, level: Level): string | undefined {
  const reference = rowOfSettings(body, level);
  if (reference === undefined || level.references[0] !== reference || level.references.length > 1) return;
  const [type, where] = level.where === undefined ? [] : nodeOf(level.where);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? where : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || lexpr === undefined || rexpr === undefined) return undefined;
  const fields = plainFields(lexpr);
  const isName = fields.at(-1) === "name" && [reference.alias, undefined].includes(fields.at(-2));
  return isName && (name ?? []).map(stringOf).join() === "=" ? constantText(rexpr) : undefined;
}

function plainFields(node: Node): readonly string[] {
  const [type, body] = nodeOf(node);
  return type === "ColumnRef" ? ((body as ColumnRef).fields ?? []).map(stringOf) : [];
}

/** current_setting and set_config, with constants only. Settings with a dot are applications' own and may hold secrets. */
function setting(analysis: Analysis, body: FuncCall, name: string, level: Level): void {
  const [first, value] = (body.args ?? []).map(constantText);
  const parameter = first ?? settingOfRow(body, level);
  if (parameter === undefined || parameter.includes(".")) {
    analysis.refuse("42501", `${name} needs the name of one of Postgres's own settings, as a constant`);
  }
  if (name === "current_setting") return;
  if (
    value === undefined ||
    !mayChangeSetting(parameter, parameter.toLowerCase() === "search_path" ? pathSchemas(value) : [value])
  ) {
    analysis.refuse("42501", `role "${analysis.scope.role.name}" may not change ${parameter} to this value`);
  }
  analysis.effect = { kind: "set", parameter: parameter.toLowerCase(), local: false };
}

/** A restore sets sequences. Of constants alone: what is put into one could be read there uncounted. */
function setsSequence(analysis: Analysis, body: FuncCall): void {
  if (analysis.scope.role.writes === "all" && (body.args ?? []).every(isGiven)) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not call setval`,
    "writes",
    `Only a role that writes all may, and with constants: "writes: all" of ${analysis.rolePlace}.`,
  );
}

function constantText(node: Node): string | undefined {
  const [type, body] = nodeOf(node);
  return type === "A_Const"
    ? ((body as A_Const).sval?.sval ?? ((body as A_Const).sval === undefined ? undefined : ""))
    : undefined;
}

/** The schemas of a search_path written as one string. */
function pathSchemas(value: string): readonly string[] {
  return value
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .map((part) => (part.startsWith('"') ? part.slice(1, -1).replaceAll('""', '"') : part.toLowerCase()));
}
