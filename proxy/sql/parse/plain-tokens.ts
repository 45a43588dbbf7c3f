/** One token of a text, with its byte offsets. */
export interface Token {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** The kinds of a byte, as bits. */
const SPACE = 1;
const LETTER = 2;
const DIGIT = 4;
/** Part of an operator: if one follows a plain operator, the scanner would read both as one. */
const OPERATOR = 8;
/** An operator on its own. */
const SINGLE = 16;
/** A token on its own. */
const MARK = 32;
const WORD = LETTER | DIGIT;

const KINDS = new Uint8Array(256);
for (const [kind, characters] of [
  [SPACE, " \t\n\r\f"],
  [LETTER, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"],
  [DIGIT, "0123456789"],
  [OPERATOR, "+-*/<>=~!@#%^&|`?:"],
  [SINGLE, "=<>+-*/%"],
  [MARK, "(),;[]"],
] as const) {
  for (const character of characters) {
    const at = character.charCodeAt(0);
    KINDS[at] = (KINDS[at] ?? 0) | kind;
  }
}

// The scanner treats each byte of a non-ASCII character as a letter (parser/scan.l, "ident_start").
KINDS.fill(LETTER, 0x80);

const [QUOTE, DOUBLE_QUOTE, DOLLAR, BACKSLASH, AMPERSAND] = [0x27, 0x22, 0x24, 0x5c, 0x26];
const [DOT, COLON, EQUALS, LESS, GREATER, NOT, BAR] = [0x2e, 0x3a, 0x3d, 0x3c, 0x3e, 0x21, 0x7c];
const [DASH, SLASH, STAR, NEWLINE, RETURN] = [0x2d, 0x2f, 0x2a, 0x0a, 0x0d];

/** The end offset in a text that is not plain. */
export const NOT_PLAIN = -1;

/**
 * The offset after the token, the white space or the comment that begins at `at` (before `end`), if it belongs to the
 * plain part of Postgres's lexical syntax (Postgres docs, "Lexical Structure"). Otherwise NOT_PLAIN, and Postgres's own
 * scanner must read the text. For each kind there is a check of what must not follow, so that it ends where that
 * scanner ends it. Of strings, '…' and E'…' are plain, as they are while standard_conforming_strings is on; rare
 * operators are not plain.
 */
export function plainEnd(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at] ?? 0;
  const kind = KINDS[first] ?? 0;
  if (kind & LETTER) {
    return beginsEscapeString(bytes, at) ? stringEnd(bytes, at + 2, end, true) : wordEnd(bytes, at, end);
  }
  if (kind & SPACE) return runEnd(bytes, at, end, SPACE);
  if (kind & DIGIT) return numberEnd(bytes, at, end);
  if (kind & MARK) return at + 1;
  switch (first) {
    case QUOTE:
      return stringEnd(bytes, at + 1, end, false);
    case DOUBLE_QUOTE:
      return nameEnd(bytes, at + 1, end);
    case DOLLAR:
      return parameterEnd(bytes, at + 1, end);
    case DOT:
      return at + 1 < end && (is(bytes[at + 1], DIGIT) || bytes[at + 1] === DOT) ? NOT_PLAIN : at + 1;
    case COLON:
      if (at + 1 < end && bytes[at + 1] === EQUALS) return NOT_PLAIN;
      if (at + 1 >= end || bytes[at + 1] !== COLON) return at + 1;
      return operatorEnd(bytes, at + 2, end);
    default:
      if (beginsComment(bytes, at, end)) return commentEnd(bytes, at, end);
      return kind & OPERATOR ? operatorEnd(bytes, at + operatorLength(bytes, at, end), end) : NOT_PLAIN;
  }
}

function is(byte: number | undefined, kind: number): boolean {
  return ((KINDS[byte ?? 0] ?? 0) & kind) !== 0;
}

function runEnd(bytes: Uint8Array, from: number, end: number, kind: number): number {
  let at = from;
  while (at < end && is(bytes[at], kind)) at++;
  return at;
}

/** Not the prefix of a literal (E'…', U&"…"), and without a dollar inside. */
function wordEnd(bytes: Uint8Array, from: number, end: number): number {
  const at = runEnd(bytes, from, end, WORD);
  if (at === end) return at;
  const next = bytes[at] ?? 0;
  const goesOn = next === DOLLAR || next === QUOTE || next === DOUBLE_QUOTE || next === AMPERSAND;
  return goesOn ? NOT_PLAIN : at;
}

function numberEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = runEnd(bytes, from, end, DIGIT);
  if (at + 1 < end && bytes[at] === DOT && is(bytes[at + 1], DIGIT)) at = runEnd(bytes, at + 1, end, DIGIT);
  return at < end && bytes[at] === DOT ? NOT_PLAIN : digitsEnd(bytes, at, end);
}

function parameterEnd(bytes: Uint8Array, from: number, end: number): number {
  const at = runEnd(bytes, from, end, DIGIT);
  // A number beyond int32 is an error of the scanner (parser/scan.l, "parameter number too large").
  return at === from || at - from > 9 ? NOT_PLAIN : digitsEnd(bytes, at, end);
}

function digitsEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at === end) return at;
  const next = bytes[at] ?? 0;
  const goesOn = is(next, WORD) || next === DOLLAR || next === QUOTE || next === DOUBLE_QUOTE;
  return goesOn ? NOT_PLAIN : at;
}

