import type { Node, SubLink } from "libpg-query";
import { type Body, forEachChild, nodeOf, visitNode } from "../parse/grammar.ts";
import type {
  BoundColumn,
  BoundQuery,
  BoundRelation,
  BoundStatement,
  ClauseName,
  FromItem,
  Meaning,
  Output,
} from "./bound.ts";

/*
 * What an answer depends on. Each thing that a statement computes is a point: a column, an output, the rows of a query
 * and their order, the rows of a reference. A point has edges to the points that it is made from, and depends on all
 * points reachable from it: through subqueries, WITH queries (including recursive ones), and set operations.
 *
 * The result is never smaller than the truth (it may include a value that cannot change the answer), as far as
 * functions reveal only their arguments: what a function or a view itself reads is not in the statement.
 */

/** As a point, a query means its rows and their order; a reference means its rows. */
export type Point = BoundQuery | Output | BoundColumn | BoundRelation;

export interface Dependencies {
  /** Columns of tables, views and other relations of the catalog, including system columns. */
  readonly columns: ReadonlySet<BoundColumn>;
  /** Relations whose set of rows matters. */
  readonly relations: ReadonlySet<BoundRelation>;
}

/** For the rows that the client gets: their values, their number and their order. */
export function answerDependsOn(statement: BoundStatement): Dependencies {
  const { top } = statement;
  return dependsOn(statement, top === undefined ? [] : new Edges(statement).ofAnswer(top));
}

/** For the values that a write stores, or a query whose rows become a table. */
export function storedDependsOn(statement: BoundStatement, query: BoundQuery): Dependencies {
  const edges = new Edges(statement);
  const { write, clauses, outputs } = query;
  if (write === undefined)
    return dependsOn(statement, query.hasUnknownOutputs ? edges.ofAnswer(query) : outputs);
  const { source } = write;
  const made = source?.hasUnknownOutputs === true ? edges.ofAnswer(source) : (source?.outputs ?? []);
  const given = edges.ofNodes([...(clauses.values ?? []), ...(clauses.assignments ?? [])], query);
  return dependsOn(statement, [...made, ...given]);
}

/** For which rows a write changes, or a query whose rows become a table has: whatever is in them. */
export function choiceDependsOn(statement: BoundStatement, query: BoundQuery): Dependencies {
  return dependsOn(statement, new Edges(statement).ofChoice(query));
}

/** For anything that a statement does: whether it calls a function, or how often. */
export function allDependsOn(statement: BoundStatement): Dependencies {
  const edges = new Edges(statement);
  return dependsOn(
    statement,
    statement.queries.flatMap((query) => [
      ...edges.ofAnswer(query),
      ...edges.ofNodes(Object.values(query.clauses).flat(), query),
    ]),
  );
}

/** For the values of these expressions of a query. */
export function dependsOnNodes(
  statement: BoundStatement,
  nodes: readonly Node[],
  query: BoundQuery,
): Dependencies {
  return dependsOn(statement, new Edges(statement).ofNodes(nodes, query));
}

/** The columns and relations that these points are ultimately made from. */
export function dependsOn(statement: BoundStatement, points: readonly Point[]): Dependencies {
  const edges = new Edges(statement);
  const [columns, relations] = [new Set<BoundColumn>(), new Set<BoundRelation>()];
  const seen = new Set<Point>();
  const open = [...points];
  for (let point = open.pop(); point !== undefined; point = open.pop()) {
    if (seen.has(point)) continue;
    seen.add(point);
    if (isBaseColumn(point)) columns.add(point);
    else if (isBaseRelation(point)) relations.add(point);
    open.push(...edges.of(point));
  }
  return { columns, relations };
}

function isBaseColumn(point: Point): point is BoundColumn {
  return (
    "source" in point &&
    "relation" in point &&
    (point.source.kind === "own" || point.source.kind === "system")
  );
}

function isBaseRelation(point: Point): point is BoundRelation {
  return "columns" in point && (point.source.kind === "table" || point.source.kind === "unknown table");
}

/** Clauses that determine the rows or their order. */
const CLAUSES_OF_ROWS: readonly ClauseName[] = [
  "distinct",
  "where",
  "group",
  "having",
  "sort",
  "offset",
  "limit",
  "conflict",
  "match",
  // A write returns the rows that it made.
  "assignments",
];

/** Those of a write that say which rows it changes. */
const CLAUSES_OF_CHOICE: readonly ClauseName[] = ["where", "conflict", "match"];

