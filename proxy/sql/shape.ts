import { normalise } from "./parse.ts";
import { plainTokens, type Token } from "./plain-tokens.ts";

/**
 * A text with its literals put aside. Texts of one shape have the same tokens, of the same kinds, and so the
 * same tree but for the values of its constants: whoever looks at no constant sees no difference.
 */

/** In a literal's place. No text of the protocol holds a zero, so a shape is no text. */
const ASIDE = { string: "\0s", integer: "\0i", number: "\0n" } as const;

/** Statements whose literals stand in expressions; elsewhere they can be names, formats, bodies of functions. */
const STATEMENTS = new Set(["select", "insert", "update", "delete", "with", "values"]);

/**
 * Undefined where there are no literals to put aside, and for texts that could mean more: not plain ones, other
 * statements, several statements.
 */
export function shapeOf(text: string): string | undefined {
  const tokens = plainTokens(text);
  const [first] = tokens ?? [];
  if (tokens === undefined || first === undefined || !STATEMENTS.has(first.text.toLowerCase()))
    return undefined;
  let shape = "";
  let from = 0;
  for (const [index, token] of tokens.entries()) {
    if (token.text === ";" && index < tokens.length - 1) return undefined;
    if (!isLiteral(token)) continue;
    if (isLookedAt(tokens, index)) return undefined;
    shape += text.slice(from, token.start) + asideOf(token.text);
    from = token.end;
  }
  return from === 0 ? undefined : shape + text.slice(from);
}

/** Whether what the audit log has of this text holds for its whole shape: no literal is left in it. */
export function isShareable(text: string): boolean {
  const tokens = plainTokens(normalise(text));
  return tokens !== undefined && tokens.length > 0 && !tokens.some(isLiteral);
}

function isLiteral({ text }: Token): boolean {
  const first = text.charCodeAt(0);
  return first === QUOTE || (first >= ZERO && first <= NINE);
}

const [QUOTE, ZERO, NINE] = [0x27, 0x30, 0x39];

/** The scanner has a token of its own for what is no int32 (process_integer_literal of parser/scan.l). */
function asideOf(literal: string): string {
  if (literal.startsWith("'")) return ASIDE.string;
  return literal.length < 10 && !literal.includes(".") ? ASIDE.integer : ASIDE.number;
}

/** float(n) is the one place where the grammar itself looks at a constant's value (opt_float of parser/gram.y). */
function isLookedAt(tokens: readonly Token[], index: number): boolean {
  return tokens[index - 1]?.text === "(" && tokens[index - 2]?.text.toLowerCase() === "float";
}
