import type {
  A_ArrayExpr,
  A_Const,
  A_Expr,
  CaseExpr,
  CaseWhen,
  FuncCall,
  List,
  MergeStmt,
  MergeWhenClause,
  MultiAssignRef,
  Node,
  ParamRef,
  ResTarget,
  RowExpr,
  SortBy,
  SubLink,
  TypeCast,
} from "libpg-query";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundStatement, FromItem, Write } from "../bind/bound.ts";
import { isStar } from "../bind/outputs.ts";
import { type Body, forEachChild, nodeOf, stringOf, visitNode } from "../parse/grammar.ts";
import { forEachObject } from "../parse/tree.ts";
import {
  type ComputedSide,
  computedSide,
  foldOf,
  offers,
  PATTERN_KINDS,
  type PatternCondition,
  patternCondition,
  type Reading,
  withoutCasts,
} from "./blind-forms.ts";
import { accessOf, subscripts } from "./document-access.ts";
import { documentOperator, mayTakeDocuments } from "./document-rules.ts";
import { DOCUMENT_HINT, partsAssigned } from "./document-writes.ts";
import { leadsOn, partAt } from "./documents.ts";
import type { TokenColumn, TokenColumns } from "./token-columns.ts";
import {
  columnOfLists,
  gathers,
  isDocumentCast,
  isPlainArrayCast,
  isPlainCast,
  type Trace,
  Traces,
} from "./token-traces.ts";

/*
 * What a statement does with columns that hold tokens: which of its constants and parameters are values of such a
 * column, which of its outputs are, and whether it asks for something that tokens cannot do.
 */

/**
 * What becomes of a given value, which decides how it can stand for its tokens under several keys: it is stored; it is
 * the right side of `=` or `<>`; an item of IN or of an array; an array of values; something that takes one value alone;
 * or a pattern, which stands for the whole condition.
 */
export type Place = "stored" | "equal" | "unequal" | "item" | "list" | "single" | "pattern";

/** Where a value is given. */
export interface GivenAt {
  readonly place: Place;
  readonly column: TokenColumn;
  readonly reading: Reading;
  /** What the value's text replaces: the constant or parameter with casts and calls around it, or a whole condition. */
  readonly whole: Node;
  /** The constant or parameter with the casts around it. */
  readonly value: Node;
  /** The byte at which the list of IN begins. */
  readonly list?: number | undefined;
  readonly pattern?: Pick<PatternCondition, "column" | "isNegated"> | undefined;
}

/** A constant that is a value of a token column, or a list of values as the text of an array. */
export interface SealedConstant {
  readonly node: Node;
  readonly form: "value" | "array";
  readonly at: GivenAt;
}

export interface SealedParameter extends Pick<SealedConstant, "form"> {
  readonly at: readonly GivenAt[];
}

/** A comparison of a column with given values: a search. */
export interface Compared {
  readonly node: Body;
  readonly token: TokenColumn;
  /** It may tell a part of a value: who asks does not have to know the whole. */
  readonly tellsPart?: true;
}

export interface TokenUses {
  readonly constants: readonly SealedConstant[];
  /** By their numbers. */
  readonly parameters: ReadonlyMap<number, SealedParameter>;
  readonly compared: readonly Compared[];
  /** Calls on columns that become parts of their tokens. */
  readonly computed: readonly ComputedSide[];
  /** Of columns whose parts are compared with each other. */
  readonly matched: readonly TokenColumn[];
  /** Of the rows that the client gets; undefined where their columns are not known. */
  readonly outputs: readonly (TokenColumn | undefined)[];
  /** Columns of which the client may get tokens as they are: what is made of them is not followed. */
  readonly bare: readonly TokenColumn[];
  /** Of the columns that COPY … FROM brings in. */
  readonly copied: readonly (TokenColumn | undefined)[];
  readonly refusal: Refusal | undefined;
}

export function tokenUses(statement: BoundStatement, columns: TokenColumns): TokenUses {
  return new Uses(statement, columns).found();
}

class Uses {
  readonly #statement: BoundStatement;
  readonly #traces: Traces;
  readonly #constants = new Map<Node, SealedConstant>();
  readonly #parameters = new Map<number, SealedParameter & { readonly at: GivenAt[] }>();
  readonly #compared: Compared[] = [];
  readonly #computedSides: ComputedSide[] = [];
  readonly #matched: TokenColumn[] = [];
  readonly #columns: TokenColumns;
  /** Columns of subqueries whose values are to become tokens. */
  readonly #taken = new Map<BoundQuery, Taken[]>();
  /** Queries that may sort by a token, by the constants of their ORDER BY. */
  #sorting: ReadonlyMap<object, BoundQuery> | undefined;
  #copied: readonly (TokenColumn | undefined)[] = [];
  #refusal: Refusal | undefined;

  constructor(statement: BoundStatement, columns: TokenColumns) {
    this.#statement = statement;
    this.#columns = columns;
    this.#traces = new Traces(statement, columns, { withRows: true });
  }

