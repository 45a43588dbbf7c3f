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

/**
 * The values of an array of one dimension as text, null for NULL; undefined for any other form. The rules of
 * array_in: unquoted values lose the white space around them, which is that of ASCII alone (array_isspace).
 */
export function arrayValues(text: string): readonly (string | null)[] | undefined {
  const body = /^[ \t-\r]*\{(.*)\}[ \t-\r]*$/s.exec(text)?.[1];
  if (body === undefined) return undefined;
  if (/^[ \t-\r]*$/.test(body)) return [];
  const values: (string | null)[] = [];
  for (let at = 0; at <= body.length; ) {
    ELEMENT.lastIndex = at;
    const [all, quoted, plain] = ELEMENT.exec(body) ?? [];
    if (all === undefined) return undefined;
    if (quoted !== undefined) values.push(quoted.replace(/\\(.)/gs, "$1"));
    else if (plain === undefined || plain === "") return undefined;
    else values.push(plain.toUpperCase() === "NULL" ? null : plain.replace(/\\(.)/gs, "$1"));
    at += all.length;
    if (at === body.length) return values;
    // An element ends at a comma or at the end.
    if (body[at] !== COMMA) return undefined;
    at++;
  }
  return undefined;
}

const ELEMENT =
  /[ \t-\r]*(?:"((?:[^"\\]|\\.)*)"|((?:[^"\\{}, \t-\r]|\\.)(?:(?:[^"\\{},]|\\.)*(?:[^"\\{}, \t-\r]|\\.))?))[ \t-\r]*/suy;

/** An array of one dimension as text. */
export function arrayText(values: readonly (string | null)[]): string {
  const words = values.map((value) => (value === null ? "NULL" : `"${value.replace(/["\\]/g, "\\$&")}"`));
  return `{${words.join()}}`;
}
