import type { Catalog, Relation } from "../catalog/catalog.ts";
import type { Analysis, FromReference, Level } from "./analysis.ts";
import type { BoundRelation } from "./bind/bound.ts";
import type { Pin } from "./bind/pins.ts";
import {
  type Clause,
  columnName,
  conjuncts,
  onlyReference,
  type Restricted,
  simpleCondition,
} from "./conditions.ts";
import { hasIndex } from "./indexed.ts";
import { isPlainEquality } from "./rules/equalities.ts";

/**
 * `restricted`, and what a join holds as small: by an indexed column to what is small itself, or by its own key to the rows
 * that some condition chooses of a table which may be read without one. So `require_filter: [customers]` lets a list of the open
 * tickets with their customers' names be read, where each customer is found by their key.
 */
export function heldByJoin(
  analysis: Analysis,
  level: Level,
  { pins, clauses }: { readonly pins: readonly Pin[]; readonly clauses: readonly Clause[] },
  restricted: Restricted,
): Restricted {
  const held = new Set(restricted);
  const chosen = chosenIn(analysis, level, clauses);
  const joins = joinsIn(level, pins);
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

/** Of the side that an outer join may leave out, rows are there only where its condition holds. */
function joinsIn(level: Level, pins: readonly Pin[]): readonly Join[] {
  return pins.flatMap((pin) => {
    const { column, to, restricts } = pin;
    if (to.kind !== "column" || !restricts.has(column.relation) || !isPlainEquality(pin)) return [];
    const reference = level.references.find(({ use }) => use?.reference === column.relation);
    const other = referenceTo(level, to.column.relation);
    if (reference === undefined || other === undefined || other === reference) return [];
    const own = column.source.kind === "own" ? column.source.column.name : undefined;
    return [{ reference, own, other }];
  });
}

function referenceTo(level: Level, relation: BoundRelation): FromReference | undefined {
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    const found = at.references.find(({ use }) => use?.reference === relation);
    if (found !== undefined) return found;
  }
  return undefined;
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
