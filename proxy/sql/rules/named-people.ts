import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { purposeOf } from "../purposes.ts";
import { isIdentified, type Subject } from "../subjects.ts";
import { countedWhenLeftOut } from "./absence.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";
import { relationsInWith } from "./people-shown.ts";
import { givesDistinctRows, givesRows, isSelected } from "./row-forms.ts";
import { namedReferences, namesOfFrom } from "./summary-clauses.ts";
import { isTiedTo, tiesOf } from "./ties.ts";

/* The people of a query's rows, if an appended column can identify them. */

/** A person whom a row is about. */
export interface NamedPerson {
  readonly reference: BoundRelation;
  readonly subject: Subject;
  /** The name of the subject column there. */
  readonly exposed: string;
  /** If there is no one, the row counts an unknown person. */
  readonly isCounted: boolean;
}

/**
 * The people whom the rows of a query can identify: of the references whose clear subject can be named unambiguously.
 */
export function peopleNamed(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): readonly NamedPerson[] {
  if (givesRows(statement, query)) return subjectsOf(statement, given, query);
  // For other roles, an additional column with DISTINCT would have its own price.
  if (given.role.watch !== true || !givesDistinctRows(statement, query)) return [];
  return subjectsOf(statement, given, query).filter(({ reference, exposed }) =>
    isSelected(query, reference, exposed),
  );
}

function subjectsOf(statement: BoundStatement, given: Given, query: BoundQuery): readonly NamedPerson[] {
  const counted = countedHere(statement, given, query);
  return namedReferences(query).flatMap((reference) => {
    const named = personOf(given, query, reference);
    return named === undefined || !isIdentified(named.subject, reference.alias)
      ? []
      : [{ ...named, isCounted: counted.has(reference) }];
  });
}

/** The references of a query whose people count as an unknown person when they are left out. */
export function countedHere(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): ReadonlySet<BoundRelation> {
  const named = namedReferences(query).filter((each) => personOf(given, query, each) !== undefined);
  return countedWhenLeftOut(statement, given.sights, query, new Set(named));
}

/** The name of a reference's subject, if the query can name it and the name is unambiguous. */
export function personOf(
  { sights }: Given,
  query: BoundQuery,
  reference: BoundRelation,
): Pick<NamedPerson, "reference" | "subject" | "exposed"> | undefined {
  const subject = sightOf(sights, reference)?.people?.subject;
  if (subject === undefined || !namedReferences(query).includes(reference)) return undefined;
  const column = reference.columns.find(
    ({ source }) => source.kind === "own" && source.column.name === subject.column,
  );
  if (column === undefined) return undefined;
  // An alias list may give its name to another column too.
  const isOnly =
    namesOfFrom(query).filter((name) => name === reference.alias).length === 1 &&
    reference.columns.filter(({ name }) => name === column.name).length === 1;
  return isOnly ? { reference, subject, exposed: column.name } : undefined;
}

/** References in subqueries that are restricted to a person whom the row identifies: they show no one else. */
export function tiedPeople(statement: BoundStatement, given: Given, people: readonly NamedPerson[]): number {
  const told = new Set(people.map(({ reference }) => reference));
  if (told.size === 0) return 0;
  const { sights } = given;
  const ties = tiesOf(statement, sights);
  const inWith = relationsInWith(statement);
  const isTied = (reference: BoundRelation): boolean =>
    sightOf(sights, reference)?.people?.unknown === 0 &&
    !told.has(reference) &&
    !inWith.has(reference) &&
    isTiedTo(ties, reference, told);
  return statement.queries
    .flatMap(({ relations, write }) => relations.filter((each) => each !== write?.target))
    .filter(isTied).length;
}

/** Whether it can be determined for all people of the row that the user has work with them. */
export function haveKnownPurpose(given: Given, people: readonly NamedPerson[]): boolean {
  return (
    people.length > 0 &&
    people.every(({ reference }) => {
      const sight = sightOf(given.sights, reference);
      return sight !== undefined && purposeOf(given, sight, reference.alias) !== undefined;
    })
  );
}
