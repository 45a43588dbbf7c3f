import type { PathStep } from "./json-path.ts";

/*
 * Replaces the strings at some paths of a JSON document, and leaves every other byte as it is: duplicate keys, the order of
 * keys, white space and long numbers mean something to the server's json type (Postgres docs, "JSON Types"). The grammar is
 * that of RFC 8259, which is the server's.
 */

/** Which places of a document have a meaning: a leaf, or what is below keys and in elements. */
export interface Shape<Leaf> {
  readonly leaf?: Leaf;
  readonly keys: ReadonlyMap<string, Shape<Leaf>>;
  /** Of every element of an array. */
  readonly each?: Shape<Leaf>;
}

/** What becomes of the values at the leaves. Undefined: they stay; null: JSON's null. */
export interface Turn<Leaf> {
  string(value: string, leaf: Leaf): string | null | undefined;
  /** A number, a boolean, an object or an array. */
  other(leaf: Leaf): null | undefined;
  /** Neither null nor empty, nor what leads on: a text where an object is expected, an object where an array is. */
  misplaced?(shape: Shape<Leaf>): null | undefined;
}

export type DocumentFault = "syntax" | "depth" | "character";

const DEEPEST = 1_000;

class Fault extends Error {
  readonly fault: DocumentFault;
  constructor(fault: DocumentFault) {
    super(fault);
    this.fault = fault;
  }
}

export type Turned = { readonly text: string } | { readonly fault: DocumentFault };

export function turnDocument<Leaf>(text: string, shape: Shape<Leaf>, turn: Turn<Leaf>): Turned {
  try {
    return { text: new Scanner(text, turn).document(shape) };
  } catch (error) {
    if (error instanceof Fault) return { fault: error.fault };
    throw error;
  }
}

/** The shape that these paths have. No path leads through another one. */
export function shapeOf<Leaf>(
  paths: readonly { readonly steps: readonly PathStep[]; readonly leaf: Leaf }[],
): Shape<Leaf> {
  const [ended] = paths.filter(({ steps }) => steps.length === 0);
  const below = (step: PathStep) =>
    shapeOf(
      paths
        .filter(({ steps }) => steps.length > 0 && steps[0] === step)
        .map(({ steps, leaf }) => ({ steps: steps.slice(1), leaf })),
    );
  const firsts = new Set(paths.flatMap(({ steps: [first] }) => (typeof first === "string" ? [first] : [])));
  const hasEach = paths.some(({ steps }) => steps[0] === null);
  return {
    ...(ended && { leaf: ended.leaf }),
    keys: new Map([...firsts].map((key) => [key, below(key)])),
    ...(hasEach && { each: below(null) }),
  };
}

const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORDS = ["true", "false", "null"] as const;

class Scanner<Leaf> {
  readonly #text: string;
  readonly #turn: Turn<Leaf>;
  readonly #parts: string[] = [];
  #at = 0;
  /** Everything before it is in `#parts`. */
  #kept = 0;

  constructor(text: string, turn: Turn<Leaf>) {
    this.#text = text;
    this.#turn = turn;
  }

  document(shape: Shape<Leaf>): string {
    this.#value(shape, 0);
    this.#skipSpace();
    if (this.#at < this.#text.length) throw new Fault("syntax");
    return this.#parts.join("") + this.#text.slice(this.#kept);
  }

  #value(shape: Shape<Leaf> | undefined, depth: number): void {
    if (depth > DEEPEST) throw new Fault("depth");
    this.#skipSpace();
    const start = this.#at;
    const leaf = shape?.leaf;
    const inner = leaf === undefined ? shape : undefined;
    let leadsOn = false;
    switch (this.#text[start]) {
      case '"':
        this.#string();
        if (leaf === undefined) break;
        this.#replace(start, this.#turn.string(this.#stringAt(start), leaf));
        return;
      case "{":
        leadsOn = this.#object(inner, depth) === "empty" || (inner !== undefined && inner.keys.size > 0);
        break;
      case "[":
        leadsOn = this.#array(inner, depth) === "empty" || inner?.each !== undefined;
        break;
      default: {
        const word = WORDS.find((each) => this.#text.startsWith(each, start));
        if (word === undefined) this.#skipNumber();
        else this.#at += word.length;
        if (this.#at === start) throw new Fault("syntax");
        if (word === "null") return;
      }
    }
    if (leaf !== undefined) this.#replace(start, this.#turn.other(leaf));
    else if (inner !== undefined && !leadsOn) this.#replace(start, this.#turn.misplaced?.(inner));
  }

  #object(shape: Shape<Leaf> | undefined, depth: number): "empty" | "filled" {
    this.#at++;
    if (this.#isNext("}")) return "empty";
    do {
      this.#skipSpace();
      const start = this.#at;
      this.#string();
      const below = shape === undefined ? undefined : shape.keys.get(this.#keyAt(start));
      if (!this.#isNext(":")) throw new Fault("syntax");
      this.#value(below, depth + 1);
    } while (this.#isNext(","));
    if (!this.#isNext("}")) throw new Fault("syntax");
    return "filled";
  }

  #array(shape: Shape<Leaf> | undefined, depth: number): "empty" | "filled" {
    this.#at++;
    if (this.#isNext("]")) return "empty";
    do this.#value(shape?.each, depth + 1);
    while (this.#isNext(","));
    if (!this.#isNext("]")) throw new Fault("syntax");
    return "filled";
  }

  /** Steps over a string. */
  #string(): void {
    const text = this.#text;
    if (text[this.#at] !== '"') throw new Fault("syntax");
    for (let at = this.#at + 1; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === QUOTE) {
        this.#at = at + 1;
        return;
      }
      if (code < FIRST_PRINTABLE) break;
      if (code === BACKSLASH) at += this.#escape(at + 1);
    }
    throw new Fault("syntax");
  }

  /** How many characters follow the backslash. */
  #escape(at: number): number {
    const text = this.#text;
    if (text[at] === "u" && /^[0-9a-fA-F]{4}$/.test(text.slice(at + 1, at + 5))) return 5;
    if (at < text.length && '"\\/bfnrt'.includes(text[at] ?? "")) return 1;
    throw new Fault("syntax");
  }

  #keyAt(start: number): string {
    return JSON.parse(this.#text.slice(start, this.#at)) as string;
  }

  /** A value that no text of the server's can be, is not sealed: half a character, or a zero byte. */
  #stringAt(start: number): string {
    const value = this.#keyAt(start);
    if (/[\p{Surrogate}\0]/u.test(value)) throw new Fault("character");
    return value;
  }

  #replace(start: number, value: string | null | undefined): void {
    if (value === undefined) return;
    this.#parts.push(this.#text.slice(this.#kept, start), JSON.stringify(value));
    this.#kept = this.#at;
  }

  #isNext(one: string): boolean {
    this.#skipSpace();
    if (this.#text[this.#at] !== one) return false;
    this.#at++;
    return true;
  }

  #skipSpace(): void {
    const text = this.#text;
    let at = this.#at;
    for (let code = text.charCodeAt(at); isSpace(code); code = text.charCodeAt(at)) at++;
    this.#at = at;
  }

  #skipNumber(): void {
    NUMBER.lastIndex = this.#at;
    if (NUMBER.test(this.#text)) this.#at = NUMBER.lastIndex;
  }
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x0d || code === 0x09;
}

const [QUOTE, BACKSLASH, FIRST_PRINTABLE] = [0x22, 0x5c, 0x20] as const;
