import type { A_Const, FuncCall, Node } from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundStatement } from "../bind/bound.ts";
import { columnsBehind } from "../bind/questions.ts";
import { lastName, nodeOf, stringOf } from "../parse/grammar.ts";
import { denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { identifies } from "./identifying.ts";
import { speaksOfPeople } from "./people.ts";
import { summaryCallsIn, summaryClauses } from "./summary-clauses.ts";

/* Which aggregates over people can get noise. */

/** An aggregate that is replaced by its noisy form. */
export interface NoisyCall {
  readonly node: FuncCall;
  readonly name: "count" | "sum" | "avg";
  readonly distinct: boolean;
  /** The ColumnRef; undefined for `count(*)` and counts of a constant. */
  readonly column: Node | undefined;
  /** For a sum or an average: the type of its column, one of `SUM_TYPES`. */
  readonly type: string | undefined;
}

/** By the type of the argument: the types of its sum and of its average (Postgres docs, "Aggregate Functions"). */
export const SUM_TYPES: ReadonlyMap<string, { readonly sum: string; readonly avg: string }> = new Map([
  ["smallint", { sum: "bigint", avg: "numeric" }],
  ["integer", { sum: "bigint", avg: "numeric" }],
  ["bigint", { sum: "numeric", avg: "numeric" }],
  ["numeric", { sum: "numeric", avg: "numeric" }],
  ["real", { sum: "real", avg: "double precision" }],
  ["double precision", { sum: "double precision", avg: "double precision" }],
]);

/** `numeric(10,2)` → `numeric` */
export function withoutModifier(type: string): string {
  return type.replace(/\(.*\)$/, "");
}

export type NoisyCalls =
  | { readonly ok: true; readonly calls: readonly NoisyCall[] }
  | { readonly ok: false; readonly refusal: Refusal };

/** All aggregates over the rows of a query that shows summaries of people. */
export function noisyCalls(statement: BoundStatement, given: Given, query: BoundQuery): NoisyCalls {
  const calls: NoisyCall[] = [];
  for (const node of summaryClauses(query).flatMap(summaryCallsIn)) {
    // If the argument is only NULL, the server returns 0, whoever is in the group.
    if (isCountOfNull(node)) continue;
    const made = noisyCall(statement, given, node);
    if ("severity" in made) return { ok: false, refusal: made };
    calls.push(made);
  }
  return { ok: true, calls };
}

function isCountOfNull(call: FuncCall): boolean {
  const [argument] = call.args ?? [];
  const [type, body] = argument === undefined ? ["", {}] : nodeOf(argument);
  return (
    lastName(call.funcname) === "count" &&
    isBuiltin(call) &&
    type === "A_Const" &&
    (body as A_Const).isnull === true &&
    call.agg_distinct !== true
  );
}

function isBuiltin({ funcname }: FuncCall): boolean {
  return (funcname ?? [])
    .slice(0, -1)
    .map(stringOf)
    .every((schema) => schema === "pg_catalog");
}

function noisyCall(statement: BoundStatement, given: Given, node: FuncCall): NoisyCall | Refusal {
  const { role } = given;
  const name = lastName(node.funcname);
  const [argument] = node.args ?? [];
  const column = argument !== undefined && nodeOf(argument)[0] === "ColumnRef" ? argument : undefined;
  const refuse = (why: string): Refusal =>
    denied(
      role,
      `role "${role.name}" may not see ${name}() of people ${why}`,
      "aggregates_only",
      "With noise, these can be seen: count, and sum and avg of plain numeric columns that do not tell people apart. " +
        `"noise: off" under aggregates_only of ${placeOfRole(role)} gives exact figures.`,
    );
  if (!isBuiltin(node)) return refuse("of a schema other than pg_catalog");
  const distinct = node.agg_distinct === true;
  if (name === "count")
    return distinct && column === undefined
      ? refuse("of a constant")
      : { node, name, column, distinct, type: undefined };
  if (name !== "sum" && name !== "avg") return refuse("with noise");
  if (distinct) return refuse("with DISTINCT");
  if (column === undefined) return refuse("of a constant");
  const type = summedType(statement, given, column);
  return type.ok ? { node, name, column, distinct: false, type: type.type } : refuse(type.why);
}

type SummedType = { readonly ok: true; readonly type: string } | { readonly ok: false; readonly why: string };

/** The type of a column that may be summed. Identifiers may not: their sum would reveal who is in it. */
function summedType(statement: BoundStatement, given: Given, node: Node): SummedType {
  const meaning = statement.meanings.get(nodeOf(node)[1]);
  const [column, ...more]: readonly BoundColumn[] =
    meaning?.kind === "column" ? columnsBehind(meaning.column) : [];
  if (column?.source.kind !== "own" || more.length > 0)
    return { ok: false, why: "of what is no plain column" };
  const { name, type } = column.source.column;
  if (speaksOfPeople(given.sights, column.relation) && identifies(given, column))
    return { ok: false, why: `of ${name}, which identifies them` };
  return SUM_TYPES.has(withoutModifier(type)) ? { ok: true, type } : { ok: false, why: `of type ${type}` };
}
