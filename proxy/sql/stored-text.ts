import { applyInOrder } from "./emit/rewrite.ts";
import { withoutLongLists } from "./long-lists.ts";
import { normalise } from "./normalise.ts";
import { scanTokens } from "./parse/parse.ts";
import { NOT_PLAIN, partAt, plainEnd } from "./parse/plain-tokens.ts";

/** Bytes between two tokens. White space longer than this has no value in an audit log. */
const LONGEST_GAP = 300;
/** Parsing a longer text would delay other sessions. */
const LONGEST_PARSED = 64 * 1024;
/** The length up to which texts have a fingerprint (audit/fingerprint.ts). */
const LONGEST_TEXT = 16 * 1024;

/**
 * A statement's text as the audit log keeps it: without literals and comments, and limited in length, so that no one
 * can fill the disk with spaces or hide a statement behind them.
 */
export function storedText(text: string): string {
  const short = withoutLongLists(text);
  if (short.length > LONGEST_PARSED) return beginningOf(text);
  const normalised = normalise(short);
  return normalised.length <= LONGEST_GAP ? normalised : cut(withoutLongGaps(normalised));
}

/**
 * The tokens at the beginning, as far as it is certain which of them are literals. Parsing all of the text would take
 * too long.
 */
function beginningOf(text: string): string {
  const bytes = Buffer.from(text);
  const tokens: string[] = [];
  let literals = 0;
  let at = 0;
  while (at < LONGEST_TEXT) {
    const end = plainEnd(bytes, at, bytes.length);
    if (end === NOT_PLAIN) break;
    const token = bytes.toString("utf8", at, end);
    const part = partAt(bytes, at, bytes.length);
    tokens.push(part === "space" || part === "comment" ? " " : part === "literal" ? `$${++literals}` : token);
    at = end;
  }
  return `${tokens.join("").trim()} … ${bytes.length - at} bytes more`;
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
