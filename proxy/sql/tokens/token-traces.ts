import type {
  A_Const,
  A_Expr,
  CaseExpr,
  CaseWhen,
  FuncCall,
  Node,
  RowExpr,
  SubLink,
  TypeCast,
  TypeName,
} from "libpg-query";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, Output } from "../bind/bound.ts";
import { isStar } from "../bind/outputs.ts";
import { forEachChild, isBuiltinName, lastName, nodeOf } from "../parse/grammar.ts";
import { someObject } from "../parse/tree.ts";
import { type Access, accessOf, expanded, isChange, isEach, PASSING } from "./document-access.ts";
import { type DocumentColumn, partAt } from "./documents.ts";
import type { TokenColumn, TokenColumns } from "./token-columns.ts";

/** What a value certainly is: a token of this column or NULL, always NULL, or something else. */
export type Trace = TokenColumn | "null" | undefined;

/** What is known of the value at one place of a query's rows. */
interface Followed {
  readonly trace: Trace;
  /** It may be a token, or made of one as it is. */
  readonly holds: boolean;
}

/** As if no row existed: what a recursive query is taken for while its own rows are followed. */
const NO_ROW: Followed = { trace: "null", holds: false };
const UNKNOWN: Followed = { trace: undefined, holds: false };

/**
 * Follows the tokens of a statement through its queries. Every output is followed once, from what is known of the others;
 * that is repeated until nothing changes, which only recursive queries need more than once. So the work grows with the
 * text, however often an output is named.
 */
export class Traces {
  readonly #statement: BoundStatement;
  readonly #columns: TokenColumns;
  /** Whole rows, and fields of them, hold what their columns hold. */
  readonly #withRows: boolean;
  readonly #places = new Map<Output, readonly [query: BoundQuery, index: number]>();
  readonly #followed = new Map<BoundQuery, Followed[]>();
  /** Of one round. */
  readonly #traces = new Map<object, Trace>();
  readonly #holding = new Map<object, boolean>();
  readonly #documents = new Map<object, boolean>();
  #steps = 0;

  constructor(statement: BoundStatement, columns: TokenColumns, { withRows = false } = {}) {
    this.#statement = statement;
    this.#columns = columns;
    this.#withRows = withRows;
    for (const query of statement.queries)
      query.outputs.forEach((output, index) => {
        this.#places.set(output, [query, index]);
      });
    while (this.#follow());
  }

  /** Expressions and columns looked at so far: the work that the statement has cost. */
  get steps(): number {
    return this.#steps;
  }

  /** One round. Whether it has found something new. */
  #follow(): boolean {
    this.#traces.clear();
    this.#holding.clear();
    let isNew = false;
    for (const query of this.#statement.queries) {
      const known = this.#followed.get(query);
      const now = query.outputs.map((output, index): Followed => {
        if (query.setOperation !== undefined) {
          const arms = query.setOperation.arms.map((arm) => this.#at(arm, index));
          return { trace: common(arms.map(({ trace }) => trace)), holds: arms.some(({ holds }) => holds) };
        }
        const nodes = query.form === "values" ? columnOfLists(query, index) : [output.node ?? []].flat();
        if (output.column !== undefined && query.form !== "values")
          return { trace: this.ofColumn(output.column), holds: this.columnHolds(output.column) };
        const traces = nodes.map((node) => this.ofNode(node));
        return { trace: common(traces), holds: nodes.some((node) => this.holds(node)) };
      });
      isNew ||= now.some((each, index) => !isSame(each, known?.[index] ?? NO_ROW));
      this.#followed.set(query, now);
    }
    return isNew;
  }

  #at(query: BoundQuery, index: number): Followed {
    const known = this.#followed.get(query);
    if (!query.hasUnknownOutputs) {
      if (index >= query.outputs.length) return UNKNOWN;
      return known?.[index] ?? NO_ROW;
    }
    // Of a star: any of its columns may stand at any place.
    const holds = known?.some((each) => each.holds) === true || this.#listsHold(query);
    return { trace: undefined, holds };
  }

