import type { A_Expr, CaseExpr, CaseWhen, List, Node, RowExpr, SubLink } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundStatement, FromItem } from "../bind/bound.ts";
import { isStar } from "../bind/outputs.ts";
import { type Body, isBuiltinName, lastName, nodeOf } from "../parse/grammar.ts";
import {
  type ComputedSide,
  computedSide,
  offers,
  PATTERN_KINDS,
  patternCondition,
  type TokenView,
  withoutCasts,
} from "./blind-forms.ts";
import { accessOf } from "./document-access.ts";
import { documentOperator } from "./document-rules.ts";
import type { GivenPlaces, Place, Where } from "./given-places.ts";
import type { TokenColumn } from "./token-columns.ts";
import { asColumn, type Trace, type Traces } from "./token-traces.ts";
import type { UseRefusals } from "./use-refusals.ts";

/** A comparison of a column with given values: a search. */
export interface Compared {
  readonly node: Body;
  readonly token: TokenColumn;
  /** It may tell a part of a value: who asks does not have to know the whole. */
  readonly tellsPart?: true;
}

/** What a statement compares with columns that hold tokens: given values, which are searched for, and other columns. */
export class TokenComparisons {
  readonly compared: Compared[] = [];
  /** Calls on columns that become parts of their tokens. */
  readonly computed: ComputedSide[] = [];
  /** Of columns whose parts are compared with each other. */
  readonly matched: TokenColumn[] = [];
  readonly #view: TokenView;
  readonly #statement: BoundStatement;
  readonly #traces: Traces;
  readonly #given: GivenPlaces;
  readonly #refusals: UseRefusals;
  /** Looks at an expression that is compared. */
  readonly #visit: (node: Node) => void;

  constructor(view: TokenView, given: GivenPlaces, refusals: UseRefusals, visit: (node: Node) => void) {
    this.#view = view;
    this.#statement = view.statement;
    this.#traces = view.traces;
    this.#given = given;
    this.#refusals = refusals;
    this.#visit = visit;
  }

  join(item: FromItem): void {
    if (item.kind === "relation") return;
    if (item.on !== undefined) this.#visit(item.on);
    for (const [left, right] of item.pairs) this.#pairColumns(left, right);
    this.join(item.left);
    this.join(item.right);
  }

