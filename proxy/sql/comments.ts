import { scanTokens } from "./parse/parse-text.ts";
import { NOT_PLAIN, partAt, plainEnd } from "./parse/plain-tokens.ts";

/** Texts with more or longer comments are not read: marks that name people need neither. */
const MOST_COMMENTS = 50;
const LONGEST_COMMENT = 4 * 1024;

/**
 * The comments of a text, each with its delimiters, as Postgres's scanner finds them: something that looks like a
 * comment inside a string or a name is not one. Undefined if they cannot be determined.
 */
export function commentsOf(text: Buffer): readonly string[] | undefined {
  if (!text.includes("/*") && !text.includes("--")) return NONE;
  const comments: string[] = [];
  for (let at = 0; at < text.length; ) {
    const end = plainEnd(text, at, text.length);
    if (end === NOT_PLAIN) return byScanner(text);
    if (partAt(text, at, text.length) === "comment") comments.push(text.toString("utf8", at, end));
    at = end;
  }
  return bounded(comments);
}

const NONE: readonly string[] = [];

/** Between two tokens there is only white space and comments. */
function byScanner(text: Buffer): readonly string[] | undefined {
  const comments: string[] = [];
  try {
    let from = 0;
    for (const { start, end } of [...scanTokens(text.toString("utf8")), { start: text.length, end: 0 }]) {
      comments.push(...commentsIn(text.toString("utf8", from, start)));
      from = end;
    }
  } catch {
    return undefined;
  }
  return bounded(comments);
}

/** Block comments nest (Postgres docs, "Comments"). */
function commentsIn(gap: string): readonly string[] {
  const comments: string[] = [];
  for (let at = 0; at < gap.length; ) {
    const end = gap.startsWith("--", at)
      ? lineEnd(gap, at)
      : gap.startsWith("/*", at)
        ? blockEnd(gap, at)
        : at + 1;
    if (end > at + 1) comments.push(gap.slice(at, end));
    at = end;
  }
  return comments;
}

function lineEnd(gap: string, from: number): number {
  const length = gap.slice(from).search(/[\r\n]/);
  return length < 0 ? gap.length : from + length;
}

function blockEnd(gap: string, from: number): number {
  let depth = 0;
  for (let at = from; at < gap.length; ) {
    if (gap.startsWith("/*", at)) {
      depth++;
      at += 2;
    } else if (gap.startsWith("*/", at)) {
      depth--;
      at += 2;
      if (depth === 0) return at;
    } else at++;
  }
  return gap.length;
}

function bounded(comments: readonly string[]): readonly string[] | undefined {
  const isLong = comments.length > MOST_COMMENTS || comments.some(({ length }) => length > LONGEST_COMMENT);
  return isLong ? undefined : comments;
}
