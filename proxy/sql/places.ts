import type { A_Expr, Node, ResTarget } from "libpg-query";
import type { Analysis } from "./analysis.ts";
import type { Change } from "./changes.ts";
import { forEachChild, nodeOf, visitNode } from "./grammar.ts";
import type { RawStatement } from "./parse.ts";
import { quoteIdentifier, type Source } from "./source.ts";

/*
 * Where text is inserted. Each place begins at the location of a node that the grammar puts exactly there; the tokens
 * behind it are read only to find where the construct ends. Which words can stand in it unquoted is the grammar's
 * business (parser/gram.y, parser/kwlist.h): a reserved word is a keyword unless it follows a dot (attr_name) or AS in a
 * target list (ColLabel).
 */

/** Index of the FROM keyword of a query that has one, behind its targets. */
export function fromKeyword({ source }: Analysis, targets: readonly Node[]): number {
  const last = targetOf(targets.at(-1));
  let depth = 0;
  for (let index = source.tokenAt(last.location ?? 0); ; index++) {
    const text = word(source, index);
    if (text === undefined || text === ";") throw new Error("a target list without FROM");
    if (opens(text)) depth++;
    if (closes(text) && --depth < 0) throw new Error("a target list without FROM");
    if (depth > 0 || isAttribute(source, index)) continue;
    // The label may be any word.
    if (text === "as") index++;
    else if (text === "from" && !isComparison(source, index, last)) return index;
  }
}

/** The FROM of IS [NOT] DISTINCT FROM, whose node is at IS: the only one that an expression has outside of parentheses. */
function isComparison(source: Source, index: number, target: ResTarget): boolean {
  if (word(source, index - 1) !== "distinct") return false;
  const first = index - (word(source, index - 2) === "not" ? 3 : 2);
  const location = source.token(first)?.start;
  let isFound = false;
  const look = (type: string, body: object): void => {
    const { kind, location: at } = (type === "A_Expr" ? body : {}) as A_Expr;
    isFound ||= at === location && (kind === "AEXPR_DISTINCT" || kind === "AEXPR_NOT_DISTINCT");
    if (!isFound) forEachChild(type, body, look);
  };
  visitNode({ ResTarget: target }, look);
  return isFound;
}

/** The body of an item of a target list; its location is where its text begins (target_el of parser/gram.y). */
export function targetOf(node: Node | undefined): ResTarget {
  const [type, body] = node === undefined ? [] : nodeOf(node);
  if (type !== "ResTarget") throw new Error("a target list of something else");
  return body as ResTarget;
}

/**
 * Index of the first token at or after `from`, outside of parentheses, that is one of these reserved `words`, or that
 * closes a parenthesis around the clause, or that is past the statement's last token. `from` must stand in a part of the
 * statement that has no labels: behind FROM of a query, or behind the target of a write.
 */
export function clauseEnd(analysis: Analysis, from: number, words: ReadonlySet<string>): number {
  const { source } = analysis;
  let depth = 0;
  for (let index = from; ; index++) {
    const text = word(source, index);
    if (text === undefined || text === ";") return index;
    if (opens(text)) depth++;
    if (closes(text) && --depth < 0) return index;
    if (depth > 0 || isAttribute(source, index)) continue;
    if (words.has(text) && !(text === "for" && word(source, index + 1) === "(")) return index;
    // ON of a join and ON CONFLICT are one word: only the tree tells them apart.
    if (text === "on" && analysis.conflictClauses.has(source.token(index)?.start ?? -1)) return index;
  }
}

/** What may follow ORDER BY, HAVING and GROUP BY (simple_select and select_no_parens of parser/gram.y). */
export const AFTER_ORDER: ReadonlySet<string> = new Set([
  ...["limit", "offset", "fetch", "for"],
  ...["union", "intersect", "except", "returning"],
]);
export const AFTER_HAVING: ReadonlySet<string> = new Set(["window", "order", ...AFTER_ORDER]);
export const AFTER_GROUPING: ReadonlySet<string> = new Set(["having", ...AFTER_HAVING]);