  #listsHold({ form, clauses }: BoundQuery): boolean {
    if (form !== "values") return false;
    const lists = (clauses.values ?? []).map((list) => (nodeOf(list)[1] as { items?: Node[] }).items ?? []);
    return lists.flat().some((node) => this.holds(node) || this.#starHolds(node));
  }

  ofColumn(column: BoundColumn): Trace {
    const { source, relation } = column;
    switch (source.kind) {
      case "own":
        return relation.source.kind === "table"
          ? this.#columns.of(relation.source.relation, source.column)
          : undefined;
      case "computed":
        return this.#once(this.#traces, column, () => this.#ofElement(column));
      case "output": {
        const found = this.outputOf({ source, relation });
        return found && this.ofOutput(...found);
      }
      case "merged":
        return this.#once(this.#traces, column, () =>
          common(source.columns.map((each) => this.ofColumn(each))),
        );
      default:
        return undefined;
    }
  }

  /** A column of `jsonb_array_elements(…)` in FROM. */
  #ofElement({ relation, name }: BoundColumn): Trace {
    if (relation.source.kind !== "function" || relation.columns[0]?.name !== name) return undefined;
    const access = expanded(relation.node);
    return access && this.#ofAccess(access);
  }

  #ofAccess(access: Access): Trace {
    const part = this.#partOf(access);
    if (part === undefined || part === "elsewhere" || !access.isText) return asDocument(part);
    // The text of a part may have been a string all along, and is not known to be a document.
    return part.shape.leaf;
  }

  /** Keys are read only where a document with tokens is named. */
  #partOf({ of, steps }: Access): DocumentColumn | "elsewhere" | undefined {
    const document = asDocument(this.ofNode(of));
    const way = document && steps();
    return document && way && partAt(document, way);
  }

  #accessHolds(access: Access): boolean {
    return this.holds(access.of) && this.#partOf(access) !== "elsewhere";
  }

  /** Whether the value holds tokens inside of a document, known or not. */
  holdsDocument(node: Node): boolean {
    const [type, body] = nodeOf(node);
    const trace = this.ofNode(node);
    if (trace !== undefined) return asDocument(trace) !== undefined;
    if (!this.holds(node)) return false;
    return this.#once(this.#documents, body, () => {
      const access = accessOf(type, body);
      if (access !== undefined) return true;
      const { lexpr, rexpr } = body as A_Expr;
      if (type === "A_Expr")
        return [lexpr, rexpr].some((each) => each !== undefined && this.holdsDocument(each));
      const parts = [...((body as { args?: Node[] }).args ?? []), (body as { arg?: Node }).arg];
      return parts.some((each) => each !== undefined && this.holdsDocument(each));
    });
  }

  #once<T>(known: Map<object, T>, key: object, find: () => T): T {
    const before = known.get(key);
    if (before !== undefined || known.has(key)) return before as T;
    this.#steps++;
    const found = find();
    known.set(key, found);
    return found;
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
    return this.#at(query, index).trace;
  }

  ofNode(node: Node): Trace {
    const [type, body] = nodeOf(node);
    return this.#once(this.#traces, body, () => this.#ofExpression(type, body));
  }

  #ofExpression(type: string, body: object): Trace {
    const access = accessOf(type, body);
    if (access !== undefined) return this.#ofAccess(access);
    switch (type) {
      case "A_Const":
        return (body as A_Const).isnull === true ? "null" : undefined;
      case "ColumnRef": {
        const meaning = this.#statement.meanings.get(body);
        if (meaning?.kind === "column") return this.ofColumn(meaning.column);
        const scalar = meaning?.kind === "row" ? scalarOf(meaning.relation) : undefined;
        if (scalar !== undefined) return this.ofColumn(scalar);
        const place = meaning?.kind === "output" ? this.#places.get(meaning.output) : undefined;
        return place && this.ofOutput(...place);
      }
      case "A_Indirection": {
        const meaning = this.#statement.meanings.get(body);
        return meaning?.kind === "column" ? this.ofColumn(meaning.column) : undefined;
      }
      case "TypeCast": {
        const { arg, typeName } = body as TypeCast;
        const trace = arg && this.ofNode(arg);
        return isPlainCast(typeName, trace) ? trace : undefined;
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
      case "A_Expr": {
        const { kind, lexpr } = body as A_Expr;
        return kind === "AEXPR_NULLIF" && lexpr !== undefined ? this.ofNode(lexpr) : undefined;
      }
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
    return this.#once(this.#holding, body, () => this.#expressionHolds(type, body));
  }

  #expressionHolds(type: string, body: object): boolean {
    const access = accessOf(type, body);
    if (access !== undefined) return this.#accessHolds(access);
    switch (type) {
      case "ColumnRef": {
        const meaning = this.#statement.meanings.get(body);
        if (meaning?.kind === "column") return this.columnHolds(meaning.column);
        if (meaning?.kind === "row")
          return (
            (this.#withRows || meaning.relation.source.kind === "function") &&
            meaning.relation.columns.some((column) => this.columnHolds(column))
          );
        const place = meaning?.kind === "output" ? this.#places.get(meaning.output) : undefined;
        return place !== undefined && this.outputHolds(...place);
      }
      case "CaseExpr": {
        const { args = [], defresult } = body as CaseExpr;
        const results = args.map((when) => (nodeOf(when)[1] as CaseWhen).result);
        return [...results, defresult].some((each) => each !== undefined && this.holds(each));
      }
      case "A_Expr": {
        const { kind, lexpr, rexpr } = body as A_Expr;
        if (isChange(body as A_Expr))
          return [lexpr, rexpr].some((side) => side !== undefined && this.holds(side));
        return kind === "AEXPR_NULLIF" && lexpr !== undefined && this.holds(lexpr);
      }
      case "SubLink": {
        const query = this.queryOf(body as SubLink);
        const { subLinkType } = body as SubLink;
        const isValue = subLinkType === "EXPR_SUBLINK" || subLinkType === "ARRAY_SUBLINK";
        return isValue && query !== undefined && this.outputHolds(query, 0);
      }
      case "A_Indirection": {
        const meaning = this.#withRows ? this.#statement.meanings.get(body) : undefined;
        if (meaning?.kind === "column") return this.columnHolds(meaning.column);
        return [(body as { arg?: Node }).arg].some((each) => each !== undefined && this.holds(each));
      }
      case "TypeCast":
      case "CollateClause":
      case "NamedArgExpr":
        return [(body as { arg?: Node }).arg].some((each) => each !== undefined && this.holds(each));
      case "RowExpr":
        return ((body as RowExpr).args ?? []).some((each) => this.holds(each) || this.#starHolds(each));
      case "CoalesceExpr":
      case "MinMaxExpr":
      case "FuncCall":
        if (type === "FuncCall" && !gathers(body) && !PASSING.has(lastName((body as FuncCall).funcname)))
          return false;
        return ((body as { args?: Node[] }).args ?? []).some((each) => this.holds(each));
      case "A_ArrayExpr":
        return ((body as { elements?: Node[] }).elements ?? []).some((each) => this.holds(each));
      default:
        return BUILDING.test(type) && this.#partHolds(type, body);
    }
  }

  /** Whether SQL's own syntax for JSON and XML puts a token into what it makes. */
  #partHolds(type: string, body: object): boolean {
    let holds = false;
    forEachChild(type, body, (childType, child) => {
      const query = this.#statement.queryOf.get(child);
      holds ||=
        query === undefined
          ? this.holds({ [childType]: child } as unknown as Node)
          : this.outputHolds(query, 0);
    });
    return holds;
  }

  /** Whether `t.*` in a row stands for a token among others. */
  #starHolds(node: Node): boolean {
    if (!isStar(node)) return false;
    const meaning = this.#statement.meanings.get(nodeOf(node)[1]);
    if (meaning?.kind !== "star" && meaning?.kind !== "row") return false;
    const columns = meaning.kind === "star" ? meaning.columns : meaning.relation.columns;
    return columns.some((column) => this.columnHolds(column));
  }

  columnHolds(column: BoundColumn): boolean {
    const { source } = column;
    if (source.kind === "merged")
      return this.#once(this.#holding, column, () => source.columns.some((each) => this.columnHolds(each)));
    if (source.kind === "computed")
      return this.#once(this.#holding, column, () => this.#elementHolds(column));
    const found = this.outputOf(column);
    if (found !== undefined) return this.outputHolds(...found);
    return typeof this.ofColumn(column) === "object" || this.#isMade(column);
  }

  #isMade({ source, relation }: BoundColumn): boolean {
    return (
      source.kind === "own" &&
      relation.source.kind === "table" &&
      this.#columns.isMade(relation.source.relation, source.column)
    );
  }

  #elementHolds(column: BoundColumn): boolean {
    const { relation } = column;
    if (relation.source.kind !== "function") return false;
    if (typeof this.ofColumn(column) === "object") return true;
    const access = relation.columns[0]?.name === column.name ? expanded(relation.node) : undefined;
    if (access !== undefined) return this.#accessHolds(access);
    if (isKey(relation, column)) return false;
    return someObject(relation.node, (field, object) => {
      const { funcname, args = [] } = object as FuncCall;
      return field === "FuncCall" && PASSING.has(lastName(funcname)) && args.some((arg) => this.holds(arg));
    });
  }

  outputHolds(query: BoundQuery, index: number): boolean {
    return this.#at(query, index).holds;
  }
}

