import type { A_Const, FuncCall, Node } from "libpg-query";
import { type Analysis, candidates, type FromReference, type Level } from "./analysis.ts";
import { isSummary } from "./functions.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import { identifies } from "./identifying.ts";
import { hasNoisySum, type Noise, noiseOf, noisySql, type Summary } from "./perturbation.ts";
import { closingParenthesis } from "./places.ts";
import { quoteIdentifier } from "./source.ts";
import { identitySql, personSql } from "./subjects.ts";
import type { MadeEdit } from "./verdict.ts";

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
  // Of nothing but NULL the server counts 0, whoever is in the group.
  if (isCountOfNull(call)) return;
  const { source } = analysis;
  const people = groups.map(({ identity }) => identity);
  const { location } = call;
  const first = source.tokenAt(location ?? -1);
  const end = source.token(closingParenthesis(source, source.nameEnd(first) + 1))?.end;
  if (location === undefined || end === undefined) throw new Error("a call without tokens");
  const { column, ...summary } = summaryOf(analysis, call, level);
  const argument = column && columnSql(column, takeEdits(analysis, location, end));
  const change = { kind: "summary", location, name: summary.name } as const;
  analysis.edit(location, end, noisySql({ ...summary, argument, people }, noise), change);
}

function isCountOfNull(call: FuncCall): boolean {
  const [argument] = call.args ?? [];
  const [type, body] = argument === undefined ? ["", {}] : nodeOf(argument);
  return (
    nameOf(call) === "count" &&
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

/** Takes back the edits of the call's and its column's names: the noisy form writes them itself. */
function takeEdits({ edits }: Analysis, start: number, end: number): readonly MadeEdit[] {
  const isOfName = ({ at, end: last, change }: MadeEdit) =>
    at >= start && last <= end && (change?.kind === "call" || change?.kind === "column");
  const taken = edits.filter(isOfName);
  edits.splice(0, edits.length, ...edits.filter((edit) => !isOfName(edit)));
  return taken;
}

interface SummaryOfCall extends Omit<Summary, "people" | "argument"> {
  /** Undefined for `count(*)` and counts of a constant. */
  readonly column: Node | undefined;
}

function summaryOf(analysis: Analysis, call: FuncCall, level: Level): SummaryOfCall {
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
  if (!isBuiltin(call)) return refuse("of a schema other than pg_catalog");
  const distinct = call.agg_distinct === true;
  if (name === "count") {
    if (distinct && column === undefined) refuse("of a constant");
    return { name, column, distinct, type: undefined };
  }
  if (name !== "sum" && name !== "avg") return refuse("with noise");
  if (distinct) return refuse("with DISTINCT");
  if (column === undefined) return refuse("of a constant");
  return { name, column, distinct: false, type: typeOf(analysis, column, level, refuse) };
}

/** The column as the edits of its name have it: behind the relation that it is held to, and without a schema. */
function columnSql(column: Node, edits: readonly MadeEdit[]): string {
  const fields = (nodeOf(column)[1] as { fields?: Node[] }).fields ?? [];
  const names = fields.map(stringOf).map(quoteIdentifier);
  const edit = edits.find(({ change }) => change?.kind === "column");
  if (edit === undefined) return names.join(".");
  return `${edit.text}${names.slice(-2).join(".")}`;
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
