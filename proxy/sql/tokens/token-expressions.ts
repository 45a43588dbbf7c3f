import type {
  A_Const,
  A_Expr,
  CaseExpr,
  FuncCall,
  Node,
  RangeTableFunc,
  RangeTableFuncCol,
  SortBy,
  SubLink,
  TypeCast,
} from "libpg-query";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { type Body, forEachChild, lastName, nodeOf, visitNode } from "../parse/grammar.ts";
import type { TokenView } from "./blind-forms.ts";
import { mayTakeDocuments } from "./document-rules.ts";
import type { GivenPlaces } from "./given-places.ts";
import { TokenComparisons } from "./token-comparisons.ts";
import { asColumn, gathers, isDocumentCast, isPlainCast, type Traces } from "./token-traces.ts";
import type { UseRefusals } from "./use-refusals.ts";

/** Goes through the expressions of a statement: comparisons, and what is sorted, cast and called. */
export class TokenExpressions {
  readonly comparisons: TokenComparisons;
  readonly #statement: BoundStatement;
  readonly #traces: Traces;
  readonly #refusals: UseRefusals;
  /** Queries that may sort by a token, by the constants of their ORDER BY. */
  #sorting: ReadonlyMap<object, BoundQuery> | undefined;

  constructor(view: TokenView, given: GivenPlaces, refusals: UseRefusals) {
    this.#statement = view.statement;
    this.#traces = view.traces;
    this.#refusals = refusals;
    this.comparisons = new TokenComparisons(view, given, refusals, (node) => this.#node(node));
  }

  query(query: BoundQuery): void {
    for (const nodes of Object.values(query.clauses)) for (const node of nodes) this.#node(node);
    for (const item of query.from) this.comparisons.join(item);
    for (const { source, node } of query.relations)
      if (source.kind === "function") this.#look(source.type, { ...node, alias: undefined });
    this.comparisons.setOperation(query);
  }

  #node(node: Node): void {
    visitNode(node, (type, body) => this.#look(type, body));
  }

  #look(type: string, body: Body): void {
    // A query of its own.
    if (this.#statement.queryOf.has(body)) return;
    switch (type) {
      case "A_Expr":
        this.comparisons.operator(body as A_Expr);
        return;
      case "FuncCall":
        this.#call(body as FuncCall);
        break;
      case "TypeCast": {
        const { arg, typeName } = body as TypeCast;
        if (arg === undefined || !this.#traces.holds(arg) || isPlainCast(typeName, this.#traces.ofNode(arg)))
          break;
        // A document, or a part of it, is shown as it is.
        if (!this.#traces.holdsDocument(arg) || !isDocumentCast(typeName))
          this.#refusals.use(asColumn(this.#traces.ofNode(arg)), "a cast to another type");
        break;
      }
      case "ColumnRef":
        this.#named(body);
        return;
      case "CollateClause":
        this.#forbid([(body as { arg?: Node }).arg], "a collation");
        break;
      case "RangeTableFunc":
        this.#forbidInXmlTable(body as RangeTableFunc);
        break;
      case "MinMaxExpr":
        this.#forbid((body as { args?: Node[] }).args ?? [], "GREATEST or LEAST");
        break;
      case "SortBy":
        this.#sort(body as SortBy);
        return;
      case "CaseExpr":
        this.comparisons.caseOf(body as CaseExpr);
        return;
      case "SubLink":
        this.comparisons.subLink(body as SubLink);
        return;
    }
    if (type.startsWith("Json") && type !== "JsonIsPredicate") this.#forbidInside(type, body);
    forEachChild(type, body, (childType, child) => this.#look(childType, child));
  }

  #forbidInXmlTable({ docexpr, rowexpr, columns = [] }: RangeTableFunc): void {
    const parts = columns.flatMap((column) => {
      const { colexpr, coldefexpr } = nodeOf(column)[1] as RangeTableFuncCol;
      return [colexpr, coldefexpr];
    });
    this.#forbid([docexpr, rowexpr, ...parts], "XMLTABLE");
  }

  /** SQL's own functions on JSON, and JSON_TABLE, take paths in a language of their own. */
  #forbidInside(type: string, body: Body): void {
    forEachChild(type, body, (childType, child) => {
      if (this.#statement.queryOf.has(child)) return;
      const node = { [childType]: child } as unknown as Node;
      if (!this.#traces.holds(node)) this.#forbidInside(childType, child);
      else if (READING_JSON.has(type) || this.#traces.holdsDocument(node))
        this.#refusals.use(asColumn(this.#traces.ofNode(node)), "an SQL function on JSON");
    });
  }

  /** A name that may be a column of a relation that the catalog does not have, such as a temporary table. */
  #named(body: Body): void {
    const meaning = this.#statement.meanings.get(body);
    if (meaning?.kind !== "uncertain") return;
    const holds = meaning.candidates.some(
      (each) => each.kind === "column" && this.#traces.columnHolds(each.column),
    );
    if (holds)
      this.#refusals.add(
        "a name may mean a column that is stored as tokens, or one of a table that Sluice does not know",
        "Write the table before the column.",
      );
  }

  #forbid(nodes: readonly (Node | undefined)[], what: string): void {
    for (const node of nodes)
      if (node !== undefined && this.#traces.holds(node))
        this.#refusals.use(asColumn(this.#traces.ofNode(node)), what);
  }

  #sort({ node }: SortBy): void {
    if (node === undefined) return;
    const [type, body] = nodeOf(node);
    if (this.#statement.meanings.get(body)?.kind === "some output") {
      this.#sortByPosition(body as A_Const);
      return;
    }
    this.#forbid([node], "ORDER BY");
    if (type !== "A_Const") this.#node(node);
  }

  /** `ORDER BY 2`. The number is read only where a token could stand there. */
  #sortByPosition(constant: A_Const): void {
    this.#sorting ??= this.#findSorting();
    const query = this.#sorting.get(constant);
    const position = (constant.ival?.ival ?? 0) - 1;
    if (query !== undefined && this.#traces.outputHolds(query, position))
      this.#refusals.use(asColumn(this.#traces.ofOutput(query, position)), "ORDER BY");
  }

  #findSorting(): ReadonlyMap<object, BoundQuery> {
    const found = new Map<object, BoundQuery>();
    for (const query of this.#statement.queries) {
      if (!query.outputs.some((_, index) => this.#traces.outputHolds(query, index))) continue;
      for (const item of query.clauses.sort ?? []) {
        const { node } = nodeOf(item)[1] as SortBy;
        if (node !== undefined) found.set(nodeOf(node)[1], query);
      }
    }
    return found;
  }

  #call(call: FuncCall): void {
    const name = lastName(call.funcname);
    if (name === "count" || gathers(call) || mayTakeDocuments(call, this.#traces)) return;
    this.#forbid(call.args ?? [], `${name}()`);
  }
}

/** SQL's functions that look into JSON: others only put values into it. */
const READING_JSON: ReadonlySet<string> = new Set(["JsonFuncExpr", "JsonTable"]);
