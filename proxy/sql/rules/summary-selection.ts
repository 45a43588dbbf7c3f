import type { A_Const, A_Expr, FuncCall, JoinExpr, Node } from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundColumn, BoundQuery, BoundRelation, BoundStatement, FromItem } from "../bind/bound.ts";
import { conjuncts } from "../bind/pins.ts";
import { columnMeant, columnsBehind } from "../bind/questions.ts";
import { type Body, forEachChild, nodeOf, stringOf, visitNode } from "../parse/grammar.ts";
import { denied } from "./denied.ts";
import { isPlainEquality } from "./equalities.ts";
import type { Given } from "./given.ts";
import { identifies, kindOfColumn, uniques } from "./identifying.ts";
import { cannotFailOnRows, type ValueKind } from "./infallible.ts";
import { sightOf, speaksOfPeople } from "./people.ts";
import { groupingValues, namedReferences } from "./summary-clauses.ts";

/*
 * Who may be part of a summary of `aggregates_only`. Groups that differ by one person reveal that person, and noise
 * alone does not hide them from a user who can form such groups at will (Dinur and Nissim 2003). So people are chosen
 * and grouped only by what many of them share, from tables that the catalog knows, by expressions that cannot fail.
 */

/** Why a query over people could single people out by its FROM, its conditions or its groups. */
export function narrowSelection(
  statement: BoundStatement,
  given: Given,
  query: BoundQuery,
): Refusal | undefined {
  return new Selection(statement, given).refusalOf(query);
}

const SHARED = "Choose and group people by what many of them share: a country, a status, a month.";

const SHARED_OR_JOINED = `${SHARED} Tables that are joined by it need a "subject:" in the policy.`;

/** The first problem ends the search: each method returns it, or undefined. */
class Selection {
  readonly #statement: BoundStatement;
  readonly #given: Given;
  /** Columns of people that conditions and groups name, by reference. */
  readonly #named = new Map<BoundRelation, Set<string>>();

  constructor(statement: BoundStatement, given: Given) {
    this.#statement = statement;
    this.#given = given;
  }