  /** UNION ALL keeps what it gets; the others compare the rows of their arms. */
  setOperation({ setOperation, outputs }: BoundQuery): void {
    if (setOperation === undefined || (setOperation.operator === "union" && setOperation.all)) return;
    const { arms } = setOperation;
    outputs.forEach((_, index) => {
      const [first, ...more] = arms.map((arm) => this.#rowAt(arm, index));
      if (first !== undefined && more.every((row) => row !== undefined)) {
        for (const row of more) this.#pairRows(first, row);
        return;
      }
      const traces = arms.map((arm) => this.#traces.ofOutput(arm, index)).filter((trace) => trace !== "null");
      const holding = arms.some((arm) => this.#traces.outputHolds(arm, index));
      const isOfOne = traces.every(
        (trace) => trace !== undefined && trace.associated === traces[0]?.associated,
      );
      if (holding && !isOfOne)
        this.#refusals.use(
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
    this.#refusals.add(
      `${one?.name ?? "a column"} is stored as tokens and cannot be compared with ${other === one ? "other values" : (other?.name ?? "other values")}`,
      "Columns of one class can be compared with each other if the class is joinable.",
    );
  }

  caseOf({ arg, args = [], defresult }: CaseExpr): void {
    for (const when of args) {
      const { expr, result } = nodeOf(when)[1] as CaseWhen;
      if (arg !== undefined && expr !== undefined) this.#equal(when, arg, expr);
      else this.#visitAll([expr]);
      this.#visitAll([result]);
    }
    this.#visitAll([defresult]);
  }

  subLink(body: SubLink): void {
    const { testexpr, operName = [], subLinkType } = body;
    if (testexpr === undefined) return;
    const query = this.#traces.queryOf(body);
    const isEquality = operName.length === 0 || EQUALITIES.has(lastName(operName));
    const isTest = subLinkType === "ANY_SUBLINK" || subLinkType === "ALL_SUBLINK";
    const [type, row] = nodeOf(testexpr);
    const sides = type === "RowExpr" ? ((row as RowExpr).args ?? []) : [testexpr];
    const mayHold = () =>
      this.#mayHold(testexpr) || query?.outputs.some((_, i) => this.#traces.outputHolds(query, i)) === true;
    if (sides.some(isStar) && mayHold()) {
      this.#refusals.star("a comparison");
      return;
    }
    sides.forEach((side, index) => {
      const holding = [
        this.#traces.holds(side),
        query !== undefined && this.#traces.outputHolds(query, index),
      ] as const;
      if (!isTest || !isEquality) {
        if (holding[0] || holding[1])
          this.#refusals.use(asColumn(this.#traces.ofNode(side)), "this comparison with a subquery");
      } else if (holding[1] && !holding[0] && query !== undefined) {
        const token = this.#traces.ofOutput(query, index);
        if (typeof token === "object") {
          this.compared.push({ node: body, token });
          this.#given.add(side, token, "value", { place: "single" });
        } else this.#refusals.use(undefined, "this comparison with a subquery");
        return;
      } else this.#pair(this.#traces.ofNode(side), query && this.#traces.ofOutput(query, index), holding);
      this.#visit(side);
    });
  }

  operator(body: A_Expr): void {
    const { kind, lexpr, rexpr, name = [] } = body;
    const symbol = lastName(name);
    const sides = [lexpr, rexpr];
    if (this.#pattern(body) || this.#computedOperator(body)) return;
    this.#visitAll(sides.filter((side) => side !== undefined && nodeOf(side)[0] === "ColumnRef"));
    const holding = sides.some((side) => side !== undefined && this.#mayHold(side));
    if (!holding) {
      this.#visitAll(sides);
      return;
    }
    const document = documentOperator(body, this.#traces);
    if (document === "fine") {
      this.#visitAll(sides);
      return;
    }
    if (document !== undefined) {
      this.compared.push({ node: body, token: document.column });
      this.#given.add(document.given, document.column, "value", { place: "single" });
      this.#visitAll(sides.filter((side) => side !== document.given));
      return;
    }
    const isEquality = EQUALITIES.has(symbol) && isBuiltinName(name);
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
    this.#refusals.use(
      sides.map((side) => side && asColumn(this.#traces.ofNode(side))).find((found) => found !== undefined),
      words,
    );
  }

  #pattern(body: A_Expr): boolean {
    const found = patternCondition(this.#view, body);
    if (found === undefined) return false;
    const { token, column, given, reading, isNegated } = found;
    const tellsPart = PATTERN_KINDS[reading].some((kind) => kind !== "case" && offers(token, kind));
    this.compared.push({ node: body, token, ...(tellsPart && { tellsPart }) });
    const where = { place: "pattern", reading, pattern: { column, isNegated } } as const;
    this.#given.add(given, token, "value", where, { A_Expr: body });
    return true;
  }

  /** `lower(column) = …`, `right(column, 4) = …`. */
  #computedOperator(body: A_Expr): boolean {
    const { kind = "", lexpr, rexpr, name = [] } = body;
    const symbol = lastName(name);
    if (lexpr === undefined || rexpr === undefined || !EQUALITIES.has(symbol) || !isBuiltinName(name))
      return false;
    const left = computedSide(this.#view, lexpr);
    const right = computedSide(this.#view, rexpr);
    const side = left ?? right;
    if (side === undefined) return false;
    const { token } = side;
    const reading = side.kind === "case" ? "lower case" : "four";
    if (left !== undefined && right !== undefined) {
      const isSame = left.kind === right.kind && left.token.associated === right.token.associated;
      if (!isSame || !COMPARED.has(kind)) return false;
      this.computed.push(left, right);
      this.matched.push(token);
      const isPart = left.kind !== "case" && ({ tellsPart: true } as const);
      for (const each of [token, right.token]) this.compared.push({ node: body, token: each, ...isPart });
      return true;
    }
    const given = left === undefined ? lexpr : rexpr;
    const isPlain = kind === "AEXPR_OP" && left !== undefined;
    if (COMPARED.has(kind)) {
      const place = !isPlain ? "single" : symbol === "=" ? "equal" : "unequal";
      this.#given.add(given, token, "value", { place, reading });
    } else if (kind === "AEXPR_IN" && left !== undefined) {
      const at = { place: "item", reading, list: body.rexpr_list_start } as const;
      for (const item of (nodeOf(rexpr)[1] as List).items ?? []) this.#given.add(item, token, "value", at);
    } else if ((kind === "AEXPR_OP_ANY" || kind === "AEXPR_OP_ALL") && left !== undefined) {
      const isList = (symbol === "=") === (kind === "AEXPR_OP_ANY");
      this.#given.add(rexpr, token, "array", { place: isList ? "list" : "single", reading });
    } else return false;
    this.computed.push(side);
    this.compared.push({ node: body, token, ...(side.kind !== "case" && { tellsPart: true }) });
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
        if (this.#mayHold(left) || this.#mayHold(right)) this.#refusals.star("a comparison");
        else this.#visitAll([left, right]);
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
      this.#pairRows(leftRow, rightRow);
      return;
    }
    const holding = [this.#traces.holds(left), this.#traces.holds(right)] as const;
    if (holding[0] && !holding[1]) this.#compare(at, left, right, given);
    else if (holding[1] && !holding[0]) this.#compare(at, right, left, { place: "single" });
    else this.#pair(this.#traces.ofNode(left), this.#traces.ofNode(right), holding);
    if (holding[0] === holding[1]) this.#visitAll([left, right]);
  }

  #pairRows(left: readonly BoundColumn[], right: readonly BoundColumn[]): void {
    left.forEach((column, index) => {
      const other = right[index];
      if (other !== undefined) this.#pairColumns(column, other);
    });
  }

  #pairColumns(left: BoundColumn, right: BoundColumn): void {
    const holding = [this.#traces.columnHolds(left), this.#traces.columnHolds(right)] as const;
    this.#pair(this.#traces.ofColumn(left), this.#traces.ofColumn(right), holding);
  }

  /** The columns of a relation that an output shows as a whole. */
  #rowAt({ outputs }: BoundQuery, index: number): readonly BoundColumn[] | undefined {
    const node = outputs[index]?.node;
    return node && this.#rowOf(nodeOf(node)[1]);
  }

  /** The columns of a relation that is named as a whole. */
  #rowOf(body: object): readonly BoundColumn[] | undefined {
    const meaning = this.#statement.meanings.get(body);
    return meaning?.kind === "row" ? meaning.relation.columns : undefined;
  }

  #compare(at: Body, side: Node, given: Node, where: Where): void {
    const token = this.#traces.ofNode(side);
    if (typeof token !== "object" || token.form === "document") {
      this.#refusals.use(asColumn(token), "a comparison of a part");
      return;
    }
    this.#note(at, side, token);
    this.#given.add(given, token, "value", where);
    this.#visit(side);
  }

  #anyOf(at: Body, left: Node, right: Node, place: Place): void {
    const token = this.#traces.ofNode(left);
    if (typeof token !== "object" || token.form === "document" || this.#traces.holds(right)) {
      this.#refusals.use(asColumn(token), "this comparison with an array");
      return;
    }
    this.#note(at, left, token);
    this.#given.add(right, token, "array", { place });
  }

  #note(at: Body, side: Node, token: TokenColumn): void {
    const plain = withoutCasts(side);
    const meaning = this.#statement.meanings.get(nodeOf(plain)[1]);
    const isNamed = meaning?.kind === "column" || meaning?.kind === "row";
    if (isNamed || accessOf(...nodeOf(plain)) !== undefined) this.compared.push({ node: at, token });
    else this.#refusals.use(token, "this comparison");
  }

  #visitAll(nodes: readonly (Node | undefined)[]): void {
    for (const node of nodes) if (node !== undefined) this.#visit(node);
  }
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
