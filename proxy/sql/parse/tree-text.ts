/*
 * A parse tree as the JSON that the parser prints: fields in fixed order, without blanks. Parts of it are searched in
 * the text, because decoding the whole takes as long as the parser does.
 */

const LOCATION = '"location":';
const [QUOTE, COMMA, BACKSLASH] = [0x22, 0x2c, 0x5c];
const [OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [0x5b, 0x5d, 0x7b, 0x7d];

/** The end of the value that begins at `start`. */
export function valueEnd(json: string, start: number): number {
  let depth = 0;
  for (let at = start; at < json.length; at++) {
    const code = json.charCodeAt(at);
    if (code === QUOTE) {
      at = closingQuote(json, at);
      if (depth === 0) return at + 1;
    } else if (code === OPEN_OBJECT || code === OPEN_LIST) {
      depth++;
    } else if (code === CLOSE_OBJECT || code === CLOSE_LIST) {
      // For a number or a word, the bracket belongs to its object.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (code === COMMA && depth === 0) {
      return at;
    }
  }
  throw new Error("a value without an end");
}

function closingQuote(json: string, open: number): number {
  for (let at = json.indexOf('"', open + 1); at !== -1; at = json.indexOf('"', at + 1)) {
    let first = at;
    while (json.charCodeAt(first - 1) === BACKSLASH) first--;
    // Each pair of backslashes is an escaped backslash.
    if ((at - first) % 2 === 0) return at;
  }
  throw new Error("a value without an end");
}

/** A field of an object: the start of its key and of its value, and the end of the value. */
export interface Field {
  readonly key: string;
  readonly start: number;
  readonly value: number;
  readonly end: number;
}

/** The field that begins at `at`, or after the comma there; undefined at the object's end. */
export function fieldAt(json: string, at: number): Field | undefined {
  const start = json[at] === "," ? at + 1 : at;
  if (json[start] !== '"') return undefined;
  const colon = json.indexOf(":", start);
  return { key: json.slice(start + 1, colon - 1), start, value: colon + 1, end: valueEnd(json, colon + 1) };
}

/** The first field from `at` on whose key is not one of these, and where those end. */
export function fieldBehind(
  json: string,
  at: number,
  passed: ReadonlySet<string>,
): { readonly at: number; readonly field: Field | undefined } {
  let place = at;
  for (;;) {
    const field = fieldAt(json, place);
    if (field === undefined || !passed.has(field.key)) return { at: place, field };
    place = field.end;
  }
}

/** The start of each statement's node: `{"SelectStmt":…`. */
export function statementNode(json: string, index: number): number {
  const [list, node] = ['"stmts":[', '{"stmt":'];
  let at = json.indexOf(list) + list.length;
  for (let passed = 0; passed < index; passed++) at = valueEnd(json, at) + 1;
  if (!json.startsWith(node, at)) throw new Error("a statement is not where the tree has it");
  return at + node.length;
}

/** A tree, and the positions at which some locations are printed in it. */
export class LocatedTree {
  readonly json: string;
  readonly #places: ReadonlyMap<number, readonly number[]>;

  constructor(json: string, places: ReadonlyMap<number, readonly number[]>) {
    this.json = json;
    this.#places = places;
  }

  /** Where `"location":n` followed by `more` begins. */
  placesOf(location: number, more: string): readonly number[] {
    const text = `${LOCATION}${location}${more}`;
    return (this.#places.get(location) ?? []).filter((at) => this.json.startsWith(text, at));
  }
}

/**
 * Visits all locations of a tree once; there are hundreds. `map` gets each with its position in the text and may
 * replace it. Other numbers depend on layout and are removed.
 */
export function mapLocations(json: string, map: (location: number, at: number) => number): string {
  const parts = json.split(LOCATION);
  let isChanged = false;
  let at = 0;
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index] ?? "";
    let digits = 0;
    let location = 0;
    for (let digit = index === 0 ? -1 : digitAt(part, 0); digit >= 0; digit = digitAt(part, digits)) {
      location = location * 10 + digit;
      digits++;
    }
    const mapped = digits === 0 ? location : map(location, at);
    const text = mapped === location ? part : `${mapped}${part.slice(digits)}`;
    const kept = hasLengths(text) ? text.replace(LENGTHS, "") : text;
    if (kept !== part) {
      parts[index] = kept;
      isChanged = true;
    }
    at += kept.length + (index === 0 ? 0 : LOCATION.length);
  }
  return isChanged ? parts.join(LOCATION) : json;
}

function digitAt(text: string, at: number): number {
  const digit = text.charCodeAt(at) - 48;
  return digit >= 0 && digit <= 9 ? digit : -1;
}

const LENGTHS =
  /"(?:rexpr_list_start|rexpr_list_end|list_start|list_end)":\d+,|,"stmt_(?:location|len)":\d+/g;

/** They come before the location, or after the last location of a statement. */
function hasLengths(part: string): boolean {
  return digitAt(part, part.length - 2) >= 0 || part.includes("stmt");
}

/** A string as the parser prints it (_outToken of pg_query_outfuncs_json.c). */
export function stringText(value: string): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c").replaceAll(">", "\\u003e");
}

/** Whether each node in this value has this location, and there is one. */
export function isMade(json: string, location: number): boolean {
  const [object, field] = [`${LOCATION}${location}}`, `${LOCATION}${location},`];
  const first = json.indexOf(LOCATION);
  for (let at = first; at !== -1; at = json.indexOf(LOCATION, at + LOCATION.length))
    if (!json.startsWith(object, at) && !json.startsWith(field, at)) return false;
  return first !== -1;
}

/** Reads a tree from start to end. */
export class TreeReader {
  readonly #json: string;
  #at = 0;

  constructor(json: string) {
    this.#json = json;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#json.length;
  }

  /** Whether the tree continues with this text, which is then consumed. */
  expect(text: string): boolean {
    // Compared as a whole: startsWith compares character by character and is twenty times slower.
    if (this.#json.slice(this.#at, this.#at + text.length) !== text) return false;
    this.#at += text.length;
    return true;
  }

  /** The text that begins and ends with these texts; consumed if it is there. */
  startingWith(first: string, last: string): string | undefined {
    if (!this.#json.startsWith(first, this.#at)) return undefined;
    const end = this.#json.indexOf(last, this.#at);
    if (end === -1) return undefined;
    const text = this.#json.slice(this.#at, end + last.length);
    this.#at += text.length;
    return text;
  }

  /** The next value. */
  value(): string {
    const end = valueEnd(this.#json, this.#at);
    const text = this.#json.slice(this.#at, end);
    this.#at = end;
    return text;
  }

  /** Whether all nodes of the next value have this location; the value is then consumed. */
  made(location: number): boolean {
    const before = this.#at;
    if (isMade(this.value(), location)) return true;
    this.#at = before;
    return false;
  }

  /** The same for an additional item of a list. */
  also(location: number): boolean {
    const before = this.#at;
    if (this.expect(",") && this.made(location)) return true;
    this.#at = before;
    return false;
  }
}
