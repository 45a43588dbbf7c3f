import type { A_Const, A_Expr, CaseExpr, CaseWhen, Node, SubLink, TypeCast, TypeName } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundStatement, Output } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import type { TokenColumn, TokenColumns } from "./columns.ts";

/** What a value certainly is: a token of this column or NULL, always NULL, or something else. */
export type Trace = TokenColumn | "null" | undefined;

/** Follows the tokens of a statement through its queries. */
export class Traces {
  readonly #statement: BoundStatement;
  readonly #columns: TokenColumns;
  readonly #places = new Map<Output, readonly [query: BoundQuery, index: number]>();
  /** Being followed: a recursive query adds nothing to itself. */
  readonly #open = new Set<Output>();

  constructor(statement: BoundStatement, columns: TokenColumns) {
    this.#statement = statement;
    this.#columns = columns;
    for (const query of statement.queries)
      query.outputs.forEach((output, index) => {
        this.#places.set(output, [query, index]);
      });
  }

  ofColumn({ source, relation }: BoundColumn): Trace {
    switch (source.kind) {
      case "own":
        return relation.source.kind === "table"
          ? this.#columns.of(relation.source.relation, source.column)
          : undefined;
      case "output": {
        const found = this.outputOf({ source, relation });
        return found && this.ofOutput(...found);
      }
      case "merged":
        return common(source.columns.map((column) => this.ofColumn(column)));
      default:
        return undefined;
    }
  }

  /** The output of a subquery or WITH query that a column is. */
  outputOf({
    source,
    relation,
  }: Pick<BoundColumn, "source" | "relation">): readonly [BoundQuery, number] | undefined {
    if (source.kind !== "output") return undefined;
    const from = relation.source;
    const query =
      from.kind === "subquery"
        ? from.query
        : from.kind === "with"
          ? this.#statement.bodyOf.get(from.query)
          : undefined;
    return query === undefined ? undefined : [query, source.position];
  }