/** The edges of a statement's points. */
class Edges {
  readonly #statement: BoundStatement;
  readonly #places = new Map<Output, { readonly query: BoundQuery; readonly index: number }>();

  constructor(statement: BoundStatement) {
    this.#statement = statement;
    for (const query of statement.queries)
      query.outputs.forEach((output, index) => {
        this.#places.set(output, { query, index });
      });
  }

  of(point: Point): readonly Point[] {
    if ("form" in point) return this.#ofRows(point);
    if ("columns" in point) return this.#ofRelation(point);
    return "relation" in point ? this.#ofColumn(point) : this.#ofOutput(point);
  }

  /** Everything about a query: its rows and their contents. */
  ofAnswer(query: BoundQuery): readonly Point[] {
    return [query, ...query.outputs, ...(query.hasUnknownOutputs ? this.#ofTargets(query) : [])];
  }

  ofChoice(query: BoundQuery): readonly Point[] {
    const { write, clauses, from, relations } = query;
    if (write === undefined) return [query];
    const nodes = CLAUSES_OF_CHOICE.flatMap((name) => clauses[name] ?? []);
    return [
      ...relations,
      ...from.flatMap((item) => this.#ofJoins(item)),
      ...this.ofNodes(nodes, query),
      ...(write.source === undefined ? [] : [write.source]),
    ];
  }

  ofNodes(nodes: readonly Node[], query?: BoundQuery): readonly Point[] {
    const points: Point[] = [];
    for (const node of nodes)
      visitNode(node, (type, body) => {
        points.push(...this.#ofBody(type, body, query));
      });
    return points;
  }

  /** The names in one node and below it. */
  #ofBody(type: string, body: Body, query: BoundQuery | undefined): readonly Point[] {
    const { meanings, queryOf } = this.#statement;
    const meaning = meanings.get(body);
    if (meaning !== undefined) return this.#ofMeaning(meaning, query);
    const inner = queryOf.get(body);
    if (inner !== undefined) return this.ofAnswer(inner);
    return this.#whetherExists(type, body) ?? this.#ofChildren(type, body, query);
  }

  #ofChildren(type: string, body: Body, query: BoundQuery | undefined): readonly Point[] {
    const points: Point[] = [];
    forEachChild(type, body, (childType, child) => {
      points.push(...this.#ofBody(childType, child, query));
    });
    return points;
  }

  /** EXISTS reveals whether there is a row, but nothing about its contents. */
  #whetherExists(type: string, body: Body): readonly Point[] | undefined {
    const { subLinkType, subselect } = (type === "SubLink" ? body : {}) as SubLink;
    if (subLinkType !== "EXISTS_SUBLINK" || subselect === undefined) return undefined;
    const query = this.#statement.queryOf.get(nodeOf(subselect)[1]);
    return query?.form === "select" ? [query] : undefined;
  }

  #ofMeaning(meaning: Meaning, query: BoundQuery | undefined): readonly Point[] {
    switch (meaning.kind) {
      case "column":
        return [meaning.column];
      case "row":
        return this.#ofWhole(meaning.relation);
      case "star":
        return meaning.relations.flatMap((relation) => this.#ofWhole(relation));
      case "output":
        return [meaning.output];
      case "some output":
        return query === undefined ? [] : [...query.outputs, ...this.#ofTargets(query)];
      case "uncertain":
        return meaning.candidates.flatMap((candidate) => this.#ofMeaning(candidate, query));
      case "none":
        return [];
    }
  }

  /** All columns of a reference, including those with unknown names. */
  #ofWhole(relation: BoundRelation): readonly Point[] {
    return [...relation.columns, relation, ...(relation.hasUnknownColumns ? this.#ofUnknown(relation) : [])];
  }

  #ofUnknown({ source }: BoundRelation): readonly Point[] {
    switch (source.kind) {
      case "subquery":
        return this.ofAnswer(source.query);
      case "with": {
        const query = this.#statement.bodyOf.get(source.query);
        return query === undefined ? [] : this.ofAnswer(query);
      }
      case "join":
        return source.sides.flatMap((side) => this.#ofWhole(side));
      default:
        return [];
    }
  }

  #ofRelation(relation: BoundRelation): readonly Point[] {
    const { source, node } = relation;
    switch (source.kind) {
      case "subquery":
        return [source.query];
      case "with": {
        const query = this.#statement.bodyOf.get(source.query);
        return query === undefined ? [] : [query];
      }
      case "function":
        return this.#ofChildren(source.type, { ...node, alias: undefined }, undefined);
      case "join":
        return source.sides;
      case "row of target":
        return [source.target];
      default:
        return [];
    }
  }

  #ofColumn({ relation, source }: BoundColumn): readonly Point[] {
    switch (source.kind) {
      case "own":
      case "system":
        return [];
      case "merged":
        return [...source.columns, ...this.#ofInserted(relation)];
      case "output":
        return this.#ofPosition(relation, source.position);
      case "computed":
        return [relation, ...this.#ofUnknown(relation)];
    }
  }

  /** `excluded.a` is the value that was to be inserted. */
  #ofInserted({ source }: BoundRelation): readonly Point[] {
    return source.kind === "row of target" && source.values !== undefined ? this.ofAnswer(source.values) : [];
  }

  #ofPosition({ source }: BoundRelation, position: number): readonly Point[] {
    const query =
      source.kind === "subquery"
        ? source.query
        : source.kind === "with"
          ? this.#statement.bodyOf.get(source.query)
          : undefined;
    return query?.outputs[position] === undefined ? [] : [query.outputs[position]];
  }

  #ofOutput(output: Output): readonly Point[] {
    const { query, index } = this.#places.get(output) ?? {};
    if (query === undefined || index === undefined) return [];
    const { isGrouped, isAggregated, isWindowed } = query.traits;
    // An aggregate or a window function depends on the rows, not only on their columns.
    const rows = isGrouped || isAggregated || isWindowed ? [query] : [];
    return [...rows, ...this.#ofValue(query, output, index)];
  }

  #ofValue(query: BoundQuery, { node, column }: Output, index: number): readonly Point[] {
    if (query.setOperation !== undefined) {
      const { arms } = query.setOperation;
      return arms.some(({ hasUnknownOutputs }) => hasUnknownOutputs)
        ? arms.flatMap((arm) => this.ofAnswer(arm))
        : arms.flatMap(({ outputs }) => outputs[index] ?? []);
    }
    if (query.form === "values") return this.ofNodes(columnOfLists(query.clauses.values ?? [], index), query);
    if (node !== undefined) return this.ofNodes([node], query);
    return column === undefined ? [] : [column];
  }

  /** Everything that a query's target list names, for outputs that are not known individually. */
  #ofTargets(query: BoundQuery): readonly Point[] {
    const { targets = [], values = [], returning = [] } = query.clauses;
    const arms = query.setOperation?.arms ?? [];
    return [
      ...this.ofNodes([...targets, ...values, ...returning], query),
      ...arms.flatMap((arm) => this.ofAnswer(arm)),
    ];
  }

  #ofRows(query: BoundQuery): readonly Point[] {
    const { clauses, from, relations, setOperation, traits, write } = query;
    const nodes = CLAUSES_OF_ROWS.flatMap((name) => clauses[name] ?? []);
    const isByValue =
      traits.isDistinct || traits.makesRows || (setOperation !== undefined && !isPlainUnion(query));
    return [
      ...relations,
      ...from.flatMap((item) => this.#ofJoins(item)),
      ...this.ofNodes(nodes, query),
      ...(setOperation?.arms ?? []),
      ...(isByValue
        ? [...query.outputs, ...(setOperation?.arms ?? []).flatMap((arm) => this.ofAnswer(arm))]
        : []),
      ...(isByValue && query.hasUnknownOutputs ? this.#ofTargets(query) : []),
      ...(write?.source === undefined ? [] : this.ofAnswer(write.source)),
      ...(write === undefined ? [] : this.ofNodes(clauses.values ?? [], query)),
    ];
  }

  #ofJoins(item: FromItem): readonly Point[] {
    if (item.kind === "relation") return [];
    const on = item.on === undefined ? [] : this.ofNodes([item.on]);
    return [...on, ...item.pairs.flat(), ...this.#ofJoins(item.left), ...this.#ofJoins(item.right)];
  }
}

function isPlainUnion({ setOperation }: BoundQuery): boolean {
  return setOperation?.operator === "union" && setOperation.all;
}

/** The expressions at one position of all rows of VALUES. */
function columnOfLists(lists: readonly Node[], index: number): readonly Node[] {
  return lists.flatMap((list) => (nodeOf(list)[1] as { items?: readonly Node[] }).items?.[index] ?? []);
}