/** The name of a function in FROM stands for its only column. */
function scalarOf({ source, columns }: BoundRelation): BoundColumn | undefined {
  return source.kind === "function" && columns.length === 1 ? columns[0] : undefined;
}

/** The keys of `jsonb_each(…)`, which are no values. */
function isKey({ node, columns }: BoundRelation, { name }: BoundColumn): boolean {
  return columns.length === 2 && columns[0]?.name === name && columns[1]?.name !== name && isEach(node);
}

function isSame(one: Followed, other: Followed): boolean {
  if (one.holds !== other.holds) return false;
  if (typeof one.trace !== "object" || typeof other.trace !== "object") return one.trace === other.trace;
  return one.trace.associated === other.trace.associated;
}

/** Functions that give values as they got them, in a list or a document. */
const GATHERING: ReadonlySet<string> = new Set(
  (
    "array_agg json_agg jsonb_agg json_object_agg jsonb_object_agg string_agg json_build_object jsonb_build_object " +
    "json_build_array jsonb_build_array to_json to_jsonb row_to_json any_value " +
    "xmlagg first_value last_value nth_value lag lead"
  ).split(" "),
);

/** Syntax that makes values of values; `ResTarget` is a named one in it. */
const BUILDING = /^(?:Json(?!IsPredicate)|Xml(?:Expr|Serialize)$|ResTarget$)/;

