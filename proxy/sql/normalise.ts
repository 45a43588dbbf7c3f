import { normalize, treeText } from "../parser/parser.ts";
import { applyInOrder } from "./emit/rewrite.ts";
import { scanTokens } from "./parse/parse-text.ts";
import { plainTokens } from "./parse/plain-tokens.ts";

/** The text without comments, and with $n in place of literals, for audit events; empty if it does not parse. */
export function normalise(text: string): string {
  const parameterised = withParameters(text);
  if (parameterised === "") return "";
  try {
    return withoutComments(withoutLiterals(parameterised));
  } catch {
    // `'a'AND` has become `$1AND`, which the scanner rejects.
    return withoutLiterals(withoutComments(text));
  }
}

/** Throws for a text that the scanner cannot read to its end. Between two tokens there is white space or a comment. */
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
 * The text with the constants of its expressions replaced by $n, as in pg_stat_statements; empty if it does not parse.
 * Other literals stay: those of EXECUTE, of a prepared query, of defaults, paths, comments on tables.
 */
export function withParameters(text: string): string {
  if (text === "") return "";
  try {
    // For a text that the scanner cannot read to its end, the library returns the error in place of the text, including
    // any literal quoted in it.
    if (plainTokens(text) === undefined) treeText(text);
    return normalize(text);
  } catch {
    return "";
  }
}

/**
 * How strings and numbers of all forms begin (Postgres docs, "Constants"). The scanner's own token names do not cover
 * all of them.
 */
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