/**
 * `hasEscapes`: a backslash removes the special meaning of the next byte. A numeric code after a backslash can be
 * invalid: such strings are not plain.
 */
function stringEnd(bytes: Uint8Array, from: number, end: number, hasEscapes: boolean): number {
  let at = from;
  for (; at < end; at++) {
    const byte = bytes[at];
    if (byte === BACKSLASH && hasEscapes) {
      at++;
      if (beginsCode(bytes[at])) return NOT_PLAIN;
      continue;
    }
    if (byte !== QUOTE) continue;
    if (at + 1 >= end || bytes[at + 1] !== QUOTE) break;
    at++;
  }
  return at >= end || isContinued(bytes, at + 1, end) ? NOT_PLAIN : at + 1;
}

/** For an octal, a hexadecimal or a Unicode escape (Postgres docs, "String Constants with C-Style Escapes"). */
function beginsCode(byte = 0): boolean {
  return is(byte, DIGIT) || (byte | 0x20) === 0x78 || (byte | 0x20) === 0x75;
}

/** A string may be continued by another one that follows it after white space and `--` comments. */
function isContinued(bytes: Uint8Array, from: number, end: number): boolean {
  let at = from;
  for (;;) {
    // From tab to carriage return, and the space: includes the vertical tab, which newer servers accept.
    while (at < end && (bytes[at] === 0x20 || ((bytes[at] ?? 0) >= 9 && (bytes[at] ?? 0) <= 13))) at++;
    if (at + 1 >= end || bytes[at] !== DASH || bytes[at + 1] !== DASH) break;
    at = lineEnd(bytes, at, end);
  }
  return at < end && bytes[at] === QUOTE;
}

function beginsComment(bytes: Uint8Array, at: number, end: number): boolean {
  if (at + 1 >= end) return false;
  const next = bytes[at + 1];
  return bytes[at] === DASH ? next === DASH : bytes[at] === SLASH && next === STAR;
}

/** Block comments may contain others (Postgres docs, "Comments"). */
function commentEnd(bytes: Uint8Array, from: number, end: number): number {
  if (bytes[from] === DASH) return lineEnd(bytes, from, end);
  let depth = 1;
  let at = from + 2;
  for (; at + 1 < end; at++) {
    const [byte, next] = [bytes[at], bytes[at + 1]];
    if (byte === STAR && next === SLASH) {
      depth--;
      at++;
      if (depth === 0) return at + 1;
    } else if (byte === SLASH && next === STAR) {
      depth++;
      at++;
    }
  }
  return NOT_PLAIN;
}

function lineEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  while (at < end && bytes[at] !== NEWLINE && bytes[at] !== RETURN) at++;
  return at;
}

function nameEnd(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at < end; at++) {
    if (bytes[at] !== DOUBLE_QUOTE) continue;
    if (at + 1 < end && bytes[at + 1] === DOUBLE_QUOTE) at++;
    else return at === from ? NOT_PLAIN : at + 1;
  }
  return NOT_PLAIN;
}

/** `<=`, `>=`, `<>`, `!=`, `||`, or one character; 0 for anything else. */
function operatorLength(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at];
  const second = at + 1 < end ? bytes[at + 1] : 0;
  const isPair =
    second === EQUALS
      ? first === LESS || first === GREATER || first === NOT
      : (second === GREATER && first === LESS) || (second === BAR && first === BAR);
  if (isPair) return 2;
  return is(first, SINGLE) ? 1 : 0;
}

/** A comment ends an operator (parser/scan.l, "operator"). */
function operatorEnd(bytes: Uint8Array, at: number, end: number): number {
  return at < end && is(bytes[at], OPERATOR) && !beginsComment(bytes, at, end) ? NOT_PLAIN : at;
}

/**
 * The tokens of a text that contains only plain ones; undefined for any other text. It exists only for its speed:
 * Postgres's scanner takes as long as the parser.
 */
export function plainTokens(text: string): readonly Token[] | undefined {
  const bytes = Buffer.from(text);
  // Byte offsets equal character offsets only if each character is one byte.
  const isAscii = bytes.length === text.length;
  const tokens: Token[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = plainEnd(bytes, start, bytes.length);
    if (end === NOT_PLAIN) return undefined;
    if (!is(bytes[start], SPACE) && !beginsComment(bytes, start, bytes.length)) {
      tokens.push({
        start,
        end,
        text: isAscii ? text.slice(start, end) : bytes.toString("utf8", start, end),
      });
    }
    start = end;
  }
  return tokens;
}

/** The kind of a plain part of a text. */
export type PlainPart = "space" | "comment" | "literal" | "word" | "other";

/** For a position where `plainEnd` finds something plain. Quoted names are "other". */
export function partAt(bytes: Uint8Array, at: number, end: number): PlainPart {
  const first = bytes[at];
  if (is(first, SPACE)) return "space";
  if (first === QUOTE || is(first, DIGIT) || beginsEscapeString(bytes, at)) return "literal";
  if (is(first, LETTER)) return "word";
  return beginsComment(bytes, at, end) ? "comment" : "other";
}

function beginsEscapeString(bytes: Uint8Array, at: number): boolean {
  return ((bytes[at] ?? 0) | 0x20) === 0x65 && bytes[at + 1] === QUOTE;
}