  found(): TokenUses {
    const { queries, top, kind } = this.#statement;
    for (const query of queries) this.#query(query);
    this.#checkTaken();
    this.#checkParameters();
    if (kind === "prepare" && this.#parameters.size > 0)
      this.#refuse(
        "parameters of PREPARE cannot be turned into tokens",
        "Prepare it by the driver, or write constants.",
      );
    return {
      constants: [...this.#constants.values()],
      parameters: this.#parameters,
      compared: this.#compared,
      computed: this.#computedSides,
      matched: this.#matched,
      outputs:
        top === undefined || top.hasUnknownOutputs || kind === "explain" || kind === "create as"
          ? []
          : top.outputs.map((_, index) => asColumn(this.#traces.ofOutput(top, index))),
      bare: this.#bare(),
      copied: this.#copied,
      refusal: this.#refusal,
    };
  }

  #bare(): readonly TokenColumn[] {
    const { queries, top, kind } = this.#statement;
    if (top === undefined || kind === "explain") return [];
    const isBare = top.outputs.some(
      (_, index) =>
        this.#traces.outputHolds(top, index) && typeof this.#traces.ofOutput(top, index) !== "object",
    );
    if (!isBare) return [];
    return queries.flatMap(({ relations }) =>
      relations.flatMap(({ columns }) =>
        columns.flatMap((column) => asColumn(this.#traces.ofColumn(column)) ?? []),
      ),
    );
  }

  /** The first one counts. */
  #refuse(what: string, hint: string): void {
    this.#refusal ??= refuse("42501", what, { hint });
  }

  #refuseStar(what: string): void {
    this.#refuse(
      `${what} of columns that are stored as tokens counts columns by a star, or by a value of several fields`,
      "Write each column by its name.",
    );
  }

  #refuseUse(column: TokenColumn | undefined, what: string): void {
    const name = column?.name ?? "a column";
    const key =
      column === undefined || column.form === "document" ? "of its class" : `of class "${column.className}"`;
    const inDocuments =
      "Values inside of documents can be compared by ->> or #>> with a constant path and =, <>, IN or = ANY, and documents by @>.";
    this.#refuse(
      `${name} is stored as tokens, and ${what} cannot work on tokens`,
      column?.form === "document"
        ? inDocuments
        : `${column === undefined ? `${inDocuments} ` : ""}Tokens can be compared by =, <>, IN and = ANY with constants, parameters and the same column; grouped, counted and joined. With "searches:" ${key} also by lower(column) =, ILIKE, right(column, 4) = (docs/tokens.md).`,
    );
  }

  #query(query: BoundQuery): void {
    for (const nodes of Object.values(query.clauses)) for (const node of nodes) this.#node(node);
    for (const item of query.from) this.#join(item);
    for (const { source, node } of query.relations)
      if (source.kind === "function") this.#visit(source.type, { ...node, alias: undefined });
    this.#setOperation(query);
    if (query.write !== undefined) this.#write(query);
  }

  #join(item: FromItem): void {
    if (item.kind === "relation") return;
    if (item.on !== undefined) this.#node(item.on);
    for (const [left, right] of item.pairs)
      this.#pair(this.#traces.ofColumn(left), this.#traces.ofColumn(right), [
        this.#traces.columnHolds(left),
        this.#traces.columnHolds(right),
      ]);
    this.#join(item.left);
    this.#join(item.right);
  }

  /** UNION ALL keeps what it gets; the others compare the rows of their arms. */
  #setOperation({ setOperation, outputs }: BoundQuery): void {
    if (setOperation === undefined || (setOperation.operator === "union" && setOperation.all)) return;
    const { arms } = setOperation;
    outputs.forEach((_, index) => {
      const traces = arms.map((arm) => this.#traces.ofOutput(arm, index)).filter((trace) => trace !== "null");
      const holding = arms.some((arm) => this.#traces.outputHolds(arm, index));
      if (holding && traces.some((trace) => trace?.associated !== traces[0]?.associated))
        this.#refuseUse(
          traces.find((trace) => trace !== undefined),
          "a set operation with other values",
        );
    });
  }

  #pair(left: Trace, right: Trace, [leftHolds, rightHolds]: readonly [boolean, boolean]): void {
    if (!leftHolds && !rightHolds) return;
    if (left === "null" || right === "null") return;
    if (left !== undefined && left.associated === right?.associated) return;
    const [one, other] = [left ?? right, right ?? left];
    this.#refuse(
      `${one?.name ?? "a column"} is stored as tokens and cannot be compared with ${other === one ? "other values" : (other?.name ?? "other values")}`,
      "Columns of one class can be compared with each other if the class is joinable.",
    );
  }

  #node(node: Node): void {
    visitNode(node, (type, body) => this.#visit(type, body));
  }

  #nodes(nodes: readonly (Node | undefined)[]): void {
    for (const node of nodes) if (node !== undefined) this.#node(node);
  }

  #visit(type: string, body: Body): void {
    // A query of its own.
    if (this.#statement.queryOf.has(body)) return;
    switch (type) {
      case "A_Expr":
        this.#operator(body as A_Expr);
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
          this.#refuseUse(asColumn(this.#traces.ofNode(arg)), "a cast to another type");
        break;
      }
      case "ColumnRef":
        this.#named(body);
        return;
      case "CollateClause":
        this.#forbid([(body as { arg?: Node }).arg], "a collation");
        break;
      case "MinMaxExpr":
        this.#forbid((body as { args?: Node[] }).args ?? [], "GREATEST or LEAST");
        break;
      case "SortBy":
        this.#sort(body as SortBy);
        return;
      case "CaseExpr":
        this.#case(body as CaseExpr);
        return;
      case "SubLink":
        this.#subLink(body as SubLink);
        return;
    }
    if (type.startsWith("Json") && type !== "JsonIsPredicate") this.#forbidInside(type, body);
    forEachChild(type, body, (childType, child) => this.#visit(childType, child));
  }

  /** SQL's own functions on JSON, and JSON_TABLE, take paths in a language of their own. */
  #forbidInside(type: string, body: Body): void {
    forEachChild(type, body, (childType, child) => {
      if (this.#statement.queryOf.has(child)) return;
      const node = { [childType]: child } as unknown as Node;
      if (!this.#traces.holds(node)) this.#forbidInside(childType, child);
      else if (this.#traces.holdsDocument(node))
        this.#refuseUse(asColumn(this.#traces.ofNode(node)), "an SQL function on JSON");
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
      this.#refuse(
        "a name may mean a column that is stored as tokens, or one of a table that Sluice does not know",
        "Write the table before the column.",
      );
  }

  #forbid(nodes: readonly (Node | undefined)[], what: string): void {
    for (const node of nodes)
      if (node !== undefined && this.#traces.holds(node))
        this.#refuseUse(asColumn(this.#traces.ofNode(node)), what);
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
      this.#refuseUse(asColumn(this.#traces.ofOutput(query, position)), "ORDER BY");
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
    const name = (call.funcname ?? []).map(stringOf).at(-1) ?? "";
    if (name === "count" || gathers(call) || mayTakeDocuments(call, this.#traces)) return;
    this.#forbid(call.args ?? [], `${name}()`);
  }

  #case({ arg, args = [], defresult }: CaseExpr): void {
    for (const when of args) {
      const { expr, result } = nodeOf(when)[1] as CaseWhen;
      if (arg !== undefined && expr !== undefined) this.#equal(when, arg, expr);
      else this.#nodes([expr]);
      this.#nodes([result]);
    }
    this.#nodes([defresult]);
  }

  #subLink(body: SubLink): void {
    const { testexpr, operName = [], subLinkType } = body;
    if (testexpr === undefined) return;
    const query = this.#traces.queryOf(body);
    const isEquality = operName.length === 0 || EQUALITIES.has(operName.map(stringOf).at(-1) ?? "");
    const isTest = subLinkType === "ANY_SUBLINK" || subLinkType === "ALL_SUBLINK";
    const [type, row] = nodeOf(testexpr);
    const sides = type === "RowExpr" ? ((row as RowExpr).args ?? []) : [testexpr];
    const mayHold = () =>
      this.#mayHold(testexpr) || query?.outputs.some((_, i) => this.#traces.outputHolds(query, i)) === true;
    if (sides.some(isStar) && mayHold()) {
      this.#refuseStar("a comparison");
      return;
    }
    sides.forEach((side, index) => {
      const holding = [
        this.#traces.holds(side),
        query !== undefined && this.#traces.outputHolds(query, index),
      ] as const;
      if (!isTest || !isEquality) {
        if (holding[0] || holding[1])
          this.#refuseUse(asColumn(this.#traces.ofNode(side)), "this comparison with a subquery");
      } else if (holding[1] && !holding[0] && query !== undefined) {
        const token = this.#traces.ofOutput(query, index);
        if (typeof token === "object") {
          this.#compared.push({ node: body, token });
          this.#given(side, token, "value", { place: "single" });
        } else this.#refuseUse(undefined, "this comparison with a subquery");
        return;
      } else this.#pair(this.#traces.ofNode(side), query && this.#traces.ofOutput(query, index), holding);
      this.#node(side);
    });
  }

  #operator(body: A_Expr): void {
    const { kind, lexpr, rexpr, name = [] } = body;
    const symbol = name.map(stringOf).at(-1) ?? "";
    const sides = [lexpr, rexpr];
    if (this.#pattern(body) || this.#computedOperator(body)) return;
    this.#nodes(sides.filter((side) => side !== undefined && nodeOf(side)[0] === "ColumnRef"));
    const holding = sides.some((side) => side !== undefined && this.#mayHold(side));
    if (!holding) {
      this.#nodes(sides);
      return;
    }
    const document = documentOperator(body, this.#traces);
    if (document === "fine") {
      this.#nodes(sides);
      return;
    }
    if (document !== undefined) {
      this.#compared.push({ node: body, token: document.column });
      this.#given(document.given, document.column, "value", { place: "single" });
      this.#nodes(sides.filter((side) => side !== document.given));
      return;
    }
    const isEquality =
      EQUALITIES.has(symbol) && (name.length === 1 || stringOf(name[0] as Node) === "pg_catalog");
    if (isEquality && lexpr !== undefined && rexpr !== undefined) {
      const isEqual = symbol === "=";
      if (EQUAL_KINDS.has(kind ?? "")) {
        const place = kind !== "AEXPR_OP" ? "single" : isEqual ? "equal" : "unequal";
        this.#equal(body, lexpr, rexpr, { place });
        return;
      }
      if (kind === "AEXPR_IN") {
        const at = { place: "item", list: body.rexpr_list_start } as const;
        for (const item of (nodeOf(rexpr)[1] as List).items ?? []) this.#equal(body, lexpr, item, at);
        return;
      }
      if (kind === "AEXPR_OP_ANY" || kind === "AEXPR_OP_ALL") {
        this.#anyOf(body, lexpr, rexpr, isEqual === (kind === "AEXPR_OP_ANY") ? "list" : "single");
        return;
      }
    }
    const words = kind === undefined ? symbol : (KIND_WORDS[kind] ?? symbol);
    this.#refuseUse(
      sides.map((side) => side && asColumn(this.#traces.ofNode(side))).find((found) => found !== undefined),
      words,
    );
  }

  get #view() {
    return { statement: this.#statement, traces: this.#traces, columns: this.#columns };
  }

  #pattern(body: A_Expr): boolean {
    const found = patternCondition(this.#view, body);
    if (found === undefined) return false;
    const { token, column, given, reading, isNegated } = found;
    const tellsPart = PATTERN_KINDS[reading].some((kind) => kind !== "case" && offers(token, kind));
    this.#compared.push({ node: body, token, ...(tellsPart && { tellsPart }) });
    const where = { place: "pattern", reading, pattern: { column, isNegated } } as const;
    this.#given(given, token, "value", where, { A_Expr: body });
    return true;
  }

  /** `lower(column) = …`, `right(column, 4) = …`. */
  #computedOperator(body: A_Expr): boolean {
    const { kind = "", lexpr, rexpr, name = [] } = body;
    const symbol = name.map(stringOf).at(-1) ?? "";
    const isOwn = name.length === 1 || stringOf(name[0] as Node) === "pg_catalog";
    if (lexpr === undefined || rexpr === undefined || !EQUALITIES.has(symbol) || !isOwn) return false;
    const left = computedSide(this.#view, lexpr);
    const right = computedSide(this.#view, rexpr);
    const side = left ?? right;
    if (side === undefined) return false;
    const { token } = side;
    const reading = side.kind === "case" ? "lower case" : "four";
    if (left !== undefined && right !== undefined) {
      const isSame = left.kind === right.kind && left.token.associated === right.token.associated;
      if (!isSame || !COMPARED.has(kind)) return false;
      this.#computedSides.push(left, right);
      this.#matched.push(token);
      const isPart = left.kind !== "case" && ({ tellsPart: true } as const);
      for (const each of [token, right.token]) this.#compared.push({ node: body, token: each, ...isPart });
      return true;
    }
    const given = left === undefined ? lexpr : rexpr;
    const isPlain = kind === "AEXPR_OP" && left !== undefined;
    if (COMPARED.has(kind)) {
      const place = !isPlain ? "single" : symbol === "=" ? "equal" : "unequal";
      this.#given(given, token, "value", { place, reading });
    } else if (kind === "AEXPR_IN" && left !== undefined) {
      const at = { place: "item", reading, list: body.rexpr_list_start } as const;
      for (const item of (nodeOf(rexpr)[1] as List).items ?? []) this.#given(item, token, "value", at);
    } else if ((kind === "AEXPR_OP_ANY" || kind === "AEXPR_OP_ALL") && left !== undefined) {
      const isList = (symbol === "=") === (kind === "AEXPR_OP_ANY");
      this.#given(rexpr, token, "array", { place: isList ? "list" : "single", reading });
    } else return false;
    this.#computedSides.push(side);
    this.#compared.push({ node: body, token, ...(side.kind !== "case" && { tellsPart: true }) });
    return true;
  }

  #mayHold(node: Node): boolean {
    const [type, body] = nodeOf(node);
    if (type === "List") return ((body as List).items ?? []).some((item) => this.#mayHold(item));
    return this.#traces.holds(node);
  }

  /** `left = right`: a column and a given value, two tokens, or rows of these. */
  #equal(at: Body, left: Node, right: Node, given: Where = { place: "single" }): void {
    const [leftType, leftBody] = nodeOf(left);
    const [rightType, rightBody] = nodeOf(right);
    if (leftType === "RowExpr" && rightType === "RowExpr") {
      const [lefts, rights] = [(leftBody as RowExpr).args ?? [], (rightBody as RowExpr).args ?? []];
      // It stands for any number of columns: which is compared with which is not known.
      if ([...lefts, ...rights].some(isStar)) {
        if (this.#mayHold(left) || this.#mayHold(right)) this.#refuseStar("a comparison");
        else this.#nodes([left, right]);
        return;
      }
      lefts.forEach((each, index) => {
        const other = rights[index];
        if (other !== undefined) this.#equal(at, each, other);
      });
      return;
    }
    const [leftRow, rightRow] = [this.#rowOf(leftBody), this.#rowOf(rightBody)];
    if (leftRow !== undefined && rightRow !== undefined) {
      leftRow.forEach((column, index) => {
        const other = rightRow[index];
        if (other === undefined) return;
        this.#pair(this.#traces.ofColumn(column), this.#traces.ofColumn(other), [
          this.#traces.columnHolds(column),
          this.#traces.columnHolds(other),
        ]);
      });
      return;
    }
    const holding = [this.#traces.holds(left), this.#traces.holds(right)] as const;
    if (holding[0] && !holding[1]) this.#compare(at, left, right, given);
    else if (holding[1] && !holding[0]) this.#compare(at, right, left, { place: "single" });
    else this.#pair(this.#traces.ofNode(left), this.#traces.ofNode(right), holding);
    if (holding[0] === holding[1]) this.#nodes([left, right]);
  }

  /** The columns of a relation that is named as a whole. */
  #rowOf(body: object): readonly BoundColumn[] | undefined {
    const meaning = this.#statement.meanings.get(body);
    return meaning?.kind === "row" ? meaning.relation.columns : undefined;
  }

  #compare(at: Body, side: Node, given: Node, where: Where): void {
    const token = this.#traces.ofNode(side);
    if (typeof token !== "object" || token.form === "document") {
      this.#refuseUse(asColumn(token), "a comparison of a part");
      return;
    }
    this.#note(at, side, token);
    this.#given(given, token, "value", where);
    this.#node(side);
  }

  #anyOf(at: Body, left: Node, right: Node, place: Place): void {
    const token = this.#traces.ofNode(left);
    if (typeof token !== "object" || token.form === "document" || this.#traces.holds(right)) {
      this.#refuseUse(asColumn(token), "this comparison with an array");
      return;
    }
    this.#note(at, left, token);
    this.#given(right, token, "array", { place });
  }

  #note(at: Body, side: Node, token: TokenColumn): void {
    let plain = side;
    while (nodeOf(plain)[0] === "TypeCast") plain = (nodeOf(plain)[1] as TypeCast).arg ?? plain;
    const meaning = this.#statement.meanings.get(nodeOf(plain)[1]);
    const isNamed = meaning?.kind === "column" || meaning?.kind === "row";
    if (isNamed || accessOf(...nodeOf(plain)) !== undefined) this.#compared.push({ node: at, token });
    else this.#refuseUse(token, "this comparison");
  }

  /** A constant or a parameter, as a value of the column. Anything else is computed, and not by the proxy. */
  #given(
    node: Node,
    column: TokenColumn,
    form: "value" | "array",
    where: Where,
    whole = node,
    value = node,
  ): void {
    const [type, body] = nodeOf(node);
    const at: GivenAt = { ...where, reading: where.reading ?? "token", column, whole, value };
    if (type === "A_Const" && (body as A_Const).isnull === true) return;
    if (type === "A_Const" && isText(body)) {
      const known = this.#constants.get(node);
      if (known !== undefined && (!isSameReading(known.at, at) || known.form !== form))
        this.#refuseMixed(column);
      const isOther = known !== undefined && known.at.place !== at.place;
      this.#constants.set(node, { node, form, at: isOther ? { ...at, place: "single" } : at });
      return;
    }
    if (type === "ParamRef") {
      this.#parameter((body as ParamRef).number ?? 0, { form, at: [at] });
      return;
    }
    if (type === "TypeCast") {
      const { arg, typeName } = body as TypeCast;
      const isPlain =
        column.form === "document"
          ? isDocumentCast(typeName)
          : form === "array"
            ? isPlainArrayCast(typeName, column)
            : isPlainCast(typeName, column);
      if (arg !== undefined && isPlain) {
        this.#given(arg, column, form, where, whole, value);
        return;
      }
    }
    if (type === "A_ArrayExpr" && form === "array") {
      const place = where.place === "list" ? "item" : "single";
      for (const element of (body as A_ArrayExpr).elements ?? [])
        this.#given(element, column, "value", { place, reading: where.reading });
      return;
    }
    const folded = FOLDED[at.reading];
    const [arg] = type === "FuncCall" ? ((body as FuncCall).args ?? []) : [];
    if (folded !== undefined && arg !== undefined && foldOf(this.#view, node) === folded.kind) {
      const [argType] = nodeOf(withoutCasts(arg));
      if (argType === "A_Const" || argType === "ParamRef") {
        this.#given(arg, column, form, { ...where, reading: folded.as }, whole);
        return;
      }
    }
    this.#refuse(
      `${column.name} is stored as tokens, and a value for it must be a constant or a parameter`,
      column.form === "document"
        ? DOCUMENT_HINT
        : "Compute the value in the application, and send it as text: casts to text and varchar without a length may stand around it.",
    );
  }

  #parameter(number: number, { form, at }: SealedParameter): void {
    const known = this.#parameters.get(number);
    if (known === undefined) {
      this.#parameters.set(number, { form, at: [...at] });
      return;
    }
    const all = [...known.at, ...at];
    const [first] = all;
    // A text can hold several texts; an array, and bytes, cannot.
    const isOne = all.every((each) => first !== undefined && isSameReading(first, each));
    const mayDiffer =
      form === "value" && all.every(({ column: { form: of } }) => of !== "bytes" && of !== "document");
    if (known.form === form && (isOne || mayDiffer)) known.at.push(...at);
    else for (const { column } of at) this.#refuseMixed(column);
  }

  #refuseMixed({ name }: TokenColumn): void {
    this.#refuse(
      `a value is given for ${name}, which is stored as tokens, and for something else`,
      "Send it twice, as two parameters.",
    );
  }

  /** A parameter that is turned into a token is one everywhere. */
  #checkParameters(): void {
    if (this.#parameters.size === 0) return;
    const times = new Map<number, number>();
    const seen = new Set<object>();
    const look = (field: string, object: object): void => {
      if (field === "A_Const" || seen.has(object)) return;
      seen.add(object);
      const { number = 0 } = object as ParamRef;
      if (field === "ParamRef") times.set(number, (times.get(number) ?? 0) + 1);
      forEachObject(object, look);
    };
    for (const { node } of this.#statement.queries) look("", node);
    for (const [number, { at }] of this.#parameters)
      for (const { column } of (times.get(number) ?? 0) > at.length ? at : []) this.#refuseMixed(column);
  }

  #write(query: BoundQuery): void {
    const { write, form, node } = query;
    if (write === undefined) return;
    if (form === "merge") {
      this.#merge(node as MergeStmt, write.target.columns);
      return;
    }
    const isCopy = form === "insert" && write.source === undefined && "is_from" in node;
    if (isCopy) this.#copied = write.assigned.map((column) => this.#target(column));
    const { assignments = [] } = query.clauses;
    const items = assignments.map((item) => nodeOf(item)[1] as ResTarget);
    const given = form === "insert" ? items.filter(({ val }) => val === undefined).length : 0;
    for (const { name, val, indirection = [] } of items) {
      if (val === undefined) this.#insertsPart(write.target.columns, name, indirection);
    }
    if (write.source !== undefined) this.#insertRows(write.source, write, given);
    this.#set(
      items.filter(({ val }) => val !== undefined),
      write.target.columns,
    );
  }

  #insertRows(source: BoundQuery, { target, assigned }: Write, given: number): void {
    if (source.hasUnknownOutputs) {
      const may = given > 0 ? assigned.slice(0, given) : target.columns;
      if (may.some((column) => this.#target(column) !== undefined)) this.#refuseStar("an INSERT");
      return;
    }
    const count = given > 0 ? given : source.outputs.length;
    if (count > assigned.length)
      this.#refuse(
        "there are more values than columns",
        "Sluice knows the columns of its last look at the catalog.",
      );
    assigned.slice(0, count).forEach((column, index) => {
      const token = this.#target(column);
      if (token !== undefined) this.#assignOutput(source, index, token);
    });
  }

  /** `INSERT INTO t (column[…])` */
  #insertsPart(
    columns: readonly BoundColumn[],
    name: string | undefined,
    indirection: readonly Node[],
  ): void {
    const column = indirection.length > 0 ? columnNamed(columns, name) : undefined;
    const token = column && this.#target(column);
    if (token !== undefined) this.#computed(token);
  }

  #merge({ mergeWhenClauses = [] }: MergeStmt, columns: readonly BoundColumn[]): void {
    for (const clause of mergeWhenClauses) {
      const { targetList, values = [] } = nodeOf(clause)[1] as MergeWhenClause;
      const items = (targetList ?? []).map((item) => nodeOf(item)[1] as ResTarget);
      if (values.length === 0) {
        this.#set(items, columns);
        continue;
      }
      const named = targetList === undefined ? columns : items.map(({ name }) => columnNamed(columns, name));
      for (const { name, indirection = [] } of items) this.#insertsPart(columns, name, indirection);
      if (values.some(isStar)) {
        if (named.some((column) => column !== undefined && this.#target(column) !== undefined))
          this.#refuseStar("an INSERT");
        continue;
      }
      values.forEach((value, index) => {
        this.#assign(named[index], value);
      });
    }
  }

  #set(items: readonly ResTarget[], columns: readonly BoundColumn[]): void {
    for (const { name, val, indirection = [] } of items) {
      const column = columnNamed(columns, name);
      if (val === undefined || column === undefined) continue;
      const [type, body] = nodeOf(val);
      const token = this.#place(column, indirection);
      if (type !== "MultiAssignRef") {
        if (token !== undefined) this.#assignNode(val, token);
        continue;
      }
      const { source, colno = 0 } = body as MultiAssignRef;
      const [sourceType, sourceBody] = source === undefined ? [] : nodeOf(source);
      const row = sourceType === "RowExpr" ? ((sourceBody as RowExpr).args ?? []) : [];
      const value = row.some(isStar) ? undefined : row[colno - 1];
      const query = sourceType === "SubLink" ? this.#traces.queryOf(sourceBody as SubLink) : undefined;
      if (value !== undefined && token !== undefined) this.#assignNode(value, token);
      else if (query !== undefined && token !== undefined) this.#assignOutput(query, colno - 1, token);
      else if (token !== undefined && row.some(isStar)) this.#refuseStar("an assignment");
      else if (token !== undefined) this.#computed(token);
    }
  }

  #assign(column: BoundColumn | undefined, value: Node): void {
    const token = column && this.#target(column);
    if (token !== undefined) this.#assignNode(value, token);
  }

  /** `column[…]`: a part of a document. */
  #place(column: BoundColumn, indirection: readonly Node[]): TokenColumn | undefined {
    const token = this.#target(column);
    if (indirection.length === 0 || token?.form !== "document") return token;
    const steps = subscripts(indirection)?.();
    const part = steps && partAt(token, steps);
    if (part === undefined || steps === undefined || !leadsOn(token, steps)) this.#computed(token);
    return part === "elsewhere" ? undefined : part;
  }

  #target(column: BoundColumn): TokenColumn | undefined {
    const token = asColumn(this.#traces.ofColumn(column));
    if (token !== undefined && !token.fits)
      this.#refuse(
        `${token.name} is to be stored as tokens, and its type cannot hold them`,
        'The DBA finds what is wrong with "sluice policy check --upstream …".',
      );
    return token;
  }

  #computed(token: TokenColumn): void {
    const isDocument = token.form === "document";
    this.#refuse(
      `${token.name} ${isDocument ? "has values that are" : "is"} stored as tokens, and ${isDocument ? "a document" : "a value"} for it must be a constant, a parameter or the same column`,
      isDocument
        ? DOCUMENT_HINT
        : "Compute the value in the application; COALESCE, CASE and NULLIF of constants, parameters and the column are possible.",
    );
  }

  #assignNode(node: Node, token: TokenColumn): void {
    const trace = this.#traces.ofNode(node);
    if (trace === "null" || (trace !== undefined && trace.associated === token.associated)) return;
    const [type, body] = nodeOf(node);
    const parts = token.form === "document" ? partsAssigned(type, body, token) : undefined;
    if (parts !== undefined) {
      for (const part of parts) this.#assignNode(part.node, part.column);
      return;
    }
    switch (type) {
      case "SetToDefault":
        return;
      case "A_Const":
      case "ParamRef":
        this.#given(node, token, "value", { place: "stored" });
        return;
      case "TypeCast": {
        const { arg, typeName } = body as TypeCast;
        const isPlain = token.form === "document" ? isDocumentCast(typeName) : isPlainCast(typeName, token);
        if (arg === undefined || !isPlain) break;
        this.#assignNode(arg, token);
        return;
      }
      case "CoalesceExpr":
        for (const each of (body as { args?: Node[] }).args ?? []) this.#assignNode(each, token);
        return;
      case "CaseExpr": {
        const { args = [], defresult } = body as CaseExpr;
        for (const when of args) {
          const { result } = nodeOf(when)[1] as CaseWhen;
          if (result !== undefined) this.#assignNode(result, token);
        }
        if (defresult !== undefined) this.#assignNode(defresult, token);
        return;
      }
      case "A_Expr": {
        const { kind, lexpr, rexpr } = body as A_Expr;
        if (kind !== "AEXPR_NULLIF" || lexpr === undefined || rexpr === undefined) break;
        this.#assignNode(lexpr, token);
        if (!this.#traces.holds(lexpr)) this.#assignNode(rexpr, token);
        return;
      }
      case "SubLink": {
        const query = this.#traces.queryOf(body as SubLink);
        if (query === undefined || (body as SubLink).subLinkType !== "EXPR_SUBLINK") break;
        this.#assignOutput(query, 0, token);
        return;
      }
      case "ColumnRef": {
        const meaning = this.#statement.meanings.get(body);
        if (meaning?.kind !== "column") break;
        this.#assignColumn(meaning.column, token);
        return;
      }
    }
    this.#computed(token);
  }

  /** What a subquery gives, such as VALUES in FROM. */
  #assignOutput(query: BoundQuery, index: number, token: TokenColumn): void {
    const trace = this.#traces.ofOutput(query, index);
    if (trace === "null" || (trace !== undefined && trace.associated === token.associated)) return;
    const output = query.outputs[index];
    if (query.hasUnknownOutputs || output === undefined) this.#computed(token);
    else if (query.setOperation !== undefined)
      for (const arm of query.setOperation.arms) this.#assignOutput(arm, index, token);
    else if (query.form === "values")
      for (const node of columnOfLists(query, index)) this.#assignNode(node, token);
    else if (output.node !== undefined) this.#assignNode(output.node, token);
    else if (output.column !== undefined) this.#assignColumn(output.column, token);
    else this.#computed(token);
  }

  #assignColumn(column: BoundColumn, token: TokenColumn): void {
    const found = this.#traces.outputOf(column);
    if (found === undefined) {
      this.#computed(token);
      return;
    }
    const [query, index] = found;
    const taken = this.#taken.get(query) ?? [];
    this.#taken.set(query, taken);
    const known = taken[index];
    if (known !== undefined && known.token.associated !== token.associated) this.#computed(token);
    taken[index] = { token, times: (known?.times ?? 0) + 1 };
    // A recursive query gives what it has got from itself.
    if (known === undefined) this.#assignOutput(query, index, token);
  }

  /** What becomes a token for one use of a subquery's column is one for all: it must have no other. */
  #checkTaken(): void {
    if (this.#taken.size === 0) return;
    const { meanings, queries } = this.#statement;
    const named = new Map<BoundQuery, number[]>();
    const name = (column: BoundColumn): void => {
      if (column.source.kind === "merged") for (const each of column.source.columns) name(each);
      const found = this.#traces.outputOf(column);
      if (found === undefined) return;
      const [query, index] = found;
      const times = named.get(query) ?? [];
      named.set(query, times);
      times[index] = (times[index] ?? 0) + 1;
    };
    let isUncertain = false;
    for (const meaning of meanings.values()) {
      if (meaning.kind === "column") name(meaning.column);
      else if (meaning.kind === "star") meaning.columns.forEach(name);
      else if (meaning.kind === "row") meaning.relation.columns.forEach(name);
      else if (meaning.kind === "uncertain") isUncertain = true;
    }
    for (const { from } of queries) for (const item of from) forEachPair(item, name);
    for (const [query, columns] of this.#taken)
      columns.forEach(({ token, times }, index) => {
        if (isUncertain || (named.get(query)?.[index] ?? 0) > times) this.#computed(token);
      });
  }
}

