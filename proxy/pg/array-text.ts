/*
 * The number of elements of an array, as the server reads it (array_in and array_recv of utils/adt/arrayfuncs.c). The
 * server itself rejects a value that is not an array; the number given here is then never lower than it could be.
 */

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE] = ['"', "\\", ",", "{", "}"] as const;

/** For an array as text: `{a,"b,c"}`, of any number of dimensions. */
export function arrayElements(text: string): number {
  let [count, isQuoted, isEmpty] = [1, false, true];
  for (let at = 0; at < text.length; at++) {
    const char = text[at];
    if (char === BACKSLASH) at++;
    else if (char === QUOTE) isQuoted = !isQuoted;
    else if (char === COMMA && !isQuoted) count++;
    isEmpty &&= char === OPEN || char === CLOSE || char === " ";
  }
  return isEmpty ? 0 : count;
}

/** MAXDIM of utils/array.h. */
const MOST_DIMENSIONS = 6;

/** For a value in the binary format. A text never has a zero byte, so it cannot be mistaken for an array's header. */
export function binaryArrayElements(bytes: Buffer): number {
  const dimensions = bytes.length < 12 ? -1 : bytes.readInt32BE(0);
  if (dimensions < 0 || dimensions > MOST_DIMENSIONS) return arrayElements(bytes.toString("utf8"));
  // Three words, then two for each dimension: its length, and its first subscript.
  let count = dimensions === 0 ? 0 : 1;
  for (let at = 12, left = dimensions; left > 0 && at + 4 <= bytes.length; at += 8, left--)
    count *= Math.max(0, bytes.readInt32BE(at));
  return count;
}
