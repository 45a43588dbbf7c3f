import { normalize, treeText } from "../parser/parser.ts";
import { scanTokens } from "./parse.ts";
import { plainTokens } from "./plain-tokens.ts";
import { applyInOrder } from "./rewrite.ts";

/** The text without comments and literals, $n in place of these, for audit events; empty when it does not parse. */
export function normalise(text: string): string {
  const parameterised = withParameters(text);
  if (parameterised === "") return "";
  try {
    return withoutComments(withoutLiterals(parameterised));
  } catch {
    // `'a'AND` has become `$1AND`, which the scanner takes for a mistake.
    return withoutLiterals(withoutComments(text));
  }
}

/** Throws for a text that the scanner cannot read to its end. What stands between two tokens is space, or has a comment. */
function withoutComments(text: string): string {
  if (!/--|\/\*/.test(text)) return text;
  const bytes = Buffer.from(text);
  const parts: string[] = [];
  let from = 0;
  for (const token of scanTokens(text)) {
    const between = bytes.toString("utf8", from, token.start);
    const isSpace = between.trim() === "";
    if (!isSpace && parts.length > 0) parts.push(" ");
    parts.push(isSpace ? between : "", token.text);
    from = token.end;
  }
  return parts.join("");
}

/**
 * The text with the constants of its expressions replaced by $n, as pg_stat_statements has it; empty when it does
 * not parse. Other literals stay: those of EXECUTE, of a prepared query, of defaults, paths, comments on tables.
 */
export function withParameters(text: string): string {
  if (text === "") return "";
  try {
    // Of a text that the scanner cannot read to its end the library gives the error in place of the text, and a
    // literal in it.
    if (plainTokens(text) === undefined) treeText(text);
    return normalize(text);
  } catch {
    return "";
  }
}

/** How strings and numbers of any form begin (Postgres docs, "Constants"). The scanner's own names lack some. */
const LITERAL = /^(?:'|\d|\.\d|\$\D|[bex]'|u&')/i;

/** Throws for a text that the scanner cannot read to its end. */
function withoutLiterals(text: string): string {
  const literals = scanTokens(text).filter((token) => LITERAL.test(token.text));
  if (literals.length === 0) return text;
  const taken = [...text.matchAll(/\$(\d{1,9})/g)].map(([, number]) => Number(number));
  const first = Math.max(0, ...taken) + 1;
  const edits = literals.map(({ start, end }, index) => ({ at: start, end, text: `$${first + index}` }));
  return applyInOrder(Buffer.from(text), edits).toString("utf8");
}
