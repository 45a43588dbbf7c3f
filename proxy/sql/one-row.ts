import type { Node } from "libpg-query";
import type { Analysis, FromReference } from "./analysis.ts";
import { columnName, conjuncts, simpleCondition } from "./conditions.ts";

/** Whether conditions name a whole unique key, so that no second row can meet them. */
export function isOneRow(analysis: Analysis, target: FromReference, where: Node | undefined): boolean {
  const relation = target.use?.relation;
  if (where === undefined || relation === undefined) return false;
  const named = new Set(
    conjuncts(where).flatMap((conjunct) => {
      const condition = simpleCondition(analysis.source, conjunct);
      const isEquality = condition?.operator === "=" && condition.values?.length === 1;
      return isEquality ? (columnName(target, condition.column) ?? []) : [];
    }),
  );
  const keys = [
    relation.primaryKey,
    ...relation.indexes.filter(({ unique, partial }) => unique && !partial).map(({ columns }) => columns),
  ];
  return keys.some((key) => key.length > 0 && key.every((column) => named.has(column)));
}
