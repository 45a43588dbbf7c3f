import type {
  A_Const,
  A_Expr,
  CaseExpr,
  CaseWhen,
  CommonTableExpr,
  FuncCall,
  IndexElem,
  InsertStmt,
  List,
  Node,
  SubLink,
  WindowDef,
} from "libpg-query";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundStatement, FromItem, WithQuery } from "../bind/bound.ts";
import { type Body, forEachChild, nodeOf, stringOf, visitNode } from "../parse/grammar.ts";
import type { TokenColumn, TokenColumns } from "./token-columns.ts";
import { asColumn, Traces } from "./token-traces.ts";
import { mostTokens, type Seals } from "./value-readings.ts";

/**
 * Why a statement must wait for the end of a rotation: it has the server compare tokens with each other, and equal values
 * have different tokens under different keys. An answer that lacks rows, without an error, would be worse. `matched`:
 * columns whose blind indexes are compared.
 */
export function splitRefusal(
  statement: BoundStatement,
  columns: TokenColumns,
  matched: readonly TokenColumn[],
  seals: Seals,
): Refusal | undefined {
  if (!seals.isRotating) return undefined;
  const [part] = matched;
  const found = part === undefined ? new Matches(statement, columns, seals).find() : comparisonOf(part);
  return (
    found &&
    refuse(
      "55000",
      `${found.what} compares tokens of ${found.column?.name ?? "a column"} with each other, and equal values may have different ones while keys are rotated`,
      {
        hint: 'It works again once "sluice tokens rotate" has been run and the old key is retired. Searches by given values (=, IN, = ANY) work meanwhile.',
      },
    )
  );
}

function comparisonOf(column: TokenColumn): Match {
  return { what: "a comparison", column };
}

interface Match {
  readonly what: string;
  readonly column: TokenColumn | undefined;
}

class Matches {
  readonly #statement: BoundStatement;
  readonly #columns: TokenColumns;
  readonly #seals: Seals;
  readonly #traces: Traces;
  #found: Match | undefined;

  constructor(statement: BoundStatement, columns: TokenColumns, seals: Seals) {
    this.#statement = statement;
    this.#columns = columns;
    this.#seals = seals;
    this.#traces = new Traces(statement, columns, { withRows: true });
  }

