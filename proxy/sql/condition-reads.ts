import type {
  A_Expr,
  Alias,
  BoolExpr,
  ColumnRef,
  JoinExpr,
  Node,
  RangeSubselect,
  RangeVar,
  ResTarget,
  SelectStmt,
  SubLink,
} from "libpg-query";
import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import { conditionTree } from "../policy/policy-sql.ts";
import { conjuncts } from "./bind/pins.ts";
import {
  columnsMeant,
  type Item,
  mark,
  mayHave,
  type Names,
  onlyColumn,
  type Read,
  type Tie,
} from "./condition-names.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./parse/grammar.ts";

/** One table in a FROM clause of a condition. */
export interface TableRead {
  readonly relation: Relation;
  readonly columns: ReadonlySet<string>;
  /** An additional row of it may make the condition true. */
  readonly opensByInsert: boolean;
  /** The loss of a row may make the condition true. */
  readonly opensByDelete: boolean;
  /** A row matters only to those rows of the condition's own table whose column `own` equals the row's `column`. */
  readonly tie: Tie | undefined;
}

/** The data that decides whether a condition is true for a row. */
export interface ConditionReads {
  /** Columns of the row itself. */
  readonly own: ReadonlySet<string>;
  readonly tables: readonly TableRead[];
}

/** Reads a policy's condition on a table. A name that may mean several columns counts as all of them. */
export function conditionReads(sql: string, own: Relation, catalog: Catalog): ConditionReads {
  const reader = new ConditionReader(own, catalog);
  const tree = conditionTree(sql);
  if (tree !== undefined) reader.expression(tree, reader.outermost, "with");
  return { own: reader.own.columns, tables: reader.tables };
}

/**
 * How the condition can change when more rows are found here: only become true, only stop being true, or either. FALSE
 * < NULL < TRUE: AND, OR, EXISTS and ANY keep that order; NOT and ALL reverse it.
 */
type Direction = "with" | "against" | "either";

const OPPOSITE = { with: "against", against: "with", either: "either" } as const;

class ConditionReader {
  readonly own: Read;
  readonly tables: Read[] = [];
  readonly outermost: Names;
  readonly #catalog: Catalog;

  constructor(own: Relation, catalog: Catalog) {
    this.#catalog = catalog;
    this.own = {
      relation: own,
      columns: new Set(),
      opensByInsert: false,
      opensByDelete: false,
      tie: undefined,
    };
    const item = { name: own.name, schema: own.schema, parts: [this.own], renamed: false };
    this.outermost = { items: [item], outer: undefined };
  }

  expression(node: Node, names: Names, direction: Direction): void {
    visitNode(node, (type, body) => this.#visit(type, body, names, direction));
  }

  #all(nodes: readonly Node[] | undefined, names: Names, direction: Direction): void {
    for (const node of nodes ?? []) this.expression(node, names, direction);
  }

  #visit(type: string, body: object, names: Names, direction: Direction): void {
    switch (type) {
      case "BoolExpr": {
        const { boolop, args } = body as BoolExpr;
        this.#all(args, names, boolop === "NOT_EXPR" ? OPPOSITE[direction] : direction);
        return;
      }
      case "SubLink":
        this.#subLink(body as SubLink, names, direction);
        return;
      case "ColumnRef":
        for (const meant of columnsMeant(names, body as ColumnRef)) mark(meant);
        return;
      case "SelectStmt":
        this.#select(body as SelectStmt, names, direction, "rows");
        return;
      default:
        forEachChild(type, body, (childType, child) => this.#visit(childType, child, names, "either"));
    }
  }

