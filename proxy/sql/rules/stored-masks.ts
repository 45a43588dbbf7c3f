import type { Node, SubLink } from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { type Body, forEachChild, nodeOf, visitNode } from "../parse/grammar.ts";
import { isIncoming } from "./base-columns.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";

/** A write may not store a value that is made from a mask: it would look like the real value. */
export function storedMask(statement: BoundStatement, given: Given, query: BoundQuery): Refusal | undefined {
  const { sights, role } = given;
  const values = new Values(statement);
  for (const node of [...(query.clauses.assignments ?? []), ...(query.clauses.values ?? [])])
    visitNode(node, values.look);
  if (query.write?.source !== undefined) values.addQuery(query.write.source);
  for (const { relation, source } of values.columns) {
    const sight = sightOf(sights, relation);
    const name = source.kind === "own" ? source.column.name : undefined;
    const column = sight?.columns.find((each) => each.column.name === name);
    if (sight === undefined || column === undefined || column.kind === "real") continue;
    return denied(
      role,
      `role "${role.name}" sees ${sight.key}.${name} masked: the mask would be stored as if it were the value`,
      "sees",
      `Leave ${sight.key}.${name} out of what is written.`,
    );
  }
  return undefined;
}

/** The columns that values are made from, through subqueries. Which rows there are, and how many, is not a value. */
class Values {
  readonly columns = new Set<BoundColumn>();
  readonly #statement: BoundStatement;
  readonly #seen = new Set<BoundColumn | BoundQuery>();

  constructor(statement: BoundStatement) {
    this.#statement = statement;
  }

  /** Adds everything that a query returns. */
  addQuery(query: BoundQuery): void {
    if (this.#seen.has(query)) return;
    this.#seen.add(query);
    for (const index of query.outputs.keys()) this.#addOutput(query, index);
    if (!query.hasUnknownOutputs) return;
    for (const arm of query.setOperation?.arms ?? []) this.addQuery(arm);
    const { targets = [], values = [], returning = [] } = query.clauses;
    for (const node of [...targets, ...values, ...returning]) visitNode(node, this.look);
  }

  /** Searches an expression. */
  readonly look = (type: string, body: Body): void => {
    const meaning = this.#statement.meanings.get(body);
    switch (meaning?.kind) {
      case undefined:
        break;
      case "column":
        this.#addColumn(meaning.column);
        return;
      case "row":
        this.#addRelation(meaning.relation);
        return;
      case "star":
        for (const relation of meaning.relations) this.#addRelation(relation);
        return;
      case "uncertain":
        for (const candidate of meaning.candidates) {
          if (candidate.kind === "column") this.#addColumn(candidate.column);
          if (candidate.kind === "row") this.#addRelation(candidate.relation);
        }
        return;
      default:
        return;
    }
    const query = this.#statement.queryOf.get(body);
    if (query !== undefined) this.addQuery(query);
    else if (type !== "SubLink" || (body as SubLink).subLinkType !== "EXISTS_SUBLINK")
      forEachChild(type, body, this.look);
  };

  #addRelation(relation: BoundRelation): void {
    for (const column of relation.columns) this.#addColumn(column);
    if (!relation.hasUnknownColumns) return;
    const { source } = relation;
    const query = this.#queryBehind(relation);
    if (query !== undefined) this.addQuery(query);
    if (source.kind === "join") for (const side of source.sides) this.#addRelation(side);
    if (source.kind === "function") forEachChild(source.type, relation.node, this.look);
  }

  #addColumn(column: BoundColumn): void {
    if (this.#seen.has(column)) return;
    this.#seen.add(column);
    const { source, relation } = column;
    switch (source.kind) {
      case "own":
        this.columns.add(column);
        break;
      case "merged":
        // Values that the same statement inserts are checked separately.
        if (!isIncoming(relation)) for (const each of source.columns) this.#addColumn(each);
        break;
      case "output": {
        const query = this.#queryBehind(relation);
        if (query !== undefined) this.#addOutput(query, source.position);
        break;
      }
      case "computed":
        if (relation.source.kind === "function") forEachChild(relation.source.type, relation.node, this.look);
        break;
      case "system":
    }
  }

  #queryBehind({ source }: BoundRelation): BoundQuery | undefined {
    if (source.kind === "subquery") return source.query;
    return source.kind === "with" ? this.#statement.bodyOf.get(source.query) : undefined;
  }

  #addOutput(query: BoundQuery, index: number): void {
    const { setOperation, form, clauses } = query;
    if (setOperation !== undefined) for (const arm of setOperation.arms) this.#addOutput(arm, index);
    else if (form === "values")
      for (const node of columnOfLists(clauses.values ?? [], index)) visitNode(node, this.look);
    const { node, column } = query.outputs[index] ?? {};
    if (node !== undefined) visitNode(node, this.look);
    else if (column !== undefined) this.#addColumn(column);
  }
}

function columnOfLists(lists: readonly Node[], index: number): readonly Node[] {
  return lists.flatMap((list) => (nodeOf(list)[1] as { items?: readonly Node[] }).items?.[index] ?? []);
}
