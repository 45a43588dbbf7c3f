import type { RangeVar } from "libpg-query";
import type { Analysis, RelationUse } from "./analysis.ts";
import { noSystemColumn } from "./expressions.ts";
import { columnsAreThere, writesHidden } from "./held-names.ts";
import { nameSpan, qualify } from "./names.ts";
import type { RelationSight } from "./sight.ts";
import { quoteIdentifier, quoteQualified } from "./source.ts";

/** What goes between a relation's name and its conditions. */
export interface WrapParts {
  readonly only: boolean;
  /** The TABLESAMPLE clause, if there is one. */
  readonly sample: string;
  readonly conditions: readonly string[];
  readonly systemColumns: readonly string[];
  /** Its plan is shown. */
  readonly isPlan: boolean;
}

/** The target list of the subquery: the same columns in the same order, the protected ones masked. */
function targetList({ columns }: RelationSight, { systemColumns, isPlan }: WrapParts): string {
  const seen = columns.flatMap(({ kind, sql, planSql, column }) => {
    if (kind === "absent") return [];
    return [kind === "real" ? sql : `${isPlan ? planSql : sql} AS ${quoteIdentifier(column.name)}`];
  });
  return [...seen, ...systemColumns].join(", ");
}

/**
 * The subquery that stands for a guarded relation. With a row filter it is fenced by OFFSET 0, or the planner could run the client's own conditions on
 * rows that the filter hides, and their errors would tell about them.
 */
export function subquery(
  sight: RelationSight,
  parts: WrapParts,
): { readonly text: string; readonly list: string } {
  const { only, sample, conditions } = parts;
  const list = targetList(sight, parts);
  const name = quoteQualified(sight.relation.schema, sight.relation.name);
  const all = sight.filter === undefined ? conditions : [sight.filter, ...conditions];
  const where = all.length === 0 ? "" : ` WHERE ${all.join(" AND ")}`;
  const fence = sight.filter === undefined ? "" : " OFFSET 0";
  return { text: `(SELECT ${list} FROM ${only ? "ONLY " : ""}${name}${sample}${where}${fence})`, list };
}

/**
 * Whether a reference is read through a subquery; known once all that may name its columns has been visited. Beside
 * a star the system columns of a subquery would show: what is only to be listed then stays as it is.
 */
export function isWrapped({ wholes, systemColumns }: Analysis, use: RelationUse): boolean {
  const { sight } = use;
  return sight?.guarded === true || (sight?.listed === true && wholes.has(use) && !systemColumns.has(use));
}

/** Puts the subquery, or at least the schema, in place of a reference in FROM. Called when its level's conditions are known. */
export function wrapReference(analysis: Analysis, name: RangeVar, use: RelationUse, sample: string): void {
  const { sight } = use;
  // A sample has been taken out of the text for the subquery.
  const isSampled = sample !== "" && sight?.listed === true;
  if (sight === undefined || !(isSampled || isWrapped(analysis, use))) {
    qualify(analysis, name, use.relation);
    return;
  }
  if ((name.alias?.colnames?.length ?? 0) > 0 && sight.columns.some(({ kind }) => kind === "absent")) {
    analysis.deny(
      `role "${analysis.scope.role.name}" sees ${use.key} without some of its columns, so they cannot be renamed by position`,
      "sees",
      "Leave out the column list after the alias.",
    );
  }
  const span = nameSpan(analysis, name);
  const [first, last] = [analysis.source.token(span.first), analysis.source.token(span.last)];
  if (first === undefined || last === undefined) throw new Error("a name without tokens");
  const systemColumns = [...(analysis.systemColumns.get(use) ?? [])];
  const [shown] = analysis.wholes.has(use) ? systemColumns : [];
  if (shown !== undefined) noSystemColumn(analysis, use, shown);
  const alias = use.reference.hasAlias ? "" : ` AS ${quoteIdentifier(use.relation.name)}`;
  const conditions = writesHidden(analysis)
    ? [columnsAreThere(sight, use.conditions), ...use.conditions]
    : use.conditions;
  const { isPlan } = analysis;
  const parts = { only: span.only, sample, conditions, systemColumns, isPlan };
  const { text, list } = subquery(sight, parts);
  const change = {
    ...({ kind: "relation", location: name.location ?? 0 } as const),
    ...(sample !== "" && ({ sample: true } as const)),
  };
  analysis.edit(first.start, last.end, text + alias, change, list);
}