  ofOutput(query: BoundQuery, index: number): Trace {
    const output = query.outputs[index];
    if (output === undefined || query.hasUnknownOutputs) return undefined;
    if (this.#open.has(output)) return "null";
    this.#open.add(output);
    try {
      if (query.setOperation !== undefined)
        return common(query.setOperation.arms.map((arm) => this.ofOutput(arm, index)));
      if (query.form === "values")
        return common(columnOfLists(query, index).map((node) => this.ofNode(node)));
      if (output.column !== undefined) return this.ofColumn(output.column);
      return output.node && this.ofNode(output.node);
    } finally {
      this.#open.delete(output);
    }
  }

  ofNode(node: Node): Trace {
    const [type, body] = nodeOf(node);
    switch (type) {
      case "A_Const":
        return (body as A_Const).isnull === true ? "null" : undefined;
      case "ColumnRef": {
        const meaning = this.#statement.meanings.get(body);
        if (meaning?.kind === "column") return this.ofColumn(meaning.column);
        const place = meaning?.kind === "output" ? this.#places.get(meaning.output) : undefined;
        return place && this.ofOutput(...place);
      }
      case "TypeCast": {
        const { arg, typeName } = body as TypeCast;
        return arg !== undefined && isPlainText(typeName) ? this.ofNode(arg) : undefined;
      }
      case "CaseExpr": {
        const { args = [], defresult } = body as CaseExpr;
        const results = args.map((when) => (nodeOf(when)[1] as CaseWhen).result);
        return common(
          [...results, defresult].map((each) => (each === undefined ? "null" : this.ofNode(each))),
        );
      }
      case "CoalesceExpr":
        return common(((body as { args?: Node[] }).args ?? []).map((each) => this.ofNode(each)));
      case "SubLink": {
        const query = this.queryOf(body as SubLink);
        return query !== undefined && (body as SubLink).subLinkType === "EXPR_SUBLINK"
          ? this.ofOutput(query, 0)
          : undefined;
      }
      default:
        return undefined;
    }
  }

  queryOf({ subselect }: SubLink): BoundQuery | undefined {
    return subselect && this.#statement.queryOf.get(nodeOf(subselect)[1]);
  }

  /** Whether the value may be a token, or made of one as it is. */
  holds(node: Node): boolean {
    const [type, body] = nodeOf(node);
    switch (type) {
      case "ColumnRef": {
        const meaning = this.#statement.meanings.get(body);
        if (meaning?.kind === "column") return this.columnHolds(meaning.column);
        const place = meaning?.kind === "output" ? this.#places.get(meaning.output) : undefined;
        return place !== undefined && this.outputHolds(...place);
      }
      case "CaseExpr": {
        const { args = [], defresult } = body as CaseExpr;
        const results = args.map((when) => (nodeOf(when)[1] as CaseWhen).result);
        return [...results, defresult].some((each) => each !== undefined && this.holds(each));
      }
      case "A_Expr": {
        const { kind, lexpr } = body as A_Expr;
        return kind === "AEXPR_NULLIF" && lexpr !== undefined && this.holds(lexpr);
      }
      case "SubLink": {
        const query = this.queryOf(body as SubLink);
        const { subLinkType } = body as SubLink;
        const isValue = subLinkType === "EXPR_SUBLINK" || subLinkType === "ARRAY_SUBLINK";
        return isValue && query !== undefined && this.outputHolds(query, 0);
      }
      case "TypeCast":
      case "CollateClause":
      case "A_Indirection":
        return [(body as { arg?: Node }).arg].some((each) => each !== undefined && this.holds(each));
      case "CoalesceExpr":
      case "MinMaxExpr":
      case "RowExpr":
      case "FuncCall":
        if (type === "FuncCall" && !gathers(body)) return false;
        return ((body as { args?: Node[] }).args ?? []).some((each) => this.holds(each));
      case "A_ArrayExpr":
        return ((body as { elements?: Node[] }).elements ?? []).some((each) => this.holds(each));
      default:
        return false;
    }
  }

  columnHolds(column: BoundColumn): boolean {
    const { source } = column;
    if (source.kind === "merged") return source.columns.some((each) => this.columnHolds(each));
    const found = this.outputOf(column);
    return found === undefined ? typeof this.ofColumn(column) === "object" : this.outputHolds(...found);
  }

  outputHolds(query: BoundQuery, index: number): boolean {
    const output = query.outputs[index];
    if (output === undefined || this.#open.has(output)) return false;
    this.#open.add(output);
    try {
      if (query.setOperation !== undefined)
        return query.setOperation.arms.some((arm) => this.outputHolds(arm, index));
      if (query.form === "values") return columnOfLists(query, index).some((node) => this.holds(node));
      if (output.column !== undefined) return this.columnHolds(output.column);
      return output.node !== undefined && this.holds(output.node);
    } finally {
      this.#open.delete(output);
    }
  }
}

/** Functions that give values as they got them, in a list or a document. */
const GATHERING: ReadonlySet<string> = new Set(
  (
    "array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg string_agg json_build_object jsonb_build_object " +
    "json_build_array jsonb_build_array to_json to_jsonb row_to_json any_value " +
    "first_value last_value nth_value lag lead"
  ).split(" "),
);

export function gathers(call: object): boolean {
  const { funcname = [] } = call as { funcname?: Node[] };
  return GATHERING.has(funcname.map(stringOf).at(-1) ?? "");
}

/** The expressions at one position of all rows of VALUES. */
export function columnOfLists({ clauses }: BoundQuery, index: number): readonly Node[] {
  return (clauses.values ?? []).flatMap(
    (list) => (nodeOf(list)[1] as { items?: readonly Node[] }).items?.[index] ?? [],
  );
}

function common(traces: readonly Trace[]): Trace {
  const [first, ...more] = traces.filter((trace) => trace !== "null");
  if (first === undefined)
    return traces.length > 0 && traces.every((trace) => trace === "null") ? "null" : undefined;
  return more.every((trace) => trace?.associated === first.associated) ? first : undefined;
}

const TEXTS: ReadonlySet<string> = new Set(["text", "varchar"]);

/** A cast that leaves a text as it is. */
export function isPlainText(typeName: TypeName | undefined): boolean {
  const { names = [], typmods = [], arrayBounds = [] } = typeName ?? {};
  if (typmods.length > 0 || arrayBounds.length > 0) return false;
  return (
    (names.length === 1 || names[0] === undefined || stringOf(names[0]) === "pg_catalog") &&
    TEXTS.has(names.map(stringOf).at(-1) ?? "")
  );
}

/** The same for an array of texts. */
export function isPlainTexts(typeName: TypeName | undefined): boolean {
  const { arrayBounds = [], ...element } = typeName ?? {};
  return arrayBounds.length === 1 && isPlainText({ ...element, arrayBounds: [] });
}
