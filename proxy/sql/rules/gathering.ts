import type { FuncCall, WithClause } from "libpg-query";
import type { Catalog } from "../../catalog/catalog.ts";
import type { BoundQuery, BoundRelation, BoundStatement, Call, WithQuery } from "../bind/bound.ts";
import { type Pin, pinsOf } from "../bind/pins.ts";
import { isOfUncertainQuery } from "../bind/questions.ts";
import { tablesWithin } from "../bind/tables.ts";
import { isComparedType } from "../comparisons.ts";
import { builtinUse } from "../functions.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import { isSystemSchema } from "../system-relations.ts";
import { functionsMeant, ownFunctions } from "./calls.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { keyOfPerson, personNamed, sightOf, speaksOfPeople } from "./people.ts";

/*
 * json_agg and similar functions put many rows into one, and would bypass a row limit. The rows may all belong to one
 * person: ORMs request a customer with their tickets in one statement. So gathering is allowed if each gathered
 * relation is restricted to one person, whom the output row counts.
 */

/** Something that combines rows of several people into one, as far as is known. */
export interface Gathering {
  /** For messages: `json_agg()`. */
  readonly what: string;
  /** One of Postgres's own aggregates: its people are those of its query's references. */
  readonly isAggregate: boolean;
}

/** Everything that gathers in a statement, starting with what does so however its rows are restricted. */
export function gatheringsOf(statement: BoundStatement, given: Given): readonly Gathering[] {
  const { queries } = statement;
  const view = { statement, ...given };
  const always = [
    ...queries.flatMap(({ calls }) => calls.flatMap((call) => gatheredBy(view, call) ?? [])),
    ...queries.flatMap((query) => (isRecursionOfPeople(view, query) ? ["WITH RECURSIVE"] : [])),
  ];
  const open = queries.flatMap((query) => openGatherings(view, query));
  return [
    ...always.map((what) => ({ what, isAggregate: false })),
    ...open.map((what) => ({ what, isAggregate: true })),
  ];
}

/** Whether rows are made from several, whose people have to be named: of a watched role also from one person's rows. */
export function gathersRows(statement: BoundStatement, given: Given): boolean {
  const ofOnePerson = (query: BoundQuery) =>
    given.role.watch === true && aggregatesThatGather(given, query).length > 0;
  return gatheringsOf(statement, given).length > 0 || statement.queries.some(ofOnePerson);
}

interface View extends Given {
  readonly statement: BoundStatement;
}

function gatheredBy({ statement, catalog }: View, call: Call): string | undefined {
  const { name, form } = call;
  if (form === "syntax") return name;
  const meant = functionsMeant(catalog, call);
  // The result of a user-defined aggregate is unknown.
  if (meant.some(({ kind, schema }) => kind === "aggregate" && schema !== "pg_catalog")) return `${name}()`;
  return form === "function" && meant.length > 0 && picksMany(statement, call)
    ? `${name}() of several values`
    : undefined;
}

/**
 * `percentile_disc(ARRAY[…])` returns a value for each fraction, and the bits of many rows fit into one long bit
 * string. Values in a table's column are given, but a column made in a subquery may assign each row its own bits.
 */
function picksMany({ meanings }: BoundStatement, { name, node }: Call): boolean {
  const [argument] = (node as FuncCall).args ?? [];
  if (name === "percentile_disc" || name === "percentile_cont")
    return argument === undefined || nodeOf(argument)[0] !== "A_Const";
  if (name !== "bit_or" && name !== "bit_and" && name !== "bit_xor") return false;
  const meaning = argument && meanings.get(nodeOf(argument)[1]);
  return meaning?.kind !== "column" || meaning.column.relation.source.kind !== "table";
}

/** In a recursive clause any query may build on rows of the others. */
function isRecursionOfPeople(view: View, { node, withs }: BoundQuery): boolean {
  const { withClause } = node as { withClause?: WithClause };
  return withClause?.recursive === true && withs.some((each) => readsPeople(view, each));
}

function readsPeople(view: View, named: WithQuery): boolean {
  const { statement, sights } = view;
  const query = statement.bodyOf.get(named);
  return (
    query !== undefined &&
    ([...tablesWithin(statement, query)].some((reference) => speaksOfPeople(sights, reference)) ||
      callsOwn(view, query))
  );
}