  #subLink(link: SubLink, names: Names, direction: Direction): void {
    const { subLinkType, testexpr, subselect } = link;
    if (testexpr !== undefined) this.expression(testexpr, names, "either");
    if (subselect === undefined) return;
    const select = nodeOf(subselect)[1] as SelectStmt;
    switch (subLinkType) {
      case "EXISTS_SUBLINK":
        this.#tieByEquality(select, this.#select(select, names, direction, "existence"));
        return;
      case "ANY_SUBLINK":
        this.#tieByMembership(link, names, select, this.#select(select, names, direction, "rows"));
        return;
      case "ALL_SUBLINK":
        this.#select(select, names, OPPOSITE[direction], "rows");
        return;
      default:
        this.#select(select, names, "either", "rows");
    }
  }

  /** Returns the names of its FROM clause. For `existence` the contents of the rows do not matter. */
  #select(select: SelectStmt, outer: Names, given: Direction, asks: "rows" | "existence"): Names | undefined {
    const { op, larg, rarg, targetList, fromClause, whereClause } = select;
    const direction = isMonotone(select) ? given : "either";
    if (op !== undefined && op !== "SETOP_NONE") {
      if (larg !== undefined) this.#select(larg, outer, direction, "rows");
      if (rarg !== undefined)
        this.#select(rarg, outer, op === "SETOP_EXCEPT" ? OPPOSITE[direction] : direction, "rows");
      this.#others(select, { items: [], outer });
      return undefined;
    }
    const items: Item[] = [];
    for (const node of fromClause ?? []) items.push(...this.#fromItem(node, items, outer, direction));
    const names: Names = { items, outer };
    if (whereClause !== undefined) this.expression(whereClause, names, direction);
    const isIdle = asks === "existence" && !(targetList ?? []).some(calls);
    if (!isIdle) for (const node of targetList ?? []) this.#target(node, names);
    this.#others(select, names);
    return names;
  }

  #others(select: SelectStmt, names: Names): void {
    const { groupClause, havingClause, sortClause, limitCount, limitOffset, valuesLists } = select;
    for (const nodes of [groupClause, sortClause, valuesLists]) this.#all(nodes, names, "either");
    for (const node of [havingClause, limitCount, limitOffset])
      if (node !== undefined) this.expression(node, names, "either");
  }

  #target(node: Node, names: Names): void {
    const { val } = nodeOf(node)[1] as ResTarget;
    if (val !== undefined) this.expression(val, names, "either");
  }

  /** `before`: the items to the left, which a LATERAL subquery can refer to. */
  #fromItem(node: Node, before: readonly Item[], outer: Names, direction: Direction): readonly Item[] {
    const [type, body] = nodeOf(node);
    switch (type) {
      case "RangeVar":
        return this.#table(body as RangeVar, direction);
      case "RangeSubselect": {
        const { lateral, subquery, alias } = body as RangeSubselect;
        const around = lateral === true ? { items: before, outer } : outer;
        if (subquery !== undefined)
          this.#select(nodeOf(subquery)[1] as SelectStmt, around, direction, "rows");
        return [{ name: alias?.aliasname ?? "", schema: undefined, parts: [], renamed: false }];
      }
      case "JoinExpr":
        return this.#join(body as JoinExpr, before, outer, direction);
      default:
        throw new Error(`${type} in a condition`);
    }
  }

  #table({ schemaname, relname, alias }: RangeVar, direction: Direction): readonly Item[] {
    const relation = this.#catalog.relations.get(relationKey(schemaname ?? "", relname ?? ""));
    // "sluice policy check" reports it, and Postgres rejects the condition.
    if (relation === undefined) return [];
    const read: Read = {
      relation,
      columns: new Set(),
      opensByInsert: direction !== "against",
      opensByDelete: direction !== "with",
      tie: undefined,
    };
    this.tables.push(read);
    const name = alias?.aliasname ?? relation.name;
    const schema = alias === undefined ? relation.schema : undefined;
    return [{ name, schema, parts: [read], renamed: renames(alias) }];
  }

  #join(join: JoinExpr, before: readonly Item[], outer: Names, given: Direction): readonly Item[] {
    const { jointype, isNatural, larg, rarg, usingClause, quals, alias } = join;
    // In an outer join, an additional row on one side may remove a row of NULLs from the other.
    const direction = jointype === "JOIN_INNER" || jointype === undefined ? given : "either";
    const left = larg === undefined ? [] : this.#fromItem(larg, before, outer, direction);
    const right = rarg === undefined ? [] : this.#fromItem(rarg, [...before, ...left], outer, direction);
    const items = [...left, ...right];
    if (quals !== undefined) this.expression(quals, { items, outer }, direction);
    for (const item of items) {
      if (isNatural) mark({ item, column: undefined });
      for (const column of usingClause ?? [])
        if (mayHave(item, stringOf(column)) !== "no") mark({ item, column: stringOf(column) });
    }
    if (alias === undefined) return items;
    const parts = items.flatMap((item) => item.parts);
    // Columns that the join's parts renamed can also be found under other names.
    const renamed = renames(alias) || items.some((item) => item.renamed);
    return [{ name: alias.aliasname ?? "", schema: undefined, parts, renamed }];
  }

  /** `own IN (SELECT t.column FROM … t …)` */
  #tieByMembership(
    { testexpr, operName }: SubLink,
    around: Names,
    select: SelectStmt,
    names: Names | undefined,
  ): void {
    const [target, ...more] = select.targetList ?? [];
    const { val } = target === undefined ? {} : (nodeOf(target)[1] as ResTarget);
    if (names === undefined || more.length > 0 || testexpr === undefined || val === undefined) return;
    if (isPlain(select) && (operName === undefined || isEquality(operName)))
      this.#tie(around, testexpr, names, val);
  }

  /** `EXISTS (SELECT … FROM … t WHERE t.column = own AND …)` */
  #tieByEquality(select: SelectStmt, names: Names | undefined): void {
    if (names === undefined || select.whereClause === undefined || !isPlain(select)) return;
    for (const conjunct of conjuncts(select.whereClause)) {
      const [type, body] = nodeOf(conjunct);
      const { kind, name, lexpr, rexpr } = body as A_Expr;
      if (type !== "A_Expr" || kind !== "AEXPR_OP" || lexpr === undefined || rexpr === undefined) continue;
      if (!isEquality(name)) continue;
      this.#tie(names, lexpr, names, rexpr);
      this.#tie(names, rexpr, names, lexpr);
    }
  }

  #tie(around: Names, outer: Node, names: Names, inner: Node): void {
    const [own, found] = [onlyColumn(around, outer), onlyColumn(names, inner)];
    if (own?.read !== this.own || found === undefined || found.read === this.own) return;
    if (!names.items.some(({ parts }) => parts.length === 1 && parts[0] === found.read)) return;
    found.read.tie ??= { own: own.column, column: found.column };
  }
}

