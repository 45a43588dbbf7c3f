import { withParameters } from "./normalise.ts";
import { NOT_PLAIN, partAt, plainEnd } from "./parse/plain-tokens.ts";

/**
 * A text with its literals and comments taken out. Texts of one shape have the same tokens of the same kinds, and so
 * the same tree except for the values of its constants: code that looks at no constant treats them alike. Comments are
 * taken out because applications put the number of the request into each.
 */
export interface Shape {
  /** The text with marks in place of what is taken out. */
  readonly key: string;
  /** Positions of literals and comments: start and end of each, as byte offsets. Empty for a text without any. */
  readonly literals: readonly number[];
  /** The text has both literals and comments: `keyWithLiterals` gives a different key. */
  readonly isMixed: boolean;
}

/** A mark is a zero byte, which no text of the protocol contains, followed by the kind of what it replaces. */
const [STRING, ESCAPES, INTEGER, NUMBER, LINE, BLOCK] = [0x73, 0x65, 0x69, 0x6e, 0x6c, 0x62];

/** Statements whose literals are always in expressions; in others they can be names, formats or function bodies. */
const STATEMENTS = new Set(["select", "insert", "update", "delete", "with", "values"]);

/** A longer text has no shape: with its literals it would rarely be repeated. */
const LONGEST = 16 * 1024;
/** If false, `shapeOf` returns undefined. */
export function mayHaveShape(text: string): boolean {
  return text.length <= LONGEST;
}

/** A mark takes one byte more than the shortest literal. */
const scratch = Buffer.allocUnsafeSlow(2 * LONGEST);

const [QUOTE, SEMICOLON, OPEN, DOT, DASH, SLASH, NINE] = [0x27, 0x3b, 0x28, 0x2e, 0x2d, 0x2f, 0x39];

/**
 * Undefined for texts whose meaning may depend on more than their tokens: texts that are not plain, other statements,
 * several statements.
 */
export function shapeOf(bytes: Buffer): Shape | undefined {
  const { length } = bytes;
  if (length > LONGEST) return undefined;
  const literals: number[] = [];
  let size = 0;
  let words = 0;
  let comments = 0;
  let hasEnded = false;
  let afterFloat: "no" | "name" | "open" = "no";
  for (let at = 0; at < length; ) {
    const end = plainEnd(bytes, at, length);
    if (end === NOT_PLAIN) return undefined;
    const part = partAt(bytes, at, length);
    const isAside = part === "literal" || part === "comment";
    // float(n) is the only place where the grammar itself looks at a constant's value (opt_float of gram.y).
    if (part === "literal" && afterFloat === "open") return undefined;
    if (isAside) {
      literals.push(at, end);
      if (part === "comment") comments++;
      scratch[size++] = 0;
      scratch[size++] = kindOf(bytes, at, end);
    } else {
      size = keep(bytes, at, end, size);
    }
    if (part !== "space" && part !== "comment") {
      if (hasEnded) return undefined;
      if (words++ === 0 && !STATEMENTS.has(lower(bytes, at, end))) return undefined;
      hasEnded = bytes[at] === SEMICOLON;
      if (bytes[at] === OPEN && afterFloat === "name") afterFloat = "open";
      else
        afterFloat = part === "word" && end - at === 5 && lower(bytes, at, end) === "float" ? "name" : "no";
    }
    at = end;
  }
  if (words === 0) return undefined;
  const isMixed = comments > 0 && 2 * comments < literals.length;
  return { key: scratch.toString("latin1", 0, size), literals, isMixed };
}

/** The text with marks in place of its comments only: for a verdict that depends on the literals. */
export function keyWithLiterals(bytes: Buffer, { literals }: Shape): string {
  let from = 0;
  let size = 0;
  for (let i = 0; i < literals.length; i += 2) {
    const at = literals[i] ?? 0;
    if (partAt(bytes, at, bytes.length) !== "comment") continue;
    size = keep(bytes, from, at, size);
    scratch[size++] = 0;
    scratch[size++] = kindOf(bytes, at, at);
    from = literals[i + 1] ?? 0;
  }
  return scratch.toString("latin1", 0, keep(bytes, from, bytes.length, size));
}

function keep(bytes: Buffer, from: number, end: number, size: number): number {
  let to = size;
  for (let at = from; at < end; at++) scratch[to++] = bytes[at] ?? 0;
  return to;
}

function lower(bytes: Buffer, at: number, end: number): string {
  return bytes.toString("latin1", at, end).toLowerCase();
}

/** The scanner has a separate token for numbers that do not fit int32 (process_integer_literal of parser/scan.l). */
function kindOf(bytes: Buffer, at: number, end: number): number {
  const first = bytes[at] ?? 0;
  if (first === QUOTE) return STRING;
  if (first === DASH) return LINE;
  if (first === SLASH) return BLOCK;
  if (first > NINE) return ESCAPES;
  const dot = bytes.indexOf(DOT, at);
  return end - at < 10 && (dot < 0 || dot >= end) ? INTEGER : NUMBER;
}

/**
 * Whether each literal of the text is a constant of an expression. For other literals it is not recorded when code
 * looks at them.
 */
export function isShareable(text: string): boolean {
  const bytes = Buffer.from(withParameters(text));
  if (bytes.length === 0) return false;
  for (let at = 0; at < bytes.length; ) {
    const end = plainEnd(bytes, at, bytes.length);
    if (end === NOT_PLAIN || partAt(bytes, at, bytes.length) === "literal") return false;
    at = end;
  }
  return true;
}
