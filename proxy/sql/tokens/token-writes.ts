import type {
  A_Const,
  A_Expr,
  CaseExpr,
  CaseWhen,
  MergeStmt,
  MergeWhenClause,
  MultiAssignRef,
  Node,
  ResTarget,
  RowExpr,
  SortBy,
  SubLink,
  TypeCast,
} from "libpg-query";
import type { BoundColumn, BoundQuery, BoundStatement, FromItem, Write } from "../bind/bound.ts";
import { isStar } from "../bind/outputs.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { TokenView } from "./blind-forms.ts";
import { subscripts } from "./document-access.ts";
import { DOCUMENT_HINT, partsAssigned } from "./document-writes.ts";
import { leadsOn, partAt } from "./documents.ts";
import type { GivenPlaces } from "./given-places.ts";
import type { TokenColumn } from "./token-columns.ts";
import { asColumn, columnOfLists, isDocumentCast, isPlainCast, type Traces } from "./token-traces.ts";
import type { UseRefusals } from "./use-refusals.ts";

/** What a statement writes to columns with tokens: INSERT, UPDATE, MERGE and COPY … FROM. */
export class TokenWrites {
  readonly #statement: BoundStatement;
  readonly #traces: Traces;
  readonly #given: GivenPlaces;
  readonly #refusals: UseRefusals;
  /** Columns of subqueries whose values are to become tokens. */
  readonly #taken = new Map<BoundQuery, Taken[]>();
  #copied: readonly (TokenColumn | undefined)[] = [];

  constructor({ statement, traces }: TokenView, given: GivenPlaces, refusals: UseRefusals) {
    this.#statement = statement;
    this.#traces = traces;
    this.#given = given;
    this.#refusals = refusals;
  }

  /** Of the columns that COPY … FROM brings in. */
  get copied(): readonly (TokenColumn | undefined)[] {
    return this.#copied;
  }

  query(query: BoundQuery): void {
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
      if (may.some((column) => this.#target(column) !== undefined)) this.#refusals.star("an INSERT");
      return;
    }
    const count = given > 0 ? given : source.outputs.length;
    if (count > assigned.length)
      this.#refusals.add(
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
          this.#refusals.star("an INSERT");
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
      else if (token !== undefined && row.some(isStar)) this.#refusals.star("an assignment");
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
      this.#refusals.add(
        `${token.name} is to be stored as tokens, and its type cannot hold them`,
        'The DBA finds what is wrong with "sluice policy check --upstream …".',
      );
    return token;
  }

  #computed(token: TokenColumn): void {
    const isDocument = token.form === "document";
    this.#refusals.add(
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
        this.#given.add(node, token, "value", { place: "stored" });
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
    // Which rows there are, behind LIMIT, would depend on the order of tokens.
    if (this.#isSortedBy(query, index)) this.#refusals.use(token, "ORDER BY");
    if (query.hasUnknownOutputs || output === undefined) this.#computed(token);
    else if (query.setOperation !== undefined)
      for (const arm of query.setOperation.arms) this.#assignOutput(arm, index, token);
    else if (query.form === "values")
      for (const node of columnOfLists(query, index)) this.#assignNode(node, token);
    else if (output.node !== undefined) this.#assignNode(output.node, token);
    else if (output.column !== undefined) this.#assignColumn(output.column, token);
    else this.#computed(token);
  }

  #isSortedBy({ clauses, outputs }: BoundQuery, index: number): boolean {
    return (clauses.sort ?? []).some((item) => {
      const { node } = nodeOf(item)[1] as SortBy;
      const body = node && nodeOf(node)[1];
      const meaning = body && this.#statement.meanings.get(body);
      if (meaning?.kind === "output") return meaning.output === outputs[index];
      return meaning?.kind === "some output" && (body as A_Const).ival?.ival === index + 1;
    });
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
  check(): void {
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
