import type { Node, SubLink } from "libpg-query";
import { type Body, forEachChild, nodeOf, visitNode } from "../grammar.ts";
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
 * What an answer depends on. Each thing that a statement computes is a point: a column, an output, which rows a query has
 * and in what order, which rows a reference has. A point has edges to those that it is made from, and it depends on all
 * that can be reached from it: through subqueries, WITH queries, recursive ones too, and set operations.
 *
 * It is never less than the truth (a value that cannot change the answer may be among it), as far as functions tell of
 * their arguments only: what a function or a view reads by itself is not in the statement.
 */

/** As a point, a query is which rows it has and in what order; a reference is which rows it has. */
export type Point = BoundQuery | Output | BoundColumn | BoundRelation;

export interface Dependencies {
  /** Of tables, views and other relations of the catalog, system columns too. */
  readonly columns: ReadonlySet<BoundColumn>;
  /** Which rows these have. */
  readonly relations: ReadonlySet<BoundRelation>;
}

/** The rows that the client gets: their values, which ones there are, and their order. */
export function answerDependsOn(statement: BoundStatement): Dependencies {
  const { top } = statement;
  return dependsOn(statement, top === undefined ? [] : new Edges(statement).ofAnswer(top));
}

/** What these points are made from in the end. */
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

/** What the columns named in one expression depend on. */
export function expressionDependsOn(statement: BoundStatement, node: Node): Dependencies {
  return dependsOn(statement, new Edges(statement).ofNodes([node]));
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

/** Clauses that say which rows there are, or in what order. */
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
  // The rows that a write returns are those that it made.
  "assignments",
];

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

  /** All of a query: its rows and what is in them. */
  ofAnswer(query: BoundQuery): readonly Point[] {
    return [query, ...query.outputs, ...(query.hasUnknownOutputs ? this.#ofTargets(query) : [])];
  }

  ofNodes(nodes: readonly Node[], query?: BoundQuery): readonly Point[] {
    const points: Point[] = [];
    for (const node of nodes)
      visitNode(node, (type, body) => {
        points.push(...this.#ofBody(type, body, query));
      });
    return points;
  }

  /** What is named in one node and below it. */
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

  /** EXISTS tells whether there is a row, and nothing of what is in it. */
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

  /** All columns of a reference, those too of which the names are not known. */
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

  /** `excluded.a` is what was to be inserted. */
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
    // An aggregate or a window function looks at rows, not only at their columns.
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

  /** Everything that a query's target list names, for outputs that are not known one by one. */
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
