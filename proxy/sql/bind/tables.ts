import { type Body, forEachChild, visitNode } from "../parse/grammar.ts";
import type { BoundQuery, BoundRelation, BoundStatement, FromItem } from "./bound.ts";

/**
 * The references to relations that a query is made of, including those in subqueries and in WITH queries that it refers
 * to.
 */
export function tablesWithin(
  statement: BoundStatement,
  ...queries: readonly BoundQuery[]
): ReadonlySet<BoundRelation> {
  const found = new Tables(statement);
  for (const query of queries) found.addQuery(query);
  return found.all();
}

/** Like `tablesWithin`, for the parts that choose a query's rows: FROM and WHERE. Does not include a write's target. */
export function tablesChoosing(statement: BoundStatement, query: BoundQuery): ReadonlySet<BoundRelation> {
  const found = new Tables(statement);
  for (const item of query.from) found.addItem(item);
  for (const node of query.clauses.where ?? []) visitNode(node, found.look);
  return found.all();
}

class Tables {
  readonly #statement: BoundStatement;
  readonly #tables = new Set<BoundRelation>();
  readonly #queries = new Set<BoundQuery>();

  constructor(statement: BoundStatement) {
    this.#statement = statement;
  }

  addQuery(query: BoundQuery): void {
    this.#queries.add(query);
  }

  addItem(item: FromItem): void {
    if (item.kind === "relation") {
      this.#addRelation(item.relation);
      return;
    }
    if (item.on !== undefined) visitNode(item.on, this.look);
    this.addItem(item.left);
    this.addItem(item.right);
  }

  /** Searches an expression for queries. */
  readonly look = (type: string, body: Body): void => {
    const query = this.#statement.queryOf.get(body);
    if (query === undefined) forEachChild(type, body, this.look);
    else this.#queries.add(query);
  };

  all(): ReadonlySet<BoundRelation> {
    const { parentOf, bodyOf } = this.#statement;
    const named = new Set(bodyOf.values());
    // The iteration also visits queries added during it.
    for (const query of this.#queries) {
      for (const relation of query.relations) this.#addRelation(relation);
      for (const [inner, outer] of parentOf)
        if (outer === query && !named.has(inner)) this.#queries.add(inner);
    }
    return this.#tables;
  }

  #addRelation(relation: BoundRelation): void {
    const { source, node } = relation;
    switch (source.kind) {
      case "table":
      case "unknown table":
        this.#tables.add(relation);
        break;
      case "subquery":
        this.#queries.add(source.query);
        break;
      case "with": {
        const body = this.#statement.bodyOf.get(source.query);
        if (body !== undefined) this.#queries.add(body);
        break;
      }
      case "function":
        forEachChild(source.type, node, this.look);
        break;
      // Their sides, and a write's target, are references themselves.
      case "join":
      case "row of target":
    }
  }
}
