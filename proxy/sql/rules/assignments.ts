import type { MergeStmt, MergeWhenClause, Node, ResTarget } from "libpg-query";
import { relationKey } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { nodeOf } from "../parse/grammar.ts";
import { toldByReferences, toldByUpdate } from "./constraints.ts";
import { classOf, denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { isCounted } from "./people.ts";
import { stepBy } from "./person-paths.ts";
import { probingByKeys, probingHiddenRows } from "./probing.ts";
import { refusedBy, type Target, type WriteFinding } from "./write-findings.ts";

/* What an UPDATE, ON CONFLICT DO UPDATE or MERGE may assign. */

/** The columns of SET. */
export function assignedColumns(targets: readonly Node[] | undefined): readonly string[] {
  return (targets ?? []).map((target) => (nodeOf(target)[1] as ResTarget).name ?? "");
}

/** For UPDATE and ON CONFLICT: the assigned columns may neither be masked nor reveal masked columns. */
export function foundInAssignments(
  given: Given,
  target: Target,
  assigned: readonly string[],
): readonly WriteFinding[] {
  return [
    ...refusedBy(movedToOthers(given, target, assigned)),
    ...probingByKeys(given, target, assigned),
    ...refusedBy(probingHiddenRows(given, target, assigned)),
    ...refusedBy(maskedAssignment(given, target, assigned)),
    ...(assigned.length === 0 ? [] : toldByUpdate(given, target, assigned)),
    ...(assigned.length === 0 ? [] : toldByReferences(given, target, assigned)),
  ];
}

/**
 * MERGE writes only to a target that the role sees in the clear, but children of the target, or keys that refer to it,
 * may have masked columns.
 */
export function foundInMerge(
  given: Given,
  target: Target,
  { mergeWhenClauses = [] }: MergeStmt,
): readonly WriteFinding[] {
  return mergeWhenClauses.flatMap((node): readonly WriteFinding[] => {
    const { commandType, targetList } = nodeOf(node)[1] as MergeWhenClause;
    const assigned = assignedColumns(targetList);
    switch (commandType) {
      case "CMD_UPDATE":
        return [
          ...refusedBy(movedToOthers(given, target, assigned)),
          ...toldByUpdate(given, target, assigned),
          ...toldByReferences(given, target, assigned),
        ];
      case "CMD_DELETE":
        return toldByReferences(given, target, undefined);
      default:
        return [];
    }
  });
}

/** Whether the column identifies the person of the row, or of rows that refer to it, for a role whose reads are counted. */
export function tellsWhose(given: Given, { relation, sight }: Target, column: string): boolean {
  if (!isCounted(given.role)) return false;
  return sight?.people?.subject?.column === column || stepBy(given, relation, column) !== undefined;
}

/** Rows moved to another person would be read as that person's. */
function movedToOthers(given: Given, target: Target, assigned: readonly string[]): Refusal | undefined {
  const subject = assigned.find((name) => tellsWhose(given, target, name));
  if (subject === undefined) return undefined;
  const { role } = given;
  const from = stepBy(given, target.relation, subject)?.from;
  const whose = from === undefined ? "of the row" : `of rows of ${relationKey(from.schema, from.name)}`;
  return denied(
    role,
    `role "${role.name}" may not change ${target.key}.${subject}: it names the person ${whose}`,
    "budget",
    "Rows moved to another person would be counted as that person's: leave the column out, or send the value that the row has, as a constant or a parameter.",
  );
}

/** A user who sees a mask would write the mask back. */
function maskedAssignment(
  { role }: Given,
  { key, sight }: Target,
  assigned: readonly string[],
): Refusal | undefined {
  for (const name of assigned) {
    const column = sight?.columns.find((each) => each.column.name === name);
    if (column === undefined || column.kind === "real") continue;
    return denied(
      role,
      `role "${role.name}" sees ${key}.${name} masked and may not write it`,
      "sees",
      `Let ${placeOfRole(role)} see ${classOf(column)}, or leave the column out.`,
    );
  }
  return undefined;
}
