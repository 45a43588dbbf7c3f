import type { Node } from "libpg-query";
import type { Analysis } from "./analysis.ts";
import type { Source } from "./source.ts";

/** The smallest location in the nodes: where their text begins, but for parentheses, LATERAL and ONLY before it. */
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

/** Index of the FROM keyword of a FROM clause: the nearest before its first item, but for that of ROWS FROM. */
export function fromKeyword(source: Source, clause: readonly Node[]): number {
  const place = firstPlace(clause);
  if (place === undefined) throw new Error("a FROM clause without a place");
  for (let index = source.tokenAt(place); index >= 0; index--) {
    if (word(source, index) === "from" && word(source, index - 1) !== "rows") return index;
  }
  throw new Error("a FROM clause without FROM");
}

/**
 * Index of the first token at or after `from`, outside of parentheses, that is one of `words`, or that closes a parenthesis
 * around the clause, or that is past the last token.
 */
export function clauseEnd(source: Source, from: number, words: ReadonlySet<string>): number {
  let depth = 0;
  for (let index = from; ; index++) {
    const text = word(source, index);
    if (text === undefined || text === ";") return index;
    if (text === "(" || text === "[") depth++;
    if ((text === ")" || text === "]") && --depth < 0) return index;
    // After a dot any keyword is a name.
    if (depth === 0 && words.has(text) && word(source, index - 1) !== ".") return index;
  }
}

export function word(source: Source, index: number): string | undefined {
  return source.token(index)?.text.toLowerCase();
}

/** Inserts before the token at `index`, or after the last token when there is none. */
export function insertBefore(analysis: Analysis, index: number, text: string): void {
  const place = analysis.source.token(index)?.start ?? analysis.source.token(index - 1)?.end;
  if (place === undefined) throw new Error("an insertion into an empty text");
  analysis.edit(place, place, text);
}