function isEquality(name: readonly Node[] | undefined): boolean {
  const symbol = name?.at(-1);
  return symbol !== undefined && stringOf(symbol) === "=";
}

function renames(alias: Alias | undefined): boolean {
  return (alias?.colnames ?? []).length > 0;
}

/** More rows in the FROM clause give more result rows and change none of the existing ones. */
function isMonotone(select: SelectStmt): boolean {
  const { groupClause, havingClause, limitCount, limitOffset, targetList = [], sortClause = [] } = select;
  const parts = [groupClause, havingClause, limitCount, limitOffset];
  return parts.every((part) => part === undefined) && ![...targetList, ...sortClause].some(calls);
}

/** Each row comes from one row of each table, and no row is the result of a missing match. */
function isPlain(select: SelectStmt): boolean {
  return isMonotone(select) && !(select.fromClause ?? []).some(hasOuterJoin);
}

function hasOuterJoin(node: Node): boolean {
  const [type, body] = nodeOf(node);
  const { jointype, larg, rarg } = body as JoinExpr;
  if (type !== "JoinExpr") return false;
  if (jointype !== "JOIN_INNER" && jointype !== undefined) return true;
  return [larg, rarg].some((side) => side !== undefined && hasOuterJoin(side));
}

/** An aggregate, or a set-returning function. */
function calls(node: Node): boolean {
  let found = false;
  const look = (type: string, body: object): void => {
    found ||= type === "FuncCall";
    if (type !== "SubLink") forEachChild(type, body, look);
  };
  visitNode(node, look);
  return found;
}
