import type { FuncCall, Node } from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level } from "./analysis.ts";
import { isSummary } from "./functions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { identifies } from "./identifying.ts";
import { hasNoisySum, type Noise, noiseOf, noisySql, type Summary } from "./perturbation.ts";
import { closingParenthesis } from "./places.ts";
import { quoteIdentifier } from "./source.ts";
import { identitySql, personSql } from "./subjects.ts";

/** The noise of the role's summaries; undefined where the policy says `noise: off`. */
export function noiseIn(analysis: Analysis): Noise | undefined {
  const { role, maskKey } = analysis.scope;
  const most = role.aggregatesOnly?.noise ?? 0;
  if (most === 0) return undefined;
  if (maskKey === undefined)
    return analysis.deny(
      `role "${role.name}" may not see summaries, whose noise needs the secret key of the proxy`,
      "aggregates_only",
      "Give the proxy a secret (--key-file).",
    );
  return noiseOf(most, maskKey);
}

/** The people of one reference, as SQL. */
export interface PeopleSql {
  /** NULL where they cannot be found. */
  readonly person: string;
  /** The same, with a stand-in for those who cannot be found. */
  readonly identity: string;
}

/** How a level tells its people apart; refuses where it does not. */
export function groupsOfPeople(analysis: Analysis, people: readonly FromReference[]): readonly PeopleSql[] {
  const { scope } = analysis;
  return people.map((reference) => {
    const { use, alias, columns } = reference;
    const subject = use?.sight?.people?.subject;
    const exposed = subject && [...(columns ?? [])].find(([, own]) => own === subject.column)?.[0];
    const isOurs = alias.startsWith("sluice ");
    const person = exposed && !isOurs ? personSql(scope, subject, alias, exposed) : undefined;
    const identity = exposed && !isOurs ? identitySql(scope, subject, alias, exposed) : undefined;
    if (use === undefined || subject === undefined || person === undefined || identity === undefined)
      return analysis.deny(
        `${use?.key} does not tell its people apart, so role "${scope.role.name}" may not read it`,
        "aggregates_only",
        "Ask for counts, sums or averages by group; groups of few people are left out.",
      );
    return { person, identity: (subject.hops ?? []).length === 0 ? person : identity };
  });
}

interface Perturbation {
  readonly noise: Noise;
  readonly groups: readonly PeopleSql[];
}

/** Puts the noisy form in place of each summary of the level; `nodes` are all that may hold one. */
export function addNoise(
  analysis: Analysis,
  nodes: readonly Node[],
  level: Level,
  perturbation: Perturbation,
): void {
  const look = (type: string, node: object): void => {
    if (type === "SubLink") return;
    if (type === "FuncCall" && isSummary(nameOf(node as FuncCall)))
      replaceCall(analysis, node as FuncCall, level, perturbation);
    else forEachChild(type, node, look);
  };
  for (const node of nodes) visitNode(node, look);
}

function nameOf({ funcname }: FuncCall): string {
  return (funcname ?? []).map(stringOf).at(-1) ?? "";
}

function replaceCall(
  analysis: Analysis,
  call: FuncCall,
  level: Level,
  { noise, groups }: Perturbation,
): void {
  const { source } = analysis;
  const people = groups.map(({ identity }) => identity);
  const first = source.tokenAt(call.location ?? -1);
  const last = closingParenthesis(source, source.nameEnd(first) + 1);
  const [start, end] = [source.token(first)?.start, source.token(last)?.end];
  if (start === undefined || end === undefined) throw new Error("a call without tokens");
  dropEditsIn(analysis, start, end);
  const text = noisySql({ ...summaryOf(analysis, call, level), people }, noise);
  analysis.edit(start, end, text, { kind: "summary", location: start });
}

/** The schema before the name is written by the noisy form itself. */
function dropEditsIn({ edits }: Analysis, start: number, end: number): void {
  for (let index = edits.length - 1; index >= 0; index--) {
    const edit = edits[index];
    if (edit !== undefined && edit.at >= start && edit.end <= end && edit.text === "pg_catalog.")
      edits.splice(index, 1);
  }
}

function summaryOf(analysis: Analysis, call: FuncCall, level: Level): Omit<Summary, "people"> {
  const { role } = analysis.scope;
  const name = nameOf(call);
  const [argument] = call.args ?? [];
  const isColumn = argument !== undefined && nodeOf(argument)[0] === "ColumnRef";
  const column = isColumn ? argument : undefined;
  const refuse = (why: string): never =>
    analysis.deny(
      `role "${role.name}" may not see ${name}() of people ${why}`,
      "aggregates_only",
      "With noise, these can be seen: count, and sum and avg of plain numeric columns that do not tell people apart. " +
        `"noise: off" under aggregates_only of ${analysis.rolePlace} gives exact figures.`,
    );
  const schemas = (call.funcname ?? []).slice(0, -1).map(stringOf);
  if (schemas.some((schema) => schema !== "pg_catalog")) return refuse("of a schema other than pg_catalog");
  const distinct = call.agg_distinct === true;
  if (name === "count") {
    if (distinct && column === undefined) refuse("of a constant");
    return { name, argument: column && columnSql(column), distinct, type: undefined };
  }
  if (name !== "sum" && name !== "avg") return refuse("with noise");
  if (distinct) return refuse("with DISTINCT");
  if (column === undefined) return refuse("of a constant");
  return {
    name,
    argument: columnSql(column),
    distinct: false,
    type: typeOf(analysis, column, level, refuse),
  };
}

function columnSql(column: Node): string {
  const fields = (nodeOf(column)[1] as { fields?: Node[] }).fields ?? [];
  return fields.map(stringOf).map(quoteIdentifier).join(".");
}

/** The type of a column that may be summed: identifiers would tell in their sum who is in it. */
function typeOf(analysis: Analysis, column: Node, level: Level, refuse: (why: string) => never): string {
  const names = ((nodeOf(column)[1] as { fields?: Node[] }).fields ?? []).map(stringOf);
  const name = names.at(-1) ?? "";
  const [reference, ...more] = candidates({ ...level, outer: undefined }, names.at(-2), name);
  const own = reference?.columns?.get(name);
  const type = reference?.use?.relation.columns.find((each) => each.name === own)?.type;
  if (reference === undefined || own === undefined || type === undefined || more.length > 0)
    return refuse("of what is no plain column");
  if (reference.use?.sight?.people !== undefined && identifies(analysis, reference, own))
    return refuse(`of ${own}, which tells them apart`);
  return hasNoisySum(type) ? type : refuse(`of type ${type}`);
}
