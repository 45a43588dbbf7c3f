import { NOT_PLAIN, partAt, plainEnd } from "./parse/plain-tokens.ts";

/** A shorter text costs little without this. */
const SHORT = 8 * 1024;
/** Looking for the lists of a longer text would delay other sessions: it stays as it is. */
const LONGEST = 512 * 1024;

const [OPEN, CLOSE, COMMA, PLUS, MINUS, DOLLAR, OPEN_ARRAY, CLOSE_ARRAY] = [
  0x28, 0x29, 0x2c, 0x2b, 0x2d, 0x24, 0x5b, 0x5d,
];

/** Both are keywords that cannot be function names (parser/kwlist.h); so is ARRAY. */
const BEFORE_LIST: ReadonlySet<string> = new Set(["values", "in"]);
const CONSTANT_WORDS: ReadonlySet<string> = new Set(["null", "true", "false", "default"]);
const LONGEST_WORD = 7;

/** Each text is processed several times: by the session, the pool and the audit. */
let last = { text: "", short: "" };

/**
 * A long text with each of its lists of constants cut down to one constant: the rows of VALUES, the list of IN, the
 * elements of ARRAY. Constants name nothing and call nothing, so the shortened text does the same to relations, names
 * and settings, for callers that look at no constant. It takes a hundredth of the time to parse. A text that is not
 * plain, or that is very long, is returned unchanged.
 */
export function withoutLongLists(text: string): string {
  if (text.length <= SHORT || text.length > LONGEST) return text;
  if (last.text !== text) last = { text, short: cut(text) };
  return last.short;
}

function cut(text: string): string {
  const bytes = Buffer.from(text);
  const { length } = bytes;
  const kept: Buffer[] = [];
  let from = 0;
  /** What precedes the next token: the word before a list, a list that was cut, or such a list and a comma. */
  let before: "other" | "word" | "array" | "list" | "comma" = "other";
  let comma = 0;
  for (let at = 0; at < length; ) {
    const end = plainEnd(bytes, at, length);
    if (end === NOT_PLAIN) return text;
    const first = bytes[at];
    if (isSpace(bytes, at)) {
      at = end;
      continue;
    }
    const opens = before === "array" ? first === OPEN_ARRAY : first === OPEN && before !== "list";
    const list = opens && before !== "other" ? constantsAt(bytes, end, length, before) : undefined;
    if (list !== undefined) {
      // A further row is removed completely; of the first row, its first constant is kept.
      const cutFrom = before === "comma" ? comma : list.firstEnd;
      // Of thousands of rows nothing is kept: each piece would cost as much as its row.
      if (cutFrom > from) kept.push(bytes.subarray(from, cutFrom));
      from = before === "comma" ? list.end : list.end - 1;
      at = list.end;
      before = "list";
      continue;
    }
    if (first === COMMA && before === "list") {
      comma = at;
      before = "comma";
    } else {
      before = wordBeforeList(bytes, at, end);
    }
    at = end;
  }
  if (from === 0) return text;
  kept.push(bytes.subarray(from));
  return Buffer.concat(kept).toString("utf8");
}

function wordBeforeList(bytes: Buffer, at: number, end: number): "other" | "word" | "array" {
  if (end - at > LONGEST_WORD) return "other";
  const word = bytes.toString("latin1", at, end).toLowerCase();
  if (BEFORE_LIST.has(word)) return "word";
  return word === "array" ? "array" : "other";
}

/**
 * A list that contains only constants, starting after its bracket: the end of its first constant and the end of the
 * list.
 */
function constantsAt(
  bytes: Buffer,
  from: number,
  length: number,
  before: "word" | "array" | "list" | "comma",
): { readonly firstEnd: number; readonly end: number } | undefined {
  const closing = before === "array" ? CLOSE_ARRAY : CLOSE;
  let firstEnd: number | undefined;
  let isConstantNext = true;
  for (let at = from; at < length; ) {
    const end = plainEnd(bytes, at, length);
    if (end === NOT_PLAIN) return undefined;
    if (isSpace(bytes, at)) {
      at = end;
      continue;
    }
    const first = bytes[at] ?? 0;
    if (!isConstantNext) {
      if (first === closing) return firstEnd === undefined ? undefined : { firstEnd, end };
      if (first !== COMMA) return undefined;
      isConstantNext = true;
    } else if (isConstant(bytes, at, end)) {
      firstEnd ??= end;
      isConstantNext = false;
    } else if (first !== PLUS && first !== MINUS) {
      return undefined;
    }
    at = end;
  }
  return undefined;
}

function isConstant(bytes: Buffer, at: number, end: number): boolean {
  if (bytes[at] === DOLLAR || partAt(bytes, at, bytes.length) === "literal") return true;
  return end - at <= LONGEST_WORD && CONSTANT_WORDS.has(bytes.toString("latin1", at, end).toLowerCase());
}

/** White space, or a comment. */
function isSpace(bytes: Buffer, at: number): boolean {
  const part = partAt(bytes, at, bytes.length);
  return part === "space" || part === "comment";
}