/** The aggregates over a query's rows that may gather more than one person's rows. */
function openGatherings(view: View, query: BoundQuery): readonly string[] {
  const { statement } = view;
  const gathering = aggregatesThatGather(view, query);
  if (gathering.length === 0) return [];
  const isHeld = isOfOnePerson(view, query);
  return gathering
    .filter((call) => !isHeld || isOfUncertainQuery(statement, call))
    .map(({ name }) => `${name}()`);
}

function aggregatesThatGather({ catalog }: Given, { aggregates, calls }: BoundQuery): readonly Call[] {
  return [...aggregates, ...calls.filter(isWindowed)].filter((call) =>
    functionsMeant(catalog, call).some((fn) => fn.schema === "pg_catalog" && builtinUse(fn) === "gathering"),
  );
}

function isWindowed({ node, form }: Call): boolean {
  return form === "function" && (node as FuncCall).over !== undefined;
}

function isOfOnePerson(view: View, query: BoundQuery): boolean {
  const { statement, sights, catalog } = view;
  if (callsOwn(view, query)) return false;
  const pins = personPins(statement, sights, catalog);
  return [...tablesWithin(statement, query)].every(
    (reference) => isHarmless(sights, reference) || isPinned(statement, pins, reference, query),
  );
}

/** Whether a function outside pg_catalog, which may read other people's rows, is called in a query or inside it. */
function callsOwn({ statement, catalog, castFunctions }: View, query: BoundQuery): boolean {
  const { queries, parentOf } = statement;
  // It is unknown where an implicit cast is applied.
  if (castFunctions > 0) return true;
  const isWithin = (inner: BoundQuery): boolean => {
    for (let at: BoundQuery | undefined = inner; at !== undefined; at = parentOf.get(at))
      if (at === query) return true;
    return false;
  };
  return queries.some(
    (each) => isWithin(each) && each.calls.some((call) => ownFunctions(catalog, call).length > 0),
  );
}

function isHarmless(sights: Sights, reference: BoundRelation): boolean {
  const { source } = reference;
  const sight = sightOf(sights, reference);
  if (sight === undefined) return source.kind === "table" && isSystemSchema(source.relation.schema);
  return isSystemSchema(sight.relation.schema) || (sight.people === undefined && !sight.guarded);
}

/** What restricts a reference's rows to one person: a constant, or a row of another reference. */
interface PersonPin {
  readonly by: "constant" | BoundRelation;
  /** That row is about the same person, and does not only name them. */
  readonly isSame: boolean;
}

type PersonPins = ReadonlyMap<BoundRelation, readonly PersonPin[]>;

function personPins(statement: BoundStatement, sights: Sights, catalog: Catalog): PersonPins {
  const pins = new Map<BoundRelation, readonly PersonPin[]>();
  for (const query of statement.queries) {
    for (const pin of pinsOf(statement, query)) {
      const { relation, typeOid } = pin.column;
      if (!pin.restricts.has(relation) || !isPlainEquality(pin)) continue;
      // What another type's equality treats as equal is unknown.
      const isKnown = keyOfPerson(sights, pin.column)?.isAlone === true && isComparedType(catalog, typeOid);
      const made = isKnown ? personPin(sights, pin) : undefined;
      if (made !== undefined) pins.set(relation, [...(pins.get(relation) ?? []), made]);
    }
  }
  return pins;
}

function personPin(sights: Sights, { column, to }: Pin): PersonPin | undefined {
  if (to.kind === "values") return to.nodes.length === 1 ? { by: "constant", isSame: true } : undefined;
  if (to.kind !== "column") return undefined;
  const [mine, theirs] = [personNamed(sights, column), personNamed(sights, to.column)];
  const isSame =
    mine !== undefined && theirs?.isAlone === true && mine.subject.namespace === theirs.subject.namespace;
  return { by: to.column.relation, isSame };
}

/** Whether its rows belong to one person for each row of the enclosing queries. */
function isPinned(
  statement: BoundStatement,
  pins: PersonPins,
  reference: BoundRelation,
  query: BoundQuery,
): boolean {
  const around = new Set<BoundRelation>();
  for (let at = statement.parentOf.get(query); at !== undefined; at = statement.parentOf.get(at))
    for (const relation of at.relations) around.add(relation);
  const seen = new Set([reference]);
  for (const each of seen) {
    for (const { by, isSame } of pins.get(each) ?? []) {
      if (by === "constant" || around.has(by)) return true;
      if (isSame) seen.add(by);
    }
  }
  return false;
}
