import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, FromItem } from "../bind/bound.ts";
import { relationsIn } from "../bind/from-parts.ts";
import { type Condition, equalitiesIn, joinConditions } from "../bind/pins.ts";
import type { Sights } from "../sight.ts";
import { isPlainEquality } from "./equalities.ts";
import { isProtected, personNamed, sightOf } from "./people.ts";

/*
 * An outer join can return rows in which a person is missing, and such a row still reveals something about them: if no
 * one matches `c.id = 7 AND ascii(c.name) <> v.code`, that spells out their name.
 */

/**
 * Of the references whose people the rows name, those that count an unknown person when the reference is left out. Not
 * if the join is by the person: the row then is about a person whom it names elsewhere. Nor if a single column that
 * everyone may see is compared to a row that names a person: that reveals only that nothing belongs to that row. (For a
 * protected column, each such row would be a name that no one has, and one statement could test a whole dictionary of
 * them.)
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

/** The references that an outer join may leave out of a row, and the conditions that are true if it does not. */
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

/** The conditions of the inner joins in a part of FROM. */
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
  const isChosen = sightOf(sights, reference)?.isChosen === true;
  return pair !== undefined && told.has(pair[1].relation) && !isChosen && !isProtected(sights, pair[0]);
}
