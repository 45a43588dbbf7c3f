import type { Node } from "libpg-query";
import type { FromReference, Level } from "./analysis.ts";
import { columnEquality, columnName, onlyReference } from "./conditions.ts";
import type { Subject } from "./subjects.ts";

/*
 * An outer join gives rows in which a person is left out, and such a row tells of him all the same: that nobody fits
 * `c.id = 7 AND ascii(c.name) <> v.code` spells out his name.
 */

/** What an outer join may leave out of a row. */
export interface LeftOut {
  readonly references: readonly FromReference[];
  readonly others: readonly FromReference[];
  /** What holds where it does not. */
  readonly tests: readonly Node[];
  /** Those of them that hold wherever one of the references is there: FULL JOIN gives it without a match as well. */
  readonly held: readonly Node[];
  /** As well, by equal names of columns. */
  readonly using: readonly string[];
}

/**
 * Of the references whose people the rows name, those that count somebody unknown where they are left out. Not where
 * the join is by the person himself: the row then tells of one whom it names elsewhere. Nor where a single column that is
 * seen by everybody is compared to a row that names somebody: all that is told is that nothing belongs to that row. (Of a
 * protected column each such row would be a name that nobody has, and a dictionary of them one statement.)
 */
export function countedWhenLeftOut(
  level: Level,
  named: readonly FromReference[],
  joins: readonly LeftOut[],
): ReadonlySet<FromReference> {
  const open = new Set(named.filter((each) => joins.some(({ references }) => references.includes(each))));
  const told = new Set(named.filter((each) => !open.has(each)));
  const counted = new Set<FromReference>();
  while (open.size > 0) {
    let next = [...open].find((each) => isTold(level, each, told, joins));
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

function isTold(
  level: Level,
  reference: FromReference,
  told: ReadonlySet<FromReference>,
  joins: readonly LeftOut[],
): boolean {
  const own = joins.filter(({ references }) => references.includes(reference));
  return (
    own.some((join) => joinsByPerson(level, reference, told, join)) ||
    own.every((join) => joinsByOneColumn(level, reference, told, join))
  );
}

function joinsByPerson(
  level: Level,
  reference: FromReference,
  told: ReadonlySet<FromReference>,
  { tests, using, others }: LeftOut,
): boolean {
  const isSame = (other: FromReference, name: string | undefined, otherName: string | undefined): boolean => {
    const [mine, theirs] = [subjectOf(reference), subjectOf(other)];
    return (
      told.has(other) &&
      mine !== undefined &&
      mine.column === name &&
      theirs?.column === otherName &&
      theirs?.namespace === mine.namespace
    );
  };
  return (
    pairs(level, reference, tests).some(({ own, other, otherName }) => isSame(other, own, otherName)) ||
    using.some((name) => {
      const other = onlyHolder(others, name);
      return other !== undefined && isSame(other, reference.columns?.get(name), other.columns?.get(name));
    })
  );
}

function joinsByOneColumn(
  level: Level,
  reference: FromReference,
  told: ReadonlySet<FromReference>,
  { references, tests, using, others }: LeftOut,
): boolean {
  if (references.length !== 1 || tests.length + using.length !== 1) return false;
  const [name] = using;
  const [pair] = name === undefined ? pairs(level, reference, tests) : [];
  const other = name === undefined ? pair?.other : onlyHolder(others, name);
  const own = name === undefined ? pair?.own : reference.columns?.get(name);
  return other !== undefined && told.has(other) && !isProtected(reference, own);
}

/** What is not known counts as protected. */
function isProtected({ use }: FromReference, own: string | undefined): boolean {
  return use?.sight?.columns.find(({ column }) => column.name === own)?.isProtected !== false;
}

interface Pair {
  readonly own: string | undefined;
  readonly other: FromReference;
  readonly otherName: string | undefined;
}

/** Equalities of a column of the reference and one of another. */
function pairs(level: Level, reference: FromReference, tests: readonly Node[]): readonly Pair[] {
  return tests.flatMap((test) => {
    const [left, right] = columnEquality(test) ?? [];
    if (left === undefined || right === undefined) return [];
    return [[left, right] as const, [right, left] as const].flatMap(([own, far]) => {
      const other = onlyReference(level, far);
      if (onlyReference(level, own) !== reference || other === undefined || other === reference) return [];
      return [{ own: columnName(reference, own), other, otherName: columnName(other, far) }];
    });
  });
}

/** The one reference that surely has a column of this name. */
function onlyHolder(references: readonly FromReference[], name: string): FromReference | undefined {
  const holders = references.filter(({ columns }) => columns === undefined || columns.has(name));
  return holders.length === 1 && holders[0]?.columns !== undefined ? holders[0] : undefined;
}

function subjectOf({ use }: FromReference): Subject | undefined {
  const subject = use?.sight?.people?.subject;
  // At the end of a path the column itself is not the person.
  return subject === undefined || (subject.hops?.length ?? 0) > 0 ? undefined : subject;
}
