import type { ConstraintsSetStmt, LockingClause, Node, RangeVar } from "libpg-query";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { nodeOf } from "../parse/grammar.ts";

/** Names in the client's text that may stay unchanged, by their positions: byte offsets. */
export interface ExpectedNames {
  /** Names that are not relations: of WITH queries, in locking clauses, of constraints. */
  readonly bareNames: ReadonlySet<number>;
  /** Names of relations that no subquery can replace: targets of writes and of LOCK. */
  readonly targets: ReadonlySet<number>;
}

/** A statement's names that are not relations to be replaced. */
export function expectedNames(node: Node, { queries }: BoundStatement): ExpectedNames {
  const bare = [...queries.flatMap(bareNames), ...constraintNames(node)];
  return { bareNames: placesOf(bare), targets: placesOf(queries.flatMap(targetNames)) };
}

function placesOf(names: readonly RangeVar[]): ReadonlySet<number> {
  return new Set(names.map(({ location = 0 }) => location));
}

/** FOR UPDATE OF names what FROM exposes. */
function bareNames({ relations, clauses }: BoundQuery): readonly RangeVar[] {
  const locked = (clauses.locking ?? []).flatMap(
    (clause) => (nodeOf(clause)[1] as LockingClause).lockedRels ?? [],
  );
  return [
    ...relations.flatMap(({ source }) => (source.kind === "with" ? [source.name] : [])),
    ...locked.map((name) => nodeOf(name)[1] as RangeVar),
  ];
}

function targetNames({ form, write, relations }: BoundQuery): readonly RangeVar[] {
  const targets = form === "lock" ? relations : write === undefined ? [] : [write.target];
  return targets.flatMap(({ source }) => (source.kind === "table" ? [source.name] : []));
}

function constraintNames(node: Node): readonly RangeVar[] {
  const [type, body] = nodeOf(node);
  if (type !== "ConstraintsSetStmt") return [];
  return ((body as ConstraintsSetStmt).constraints ?? []).map((name) => nodeOf(name)[1] as RangeVar);
}
