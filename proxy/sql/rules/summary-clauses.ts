import type { A_Const, FuncCall, GroupingSet, JoinExpr, Node, ResTarget, RowExpr, SortBy } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, FromItem } from "../bind/bound.ts";
import { ownColumn } from "../bind/pins.ts";
import { columnsBehind } from "../bind/questions.ts";
import { isSummary } from "../functions.ts";
import { type Body, forEachChild, lastName, nodeOf, visitNode } from "../parse/grammar.ts";
import type { Sights } from "../sight.ts";
import { sightOf } from "./people.ts";

/* What a query over people shows, groups by and sorts by: the parts of `aggregates_only` that look at its clauses. */

/** The references that a query's expressions can name: a join with an alias hides its sides. */
export function namedReferences({ from }: BoundQuery): readonly BoundRelation[] {
  const named = (item: FromItem): readonly BoundRelation[] => {
    if (item.kind === "relation" || item.relation.hasAlias) return [item.relation];
    // The alias that USING may have is an additional name for the columns that it compares.
    const { join_using_alias } = item.node as { join_using_alias?: object };
    const sides = [...named(item.left), ...named(item.right)];
    return join_using_alias === undefined ? sides : [...sides, item.relation];
  };
  return from.flatMap(named);
}

/** The names of these references, and those of USING. */
export function namesOfFrom({ from }: BoundQuery): readonly string[] {
  const names = (item: FromItem): readonly string[] => {
    if (item.kind === "relation" || item.relation.hasAlias) return [item.relation.alias];
    const { join_using_alias } = item.node as JoinExpr;
    const sides = [...names(item.left), ...names(item.right)];
    return join_using_alias === undefined ? sides : [...sides, join_using_alias.aliasname ?? ""];
  };
  return from.flatMap(names);
}

/** The expressions that GROUP BY names: a column of FROM, an output's expression, or any other. */
export function groupingValues(statement: BoundStatement, query: BoundQuery): readonly Node[] {
  return groupings(query).flatMap((node) => valueGrouped(statement, query, node) ?? []);
}

/** `ROLLUP (a, b)` groups by a and b, or by fewer; `(a, b)`, unlike `ROW(a, b)`, groups by both. */
function groupings({ clauses: { group = [] } }: BoundQuery): readonly Node[] {
  const within = (node: Node): readonly Node[] => {
    const [type, body] = nodeOf(node);
    if (type === "GroupingSet") return ((body as GroupingSet).content ?? []).flatMap(within);
    const { row_format, args = [] } = (type === "RowExpr" ? body : {}) as RowExpr;
    return row_format === "COERCE_IMPLICIT_CAST" ? args.flatMap(within) : [node];
  };
  return group.flatMap(within);
}

function valueGrouped({ meanings }: BoundStatement, { outputs }: BoundQuery, node: Node): Node | undefined {
  const [, body] = nodeOf(node);
  const meaning = meanings.get(body);
  if (meaning?.kind === "output") return meaning.output.node;
  return meaning?.kind === "some output" ? outputs[numberIn(body) - 1]?.node : node;
}

/** `GROUP BY 1` */
function numberIn(body: Body): number {
  return (body as A_Const).ival?.ival ?? 0;
}

/** Items of the target list, ORDER BY, DISTINCT ON and HAVING: the clauses that may contain a summary. */
export function summaryClauses({ clauses }: BoundQuery): readonly Node[] {
  const { targets = [], sort = [], distinct = [], having = [] } = clauses;
  // A plain DISTINCT is an empty node.
  return [...targets, ...sort, ...distinct, ...having].filter((node) => Object.keys(node).length > 0);
}

export function isGroupedOrAggregated(query: BoundQuery): boolean {
  return groupings(query).length > 0 || (query.clauses.targets ?? []).some(containsAggregate);
}

/** Whether everything that a query shows, sorts by and requires of its groups is a group or a summary. */
export function showsSummariesOnly(statement: BoundStatement, sights: Sights, query: BoundQuery): boolean {
  const shown = new Shown(statement, sights, query);
  return summaryClauses(query).every((node) => {
    const [type, body] = nodeOf(node);
    if (type === "ResTarget") return shown.isAllowed((body as ResTarget).val);
    if (type === "SortBy") return shown.isAllowedInOrder((body as SortBy).node);
    return shown.isAllowedInOrder(node);
  });
}

