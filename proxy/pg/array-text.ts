/*
 * How many elements an array has, as the server will read it (array_in and array_recv of utils/adt/arrayfuncs.c). Of what
 * is no array the server says so itself; it is then never fewer than there could be.
 */

const [QUOTE, BACKSLASH, COMMA, OPEN, CLOSE] = ['"', "\\", ",", "{", "}"] as const;

/** Of an array as text: `{a,"b,c"}`, of any number of dimensions. */
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

/** Of a value in the binary format. A text, which never has a zero byte, cannot be taken for an array's header. */
export function binaryArrayElements(bytes: Buffer): number {
  const dimensions = bytes.length < 12 ? -1 : bytes.readInt32BE(0);
  if (dimensions < 0 || dimensions > MOST_DIMENSIONS) return arrayElements(bytes.toString("utf8"));
  // Three words, then two for each dimension: how many elements, and the number of the first.
  let count = dimensions === 0 ? 0 : 1;
  for (let at = 12, left = dimensions; left > 0 && at + 4 <= bytes.length; at += 8, left--)
    count *= Math.max(0, bytes.readInt32BE(at));
  return count;
}