/** Index of the parenthesis (or bracket) that closes the one at `open`. */
export function closingParenthesis(source: Source, open: number, opening: "(" | "[" = "("): number {
  if (word(source, open) !== opening) throw new Error("a parenthesis is not where the grammar has it");
  let depth = 0;
  for (let index = open; ; index++) {
    const text = word(source, index);
    if (text === undefined) throw new Error("an open parenthesis at the end of the text");
    if (opens(text)) depth++;
    if (closes(text) && --depth === 0) return index;
  }
}

/** Index of the statement's first token. */
export function statementStart(source: Source, raw: RawStatement): number {
  const index = source.tokens.findIndex(({ start }) => start >= raw.start);
  if (index < 0) throw new Error("a statement without tokens");
  return index;
}

/** Byte offset behind the statement's last token. */
export function statementEnd({ source, raw }: Analysis): number {
  const next = source.tokens.findIndex(({ start }) => start >= raw.end);
  const last = source.token((next < 0 ? source.tokens.length : next) - 1);
  if (last === undefined) throw new Error("a statement without tokens");
  return last.end;
}

/** Index of the keyword before an expression that begins, but for parentheses, at the byte offset `place`. */
export function keywordBefore(source: Source, place: number, keyword: string): number {
  let index = source.tokenAt(place) - 1;
  while (word(source, index) === "(") index--;
  if (word(source, index) !== keyword) throw new Error(`${keyword} is not where the grammar has it`);
  return index;
}

/** The smallest location in the nodes: where their text begins, but for parentheses. */
export function firstPlace(nodes: readonly Node[]): number | undefined {
  const smallest = smallestPlace(nodes, Number.POSITIVE_INFINITY);
  return smallest === Number.POSITIVE_INFINITY ? undefined : smallest;
}

function smallestPlace(tree: object, least: number): number {
  let smallest = least;
  for (const [key, value] of Object.entries(tree)) {
    if (typeof value === "object" && value !== null) smallest = smallestPlace(value, smallest);
    else if (key === "location" && value > 0 && value < smallest) smallest = value;
  }
  return smallest;
}

function opens(text: string): boolean {
  return text === "(" || text === "[";
}

function closes(text: string): boolean {
  return text === ")" || text === "]";
}

/** After a dot any word is a name. */
function isAttribute(source: Source, index: number): boolean {
  return word(source, index - 1) === ".";
}

/** The token in small letters; quoted names keep their quotation marks, and so are no keywords. */
export function word(source: Source, index: number): string | undefined {
  return source.token(index)?.text.toLowerCase();
}

/** Byte offset of the token at `index`, or behind the last token when there is none. */
export function placeOf(source: Source, index: number): number {
  const place = source.token(index)?.start ?? source.token(index - 1)?.end;
  if (place === undefined) throw new Error("a place in an empty text");
  return place;
}

/** Puts columns of these names behind a query's own targets. */
export function appendTargets(
  analysis: Analysis,
  targets: readonly Node[],
  columns: readonly Column[],
): void {
  const place = placeOf(analysis.source, fromKeyword(analysis, targets));
  append(analysis, place, targets, columns);
}

/** Puts columns of these names behind what the statement, a write, returns: RETURNING is the last of its clauses. */
export function appendReturned(analysis: Analysis, items: readonly Node[], columns: readonly Column[]): void {
  append(analysis, statementEnd(analysis), items, columns);
}

/** A column that is put into a list: an expression, and the name that it gets. */
export interface Column {
  readonly sql: string;
  readonly name: string;
}

function append(analysis: Analysis, place: number, items: readonly Node[], columns: readonly Column[]): void {
  const last = targetOf(items.at(-1)).location ?? 0;
  const list = columns.map(({ sql, name }) => `, ${sql} AS ${quoteIdentifier(name)}`).join("");
  const names = columns.map(({ name }) => name);
  analysis.edit(place, place, `${list} `, { kind: "items", last, names });
}

/** Puts a condition into a clause, before the clause's own, which goes from one token to before another. */
export function addCondition(
  analysis: Analysis,
  clause: { readonly first: number; readonly end: number },
  test: string,
  change: Change,
): void {
  const [first, end] = [placeOf(analysis.source, clause.first), placeOf(analysis.source, clause.end)];
  analysis.edit(first, first, `${test} AND (`, change);
  analysis.edit(end, end, ") ");
}
