import { commentsOf } from "../../sql/comments.ts";
import { commentValues } from "../person/comment-values.ts";

const KEY = "traceparent";
/** Version 00 alone (W3C Trace Context, section 3.2.2): a trace, the span above, and flags. Nothing else goes on record. */
const TRACEPARENT = /^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * The trace to which a statement belongs, as its comment says: `traceparent='00-…'` of sqlcommenter, or `traceparent:00-…` of
 * Rails' query logs. Undefined where it names none, several, or something else.
 */
export function traceparentOf(text: Buffer): string | undefined {
  if (!text.includes(KEY)) return undefined;
  const values = new Set((commentsOf(text) ?? []).flatMap((comment) => commentValues(comment, KEY)));
  const [value, ...others] = values;
  return value !== undefined && others.length === 0 && TRACEPARENT.test(value) ? value : undefined;
}

/**
 * As much of a text as `traceparentOf` needs. A short one is copied as it is: most statements are combined with others in one
 * event, which belongs to no trace, and then nobody reads its comments.
 */
export function traceCommentOf(text: Buffer): Buffer {
  if (!text.includes(KEY)) return NO_TEXT;
  if (text.length <= SHORT) return Buffer.from(text);
  const traceparent = traceparentOf(text);
  return traceparent === undefined ? NO_TEXT : Buffer.from(`/*${KEY}='${traceparent}'*/`);
}

const SHORT = 1_000;
const NO_TEXT = Buffer.alloc(0);
