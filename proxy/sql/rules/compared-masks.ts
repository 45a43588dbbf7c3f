import type { A_Expr, CaseExpr, FuncCall, Node, SubLink } from "libpg-query";
import type { BoundColumn, BoundQuery, BoundStatement, FromItem, Output } from "../bind/bound.ts";
import { type Body, forEachChild, stringOf, visitNode } from "../parse/grammar.ts";
import type { ColumnSight, Sights } from "../sight.ts";
import { columnsNamedAt, isIncoming } from "./base-columns.ts";
import { columnSight, type Lookup } from "./lookups.ts";
import { sightOf } from "./people.ts";

/*
 * A comparison with a mask runs as written, and its answer is that of the masked table. But an empty answer looks as if
 * no such person existed. So users who compare with a mask get a notice that says so, and how to look up the value.
 */

/** A masked column, by the name used in messages. */
export interface ComparedMask {
  readonly column: string;
  readonly sight: ColumnSight;
}

/**
 * The masked columns that are compared, also through a subquery's columns; columns that are looked up are not included.
 */
export function comparedMasks(
  statement: BoundStatement,
  sights: Sights,
  lookups: readonly Lookup[],
): readonly ComparedMask[] {
  const found = new Map<string, ComparedMask>();
  const masks = new Masks(statement, sights);
  const meet = (columns: readonly BoundColumn[]): void => {
    for (const mask of columns.flatMap((column) => masks.behind(column))) found.set(mask.column, mask);
  };
  const searched = new Set<Body>(
    lookups.flatMap(({ searches }) => searches.map(({ comparison }) => comparison.body)),
  );
  const look = (type: string, body: Body): void => {
    if (searched.has(body) || statement.queryOf.has(body)) return;
    for (const side of sidesCompared(type, body)) meet(columnsIn(statement, side));
    forEachChild(type, body, look);
  };
  const ofItem = (item: FromItem): void => {
    if (item.kind === "relation") {
      const { source, node } = item.relation;
      if (source.kind === "function") forEachChild(source.type, node, look);
      return;
    }
    meet(item.pairs.flat());
    if (item.on !== undefined) visitNode(item.on, look);
    ofItem(item.left);
    ofItem(item.right);
  };
  for (const query of statement.queries) {
    query.from.forEach(ofItem);
    for (const node of expressionsOf(query)) visitNode(node, look);
  }
  return [...found.values()];
}

function expressionsOf({ clauses }: BoundQuery): readonly Node[] {
  return Object.values(clauses).flat();
}

/** Operators whose result is a value made from both sides, not a test. */
const MAKING = new Set([
  ...["||", "+", "-", "*", "/", "%", "^", "|", "&", "#", "<<", ">>"],
  ...["->", "->>", "#>", "#>>"],
]);

/** Functions that test or search a text. */
const TESTING = new Set([
  ...["starts_with", "strpos", "position", "texteq", "textlike", "texticlike", "similarity", "levenshtein"],
  ...["regexp_like", "regexp_match", "regexp_matches", "regexp_count", "regexp_instr", "regexp_substr"],
]);

/** The operands that a node compares with something. */
function sidesCompared(type: string, body: Body): readonly Node[] {
  switch (type) {
    case "A_Expr": {
      const { kind, name = [], lexpr, rexpr } = body as A_Expr;
      const makes = kind === "AEXPR_OP" && MAKING.has(name.map(stringOf).at(-1) ?? "");
      return makes || kind === "AEXPR_NULLIF" ? [] : given(lexpr, rexpr);
    }
    case "CaseExpr":
      return given((body as CaseExpr).arg);
    case "SubLink":
      return given((body as SubLink).testexpr);
    case "FuncCall": {
      const { funcname = [], args = [] } = body as FuncCall;
      return TESTING.has(funcname.map(stringOf).at(-1) ?? "") ? args : [];
    }
    default:
      return [];
  }
}

function given(...nodes: readonly (Node | undefined)[]): readonly Node[] {
  return nodes.filter((node) => node !== undefined);
}

/** All columns named in an expression, outside subqueries. */
function columnsIn(statement: BoundStatement, node: Node): readonly BoundColumn[] {
  const columns: BoundColumn[] = [];
  const look = (type: string, body: Body): void => {
    const meaning = statement.meanings.get(body);
    if (meaning?.kind === "column") columns.push(meaning.column);
    else if (meaning !== undefined) columns.push(...columnsNamedAt(statement, body).columns);
    else if (type !== "SubLink") forEachChild(type, body, look);
  };
  visitNode(node, look);
  return columns;
}

/** The masks that the columns of subqueries are made from. */
class Masks {
  readonly #statement: BoundStatement;
  readonly #sights: Sights;
  readonly #known = new Map<Output, readonly ComparedMask[]>();

  constructor(statement: BoundStatement, sights: Sights) {
    this.#statement = statement;
    this.#sights = sights;
  }

  behind(column: BoundColumn): readonly ComparedMask[] {
    const { source, relation } = column;
    switch (source.kind) {
      case "own":
        return this.#ofTable(column);
      case "merged":
        return isIncoming(relation) ? [] : source.columns.flatMap((each) => this.behind(each));
      case "output": {
        const query =
          relation.source.kind === "subquery"
            ? relation.source.query
            : relation.source.kind === "with"
              ? this.#statement.bodyOf.get(relation.source.query)
              : undefined;
        return query === undefined ? [] : this.#ofOutput(query, source.position);
      }
      default:
        return [];
    }
  }

  #ofTable(column: BoundColumn): readonly ComparedMask[] {
    const sight = columnSight(this.#sights, column);
    const table = sightOf(this.#sights, column.relation);
    if (sight === undefined || table === undefined || !sight.isProtected) return [];
    if (sight.kind !== "masked" && sight.kind !== "conditional") return [];
    return [{ column: `${table.key}.${sight.column.name}`, sight }];
  }

  /** Reporting one of them is enough. */
  #ofOutput(query: BoundQuery, position: number): readonly ComparedMask[] {
    if (query.setOperation !== undefined) {
      const [first] = query.setOperation.arms.flatMap((arm) => this.#ofOutput(arm, position));
      return first === undefined ? [] : [first];
    }
    const output = query.outputs[position];
    if (output === undefined) return [];
    const known = this.#known.get(output);
    if (known !== undefined) return known;
    // A query that refers to itself is made from its other parts.
    this.#known.set(output, []);
    const [first] = columnsOf(this.#statement, output).flatMap((column) => this.behind(column));
    const masks = first === undefined ? [] : [first];
    this.#known.set(output, masks);
    return masks;
  }
}

/** All columns that an output names, including in subqueries. */
function columnsOf({ meanings }: BoundStatement, { node, column }: Output): readonly BoundColumn[] {
  if (node === undefined) return column === undefined ? [] : [column];
  const columns: BoundColumn[] = [];
  const look = (type: string, body: Body): void => {
    const meaning = meanings.get(body);
    if (meaning?.kind === "column") columns.push(meaning.column);
    forEachChild(type, body, look);
  };
  visitNode(node, look);
  return columns;
}
