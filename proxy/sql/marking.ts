import type {
  A_Expr,
  ColumnRef,
  LockingClause,
  Node,
  RangeVar,
  ResTarget,
  SelectStmt,
  SubLink,
} from "libpg-query";
import type { LeftOut } from "./absence.ts";
import {
  type Analysis,
  type FromReference,
  type Level,
  type Meant,
  type RelationUse,
  relationKeyOf,
} from "./analysis.ts";
import { columnEquality, columnName, conjuncts, onlyReference } from "./conditions.ts";
import { outerReference } from "./gathering.ts";
import { nodeOf, stringOf } from "./grammar.ts";

/*
 * Rows that are deleted, changed or locked because of somebody else's values are a copy of them: of a table with a row
 * for each person, place and letter, DELETE … USING leaves the names. So what chooses such rows must be of the person
 * whose rows they are: whoever reads the marks has him counted.
 */

/** Notes of a level's conditions which references are held to the same person. */
export function noteSamePersons(
  analysis: Analysis,
  level: Level,
  clauses: readonly Node[],
  leftOut: readonly LeftOut[],
): void {
  for (const conjunct of clauses.flatMap(conjuncts)) notePair(analysis, level, conjunct);
  // An outer join's condition holds its nullable side alone: rows of the other one are there without it.
  for (const { references, tests } of leftOut)
    for (const test of tests) notePair(analysis, level, test, references);
}

/** `held`: the references that the condition restricts; all of them if left out. */
function notePair(analysis: Analysis, level: Level, conjunct: Node, held?: readonly FromReference[]): void {
  noteSelection(analysis, level, conjunct);
  const [left, right] = columnEquality(conjunct) ?? [];
  const [a, b] = [meant(level, left), meant(level, right)];
  if (a === undefined || b === undefined) return;
  if (held === undefined || held.includes(a.reference) || held.includes(b.reference)) note(analysis, a, b);
}

function meant(level: Level, column: ColumnRef | undefined): Meant | undefined {
  if (column === undefined) return undefined;
  const reference = onlyReference(level, column) ?? outerReference(level, { ColumnRef: column });
  return reference && { reference, column: columnName(reference, column) };
}

/** `customer_id IN (SELECT c.id FROM customers c …)`, or `=`: the rows of the one query are people of the other. */
function noteSelection(analysis: Analysis, level: Level, conjunct: Node): void {
  const [type, body] = nodeOf(conjunct);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
  const isEquality = kind === "AEXPR_OP" && (name ?? []).map(stringOf).join() === "=";
  const link = (type === "SubLink" ? body : isEquality ? only([rexpr], "SubLink") : undefined) as
    | SubLink
    | undefined;
  const subquery = only([link?.subselect], "SelectStmt") as SelectStmt | undefined;
  const from = only(subquery?.fromClause, "RangeVar");
  const value = only(
    [(only(subquery?.targetList, "ResTarget") as ResTarget | undefined)?.val],
    "ColumnRef",
  ) as ColumnRef | undefined;
  const column = only([isEquality ? lexpr : link?.testexpr], "ColumnRef") as ColumnRef | undefined;
  const outer = meant(level, column);
  if (link?.operName === undefined && from !== undefined && value !== undefined && outer !== undefined)
    analysis.selections.set(from, { outer, value });
}

/** What such a selection noted of a reference's name, now that it is known what the reference is. */
export function noteSelected(analysis: Analysis, name: RangeVar, reference: FromReference): void {
  const selection = analysis.selections.get(name);
  if (selection === undefined) return;
  const inner = meant({ outer: undefined, ctes: undefined, references: [reference] }, selection.value);
  if (inner !== undefined) note(analysis, inner, selection.outer);
}

function only(nodes: readonly (Node | undefined)[] | undefined, type: string): object | undefined {
  const [first, ...more] = nodes ?? [];
  const [found, body] = first === undefined || more.length > 0 ? [] : nodeOf(first);
  return found === type ? body : undefined;
}

function note(analysis: Analysis, a: Meant, b: Meant): void {
  const [left, right] = [identitiesOf(a), identitiesOf(b)];
  const [first, second] = [a.reference.use, b.reference.use];
  if (!left.some((each) => right.includes(each)) || first === undefined || second === undefined) return;
  for (const [one, other] of [[first, second] as const, [second, first] as const]) {
    const known = analysis.samePersons.get(one) ?? [];
    if (!known.includes(other)) analysis.samePersons.set(one, [...known, other]);
  }
}

/** What the column says of whom the row speaks: of two rows with something in common it is the same person. */
function identitiesOf({ reference, column }: Meant): readonly string[] {
  const { relation, sight } = reference.use ?? {};
  const people = sight?.people;
  if (relation === undefined || people === undefined || column === undefined) return [];
  const [key, ...more] = relation.primaryKey;
  const { subject } = people;
  const isAlone = people.unknown === 0 && (subject?.hops?.length ?? 0) === 0;
  return [
    ...(key === column && more.length === 0 ? [`row of ${relationKeyOf(relation)}`] : []),
    ...(isAlone && subject?.column === column ? [subject.namespace] : []),
  ];
}

/** `since`: how far the analysis was before it came to what chooses the rows. */
export interface Since {
  readonly uses: number;
  readonly ctePeople: number;
}

/** The key of somebody's relation who is not the person of these rows. */
export function strangerTo(
  analysis: Analysis,
  rows: RelationUse | undefined,
  since: Since,
): string | undefined {
  const same = new Set<RelationUse>();
  const look = (use: RelationUse): void => {
    if (same.has(use)) return;
    same.add(use);
    for (const other of analysis.samePersons.get(use) ?? []) look(other);
  };
  if (rows !== undefined) look(rows);
  if (analysis.ctePeople > since.ctePeople) return "a WITH query";
  return analysis.uses.slice(since.uses).find((use) => use.sight?.people !== undefined && !same.has(use))
    ?.key;
}

/** The rows that FOR UPDATE marks: each of the locked relations' own. */
export function strangerToLocked(
  analysis: Analysis,
  clauses: readonly Node[],
  level: Level,
  since: Since,
): string | undefined {
  for (const { use } of lockedBy(clauses, level)) {
    if (use !== undefined && use.sight === undefined) continue;
    const stranger = strangerTo(analysis, use ?? analysis.uses[since.uses], since);
    if (stranger !== undefined) return stranger;
  }
  return undefined;
}

/** What FOR UPDATE and its like lock rows of. */
export function lockedBy(clauses: readonly Node[], level: Level): readonly FromReference[] {
  return clauses.flatMap((clause) => {
    const { lockedRels } = nodeOf(clause)[1] as LockingClause;
    const names = lockedRels?.map((node) => (nodeOf(node)[1] as RangeVar).relname);
    return level.references.filter(({ alias }) => names?.includes(alias) !== false);
  });
}