interface Where extends Pick<GivenAt, "place" | "list" | "pattern"> {
  /** The value itself, if left out. */
  readonly reading?: Reading | undefined;
}

export function isSameReading(one: GivenAt, other: GivenAt): boolean {
  return (
    one.reading === other.reading &&
    one.column.associated === other.column.associated &&
    one.column.form === other.column.form
  );
}

/** `lower(given)` beside `lower(column)`, and the same of the last four characters. */
const FOLDED: Readonly<
  Partial<Record<Reading, { readonly kind: ComputedSide["kind"]; readonly as: Reading }>>
> = {
  "lower case": { kind: "case", as: "any case" },
  four: { kind: "last4", as: "last four" },
};

interface Taken {
  readonly token: TokenColumn;
  /** How often its values are taken from there. */
  readonly times: number;
}

/** Columns that USING compares. */
function forEachPair(item: FromItem, see: (column: BoundColumn) => void): void {
  if (item.kind === "relation") return;
  item.pairs.flat().forEach(see);
  forEachPair(item.left, see);
  forEachPair(item.right, see);
}

function columnNamed(columns: readonly BoundColumn[], name: string | undefined): BoundColumn | undefined {
  return columns.find((each) => each.name === name);
}

const EQUALITIES: ReadonlySet<string> = new Set(["=", "<>"]);
const EQUAL_KINDS: ReadonlySet<string> = new Set([
  "AEXPR_OP",
  "AEXPR_DISTINCT",
  "AEXPR_NOT_DISTINCT",
  "AEXPR_NULLIF",
]);
const COMPARED: ReadonlySet<string> = new Set(["AEXPR_OP", "AEXPR_DISTINCT", "AEXPR_NOT_DISTINCT"]);
const KIND_WORDS: Readonly<Record<string, string>> = {
  AEXPR_LIKE: "LIKE",
  AEXPR_ILIKE: "ILIKE",
  AEXPR_SIMILAR: "SIMILAR TO",
  AEXPR_BETWEEN: "BETWEEN",
  AEXPR_NOT_BETWEEN: "BETWEEN",
};

/**
 * Whether a constant is a text. The parser's JSON may leave out an empty one. The value itself is not looked at: texts
 * that differ in it share a verdict.
 */
function isText(constant: object): boolean {
  return (
    "sval" in constant || !["ival", "fval", "boolval", "bsval", "isnull"].some((kind) => kind in constant)
  );
}

function asColumn(trace: Trace): TokenColumn | undefined {
  return typeof trace === "object" ? trace : undefined;
}
