import { createHmac, hkdfSync } from "node:crypto";

/*
 * Blind indexes: keyed hashes of what people search by, which a token carries behind its sealed bytes. The server compares
 * them, and learns nothing but which values are equal in that respect (docs/decisions/043-blind-indexes.md).
 */

/**
 * "case": the value in lower case; "last4": its last four characters; "words": each of its words, in lower case. The order
 * is that of the parts in a token, whatever a policy lists.
 */
export const SEARCH_KINDS = ["case", "last4", "words"] as const;
export type SearchKind = (typeof SEARCH_KINDS)[number];

/** What tokens carry, by the version of the key from which on they do; in the order of versions. */
export type Carried = readonly { readonly from: number; readonly kinds: ReadonlySet<SearchKind> }[];

const NONE: ReadonlySet<SearchKind> = new Set();

/** What tokens under a key carry. */
export function carriedBy(carried: Carried | undefined, version: number): ReadonlySet<SearchKind> {
  return carried?.findLast(({ from }) => from <= version)?.kinds ?? NONE;
}

/** Before each part. */
export const PART_MARK = ".";
/** Between the hashes of words. */
export const WORD_MARK = ":";

/** The field of `split_part` that a kind has in a token: the first one is the token without its parts. */
export function fieldOf(kind: SearchKind): number {
  return 2 + SEARCH_KINDS.indexOf(kind);
}

/** The text that the server is asked for where nothing can be found: it is no hash. */
export const NO_HASH = "-";

/** 96 bits: two values of a column collide once in 2^48 of them. */
const HASH_BYTES = 12;
const HASH = `[A-Za-z0-9_-]{${(HASH_BYTES * 4) / 3}}`;

const SHAPES: Readonly<Record<SearchKind, string>> = {
  case: HASH,
  last4: HASH,
  words: `(${HASH}(${WORD_MARK}${HASH})*)?`,
};

/** A regular expression, to JavaScript and to Postgres, of the parts that tokens of these kinds have. */
export function partsShape(kinds: ReadonlySet<SearchKind>): string {
  return withoutEmptyEnd(SEARCH_KINDS.map((kind) => (kinds.has(kind) ? `[.]${SHAPES[kind]}` : "[.]"))).join(
    "",
  );

  function withoutEmptyEnd(parts: readonly string[]): readonly string[] {
    return parts.slice(0, 1 + parts.findLastIndex((part) => part !== "[.]"));
  }
}

/** Of any kinds. */
export const ANY_PARTS = `(?:[.](?:${HASH}(?:${WORD_MARK}${HASH})*)?){0,${SEARCH_KINDS.length}}`;

/**
 * Lower case by the simple mapping of Unicode, letter by letter, as the server's lower() makes it with the locale C.UTF-8
 * and those of glibc. JavaScript's differs for two letters: one becomes two, and one has another form at the end of a word.
 */
export function lowerCase(text: string): string {
  return text.replaceAll("İ", "i").replaceAll("Σ", "σ").toLowerCase();
}

/** The last four characters, as right(text, 4) gives them. */
export function lastFour(text: string): string {
  // A character has one or two units of UTF-16.
  return [...text.slice(-8)].slice(-4).join("");
}

/** The server is asked for so many at most, and a token holds no more: each takes some microseconds. */
const MOST_WORDS = 10_000;

/** The distinct words: letters, digits and marks in runs, in lower case. Undefined if there are too many. */
export function wordsOf(text: string): readonly string[] | undefined {
  const made = lowerCase(text.normalize("NFC")).normalize("NFC");
  const words = new Set(made.match(/[\p{L}\p{N}\p{M}]+/gu) ?? []);
  return words.size > MOST_WORDS ? undefined : [...words];
}

const TEXTS: Readonly<Record<SearchKind, (value: string) => readonly string[] | undefined>> = {
  case: (value) => [lowerCase(value)],
  last4: (value) => [lastFour(value)],
  words: wordsOf,
};

/** The hashes of one key and column. */
export class BlindIndex {
  readonly #keys: ReadonlyMap<SearchKind, Buffer>;

  constructor(secret: Buffer, associated: string) {
    this.#keys = new Map(
      SEARCH_KINDS.map((kind) => [
        kind,
        Buffer.from(hkdfSync("sha256", secret, "", `${kind} of ${associated}`, 32)),
      ]),
    );
  }

  hash(kind: SearchKind, text: string): string {
    const key = this.#keys.get(kind);
    if (key === undefined) throw new Error("a kind of search without a key");
    const hash = createHmac("sha256", key).update(text).digest();
    return hash.toString("base64url", 0, HASH_BYTES);
  }

  /**
   * What a value's token carries: a part for each kind up to the last one that is asked for. Undefined for a value of too
   * many words.
   */
  partsOf(value: string, kinds: ReadonlySet<SearchKind>): string | undefined {
    const last = SEARCH_KINDS.findLastIndex((kind) => kinds.has(kind));
    let parts = "";
    for (const kind of SEARCH_KINDS.slice(0, last + 1)) {
      const texts = kinds.has(kind) ? TEXTS[kind](value) : [];
      if (texts === undefined) return undefined;
      const hashes = texts.map((text) => this.hash(kind, text)).sort();
      parts += PART_MARK + hashes.join(WORD_MARK);
    }
    return parts;
  }
}
