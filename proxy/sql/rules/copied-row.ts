import type { ResTarget } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { choiceDependsOn, type Dependencies, dependsOnNodes, storedDependsOn } from "../bind/dependencies.ts";
import { pinsOf } from "../bind/pins.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isSystemSchema } from "../system-relations.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { isProtected, sightOf } from "./people.ts";
import { choiceOfRows, keysNamed } from "./write-choice.ts";

/*
 * The people in one row that is stored: those from whose protected values its own are made, and those whose values decide that
 * it is stored. (`INSERT INTO x SELECT id, 'a' FROM customers WHERE email LIKE 'a%'` stores letters of addresses.)
 */

/** How many people a row shows that a query stores. Infinity: any number. */
export function peopleInRow(statement: BoundStatement, given: Given, query: BoundQuery): number {
  const relations = relationsCopied(statement, given, query);
  if ([...relations].some((relation) => isOfMany(given, relation))) return Number.POSITIVE_INFINITY;
  const rows = rowsWithin(statement, query);
  return [...relations].reduce(
    (sum, relation) => sum + peopleOf(given, relation) * (rows.get(relation) ?? 1),
    0,
  );
}

/** Those of one row of a reference: a view may show several. */
function peopleOf({ sights }: Given, reference: BoundRelation): number {
  const people = sightOf(sights, reference)?.people;
  return people === undefined ? 1 : Math.max(1, people.unknown + (people.subject === undefined ? 0 : 1));
}

function relationsCopied(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): ReadonlySet<BoundRelation> {
  const target = query.write?.target;
  const isOther = ({ relation }: BoundColumn) => relation !== target;
  const values = storedDependsOn(statement, query);
  const choice = choiceDependsOn(statement, query);
  const copied = new Set(protectedIn(given, values).filter(isOther).map(relationOf));
  for (const column of protectedIn(given, choice))
    if (!isFound(statement, query, column) && (isOther(column) || !staysProtected(statement, given, query)))
      copied.add(column.relation);
  for (const reference of choice.relations)
    if (sightOf(given.sights, reference)?.isChosen === true) copied.add(reference);
  if (target !== undefined && unprotects(statement, given, query, target)) copied.add(target);
  return copied;
}

const relationOf = ({ relation }: BoundColumn): BoundRelation => relation;

function protectedIn({ sights }: Given, { columns }: Dependencies): readonly BoundColumn[] {
  return [...columns].filter((column) => {
    const { source } = column.relation;
    // What is in a temporary table has been counted on its way there, or came from the client.
    if (source.kind !== "table") return false;
    return isSystemSchema(source.relation.schema) ? isSampled(column.relation) : isProtected(sights, column);
  });
}

/** The client has named the value, and by it one row at most: `WHERE email = $1`. */
export function isFound(statement: BoundStatement, query: BoundQuery, column: BoundColumn): boolean {
  const within = query.write?.source ?? query;
  return (
    query.form !== "merge" &&
    keysNamed(statement, within, column.relation).length > 0 &&
    pinsOf(statement, within).some(
      (pin) =>
        pin.column === column &&
        pin.restricts.has(column.relation) &&
        isPlainEquality(pin) &&
        pin.to.kind === "values" &&
        pin.to.nodes.length === 1,
    )
  );
}

/**
 * That one row was changed shows in columns that are protected themselves. Rows that are gone show it to everybody, and of
 * several rows those that were changed come later in the table (`any_value`, `ctid`).
 */
function staysProtected(statement: BoundStatement, { sights }: Given, query: BoundQuery): boolean {
  const { form, write } = query;
  const assigned = write?.assigned ?? [];
  return (
    form !== "delete" &&
    assigned.length > 0 &&
    assigned.every((column) => isProtected(sights, column)) &&
    choiceOfRows(statement, sights, query) === "one"
  );
}

/**
 * Whether a row's own protected values go into a column of it that is not protected, from where they could be copied without
 * being counted.
 */
function unprotects(
  statement: BoundStatement,
  { sights }: Given,
  query: BoundQuery,
  target: BoundRelation,
): boolean {
  const sight = sightOf(sights, target);
  if (sight === undefined) return false;
  return (query.clauses.assignments ?? []).some((node) => {
    const [type, body] = nodeOf(node);
    const { name, val } = type === "ResTarget" ? (body as ResTarget) : {};
    const column = sight.columns.find((each) => each.column.name === name);
    if (val === undefined || column === undefined || column.isProtected) return false;
    const { columns } = dependsOnNodes(statement, [val], query);
    return [...columns].some((each) => each.relation === target && isProtected(sights, each));
  });
}

/** A row of it shows many people: of a view that gathers, or of what ANALYZE has sampled. */
function isOfMany({ sights }: Given, reference: BoundRelation): boolean {
  return isSampled(reference) || sightOf(sights, reference)?.gathers === true;
}

/** pg_statistic and the views over it. */
function isSampled({ source }: BoundRelation): boolean {
  if (source.kind !== "table") return false;
  const { schema, name } = source.relation;
  return isSystemSchema(schema) && /^pg_(?:stats|statistic)/.test(name);
}

/**
 * Of how many rows of each reference one row of the query is made: a WITH query that is named twice gives two. Recursion is no
 * matter of numbers, and is looked at elsewhere.
 */
function rowsWithin(statement: BoundStatement, query: BoundQuery): ReadonlyMap<BoundRelation, number> {
  const times = new Map<BoundQuery, number>([[query, 1]]);
  const found = new Map<BoundRelation, number>();
  const add = <Key>(map: Map<Key, number>, key: Key | undefined, count: number) => {
    if (key !== undefined) map.set(key, (map.get(key) ?? 0) + count);
  };
  const named = new Set(
    statement.queries.flatMap((each) => [
      ...each.relations.flatMap(({ source }) => (source.kind === "subquery" ? [source.query] : [])),
      ...(each.setOperation?.arms ?? []),
      ...(each.write?.source === undefined ? [] : [each.write.source]),
      ...each.withs.flatMap((made) => statement.bodyOf.get(made) ?? []),
    ]),
  );
  // Each comes after those that are inside it.
  for (const each of statement.queries.toReversed()) {
    const parent = statement.parentOf.get(each);
    if (!named.has(each) && parent !== undefined) add(times, each, times.get(parent) ?? 0);
    const count = times.get(each) ?? 0;
    if (count === 0) continue;
    for (const relation of each.relations) {
      add(found, relation, count);
      const { source } = relation;
      if (source.kind === "subquery") add(times, source.query, count);
      if (source.kind === "with") add(times, statement.bodyOf.get(source.query), count);
    }
    for (const arm of each.setOperation?.arms ?? []) add(times, arm, count);
    add(times, each.write?.source, count);
  }
  return found;
}
