import type { ColumnRef } from "libpg-query";
import type { Catalog, Relation } from "../catalog/catalog.ts";
import type { LeftOut } from "./absence.ts";
import type { Analysis, FromReference, Level } from "./analysis.ts";
import {
  type Clause,
  columnEquality,
  columnName,
  conjuncts,
  onlyReference,
  type Restricted,
  simpleCondition,
} from "./conditions.ts";
import { outerReference } from "./gathering.ts";
import { hasIndex } from "./indexed.ts";

/**
 * `restricted`, and what a join holds as small: by an indexed column to what is small itself, or by its own key to the rows
 * that some condition chooses of a table which may be read without one. So `require_filter: [customers]` lets a list of the open
 * tickets with their customers' names be read, where each customer is found by their key.
 */
export function heldByJoin(
  analysis: Analysis,
  level: Level,
  clauses: readonly Clause[],
  leftOut: readonly LeftOut[],
  restricted: Restricted,
): Restricted {
  const held = new Set(restricted);
  const chosen = chosenIn(analysis, level, clauses);
  const joins = joinsIn(level, clauses, leftOut);
  for (let before = -1; before !== held.size; ) {
    before = held.size;
    for (const { own, reference, other } of joins) {
      const isByIndex = held.has(other) && isReal(analysis, reference, own, hasIndex);
      // What is written is named by its own keys.
      const isChosen = !reference.use?.isTarget && (chosen.has(other) || analysis.chosen.has(other));
      if (isByIndex || (isChosen && isReal(analysis, reference, own, isKey))) held.add(reference);
    }
  }
  for (const reference of [...held, ...chosen]) analysis.chosen.add(reference);
  return held;
}

/** Tables that need no condition, and have one all the same: `status = 'open'`. */
function chosenIn(analysis: Analysis, level: Level, clauses: readonly Clause[]): ReadonlySet<FromReference> {
  const chosen = new Set<FromReference>();
  for (const { quals, restrictable } of clauses) {
    for (const conjunct of conjuncts(quals)) {
      const condition = simpleCondition(analysis.source, conjunct);
      const target = condition && onlyReference(level, condition.column);
      if (condition === undefined || target?.use === undefined || !restrictable.includes(target)) continue;
      if (!["=", "between"].includes(condition.operator)) continue;
      const isOpen = !analysis.sights.requiresFilter(target.use.relation);
      if (isOpen && isReal(analysis, target, columnName(target, condition.column), anyColumn))
        chosen.add(target);
    }
  }
  return chosen;
}

const anyColumn = (): boolean => true;

/** A reference's own column that is equal to one of another reference wherever its row is there. */
interface Join {
  readonly reference: FromReference;
  readonly own: string | undefined;
  readonly other: FromReference;
}

function joinsIn(level: Level, clauses: readonly Clause[], leftOut: readonly LeftOut[]): readonly Join[] {
  const joins: Join[] = [];
  const note = (pair: readonly [ColumnRef, ColumnRef], isHere: (reference: FromReference) => boolean) => {
    for (const [mine, theirs] of [pair, [pair[1], pair[0]] as const]) {
      const reference = onlyReference(level, mine);
      const other = onlyReference(level, theirs) ?? outerReference(level, { ColumnRef: theirs });
      if (reference === undefined || other === undefined || other === reference || !isHere(reference))
        continue;
      joins.push({ reference, own: columnName(reference, mine), other });
    }
  };
  for (const { quals } of clauses) for (const pair of equalitiesIn(quals)) note(pair, () => true);
  // Of the side that an outer join may leave out, rows are there only where its condition holds.
  for (const { references, held } of leftOut)
    for (const pair of held.flatMap(equalitiesIn)) note(pair, (each) => references.includes(each));
  return joins;
}

function equalitiesIn(node: Parameters<typeof conjuncts>[0]): readonly (readonly [ColumnRef, ColumnRef])[] {
  return conjuncts(node).flatMap((conjunct) => {
    const pair = columnEquality(conjunct);
    return pair === undefined ? [] : [pair];
  });
}

/** Whether it is seen as it is (an equality with a masked column is one of masks), and `has` holds of it. */
function isReal(
  { scope }: Analysis,
  { use }: FromReference,
  column: string | undefined,
  has: (catalog: Catalog, relation: Relation, column: string) => boolean,
): boolean {
  const sight = use?.sight?.columns.find((each) => each.column.name === column);
  if (use === undefined || column === undefined || sight?.kind !== "real") return false;
  return has(scope.catalog, use.relation, column);
}

/** A value of it is one row's. A view's column is as unique as the one that it copies. */
function isKey(catalog: Catalog, relation: Relation, column: string): boolean {
  const origin = relation.kind === "view" ? relation.lineage?.origins.get(column) : undefined;
  const base = origin && catalog.relationsByOid.get(origin.relation);
  const copied = base?.columns.find(({ number }) => number === origin?.column);
  if (base !== undefined && copied !== undefined) return isKey(catalog, base, copied.name);
  const unique = relation.indexes.filter((index) => index.unique && !index.partial);
  return [relation.primaryKey, ...unique.map(({ columns }) => columns)].some(
    ([first, ...more]) => first === column && more.length === 0,
  );
}