class Shown {
  readonly #statement: BoundStatement;
  readonly #sights: Sights;
  readonly #grouped: ReadonlySet<string>;
  readonly #columns = new Map<BoundColumn, number>();

  constructor(statement: BoundStatement, sights: Sights, query: BoundQuery) {
    this.#statement = statement;
    this.#sights = sights;
    this.#grouped = new Set(groupingValues(statement, query).map((node) => this.#textOf(node)));
  }

  isAllowed(value: Node | undefined): boolean {
    return value === undefined || this.#isSummary(value);
  }

  /** ORDER BY may refer to an output by name or number; that output is checked separately. */
  isAllowedInOrder(value: Node | undefined): boolean {
    const meaning = value && this.#statement.meanings.get(nodeOf(value)[1]);
    return meaning?.kind === "output" || meaning?.kind === "some output" || this.isAllowed(value);
  }

  /** Constants, grouped expressions, aggregates over plain columns, and arithmetic with these. */
  #isSummary(node: Node): boolean {
    if (this.#grouped.has(this.#textOf(node))) return true;
    const [type, body] = nodeOf(node);
    switch (type) {
      case "A_Const":
      case "ParamRef":
        return true;
      case "FuncCall":
        return this.#isSummaryCall(node, body as FuncCall);
      case "List":
      case "BoolExpr":
      case "NullTest":
      case "A_Expr":
      case "TypeCast":
      case "CoalesceExpr": {
        let all = true;
        forEachChild(type, body, (childType, child) => {
          if (childType === "String" || childType === "TypeName") return;
          all &&= this.#isSummary({ [childType]: child } as unknown as Node);
        });
        return all;
      }
      default:
        return false;
    }
  }

  #isSummaryCall(node: Node, { funcname, args = [], agg_filter, over, agg_order }: FuncCall): boolean {
    if (agg_filter !== undefined || over !== undefined || agg_order !== undefined) return false;
    if (isSummary(lastName(funcname))) return args.every((argument) => this.#isCounted(argument));
    return containsAggregate(node) && args.every((argument) => this.#isSummary(argument));
  }

  /**
   * Aggregates must take columns of relations unchanged. A column that is computed in a subquery, or that an outer
   * join's condition leaves out, would single people out as FILTER does.
   */
  #isCounted(node: Node): boolean {
    const [type, body] = nodeOf(node);
    if (type === "A_Const") return true;
    const meaning = this.#statement.meanings.get(body);
    if (meaning?.kind === "column")
      return columnsBehind(meaning.column).every(({ relation }) => this.#isPresent(relation));
    // The server reports a name that means nothing.
    return meaning?.kind === "none" || (meaning?.kind === "row" && this.#isPresent(meaning.relation));
  }

  #isPresent(relation: BoundRelation): boolean {
    const sight = sightOf(this.#sights, relation);
    return sight?.people !== undefined || (sight !== undefined && !relation.isNullable);
  }

  /** The same text for expressions that mean the same: `country` and `c.country`. */
  #textOf(node: Node): string {
    return JSON.stringify(node, (key, value: unknown) => {
      if (key === "location") return undefined;
      const meaning = key === "ColumnRef" ? this.#statement.meanings.get(value as Body) : undefined;
      return meaning?.kind === "column" ? this.#numberOf(ownColumn(meaning.column)) : value;
    });
  }

  #numberOf(column: BoundColumn): number {
    const number = this.#columns.get(column) ?? this.#columns.size;
    this.#columns.set(column, number);
    return number;
  }
}

/** Subqueries of the expression are separate queries. */
function containsAggregate(node: Node): boolean {
  return summaryCallsIn(node).length > 0;
}

/** Calls of aggregates over the rows of the query that contains an expression. */
export function summaryCallsIn(node: Node): readonly FuncCall[] {
  const calls: FuncCall[] = [];
  const look = (type: string, body: Body): void => {
    if (type === "SubLink") return;
    if (type === "FuncCall" && isSummary(lastName((body as FuncCall).funcname))) calls.push(body as FuncCall);
    else forEachChild(type, body, look);
  };
  visitNode(node, look);
  return calls;
}
