import { scanTokens, type Token } from "./parse-text.ts";

/** A statement text as bytes and tokens: it shows where things end, which the parse tree does not say. */
export class Source {
  readonly text: string;
  readonly bytes: Buffer;
  readonly #onSlice: () => void;
  #tokens: readonly Token[] | undefined;

  /** `onSlice` is called when a part of the text is copied: it may contain a constant. */
  constructor(text: string, onSlice: () => void = () => {}) {
    this.text = text;
    this.bytes = Buffer.from(text);
    this.#onSlice = onSlice;
  }

  get tokens(): readonly Token[] {
    this.#tokens ??= scanTokens(this.text);
    return this.#tokens;
  }

  /**
   * Index of the token that starts at the byte offset. Throws if there is none: a location in the tree is always a
   * token's start.
   */
  tokenAt(offset: number): number {
    let low = 0;
    let high = this.tokens.length - 1;
    while (low <= high) {
      const middle = (low + high) >> 1;
      const { start } = this.#at(middle);
      if (start === offset) return middle;
      if (start < offset) low = middle + 1;
      else high = middle - 1;
    }
    throw new Error(`no token starts at byte ${offset}`);
  }

  token(index: number): Token | undefined {
    return this.tokens[index];
  }

  /** Index of the last token of the dotted name that starts at token `index`: `a.b.c`. */
  nameEnd(index: number): number {
    return this.partEnd(this.nameParts(index).at(-1) ?? index);
  }

  /** Index of the first token of each part of the dotted name that starts at token `index`. */
  nameParts(index: number): readonly number[] {
    const parts = [index];
    for (let last = this.partEnd(index); this.tokens[last + 1]?.text === "."; ) {
      parts.push(last + 2);
      last = this.partEnd(last + 2);
    }
    return parts;
  }

  /**
   * Index of the last token of the identifier or string at `index`: `U&"…" UESCAPE '!'` is one token in the grammar and
   * three here. After anything else the word UESCAPE is a name (base_yylex of parser/parser.c).
   */
  partEnd(index: number): number {
    const isUnicode = /^u&/i.test(this.tokens[index]?.text ?? "");
    return isUnicode && this.tokens[index + 1]?.text.toLowerCase() === "uescape" ? index + 2 : index;
  }

  slice(start: number, end: number): string {
    this.#onSlice();
    return this.bytes.toString("utf8", start, end);
  }

  #at(index: number): Token {
    const token = this.tokens[index];
    if (token === undefined) throw new Error(`no token ${index}`);
    return token;
  }
}