  find(): Match | undefined {
    for (const query of this.#statement.queries) {
      for (const nodes of Object.values(query.clauses))
        for (const node of nodes) visitNode(node, (type, body) => this.#visit(type, body));
      for (const item of query.from) this.#join(item);
      this.#setOperation(query);
      this.#group("GROUP BY", query, query.traits.isGrouped ? (query.clauses.group ?? []) : []);
      this.#distinct(query);
      for (const each of query.withs) this.#cycle(each);
      this.#conflict(query);
    }
    return this.#found;
  }

  #note(what: string, trace: TokenColumn | "null" | undefined): void {
    const column = asColumn(trace);
    if (column === undefined || mostTokens(column, this.#seals) > 1) this.#found ??= { what, column };
  }

  #both(what: string, left: Node, right: Node): void {
    if (this.#traces.holds(left) && this.#traces.holds(right)) this.#note(what, this.#traces.ofNode(left));
  }

  #visit(type: string, body: Body): void {
    if (this.#statement.queryOf.has(body)) return;
    switch (type) {
      case "A_Expr": {
        const { kind, lexpr, rexpr } = body as A_Expr;
        if (lexpr === undefined || rexpr === undefined) break;
        const others = kind === "AEXPR_IN" ? ((nodeOf(rexpr)[1] as List).items ?? []) : [rexpr];
        for (const other of others) this.#both("a comparison", lexpr, other);
        break;
      }
      case "CaseExpr": {
        const { arg, args = [] } = body as CaseExpr;
        for (const when of args) {
          const { expr } = nodeOf(when)[1] as CaseWhen;
          if (arg !== undefined && expr !== undefined) this.#both("CASE", arg, expr);
        }
        break;
      }
      case "FuncCall": {
        const { agg_distinct, args = [] } = body as FuncCall;
        for (const arg of agg_distinct === true ? args : [])
          if (this.#traces.holds(arg)) this.#note("DISTINCT", this.#traces.ofNode(arg));
        break;
      }
      case "WindowDef":
        for (const node of (body as WindowDef).partitionClause ?? [])
          if (this.#traces.holds(node)) this.#note("PARTITION BY", this.#traces.ofNode(node));
        break;
      case "SubLink": {
        const { testexpr } = body as SubLink;
        const query = this.#traces.queryOf(body as SubLink);
        const holds = query?.outputs.some((_, index) => this.#traces.outputHolds(query, index)) === true;
        if (testexpr !== undefined && holds && this.#traces.holds(testexpr))
          this.#note("a comparison with a subquery", this.#traces.ofNode(testexpr));
        break;
      }
    }
    forEachChild(type, body, (childType, child) => this.#visit(childType, child));
  }

  #join(item: FromItem): void {
    if (item.kind === "relation") return;
    if (item.on !== undefined) visitNode(item.on, (type, body) => this.#visit(type, body));
    for (const [left, right] of item.pairs)
      if (this.#traces.columnHolds(left) && this.#traces.columnHolds(right))
        this.#note("USING", this.#traces.ofColumn(left));
    this.#join(item.left);
    this.#join(item.right);
  }

  #setOperation(query: BoundQuery): void {
    const { setOperation, outputs } = query;
    if (setOperation === undefined || (setOperation.operator === "union" && setOperation.all)) return;
    outputs.forEach((_, index) => {
      const arm = setOperation.arms.find((each) => this.#traces.outputHolds(each, index));
      if (arm !== undefined)
        this.#note(setOperation.operator.toUpperCase(), this.#traces.ofOutput(arm, index));
    });
  }

  #distinct(query: BoundQuery): void {
    if (!query.traits.isDistinct) return;
    const on = (query.clauses.distinct ?? []).filter((node) => Object.keys(node).length > 0);
    if (on.length > 0) {
      this.#group("DISTINCT ON", query, on);
      return;
    }
    const kept = this.#keyed(query.outputs.map(({ column }) => column));
    query.outputs.forEach(({ column, node }, index) => {
      if (this.#traces.outputHolds(query, index) && !isOf(column, kept) && !this.#isKeyedRow(node))
        this.#note("DISTINCT", this.#traces.ofOutput(query, index));
    });
  }

  #group(what: string, query: BoundQuery, nodes: readonly Node[]): void {
    const grouped = nodes.flatMap((node) => this.#grouped(query, node));
    const kept = this.#keyed(grouped.map(({ column }) => column));
    for (const { column, holds, trace, node: of } of grouped)
      if (holds && !isOf(column, kept) && !this.#isKeyedRow(of)) this.#note(what, trace);
  }

  /** A whole row of a table that has a primary key. */
  #isKeyedRow(node: Node | readonly Node[] | undefined): boolean {
    const [only, ...more] = [node ?? []].flat();
    const meaning = only && this.#statement.meanings.get(nodeOf(only)[1]);
    return more.length === 0 && meaning?.kind === "row" && this.#keyed(meaning.relation.columns).size > 0;
  }

  /** CYCLE compares the rows of a recursive query with those that led to them. */
  #cycle(query: WithQuery): void {
    const { cycle_clause, aliascolnames = [] } = query.node as CommonTableExpr;
    const body = this.#statement.bodyOf.get(query);
    if (cycle_clause === undefined || body === undefined) return;
    const names = body.outputs.map(({ name }, index) =>
      aliascolnames[index] === undefined ? name : stringOf(aliascolnames[index]),
    );
    for (const column of cycle_clause.cycle_col_list ?? []) {
      const index = names.indexOf(stringOf(column));
      if (this.#traces.outputHolds(body, index)) this.#note("CYCLE", this.#traces.ofOutput(body, index));
    }
  }

  #grouped(query: BoundQuery, node: Node): readonly Grouped[] {
    const [type, body] = nodeOf(node);
    if (type === "GroupingSet")
      return ((body as { content?: Node[] }).content ?? []).flatMap((each) => this.#grouped(query, each));
    const meaning = this.#statement.meanings.get(body);
    if (meaning?.kind === "some output") {
      const index = ((body as A_Const).ival?.ival ?? 0) - 1;
      const column = query.outputs[index]?.column;
      const holds = this.#traces.outputHolds(query, index);
      const of = query.outputs[index]?.node;
      return [{ column, holds, trace: this.#traces.ofOutput(query, index), node: of }];
    }
    const column =
      meaning?.kind === "column"
        ? meaning.column
        : meaning?.kind === "output"
          ? meaning.output.column
          : undefined;
    const of = meaning?.kind === "output" ? meaning.output.node : node;
    return [{ column, holds: this.#traces.holds(node), trace: this.#traces.ofNode(node), node: of }];
  }

  /** Relations whose primary key is among the columns: rows of theirs that are equal are one row, with one token. */
  #keyed(columns: readonly (BoundColumn | undefined)[]): ReadonlySet<object> {
    const names = new Map<BoundColumn["relation"], Set<string>>();
    for (const column of columns)
      if (column?.source.kind === "own")
        names.set(column.relation, (names.get(column.relation) ?? new Set()).add(column.name));
    const keyed = [...names].filter(([{ source }, own]) => {
      if (source.kind !== "table") return false;
      const { primaryKey, isKeyDeferrable } = source.relation;
      return primaryKey.length > 0 && isKeyDeferrable !== true && primaryKey.every((name) => own.has(name));
    });
    return new Set(keyed.map(([relation]) => relation));
  }

  /** A row that is there under another key would not conflict, and be written twice. */
  #conflict({ form, node, write }: BoundQuery): void {
    const { onConflictClause } = node as InsertStmt;
    const source = write?.target.source;
    if (form !== "insert" || onConflictClause === undefined || source?.kind !== "table") return;
    const { relation } = source;
    const elements = onConflictClause.infer?.indexElems ?? [];
    const named = elements.map((each) => (nodeOf(each)[1] as IndexElem).name);
    const unique = relation.indexes.filter((index) => index.unique).flatMap((index) => index.columns);
    // Expressions too: a column in lower case.
    for (const { kind, columns } of relation.constraints) if (kind === "unique") unique.push(...columns);
    const isSure = relation.kind !== "view" && named.length > 0 && named.every((name) => name !== undefined);
    for (const column of relation.columns)
      if (isSure ? named.includes(column.name) : relation.kind === "view" || unique.includes(column.name)) {
        const token = this.#columns.of(relation, column);
        if (token !== undefined) this.#note("ON CONFLICT", token);
      }
  }
}

interface Grouped {
  readonly column: BoundColumn | undefined;
  readonly holds: boolean;
  readonly node: Node | readonly Node[] | undefined;
  readonly trace: TokenColumn | "null" | undefined;
}

function isOf(column: BoundColumn | undefined, relations: ReadonlySet<object>): boolean {
  return column?.source.kind === "own" && relations.has(column.relation);
}
