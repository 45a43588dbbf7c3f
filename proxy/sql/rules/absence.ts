import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, FromItem } from "../bind/bound.ts";
import { relationsIn } from "../bind/from-parts.ts";
import { type Condition, equalitiesIn, joinConditions } from "../bind/pins.ts";
import type { Sights } from "../sight.ts";
import { isPlainEquality } from "./equalities.ts";
import { personNamed, sightOf } from "./people.ts";

/*
 * An outer join gives rows in which a person is left out, and such a row tells of them all the same: that nobody fits
 * `c.id = 7 AND ascii(c.name) <> v.code` spells out their name.
 */

/**
 * Of the references whose people the rows name, those that count somebody unknown where they are left out. Not where
 * the join is by the person: the row then tells of one whom it names elsewhere. Nor where a single column that is
 * seen by everybody is compared to a row that names somebody: all that is told is that nothing belongs to that row. (Of a
 * protected column each such row would be a name that nobody has, and a dictionary of them one statement.)
 */
export function countedWhenLeftOut(
  statement: BoundStatement,
  sights: Sights,
  query: BoundQuery,
  named: ReadonlySet<BoundRelation>,
): ReadonlySet<BoundRelation> {
  const joins = query.from.flatMap(leftOutIn).map((join) => withPairs(statement, join));
  const open = new Set(
    [...named].filter((each) => joins.some(({ references }) => references.includes(each))),
  );
  const told = new Set([...named].filter((each) => !open.has(each)));
  const counted = new Set<BoundRelation>();
  while (open.size > 0) {
    let next = [...open].find((each) => isTold(sights, each, told, joins));
    if (next === undefined) {
      [next] = open;
      if (next !== undefined) counted.add(next);
    }
    if (next === undefined) break;
    open.delete(next);
    told.add(next);
  }
  return counted;
}

/** What an outer join may leave out of a row, and what holds where it does not. */
interface LeftOut {
  readonly references: readonly BoundRelation[];
  readonly conditions: readonly Condition[];
}

interface Join extends LeftOut {
  /** Equalities of two columns among the conditions. */
  readonly pairs: readonly (readonly [own: BoundColumn, other: BoundColumn])[];
}

function leftOutIn(item: FromItem): readonly LeftOut[] {
  if (item.kind === "relation") return [];
  const { type, left, right } = item;
  const side = (part: FromItem): LeftOut => ({
    references: relationsIn([part]).filter(({ source }) => source.kind !== "join"),
    conditions: [...joinConditions(item), ...innerConditions(part)],
  });
  return [
    ...leftOutIn(left),
    ...leftOutIn(right),
    ...(type === "left" || type === "full" ? [side(right)] : []),
    ...(type === "right" || type === "full" ? [side(left)] : []),
  ];
}

/** Of the inner joins in a part of FROM. */
function innerConditions(item: FromItem): readonly Condition[] {
  if (item.kind === "relation") return [];
  const own = item.type === "inner" ? joinConditions(item) : [];
  return [...innerConditions(item.left), ...innerConditions(item.right), ...own];
}

function withPairs(statement: BoundStatement, { references, conditions }: LeftOut): Join {
  const pairs = conditions.flatMap((condition) =>
    equalitiesIn(statement, condition).flatMap((equality) =>
      equality.to.kind === "column" && isPlainEquality(equality)
        ? [[equality.column, equality.to.column] as const]
        : [],
    ),
  );
  return { references, conditions, pairs };
}

function isTold(
  sights: Sights,
  reference: BoundRelation,
  told: ReadonlySet<BoundRelation>,
  joins: readonly Join[],
): boolean {
  const own = joins.filter(({ references }) => references.includes(reference));
  return (
    own.some((join) => joinsByPerson(sights, reference, told, join)) ||
    own.every((join) => joinsByOneColumn(sights, reference, told, join))
  );
}

function joinsByPerson(
  sights: Sights,
  reference: BoundRelation,
  told: ReadonlySet<BoundRelation>,
  { pairs }: Join,
): boolean {
  return pairs.some(([own, other]) => {
    if (own.relation !== reference || !told.has(other.relation)) return false;
    const [mine, theirs] = [personNamed(sights, own), personNamed(sights, other)];
    return mine !== undefined && mine.subject.namespace === theirs?.subject.namespace;
  });
}

function joinsByOneColumn(
  sights: Sights,
  reference: BoundRelation,
  told: ReadonlySet<BoundRelation>,
  { references, conditions, pairs }: Join,
): boolean {
  if (references.length !== 1 || conditions.length !== 1) return false;
  const pair = pairs.find(([own]) => own.relation === reference);
  return pair !== undefined && told.has(pair[1].relation) && !isProtected(sights, pair[0]);
}

/** What is not known counts as protected. */
function isProtected(sights: Sights, { relation, source }: BoundColumn): boolean {
  const name = source.kind === "own" ? source.column.name : undefined;
  return sightOf(sights, relation)?.columns.find(({ column }) => column.name === name)?.isProtected !== false;
}
