import type { InsertStmt, Node, ResTarget } from "libpg-query";
import type { BoundQuery, BoundRelation, BoundStatement, Call } from "../bind/bound.ts";
import { builtinUse } from "../functions.ts";
import { type Body, forEachChild, nodeOf, visitNode } from "../parse/grammar.ts";
import { functionsMeant, ownFunctions } from "./calls.ts";
import type { Given } from "./given.ts";
import { sightOf, speaksOfPeople } from "./people.ts";

/*
 * How many people a row may show. Each reference to a relation of people may be another person, and each reference to a
 * WITH query shows that query's people again. A call may show another person: `max` returns some row's value, and a
 * user-defined function reads by itself.
 */

/** The number of people that an output row of the statement may show; undefined if nothing in it is about people. */
export function peoplePerRow(statement: BoundStatement, given: Given): number | undefined {
  const { top, queries } = statement;
  const speaks =
    ownCalls(statement, given) > 0 ||
    queries.some(({ relations }) => relations.some((each) => speaksOfPeople(given.sights, each)));
  if (!speaks) return undefined;
  const people = top === undefined ? 0 : new PeopleShown(statement, given).ofQuery(top);
  return people + given.castFunctions;
}

/** The number of calls of functions outside pg_catalog that may read by themselves, in the whole statement. */
export function ownCalls({ queries }: BoundStatement, { catalog, castFunctions }: Given): number {
  const calls = queries.flatMap((query) => query.calls);
  return calls.filter((call) => ownFunctions(catalog, call).length > 0).length + castFunctions;
}

/** References in WITH queries: they are shown where the WITH query is referred to. */
export function relationsInWith({ queries, bodyOf, parentOf }: BoundStatement): ReadonlySet<BoundRelation> {
  const named = new Set(bodyOf.values());
  const isWithin = (query: BoundQuery): boolean => {
    for (let at: BoundQuery | undefined = query; at !== undefined; at = parentOf.get(at))
      if (named.has(at)) return true;
    return false;
  };
  return new Set(queries.filter(isWithin).flatMap(({ relations }) => relations));
}

/** Counts the people of the parts of a statement. */
export class PeopleShown {
  readonly #statement: BoundStatement;
  readonly #given: Given;
  readonly #inner = new Map<BoundQuery, readonly BoundQuery[]>();
  readonly #known = new Map<BoundQuery, number>();

  constructor(statement: BoundStatement, given: Given) {
    this.#statement = statement;
    this.#given = given;
    const named = new Set(statement.bodyOf.values());
    for (const [inner, outer] of statement.parentOf)
      if (!named.has(inner)) this.#inner.set(outer, [...(this.#inner.get(outer) ?? []), inner]);
  }

  ofQuery(query: BoundQuery): number {
    const known = this.#known.get(query);
    if (known !== undefined) return known;
    // A query that refers to itself shows the people of its other references.
    this.#known.set(query, 0);
    const people =
      sum(query.relations, (relation) => this.ofRelation(relation)) +
      sum(query.calls, (call) => this.#ofCall(call)) +
      sum(this.#inner.get(query) ?? [], (inner) => this.ofQuery(inner)) +
      (movesPeople(this.#given, query) ? 1 : 0);
    this.#known.set(query, people);
    return people;
  }

  /** For expressions of the query. */
  ofNodes(query: BoundQuery, nodes: readonly Node[] = []): number {
    let people = 0;
    const look = (type: string, body: Body): void => {
      const inner = this.#statement.queryOf.get(body);
      if (inner !== undefined) {
        people += this.ofQuery(inner);
        return;
      }
      for (const call of query.calls) if (call.node === body) people += this.#ofCall(call);
      forEachChild(type, body, look);
    };
    for (const node of nodes) visitNode(node, look);
    return people;
  }

  ofRelation(reference: BoundRelation): number {
    const { source } = reference;
    if (source.kind === "with") {
      const body = this.#statement.bodyOf.get(source.query);
      return body === undefined || this.#returnsConstants(body) ? 0 : this.ofQuery(body);
    }
    const people = sightOf(this.#given.sights, reference)?.people;
    return people === undefined ? 0 : people.unknown + (people.subject === undefined ? 0 : 1);
  }

  /** `INSERT … RETURNING 1`, as PostgREST writes. Others are not told how many rows that were. */
  #returnsConstants({ write, outputs, clauses: { returning = [] } }: BoundQuery): boolean {
    return (
      this.#given.role.watch === true &&
      write !== undefined &&
      returning.length === outputs.length &&
      outputs.every(({ node }) => node !== undefined && nodeOf(node)[0] === "A_Const")
    );
  }

  #ofCall(call: Call): number {
    const { catalog } = this.#given;
    const picks = functionsMeant(catalog, call).some(
      (fn) => fn.schema === "pg_catalog" && builtinUse(fn) === "picking",
    );
    return (picks ? 1 : 0) + (ownFunctions(catalog, call).length > 0 ? 1 : 0);
  }
}

/**
 * Whether the rows that a watched write returns may be another person's than the one whom they name: `SET customer_id = 7 …
 * RETURNING body`. Other roles may not do that (`movedToOthers`).
 */
export function movesPeople({ role, sights }: Given, { form, node, write }: BoundQuery): boolean {
  if (role.watch !== true || write === undefined) return false;
  const subject = sightOf(sights, write.target)?.people?.subject?.column;
  if (form === "update") return write.assigned.some(({ name }) => name === subject);
  if (form !== "insert") return false;
  const { onConflictClause } = node as InsertStmt;
  return (onConflictClause?.targetList ?? []).some((item) => (nodeOf(item)[1] as ResTarget).name === subject);
}

function sum<T>(items: readonly T[], people: (item: T) => number): number {
  return items.reduce((all, item) => all + people(item), 0);
}