  refusalOf(query: BoundQuery): Refusal | undefined {
    return (
      first(namedReferences(query), (each) => this.#ofReference(each)) ??
      first(query.from, (item) => this.#ofItem(item)) ??
      first(query.clauses.where ?? [], (node) => this.#ofCondition(node)) ??
      first(groupingValues(this.#statement, query), (node) => this.#ofExpression(node, "a group")) ??
      first([...this.#named], ([relation, columns]) => this.#ofWholeKey(relation, columns))
    );
  }

  #denied(message: string, hint: string): Refusal {
    const { role } = this.#given;
    return denied(role, `role "${role.name}" ${message}`, "aggregates_only", hint);
  }

  #ofReference(reference: BoundRelation): Refusal | undefined {
    if (sightOf(this.#given.sights, reference) !== undefined) return undefined;
    return this.#denied(
      `may read people together with tables and views only, not with ${reference.alias || "a subquery"}`,
      "Join tables or views; a summary that is a subquery of its own may be joined to other summaries.",
    );
  }

  #ofItem(item: FromItem): Refusal | undefined {
    if (item.kind === "relation") {
      const { source } = item.relation;
      if (source.kind !== "table" || source.sample === undefined) return undefined;
      return this.#denied("may not read samples of people", "Leave TABLESAMPLE out.");
    }
    if ((item.node as JoinExpr).isNatural === true)
      return this.#denied("may not read people through NATURAL JOIN", "Write the columns.");
    return (
      first(item.pairs, (pair) => this.#ofPair(pair)) ??
      first(item.on === undefined ? [] : [item.on], (node) => this.#ofCondition(node)) ??
      first([item.left, item.right], (side) => this.#ofItem(side))
    );
  }

  /** `USING (customer_id)` */
  #ofPair(pair: readonly [BoundColumn, BoundColumn]): Refusal | undefined {
    const [left, right] = pair.map(columnsBehind);
    if (this.#isJoin(left ?? [], right ?? [])) return undefined;
    return first(pair.flatMap(columnsBehind), (column) => this.#ofColumn(column));
  }

  #ofCondition(node: Node): Refusal | undefined {
    return first(conjuncts(node), (conjunct) => {
      const sides = this.#sidesOf(conjunct);
      if (sides === undefined) return this.#ofExpression(conjunct, "a condition");
      const [left, right] = sides.map((side) => this.#plainColumns(side));
      if (this.#isJoin(left ?? [], right ?? [])) return undefined;
      const separate = this.#areOfTwo(sides) ? sides : [conjunct];
      return first(separate, (side) => this.#ofExpression(side, "a condition"));
    });
  }

  /** The sides of an equality. */
  #sidesOf(node: Node): readonly [Node, Node] | undefined {
    const [type, body] = nodeOf(node);
    const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? body : {}) as A_Expr;
    if (kind !== "AEXPR_OP" || (name ?? []).map(stringOf).at(-1) !== "=" || !isPlainEquality({ node }))
      return undefined;
    return lexpr === undefined || rexpr === undefined ? undefined : [lexpr, rexpr];
  }

  /**
   * `c.country = k.code`, `date_trunc('day', p.paid_at) = d.day`: two expressions, each of one column, of two
   * relations.
   */
  #areOfTwo(sides: readonly [Node, Node]): boolean {
    const [left, right] = sides.map((side) => columnNames(side).flatMap((name) => this.#meantBy(name) ?? []));
    return left?.length === 1 && right?.length === 1 && left[0]?.relation !== right[0]?.relation;
  }

  /** `m.ticket_id = t.id` links the rows of one relation of people to another's, whoever they are. */
  #isJoin(left: readonly BoundColumn[], right: readonly BoundColumn[]): boolean {
    const { sights } = this.#given;
    const [a, b] = [left.length === 1 ? left[0] : undefined, right.length === 1 ? right[0] : undefined];
    if (a === undefined || b === undefined || a.relation === b.relation) return false;
    return [a, b].every(
      (column) =>
        speaksOfPeople(sights, column.relation) && column.source.kind === "own" && !this.#isHidden(column),
    );
  }

  #ofExpression(node: Node, what: string): Refusal | undefined {
    const meant = columnNames(node).map((name) => this.#meantBy(name));
    const columns = meant.flatMap((each) => each ?? []);
    if (meant.includes(undefined))
      return this.#denied("may not choose people by whole rows or system columns", SHARED);
    return (
      first(columns, (column) => this.#ofColumn(column)) ??
      this.#ofFailing(node, what) ??
      this.#ofMixed(node, columns, what)
    );
  }

  #ofFailing(node: Node, what: string): Refusal | undefined {
    if (cannotFailOnRows(node, (column) => this.#kindOf(nodeOf(column)[1]))) return undefined;
    return this.#denied(
      `may not use ${what} over people that can fail on a row`,
      "Comparisons, IN, BETWEEN, LIKE, CASE, COALESCE, lower, upper, date_trunc, extract and to_char of plain columns cannot. " +
        "An error would show a single person.",
    );
  }

  /**
   * `country = 'DE' OR (zip = '101' AND is_vip)` puts one person into a group of others, and so does CASE. So each
   * condition and each group uses one column; for a column with fine-grained values it is a range.
   */
  #ofMixed(node: Node, columns: readonly BoundColumn[], what: string): Refusal | undefined {
    if (new Set(columns).size > 1)
      return this.#denied(
        `may not use ${what} over people that mixes several columns`,
        "Write one condition for each column, with AND between them.",
      );
    const isFine = columns.some((column) => FINE.has(this.#kindOfColumn(column) ?? ""));
    if (!isFine || !picksValues(node)) return undefined;
    return this.#denied(
      "may not pick single times or numbers to choose people",
      "Write a range: >=, <, BETWEEN. Parts of a time may be listed: extract(month FROM paid_at) IN (1, 2).",
    );
  }

  #ofColumn(column: BoundColumn): Refusal | undefined {
    const { relation, name, source } = column;
    const sight = sightOf(this.#given.sights, relation);
    if (sight === undefined) return undefined;
    if (source.kind !== "own")
      return this.#denied(`may not choose people by ${name} of ${sight.key}`, SHARED);
    if (sight.people === undefined) return undefined;
    const own = source.column.name;
    if (this.#isHidden(column))
      return this.#denied(
        `may not choose people by ${sight.key}.${own}, which the policy protects`,
        `${SHARED} A column that is masked by year, month or rounding may be used.`,
      );
    if (identifies(this.#given, column))
      return this.#denied(
        `may not choose people by ${sight.key}.${own}, which identifies them`,
        SHARED_OR_JOINED,
      );
    this.#named.set(relation, (this.#named.get(relation) ?? new Set()).add(own));
    return undefined;
  }

  #ofWholeKey(reference: BoundRelation, columns: ReadonlySet<string>): Refusal | undefined {
    const sight = sightOf(this.#given.sights, reference);
    const keys = sight === undefined ? [] : uniques(sight.relation);
    const key = keys.find((unique) => unique.every((column) => columns.has(column)));
    if (sight === undefined || key === undefined) return undefined;
    return this.#denied(
      `may not choose people by ${key.join(" and ")} of ${sight.key}, which together identify them`,
      SHARED,
    );
  }

  /** Protected, and not made coarse by its mask. */
  #isHidden({ relation, source }: BoundColumn): boolean {
    const own = source.kind === "own" ? source.column.name : undefined;
    const columns = sightOf(this.#given.sights, relation)?.columns ?? [];
    const sight = columns.find(({ column }) => column.name === own);
    if (sight?.isProtected !== true) return false;
    const { classes } = this.#given.policy;
    const mask = sight.className === undefined ? undefined : classes.get(sight.className)?.mask;
    return sight.kind !== "masked" || mask === undefined || !COARSE.has(mask.kind);
  }

  #plainColumns(node: Node): readonly BoundColumn[] {
    return this.#meantBy(nodeOf(node)[1]) ?? [];
  }

  /** Undefined for a whole row, a star, and uncertain names. */
  #meantBy(name: Body): readonly BoundColumn[] | undefined {
    const column = columnMeant(this.#statement, name);
    return column && columnsBehind(column);
  }

  #kindOf(name: Body): ValueKind {
    const kinds = (this.#meantBy(name) ?? []).map((column) => this.#kindOfColumn(column));
    return kinds.every((kind) => kind === kinds[0]) ? kinds[0] : undefined;
  }

  #kindOfColumn({ source }: BoundColumn): ValueKind {
    return source.kind === "own" ? kindOfColumn(this.#given.catalog, source.column) : undefined;
  }
}

function first<T>(items: readonly T[], judge: (item: T) => Refusal | undefined): Refusal | undefined {
  for (const item of items) {
    const refusal = judge(item);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function columnNames(node: Node): readonly Body[] {
  const names: Body[] = [];
  const look = (type: string, body: Body): void => {
    if (type === "ColumnRef") names.push(body);
    else forEachChild(type, body, look);
  };
  visitNode(node, look);
  return names;
}

const COARSE = new Set(["truncate", "round", "null", "constant"]);

const FINE: ReadonlySet<string> = new Set(["time", "real"]);
const PICKING = new Set([
  "AEXPR_IN",
  "AEXPR_OP_ANY",
  "AEXPR_OP_ALL",
  "AEXPR_DISTINCT",
  "AEXPR_NOT_DISTINCT",
  "AEXPR_NULLIF",
  "AEXPR_NOT_BETWEEN",
  "AEXPR_NOT_BETWEEN_SYM",
]);

/** Lists, unions and gaps; but not of parts of a time, of which there are few. */
function picksValues(node: Node): boolean {
  let picks = false;
  const look = (type: string, body: Body): void => {
    const { kind, lexpr, name } = (type === "A_Expr" ? body : {}) as A_Expr;
    if (kind === "AEXPR_IN" && lexpr !== undefined && isPartOfTime(lexpr)) return;
    picks ||= type === "BoolExpr" || type === "CaseExpr" || PICKING.has(kind ?? "");
    picks ||= kind === "AEXPR_OP" && (name ?? []).map(stringOf).at(-1) === "<>";
    forEachChild(type, body, look);
  };
  visitNode(node, look);
  return picks;
}

function isPartOfTime(node: Node): boolean {
  const [type, body] = nodeOf(node);
  const name = type === "FuncCall" ? ((body as FuncCall).funcname ?? []).map(stringOf).at(-1) : undefined;
  const [field] = (body as FuncCall).args ?? [];
  const part = field === undefined ? undefined : (nodeOf(field)[1] as A_Const).sval?.sval;
  return (name === "extract" || name === "date_part") && part !== "epoch";
}
