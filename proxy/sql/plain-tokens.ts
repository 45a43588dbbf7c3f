/** One token of a text, with its byte offsets. */
export interface Token {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/** What a byte is, in bits. */
const SPACE = 1;
const LETTER = 2;
const DIGIT = 4;
/** A part of operators: where one of them follows a plain operator, the scanner would take both as one. */
const OPERATOR = 8;
/** An operator by itself. */
const SINGLE = 16;
/** A token by itself. */
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

const [QUOTE, DOUBLE_QUOTE, DOLLAR, BACKSLASH, AMPERSAND] = [0x27, 0x22, 0x24, 0x5c, 0x26];
const [DOT, COLON, EQUALS, LESS, GREATER, NOT, BAR] = [0x2e, 0x3a, 0x3d, 0x3c, 0x3e, 0x21, 0x7c];
const NOT_ASCII = 0x80;

/** Where a text that is not plain ends. */
export const NOT_PLAIN = -1;

/**
 * The offset behind the token, or the white space, that begins at `at` (before `end`), if it is of the plain part
 * of Postgres's lexical syntax (Postgres docs, "Lexical Structure"); else NOT_PLAIN, and Postgres's own scanner must
 * read the text. Each kind is fenced by what must not follow, so that it ends where that scanner ends it.
 * Comments, escapes, rare operators and all that is not ASCII are not plain.
 */
export function plainEnd(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at] ?? 0;
  const kind = KINDS[first] ?? 0;
  if (kind & LETTER) return wordEnd(bytes, at, end);
  if (kind & SPACE) return runEnd(bytes, at, end, SPACE);
  if (kind & DIGIT) return numberEnd(bytes, at, end);
  if (kind & MARK) return at + 1;
  switch (first) {
    case QUOTE:
      return stringEnd(bytes, at + 1, end);
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

/** Not the prefix of a literal (E'…', U&"…"), and no dollar inside. */
function wordEnd(bytes: Uint8Array, from: number, end: number): number {
  const at = runEnd(bytes, from, end, WORD);
  if (at === end) return at;
  const next = bytes[at] ?? 0;
  const goesOn = next === DOLLAR || next === QUOTE || next === DOUBLE_QUOTE || next === AMPERSAND;
  return goesOn || next >= NOT_ASCII ? NOT_PLAIN : at;
}

function numberEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = runEnd(bytes, from, end, DIGIT);
  if (at + 1 < end && bytes[at] === DOT && is(bytes[at + 1], DIGIT)) at = runEnd(bytes, at + 1, end, DIGIT);
  return at < end && bytes[at] === DOT ? NOT_PLAIN : digitsEnd(bytes, at, end);
}

function parameterEnd(bytes: Uint8Array, from: number, end: number): number {
  const at = runEnd(bytes, from, end, DIGIT);
  // A number past int32 is an error of the scanner (parser/scan.l, "parameter number too large").
  return at === from || at - from > 9 ? NOT_PLAIN : digitsEnd(bytes, at, end);
}

function digitsEnd(bytes: Uint8Array, at: number, end: number): number {
  if (at === end) return at;
  const next = bytes[at] ?? 0;
  const goesOn = is(next, WORD) || next === DOLLAR || next === QUOTE || next === DOUBLE_QUOTE;
  return goesOn || next >= NOT_ASCII ? NOT_PLAIN : at;
}

/** A string that another one follows might be continued by it. */
function stringEnd(bytes: Uint8Array, from: number, end: number): number {
  let at = from;
  for (; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte === BACKSLASH || byte >= NOT_ASCII) return NOT_PLAIN;
    if (byte !== QUOTE) continue;
    if (at + 1 >= end || bytes[at + 1] !== QUOTE) break;
    at++;
  }
  if (at >= end) return NOT_PLAIN;
  let next = at + 1;
  // From tab to carriage return, and the space: with the vertical tab, as newer servers take it.
  while (next < end && (bytes[next] === 0x20 || ((bytes[next] ?? 0) >= 9 && (bytes[next] ?? 0) <= 13)))
    next++;
  return next < end && bytes[next] === QUOTE ? NOT_PLAIN : at + 1;
}

function nameEnd(bytes: Uint8Array, from: number, end: number): number {
  for (let at = from; at < end; at++) {
    const byte = bytes[at] ?? 0;
    if (byte >= NOT_ASCII) return NOT_PLAIN;
    if (byte !== DOUBLE_QUOTE) continue;
    if (at + 1 < end && bytes[at + 1] === DOUBLE_QUOTE) at++;
    else return at === from ? NOT_PLAIN : at + 1;
  }
  return NOT_PLAIN;
}

/** `<=`, `>=`, `<>`, `!=`, `||`, or one character; 0 for what is none of these. */
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

function operatorEnd(bytes: Uint8Array, at: number, end: number): number {
  return at < end && is(bytes[at], OPERATOR) ? NOT_PLAIN : at;
}

/**
 * The tokens of a text that holds nothing but plain ones; undefined for any other text. It is there for its speed
 * alone: Postgres's scanner takes as long as the parser.
 */
export function plainTokens(text: string): readonly Token[] | undefined {
  const bytes = Buffer.from(text);
  // Offsets are the same in both only where each character is one byte.
  if (bytes.length !== text.length) return undefined;
  const tokens: Token[] = [];
  for (let start = 0; start < bytes.length; ) {
    const end = plainEnd(bytes, start, bytes.length);
    if (end === NOT_PLAIN) return undefined;
    if (!is(bytes[start], SPACE)) tokens.push({ start, end, text: text.slice(start, end) });
    start = end;
  }
  return tokens;
}

/** Whether a token that begins with this byte is a string or a number. */
export function beginsLiteral(byte: number | undefined): boolean {
  return byte === QUOTE || is(byte, DIGIT);
}

export function beginsSpace(byte: number | undefined): boolean {
  return is(byte, SPACE);
}

export function beginsWord(byte: number | undefined): boolean {
  return is(byte, LETTER);
}
