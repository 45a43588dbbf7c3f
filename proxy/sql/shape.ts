import { withParameters } from "./normalise.ts";
import { beginsLiteral, beginsSpace, beginsWord, NOT_PLAIN, plainEnd, plainTokens } from "./plain-tokens.ts";

/**
 * A text with its literals put aside. Texts of one shape have the same tokens, of the same kinds, and so the
 * same tree but for the values of its constants: whoever looks at no constant sees no difference.
 */
export interface Shape {
  /** The text with marks in its literals' places. */
  readonly key: string;
  /** Where the literals stand: start and end of each, byte offsets. Empty for a text without any. */
  readonly literals: readonly number[];
}

/** In a literal's place stand a zero, which no text of the protocol holds, and what kind it is of. */
const [STRING, INTEGER, NUMBER] = [0x73, 0x69, 0x6e];

/** Statements whose literals stand in expressions; elsewhere they can be names, formats, bodies of functions. */
const STATEMENTS = new Set(["select", "insert", "update", "delete", "with", "values"]);

/** A longer text has no shape: with its literals it would seldom come again. */
const LONGEST = 16 * 1024;
/** A mark takes one byte more than the shortest literal. */
const scratch = Buffer.allocUnsafeSlow(2 * LONGEST);

const [QUOTE, SEMICOLON, OPEN, DOT] = [0x27, 0x3b, 0x28, 0x2e];

/**
 * Undefined for texts that could mean more than their tokens tell: not plain ones, other statements, several
 * statements.
 */
export function shapeOf(bytes: Buffer): Shape | undefined {
  const { length } = bytes;
  if (length > LONGEST) return undefined;
  const literals: number[] = [];
  let size = 0;
  let words = 0;
  let hasEnded = false;
  let afterFloat: "no" | "name" | "open" = "no";
  for (let at = 0; at < length; ) {
    const end = plainEnd(bytes, at, length);
    if (end === NOT_PLAIN) return undefined;
    const first = bytes[at];
    if (beginsSpace(first)) {
      size = keep(bytes, at, end, size);
    } else {
      if (hasEnded) return undefined;
      if (words++ === 0 && !STATEMENTS.has(lower(bytes, at, end))) return undefined;
      if (beginsLiteral(first)) {
        // float(n) is the one place where the grammar itself looks at a constant's value (opt_float of gram.y).
        if (afterFloat === "open") return undefined;
        literals.push(at, end);
        scratch[size++] = 0;
        scratch[size++] = kindOf(bytes, at, end);
      } else {
        size = keep(bytes, at, end, size);
      }
      hasEnded = first === SEMICOLON;
      if (first === OPEN && afterFloat === "name") afterFloat = "open";
      else
        afterFloat = beginsWord(first) && end - at === 5 && lower(bytes, at, end) === "float" ? "name" : "no";
    }
    at = end;
  }
  return words === 0 ? undefined : { key: scratch.toString("latin1", 0, size), literals };
}

function keep(bytes: Buffer, from: number, end: number, size: number): number {
  let to = size;
  for (let at = from; at < end; at++) scratch[to++] = bytes[at] ?? 0;
  return to;
}

function lower(bytes: Buffer, at: number, end: number): string {
  return bytes.toString("latin1", at, end).toLowerCase();
}

/** The scanner has a token of its own for what is no int32 (process_integer_literal of parser/scan.l). */
function kindOf(bytes: Buffer, at: number, end: number): number {
  if (bytes[at] === QUOTE) return STRING;
  const dot = bytes.indexOf(DOT, at);
  return end - at < 10 && (dot < 0 || dot >= end) ? INTEGER : NUMBER;
}

/** Whether each literal of the text is a constant of an expression: of others nobody sees it when they are looked at. */
export function isShareable(text: string): boolean {
  const tokens = plainTokens(withParameters(text));
  return (
    tokens !== undefined &&
    tokens.length > 0 &&
    !tokens.some((token) => beginsLiteral(token.text.charCodeAt(0)))
  );
}