export function gathers(call: object): boolean {
  return GATHERING.has(lastName((call as FuncCall).funcname));
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

export function asColumn(trace: Trace): TokenColumn | undefined {
  return typeof trace === "object" ? trace : undefined;
}

export function asDocument(trace: Trace | "elsewhere"): DocumentColumn | undefined {
  return typeof trace === "object" && trace.form === "document" ? trace : undefined;
}

const DOCUMENTS: ReadonlySet<string> = new Set(["json", "jsonb"]);
const TEXTS: ReadonlySet<string> = new Set(["text", "varchar"]);
const BYTES: ReadonlySet<string> = new Set(["bytea"]);

/** A cast that leaves a value of the column as it is; of something else: a text. */
export function isPlainCast(typeName: TypeName | undefined, of: Trace): boolean {
  const form = typeof of === "object" ? of.form : undefined;
  return isPlainType(typeName, form === "bytes" ? BYTES : form === "document" ? DOCUMENTS : TEXTS);
}

function isPlainType(typeName: TypeName | undefined, types: ReadonlySet<string>): boolean {
  const { names = [], typmods = [], arrayBounds = [] } = typeName ?? {};
  if (typmods.length > 0 || arrayBounds.length > 0) return false;
  return isBuiltinName(names) && types.has(lastName(names));
}

/** A cast that leaves a document, or the text of one, as it is. */
export function isDocumentCast(typeName: TypeName | undefined): boolean {
  return [DOCUMENTS, TEXTS].some((types) => isPlainType(typeName, types));
}

/** The same for an array of values. */
export function isPlainArrayCast(typeName: TypeName | undefined, of: Trace): boolean {
  const { arrayBounds = [], ...element } = typeName ?? {};
  return arrayBounds.length === 1 && isPlainCast({ ...element, arrayBounds: [] }, of);
}
