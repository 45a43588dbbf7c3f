import { normalise } from "./normalise.ts";
import { scanTokens } from "./parse.ts";
import { applyInOrder } from "./rewrite.ts";

/** Bytes between two tokens, which are comments and white space: what tools put there (sqlcommenter) has fewer. */
const LONGEST_GAP = 300;
/** As long as texts are that have a fingerprint (audit/fingerprint.ts). */
const LONGEST_TEXT = 16 * 1024;

/**
 * A statement's text as the audit log keeps it: without literals, and no longer than it may be, so that nobody fills the
 * disk with comments or hides a statement behind one.
 */
export function storedText(text: string): string {
  const normalised = normalise(text);
  return normalised.length <= LONGEST_GAP ? normalised : cut(withoutLongComments(normalised));
}

function withoutLongComments(text: string): string {
  const bytes = Buffer.from(text);
  const edits = [];
  let at = 0;
  for (const { start, end } of [...scanTokens(text), { start: bytes.length, end: bytes.length }]) {
    if (start - at > LONGEST_GAP)
      edits.push({ at, end: start, text: ` /* ${start - at} bytes of comments left out */ ` });
    at = end;
  }
  return edits.length === 0 ? text : applyInOrder(bytes, edits).toString("utf8");
}

function cut(text: string): string {
  if (text.length <= LONGEST_TEXT) return text;
  return `${text.slice(0, LONGEST_TEXT).replace(/[\ud800-\udbff]$/, "")} … ${text.length - LONGEST_TEXT} characters more`;
}
