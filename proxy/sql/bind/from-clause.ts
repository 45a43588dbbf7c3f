import type {
  Alias,
  JoinExpr,
  JsonTable,
  JsonTableColumn,
  Node,
  RangeFunction,
  RangeSubselect,
  RangeTableFunc,
  RangeTableFuncCol,
  RangeTableSample,
  RangeVar,
} from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import { type Binder, NotUnderstood } from "./binder.ts";
import type { BoundRelation, FromItem, RelationSource } from "./bound.ts";
import { type BoundFrom, type FromScope, reportConflicts } from "./from-parts.ts";
import { functionColumns, functionName } from "./function-columns.ts";
import { bindJoin } from "./join.ts";
import { item, type NameScope, type NamespaceItem, withItems } from "./name-scope.ts";
import { checkAlias, makeRelation, outputColumns, type PlainColumn, tableReference } from "./relation.ts";
import { withReference } from "./with.ts";

/** All items of a FROM clause (transformFromClause in parser/parse_clause.c). */
export function bindFrom(
  binder: Binder,
  nodes: readonly Node[] | undefined,
  scope: NameScope,
  target: readonly NamespaceItem[] = [],
): { readonly items: readonly FromItem[]; readonly exposed: readonly NamespaceItem[] } {
  const items: FromItem[] = [];
  let exposed: readonly NamespaceItem[] = [];
  for (const node of nodes ?? []) {
    const bound = bindFromItem(binder, node, {
      scope,
      before: [...target, ...exposed],
      isNullable: false,
    });
    reportConflicts(binder, [...target, ...exposed], bound.exposed);
    items.push(bound.item);
    exposed = [...exposed, ...bound.exposed];
  }
  return { items, exposed };
}

/** One item (transformFromClauseItem). */
export function bindFromItem(binder: Binder, node: Node, within: FromScope): BoundFrom {
  const [type, body] = nodeOf(node);
  binder.meetRelation(body);
  switch (type) {
    case "RangeVar":
      return alone(named(binder, body as RangeVar, within));
    case "RangeTableSample":
      return sampled(binder, body as RangeTableSample, within);
    case "RangeSubselect":
      return alone(subquery(binder, body as RangeSubselect, within));
    case "RangeFunction":
      return alone(functionCall(binder, body as RangeFunction, within));
    case "RangeTableFunc":
      return alone(xmlTable(binder, body as RangeTableFunc, within));
    case "JsonTable":
      return alone(jsonTable(binder, body as JsonTable, within));
    case "JoinExpr":
      return bindJoin(binder, body as JoinExpr, within, bindFromItem);
    default:
      throw new NotUnderstood(`${type} in FROM`, body);
  }
}

function alone(relation: BoundRelation): BoundFrom {
  return { item: { kind: "relation", relation }, top: relation, exposed: [item(relation)] };
}

function named(
  binder: Binder,
  name: RangeVar,
  { scope, isNullable }: FromScope,
  sample?: RangeTableSample,
): BoundRelation {
  return (
    withReference(binder, name, scope, isNullable) ??
    tableReference(binder, name, { isNullable, isTarget: false, sample })
  );
}

/** The arguments can refer only to the levels around: TABLESAMPLE is not LATERAL. */
function sampled(binder: Binder, body: RangeTableSample, within: FromScope): BoundFrom {
  const [type, inner] = nodeOf(body.relation ?? {});
  if (type !== "RangeVar") throw new NotUnderstood("TABLESAMPLE of something other than a table", body);
  const outside = withItems(within.scope, []);
  binder.bind(body.args, outside);
  binder.bind(body.repeatable, outside);
  return alone(named(binder, inner as RangeVar, within, body));
}

function subquery(
  binder: Binder,
  body: RangeSubselect,
  { scope, before, isNullable }: FromScope,
): BoundRelation {
  const { subquery, lateral, alias } = body;
  if (subquery === undefined) throw new NotUnderstood("a subquery without a query", body);
  binder.bind(subquery, withItems(scope, lateral === true ? before : []));
  const query = binder.queryOf.get(nodeOf(subquery)[1]);
  if (query === undefined) throw new NotUnderstood("a subquery that is no query", body);
  const columns = outputColumns(query.outputs);
  if (!query.hasUnknownOutputs) checkAlias(binder, alias, columns.length, body);
  return makeRelation({
    source: { kind: "subquery", query },
    node: body,
    alias,
    ownName: "",
    columns,
    hasUnknownColumns: query.hasUnknownOutputs,
    isNullable,
  });
}

/** Functions can refer to the items before them, with or without LATERAL. */
function functionCall(binder: Binder, body: RangeFunction, within: FromScope): BoundRelation {
  bindArguments(binder, "RangeFunction", body, within);
  return madeBy(binder, "RangeFunction", body, {
    ownName: functionName(body),
    columns: functionColumns(binder, body),
    isNullable: within.isNullable,
  });
}

function xmlTable(binder: Binder, body: RangeTableFunc, within: FromScope): BoundRelation {
  bindArguments(binder, "RangeTableFunc", body, within);
  const names = (body.columns ?? []).map((node) => (nodeOf(node)[1] as RangeTableFuncCol).colname ?? "");
  return madeBy(binder, "RangeTableFunc", body, {
    ownName: "xmltable",
    columns: names.map(computed),
    isNullable: within.isNullable,
  });
}

function jsonTable(binder: Binder, body: JsonTable, within: FromScope): BoundRelation {
  bindArguments(binder, "JsonTable", body, within);
  return madeBy(binder, "JsonTable", body, {
    ownName: "json_table",
    columns: jsonColumns(body.columns ?? []).map(computed),
    isNullable: within.isNullable,
  });
}

function bindArguments(binder: Binder, type: string, body: object, { scope, before }: FromScope): void {
  binder.children(type, { ...body, alias: undefined }, withItems(scope, before));
}

function computed(name: string): PlainColumn {
  return { name, typeOid: undefined, source: { kind: "computed" } };
}

/** Columns of NESTED PATH come after a level's own (transformJsonTableColumns in parser/parse_jsontable.c). */
function jsonColumns(nodes: readonly Node[]): readonly string[] {
  const all = nodes.map((node) => nodeOf(node)[1] as JsonTableColumn);
  const nested = all.filter(({ coltype }) => coltype === "JTC_NESTED");
  return [
    ...all.filter(({ coltype }) => coltype !== "JTC_NESTED").map(({ name = "" }) => name),
    ...nested.flatMap(({ columns = [] }) => jsonColumns(columns)),
  ];
}

interface Made {
  readonly ownName: string;
  /** Undefined if they are unknown. */
  readonly columns: readonly PlainColumn[] | undefined;
  readonly isNullable: boolean;
}

function madeBy(
  binder: Binder,
  type: Extract<RelationSource, { kind: "function" }>["type"],
  node: { readonly alias?: Alias },
  { ownName, columns, isNullable }: Made,
): BoundRelation {
  const { alias } = node;
  if (columns !== undefined) checkAlias(binder, alias, columns.length, node);
  return makeRelation({
    source: { kind: "function", type },
    node,
    alias,
    ownName,
    columns: columns ?? [],
    hasUnknownColumns: columns === undefined,
    isNullable,
  });
}
