import type { RangeVar } from "libpg-query";
import type { RawStatement } from "../parse/parse-text.ts";
import type { Source } from "../parse/source.ts";

/* The tokens at a node's location: they give the length of the grammar's construct there (parser/gram.y). */

/** The token in lower case; quoted names keep their quotation marks, and so never equal a keyword. */
export function word(source: Source, index: number): string | undefined {
  return source.token(index)?.text.toLowerCase();
}

/** Byte offset of the token at `index`, or after the last token if there is none. */
export function placeOf(source: Source, index: number): number {
  const place = source.token(index)?.start ?? source.token(index - 1)?.end;
  if (place === undefined) throw new Error("a place in an empty text");
  return place;
}

/** The bytes from one token to another, both included. */
export function bytesOf(
  source: Source,
  { first, last }: { readonly first: number; readonly last: number },
): { readonly start: number; readonly end: number } {
  const [start, end] = [source.token(first)?.start, source.token(last)?.end];
  if (start === undefined || end === undefined) throw new Error("a node without tokens");
  return { start, end };
}

export function opens(text: string): boolean {
  return text === "(" || text === "[";
}

export function closes(text: string): boolean {
  return text === ")" || text === "]";
}

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

/** Byte offset after the statement's last token. */
export function statementEnd(source: Source, raw: RawStatement): number {
  const next = source.tokens.findIndex(({ start }) => start >= raw.end);
  const last = source.token((next < 0 ? source.tokens.length : next) - 1);
  if (last === undefined) throw new Error("a statement without tokens");
  return last.end;
}

/** Token indexes of a relation name and its surroundings: `ONLY (a.b)`, `a.b *`. */
export interface NameSpan {
  readonly first: number;
  readonly last: number;
  readonly nameFirst: number;
  readonly nameLast: number;
  readonly only: boolean;
}

export function nameSpan(source: Source, name: RangeVar): NameSpan {
  const nameFirst = source.tokenAt(name.location ?? 0);
  const nameLast = source.nameEnd(nameFirst);
  if (name.inh !== true) {
    const inParentheses = word(source, nameFirst - 1) === "(";
    const first = inParentheses ? nameFirst - 2 : nameFirst - 1;
    if (word(source, first) !== "only") throw new Error("ONLY is not where the grammar has it");
    return { first, last: inParentheses ? nameLast + 1 : nameLast, nameFirst, nameLast, only: true };
  }
  // "name *" is the old form of "with its children"; a star after a relation's name is never an operator.
  return {
    first: nameFirst,
    last: word(source, nameLast + 1) === "*" ? nameLast + 1 : nameLast,
    nameFirst,
    nameLast,
    only: false,
  };
}
