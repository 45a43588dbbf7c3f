import type { A_Expr, Node, ResTarget } from "libpg-query";
import { forEachChild, nodeOf, visitNode } from "../parse/grammar.ts";
import type { Source } from "../parse/source.ts";
import type { MadeEdit } from "../verdict.ts";
import type { Rewriting } from "./rewriting.ts";
import { closes, opens, placeOf, word } from "./source-tokens.ts";
import type { Change } from "./text-changes.ts";

/*
 * Finds where clauses begin and end, which Postgres's tree does not say: it has the location of a target and of a name,
 * but not of FROM, of HAVING or of the end of a query. Each search begins at a node's location, or after one, and reads
 * tokens up to the next grammar word that can follow. Which words can appear unquoted in a clause is defined by the
 * grammar (parser/gram.y, parser/kwlist.h): a reserved word is a keyword unless it follows a dot (attr_name) or AS in a
 * target list (ColLabel). Verification proves afterwards that the position is right: it finds the change at the node
 * for which it was made, or the statement is refused.
 */

/** Index of the FROM keyword after the targets, for a query that has one. */
export function fromKeyword(source: Source, targets: readonly Node[]): number {
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

/**
 * The FROM of IS [NOT] DISTINCT FROM, whose node is at IS: the only FROM that an expression can contain outside
 * parentheses.
 */
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
function targetOf(node: Node | undefined): ResTarget {
  const [type, body] = node === undefined ? [] : nodeOf(node);
  if (type !== "ResTarget") throw new Error("a target list of something else");
  return body as ResTarget;
}

/** Where the last target begins: changes of a query are located by it. */
export function lastTarget(targets: readonly Node[]): number {
  return targetOf(targets.at(-1)).location ?? 0;
}

/**
 * Index of the first token at or after `from`, outside parentheses, that is one of these reserved `words`, or that
 * closes a parenthesis around the clause, or that is past the statement's last token. `from` must be in a part of the
 * statement without labels: after FROM of a query, or after the target of a write.
 */
export function clauseEnd(
  { source, conflictClauses }: Rewriting,
  from: number,
  words: ReadonlySet<string>,
): number {
  let depth = 0;
  for (let index = from; ; index++) {
    const text = word(source, index);
    if (text === undefined || text === ";") return index;
    if (opens(text)) depth++;
    if (closes(text) && --depth < 0) return index;
    if (depth > 0 || isAttribute(source, index)) continue;
    if (words.has(text) && !(text === "for" && word(source, index + 1) === "(")) return index;
    // ON of a join and of ON CONFLICT are the same word: only the tree distinguishes them.
    if (text === "on" && conflictClauses.has(source.token(index)?.start ?? -1)) return index;
  }
}

/** What may follow ORDER BY, HAVING and GROUP BY (simple_select and select_no_parens of parser/gram.y). */
export const AFTER_ORDER: ReadonlySet<string> = new Set([
  ...["limit", "offset", "fetch", "for"],
  ...["union", "intersect", "except", "returning"],
]);
export const AFTER_HAVING: ReadonlySet<string> = new Set(["window", "order", ...AFTER_ORDER]);
export const AFTER_GROUPING: ReadonlySet<string> = new Set(["having", ...AFTER_HAVING]);

/** Index of the keyword before an expression that, apart from parentheses, begins at the byte offset `place`. */
export function keywordBefore(source: Source, place: number, keyword: string): number {
  let index = source.tokenAt(place) - 1;
  while (word(source, index) === "(") index--;
  if (word(source, index) !== keyword) throw new Error(`${keyword} is not where the grammar has it`);
  return index;
}

/** The smallest location in the nodes: where their text begins, apart from parentheses. */
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

/** Any word after a dot is a name. */
function isAttribute(source: Source, index: number): boolean {
  return word(source, index - 1) === ".";
}

/** Inserts text at the end of a clause that contains or follows `from`. */
export function insertBefore(
  rewriting: Rewriting,
  { from, words }: { readonly from: number; readonly words: ReadonlySet<string> },
  text: string,
  change: Change,
): MadeEdit {
  const at = placeOf(rewriting.source, clauseEnd(rewriting, from, words));
  return { at, end: at, text, change };
}
