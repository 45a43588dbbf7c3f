import type { Node, ResTarget } from "libpg-query";
import type { Analysis, FromReference } from "./analysis.ts";
import { nodeOf } from "./grammar.ts";
import { isOneRow } from "./one-row.ts";
import { countsPeople } from "./pricing.ts";

/*
 * Groups that name no protected column cost nothing (docs/metering.md, "What comes back"). So no write may bring a
 * protected value into a column that is not protected, nor mark there which rows have one: a role with a budget of people
 * would read it in such groups.
 */

/** Runs what visits a part of a statement, and tells whether that names a protected column; a counted look-up does not. */
export function namesProtectedIn(analysis: Analysis, visit: () => void): boolean {
  const before = analysis.expressesProtected;
  analysis.expressesProtected = false;
  visit();
  const isNamed = analysis.expressesProtected;
  analysis.expressesProtected ||= before;
  return isNamed;
}

/** `UPDATE t SET plain = left(protected, 9)`. Visits what is assigned. */
export function refuseUnprotecting(
  analysis: Analysis,
  target: FromReference,
  assigned: readonly Node[] | undefined,
  visit: (node: Node) => void,
): void {
  for (const node of assigned ?? []) {
    const isNamed = namesProtectedIn(analysis, () => visit(node));
    if (!isNamed || !isPlain(target, node) || !countsPeople(analysis.scope.role)) continue;
    const { name = "" } = nodeOf(node)[1] as ResTarget;
    analysis.deny(
      `role "${analysis.scope.role.name}" may not store what is made of protected columns in ${target.use?.key ?? "a relation"}.${name}`,
      "budget",
      "What is stored there would be read without being counted; send the value itself.",
    );
  }
}

/** `UPDATE t SET plain = 'x' WHERE protected LIKE 'A%'`: no more than one row, or protected columns alone are written. */
export function refuseMarkingByProtected(
  analysis: Analysis,
  target: FromReference,
  assigned: readonly Node[] | undefined,
): void {
  if (!countsPeople(analysis.scope.role)) return;
  if (assigned !== undefined && !assigned.some((node) => isPlain(target, node))) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not choose rows of ${target.use?.key ?? "a relation"} to write by protected columns`,
    "budget",
    "Which rows were chosen would tell of people who are not counted: read their keys, and name the rows by them.",
  );
}

/**
 * `FOR UPDATE` of rows that protected columns choose: a foreign key's check in another session waits for each of them, or
 * does not, and costs nothing. No more than one row of each of `locked`, or the role counts no people.
 */
export function refuseLockingByProtected(
  analysis: Analysis,
  locked: readonly FromReference[],
  where: Node | undefined,
): void {
  if (!countsPeople(analysis.scope.role)) return;
  const several = locked.find((each) => !isOneRow(analysis, each, where));
  if (several === undefined) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not choose rows of ${several.use?.key ?? "a relation"} to lock by protected columns`,
    "budget",
    "Which rows are locked would tell of people who are not counted: read their keys, and lock the rows by them.",
  );
}

/** What is assigned to a column that is seen by everybody. */
function isPlain({ use }: FromReference, node: Node): boolean {
  const { name } = nodeOf(node)[1] as ResTarget;
  return use?.sight?.columns.find(({ column }) => column.name === name)?.isProtected === false;
}
