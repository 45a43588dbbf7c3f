import type { ColumnRef } from "libpg-query";
import type { BoundRelation, BoundStatement } from "../bind/bound.ts";
import type { Sights } from "../sight.ts";
import { isIncoming } from "./base-columns.ts";
import { sightOf } from "./people.ts";

/*
 * The target of a write is not a subquery: its real values are in scope, behind any nearer name. The nearer names are
 * known from the last read of the catalog. If such a column is dropped before the statement runs, or while it is
 * prepared (the server then parses its text again), the bare name would come to mean the target's column. So in such
 * statements a name is qualified by its relation: without the column it is an error.
 */

export interface HeldName {
  readonly node: ColumnRef;
  readonly name: string;
  /** The relation to write before the column's name; undefined if that is impossible. */
  readonly holder: BoundRelation | undefined;
}

/** The names that could come to mean a hidden value of the written row. */
export function namesToHold({ meanings, behind }: BoundStatement, sights: Sights): readonly HeldName[] {
  return [...behind].flatMap(([node, { targets, holder }]): readonly HeldName[] => {
    const meaning = meanings.get(node);
    if (meaning?.kind !== "column") return [];
    const { name } = meaning.column;
    const isHidden = targets.some((target) => wouldGive(sights, target, name));
    if (!isHidden || (holder !== undefined && isCertain(sights, holder))) return [];
    return [{ node: node as ColumnRef, name, holder }];
  });
}

/** A column that the role does not see unchanged, or the whole row. */
function wouldGive(sights: Sights, target: BoundRelation, name: string): boolean {
  const { source, alias } = target;
  if (isIncoming(target)) return false;
  const sight = sightOf(sights, source.kind === "row of target" ? source.target : target);
  const hidden = sight?.columns.filter(({ kind }) => kind !== "real") ?? [];
  return hidden.some(({ column }) => alias === name || column.name === name);
}

/** A subquery, the client's or ours, has the columns that its text lists. A join has those of its sides. */
function isCertain(sights: Sights, relation: BoundRelation): boolean {
  const { source } = relation;
  if (source.kind === "join" || source.kind === "row of target") return false;
  return source.kind !== "table" || sightOf(sights, relation)?.guarded === true;
}

/** Whether the statement writes a relation that the role does not see completely. */
export function writesHidden({ queries }: BoundStatement, sights: Sights): boolean {
  return queries.some(
    ({ write }) =>
      write !== undefined &&
      sightOf(sights, write.target)?.columns.some(({ kind }) => kind !== "real") === true,
  );
}
