import { applyInOrder } from "./emit/rewrite.ts";
import { withoutLongLists } from "./long-lists.ts";
import { normalise } from "./normalise.ts";
import { scanTokens } from "./parse/parse-text.ts";
import { NOT_PLAIN, partAt, plainEnd } from "./parse/plain-tokens.ts";

/** Bytes between two tokens. White space longer than this has no value in an audit log. */
const LONGEST_GAP = 300;
/** Parsing a longer text on the event loop would delay other sessions. */
const LONGEST_PARSED = 8 * 1024;
/** The same where no session waits but the one that sent the text. */
export const LONGEST_PARSED_ELSEWHERE = 64 * 1024;
/** Of a longer text only the beginning is looked at. */
const LONGEST_LOOKED_AT = 1024 * 1024;
/** So many bytes of it: it may begin with comments and white space. */
const LONGEST_BEGINNING = 64 * 1024;
/** The length up to which texts have a fingerprint (audit/fingerprint.ts). */
const LONGEST_TEXT = 16 * 1024;

/**
 * A statement's text as the audit log keeps it: without literals and comments, and limited in length, so that no one
 * can fill the disk with spaces or hide a statement behind them. `longestParsed`: in bytes.
 */
export function storedText(text: string, longestParsed = LONGEST_PARSED): string {
  const short = withoutLongLists(text);
  if (short.length > longestParsed) return beginningOf(Buffer.from(short), 0);
  const normalised = normalise(short);
  return normalised.length <= LONGEST_GAP ? normalised : cut(withoutLongGaps(normalised));
}

/** The same for the bytes of a text, however many there are. `more`: so many follow. */
export function storedBytes(sql: Buffer, more = 0): string {
  if (more === 0 && sql.length <= LONGEST_LOOKED_AT) return storedText(sql.toString("utf8"));
  const head = sql.subarray(0, LONGEST_BEGINNING);
  return beginningOf(head, sql.length - head.length + more);
}

/**
 * The tokens at the beginning, as far as it is certain which of them are literals. Parsing all of the text would take
 * too long. `more`: so many bytes follow.
 */
function beginningOf(bytes: Buffer, more: number): string {
  const end = Math.min(bytes.length, LONGEST_BEGINNING);
  let text = "";
  let literals = 0;
  let isAfterGap = true;
  let at = 0;
  while (at < end && text.length < LONGEST_TEXT) {
    const next = plainEnd(bytes, at, bytes.length);
    if (next === NOT_PLAIN) break;
    const part = partAt(bytes, at, bytes.length);
    const isGap = part === "space" || part === "comment";
    if (part === "literal") text += `$${++literals}`;
    else if (!isGap) text += bytes.toString("utf8", at, next);
    else if (!isAfterGap) text += " ";
    isAfterGap = isGap;
    at = next;
  }
  const rest = bytes.length - at + more;
  return rest === 0 ? text.trimEnd() : `${text.trimEnd()} … ${rest} bytes more`;
}

function withoutLongGaps(text: string): string {
  const bytes = Buffer.from(text);
  const edits = [];
  let at = 0;
  for (const { start, end } of [...scanTokens(text), { start: bytes.length, end: bytes.length }]) {
    if (start - at > LONGEST_GAP) edits.push({ at, end: start, text: " " });
    at = end;
  }
  return edits.length === 0 ? text : applyInOrder(bytes, edits).toString("utf8");
}

function cut(text: string): string {
  if (text.length <= LONGEST_TEXT) return text;
  return `${text.slice(0, LONGEST_TEXT).replace(/[\ud800-\udbff]$/, "")} … ${text.length - LONGEST_TEXT} characters more`;
}
