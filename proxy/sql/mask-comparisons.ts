import type { A_Expr, ColumnRef, Node, ResTarget, SelectStmt } from "libpg-query";
import { notice, type Refusal } from "../wire/refusal.ts";
import { type Analysis, type ComparedMask, candidates, type FromReference, type Level } from "./analysis.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { MAXIMUM_VALUES } from "./lookup-forms.ts";
import type { ColumnSight } from "./sight.ts";

/*
 * A comparison with a mask is done as it is written, and its answer is that of the masked table. But an empty answer looks
 * as if there were nobody, so whoever compares with a mask is told that, and how to ask for the value.
 */

/** Operators whose result is a value made of both sides, and no test. */
const MAKING = new Set([
  "||",
  "+",
  "-",
  "*",
  "/",
  "%",
  "^",
  "|",
  "&",
  "#",
  "<<",
  ">>",
  "->",
  "->>",
  "#>",
  "#>>",
]);

/** Functions that test or search a text. */
const TESTING = new Set([
  ...["starts_with", "strpos", "position", "texteq", "textlike", "texticlike", "similarity", "levenshtein"],
  ...["regexp_like", "regexp_match", "regexp_matches", "regexp_count", "regexp_instr", "regexp_substr"],
]);

/** A comparison is made by an operator. */
export function noteOperator(analysis: Analysis, body: A_Expr, level: Level): void {
  const symbol = (body.name ?? []).map(stringOf).at(-1) ?? "";
  if (body.kind === "AEXPR_NULLIF" || (body.kind === "AEXPR_OP" && MAKING.has(symbol))) return;
  noteCompared(analysis, [body.lexpr, body.rexpr], level);
}

/** The same by a call of a function. */
export function noteCall(
  analysis: Analysis,
  name: string,
  args: readonly Node[] | undefined,
  level: Level,
): void {
  if (TESTING.has(name)) noteCompared(analysis, args ?? [], level);
}

/** All that is named in what is compared, outside of subqueries. */
export function noteCompared(analysis: Analysis, sides: readonly (Node | undefined)[], level: Level): void {
  const look = (type: string, body: object): void => {
    if (type === "ColumnRef") noteColumn(analysis, body as ColumnRef, level);
    else if (type !== "SubLink") forEachChild(type, body, look);
  };
  for (const side of sides) if (side !== undefined) visitNode(side, look);
}

function noteColumn(analysis: Analysis, { fields = [] }: ColumnRef, level: Level): void {
  if (fields.some((field) => nodeOf(field)[0] !== "String")) return;
  const names = fields.map(stringOf);
  const name = names.at(-1) ?? "";
  for (const reference of candidates(level, names.at(-2), name)) noteMask(analysis, reference, name);
}

/** A column of that name is compared. */
export function noteMask({ compared }: Analysis, reference: FromReference, name: string): void {
  const mask = maskOf(reference, name);
  if (mask !== undefined) compared.set(mask.column, mask);
}

/** What of a reference's column is seen masked, if it is. */
function maskOf({ use, columns, masks }: FromReference, name: string): ComparedMask | undefined {
  if (use === undefined) return masks?.get(name);
  const sight = use.sight?.columns.find(({ column }) => column.name === columns?.get(name));
  if (sight === undefined || !isMasked(sight) || !sight.isProtected) return undefined;
  return { column: `${use.key}.${sight.column.name}`, sight };
}

function isMasked({ kind }: ColumnSight): boolean {
  return kind === "masked" || kind === "conditional";
}

/** Which columns of a query are made of masks. `renamed`: by its alias, in their order. */
export function masksOf(
  analysis: Analysis,
  query: Node | undefined,
  since: number,
  renamed: readonly string[],
): ReadonlyMap<string, ComparedMask> {
  const made = new Map<string, ComparedMask>();
  const named = mentionsSince(analysis, since);
  if (query === undefined || named.size === 0) return made;
  for (const [index, target] of targetsOf(query).entries()) {
    const { name, val } = nodeOf(target)[1] as ResTarget;
    const within = val === undefined ? [] : namesIn(val);
    if (within.includes("*")) for (const [each, mask] of named) made.set(each, mask);
    const mask = within.map((each) => named.get(each)).find((each) => each !== undefined);
    if (mask !== undefined) made.set(renamed[index] ?? name ?? within.at(-1) ?? "", mask);
  }
  return made;
}

/** The masked columns that were named since, by their own names. */
function mentionsSince({ maskMentions, uses }: Analysis, since: number): ReadonlyMap<string, ComparedMask> {
  const named = new Map<string, ComparedMask>();
  for (const mention of new Set(maskMentions.slice(since))) {
    for (const { key, sight } of uses) {
      const own = sight?.columns.find(({ column }) => `${key}.${column.name}` === mention);
      if (own?.isProtected) named.set(own.column.name, { column: mention, sight: own });
    }
  }
  return named;
}

/** Of a set operation, those of its first arm name the columns. */
function targetsOf(query: Node): readonly Node[] {
  let [type, body] = nodeOf(query);
  while (type === "SelectStmt" && (body as SelectStmt).larg !== undefined)
    body = (body as SelectStmt).larg ?? {};
  return type === "SelectStmt" ? ((body as SelectStmt).targetList ?? []) : [];
}

/** Last parts of the names of columns; `*` for all. */
function namesIn(value: Node): readonly string[] {
  const names: string[] = [];
  const look = (type: string, body: object): void => {
    if (type !== "ColumnRef") {
      forEachChild(type, body, look);
      return;
    }
    const last = (body as ColumnRef).fields?.at(-1);
    if (last !== undefined) names.push(nodeOf(last)[0] === "A_Star" ? "*" : stringOf(last));
  };
  visitNode(value, look);
  return names;
}

/** What a client is told beside the result. */
export function noticesOf({ compared, scope, rolePlace }: Analysis): readonly Refusal[] {
  const { role } = scope;
  return [...compared.values()].map(({ column, sight }) => {
    const [name, rule] = [sight.column.name, `roles.${role.name}.finds`];
    const seen = sight.kind === "masked" ? "masked" : "masked but for some rows";
    const message = `${column} is compared as role "${role.name}" sees it: ${seen}`;
    if (sight.findable)
      return notice(message, {
        hint:
          `The value itself is found by ${name} = …, by IN or = ANY with up to ${MAXIMUM_VALUES} values, by lower(${name}) = lower(…), and by LIKE and ILIKE ` +
          "without % and _: in WHERE, or ON of an inner join, of the query that reads the table, joined by AND, or by OR with conditions on columns of the same table.",
        rule,
      });
    const className = sight.className === undefined ? "of this column" : `"${sight.className}"`;
    return notice(message, {
      hint: `Add the class ${className} under "finds:" of ${rolePlace}, if it may be looked up by its exact value.`,
      rule,
    });
  });
}
