import { relationKey } from "../catalog/catalog.ts";
import { parseText } from "./parse.ts";
import { editedRanges, movedOffsets, type Rewritten } from "./rewrite.ts";
import type { Scope } from "./scope.ts";
import type { Sights } from "./sight.ts";
import { hiddenColumns, isOpenSystemRelation, isSystemSchema } from "./system-relations.ts";

/** What the analysis says may stand outside of the text that it injected. */
export interface Expected {
  /** Where names of WITH queries and of locking clauses stand in the client's text. */
  readonly bareNames: ReadonlySet<number>;
  /** Where names of write targets stand in the client's text. */
  readonly targets: ReadonlySet<number>;
}

/**
 * Reads the rewritten text anew, without the analysis: outside of the injected text no guarded relation may be
 * named, and no relation without its schema. Gives the name that should not be there, or nothing.
 */
export function leftover(
  scope: Scope,
  sights: Sights,
  rewritten: Rewritten,
  expected: Expected,
): string | undefined {
  const parsed = parseText(rewritten.sql.toString("utf8"));
  if (!parsed.ok) return "a text that does not parse";
  const ranges = editedRanges(rewritten.edits);
  const isInjected = (location: number): boolean =>
    ranges.some(({ start, end }) => location >= start && location < end && end - start > 1);
  const bareNames = movedOffsets(rewritten.edits, expected.bareNames);
  const targets = movedOffsets(rewritten.edits, expected.targets);
  let wrong: string | undefined;
  const look = (value: object): void => {
    if ("relname" in value && typeof value.relname === "string") wrong ??= judge(value as Named);
    for (const child of Object.values(value)) if (typeof child === "object" && child !== null) look(child);
  };
  const judge = ({ schemaname, relname, location }: Named): string | undefined => {
    if (schemaname === undefined) return bareNames.has(location ?? 0) ? undefined : relname;
    const key = relationKey(schemaname, relname);
    if (isSystemSchema(schemaname)) {
      const isHidden = hiddenColumns(schemaname, relname) !== undefined && isInjected(location ?? 0);
      return isHidden || isOpenSystemRelation(schemaname, relname) ? undefined : key;
    }
    const relation = scope.catalog.relations.get(key);
    const sight = relation && sights.of(relation);
    if (sight === undefined) return key;
    if (sight.ok && !sight.sight.guarded) return undefined;
    return targets.has(location ?? 0) || isInjected(location ?? 0) ? undefined : key;
  };
  for (const { node } of parsed.statements) look(node);
  return wrong;
}

interface Named {
  readonly schemaname?: string;
  readonly relname: string;
  readonly location?: number;
}
