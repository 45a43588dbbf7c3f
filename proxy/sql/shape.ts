import { withParameters } from "./normalise.ts";
import { NOT_PLAIN, partAt, plainEnd } from "./plain-tokens.ts";

/**
 * A text with its literals and comments put aside. Texts of one shape have the same tokens, of the same kinds, and so the
 * same tree but for the values of its constants: whoever looks at no constant sees no difference. Comments are for others
 * to read: applications put the request's number into each.
 */
export interface Shape {
  /** The text with marks in the places of what is put aside. */
  readonly key: string;
  /** Where literals and comments stand: start and end of each, byte offsets. Empty for a text without any. */
  readonly literals: readonly number[];
  /** The text has literals as well as comments: `keyWithLiterals` is a key of its own. */
  readonly isMixed: boolean;
}

/** In its place stand a zero, which no text of the protocol holds, and what kind it is of. */
const [STRING, ESCAPES, INTEGER, NUMBER, LINE, BLOCK] = [0x73, 0x65, 0x69, 0x6e, 0x6c, 0x62];

/** Statements whose literals stand in expressions; elsewhere they can be names, formats, bodies of functions. */
const STATEMENTS = new Set(["select", "insert", "update", "delete", "with", "values"]);

/** A longer text has no shape: with its literals it would seldom come again. */
const LONGEST = 16 * 1024;
/** A mark takes one byte more than the shortest literal. */
const scratch = Buffer.allocUnsafeSlow(2 * LONGEST);

const [QUOTE, SEMICOLON, OPEN, DOT, DASH, SLASH, NINE] = [0x27, 0x3b, 0x28, 0x2e, 0x2d, 0x2f, 0x39];

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
  let comments = 0;
  let hasEnded = false;
  let afterFloat: "no" | "name" | "open" = "no";
  for (let at = 0; at < length; ) {
    const end = plainEnd(bytes, at, length);
    if (end === NOT_PLAIN) return undefined;
    const part = partAt(bytes, at, length);
    const isAside = part === "literal" || part === "comment";
    // float(n) is the one place where the grammar itself looks at a constant's value (opt_float of gram.y).
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

/** The text with marks in the places of its comments alone: for a verdict that hangs on the literals. */
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

/** The scanner has a token of its own for what is no int32 (process_integer_literal of parser/scan.l). */
function kindOf(bytes: Buffer, at: number, end: number): number {
  const first = bytes[at] ?? 0;
  if (first === QUOTE) return STRING;
  if (first === DASH) return LINE;
  if (first === SLASH) return BLOCK;
  if (first > NINE) return ESCAPES;
  const dot = bytes.indexOf(DOT, at);
  return end - at < 10 && (dot < 0 || dot >= end) ? INTEGER : NUMBER;
}

/** Whether each literal of the text is a constant of an expression: of others nobody sees it when they are looked at. */
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
