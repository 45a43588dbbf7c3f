import type { Message } from "../harness/raw-client.ts";
import { BITS, bitsOf, EQUAL, PEOPLE, PLANTED, type Planted } from "./planted.ts";

/**
 * How much the answers to one step reveal about the differences between the worlds. Two lower bounds, so that neither
 * raises a false alarm:
 *
 * - Kraft's inequality. Answers that are each paid for with a number of bits form a code: over the distinct answers
 *   the sum of 2^-bits is at most 1. It holds for any subset of the answers, so each excess in a sample is real. With
 *   64 worlds it detects what costs less than six bits.
 * - Planted bits. A part of the answer (a letter, a digit, a bit of a number, the number of messages) that equals one
 *   of the planted bits, or its opposite, in each of 64 worlds, reveals that bit: by chance one pair in 2^63 does. The
 *   bits are independent, so that many bits are then revealed. It detects what is wide: sums, long errors, lists.
 */

/** The answers in one world, and their cost in people. */
export interface Outcome {
  readonly answer: readonly Message[];
  readonly charged: number;
}

/** One step, in all worlds. */
export interface Finding {
  /** The number of bits by which the answers distinguish more worlds than they paid for; 0 or less: none. */
  readonly kraft: number;
  /** Planted bits that the answers reveal. */
  readonly told: ReadonlySet<string>;
  /** The average charge over all worlds, in bits: by Kraft's inequality no less than what is revealed. */
  readonly paid: number;
  readonly distinct: number;
}

export const BITS_PER_PERSON = 32;

/** Bytes as a client may compare them: without parts that always differ. */
export function textOf(answer: readonly Message[]): string {
  return answer.map(({ type, bytes }) => `${type}${bodyOf(type, bytes)}`).join("\u0001");
}

/** `W` of an error contains the session's number (`proxy/wire/errors.ts`); notifications contain a process' number. */
function bodyOf(type: string, bytes: Buffer): string {
  const body = bytes.toString("latin1", 5);
  if (type === "E" || type === "N")
    return body
      .split("\0")
      .filter((field) => !field.startsWith("W"))
      .join("\0");
  return type === "A" ? body.slice(4) : body;
}

/** log2 of the sum over distinct answers of 2^-(bits paid): above 0 if more was revealed than paid for. */
export function kraft(outcomes: readonly Outcome[], texts: readonly string[]): number {
  const paid = new Map<string, number>();
  for (const [world, { charged }] of outcomes.entries()) {
    const text = texts[world] ?? "";
    paid.set(text, Math.max(paid.get(text) ?? 0, charged));
  }
  let sum = 0;
  for (const charged of paid.values()) sum += 2 ** (-BITS_PER_PERSON * charged);
  return Math.log2(sum);
}

/** What one step's answers reveal; `knows` excludes people who are counted by name. */
export function findingOf(outcomes: readonly Outcome[], index: PlantedIndex): Finding {
  const texts = outcomes.map(({ answer }) => textOf(answer));
  const distinct = new Set(texts).size;
  const total = outcomes.reduce((sum, { charged }) => sum + charged, 0);
  return {
    kraft: kraft(outcomes, texts),
    // It takes all worlds to distinguish planted bits from chance.
    told: distinct === 1 ? new Set() : index.toldBy(outcomes.map(({ answer }) => answer)),
    paid: (BITS_PER_PERSON * total) / outcomes.length,
    distinct,
  };
}

/** Every planted bit, by its values in all worlds. */
export class PlantedIndex {
  readonly worlds: number;
  readonly #bits = new Map<string, string>();

  constructor(worlds: number) {
    this.worlds = worlds;
    for (const column of Object.keys(PLANTED) as Planted[])
      for (let person = EQUAL + 1; person <= PEOPLE; person++) this.#add(column, person);
  }

  #add(column: Planted, person: number): void {
    const values = Array.from({ length: this.worlds }, (_, world) => bitsOf(world, column, person));
    for (let bit = 0; bit < BITS; bit++) {
      const signature = new Signature(this.worlds);
      for (const [world, value] of values.entries())
        if ((value >>> (BITS - 1 - bit)) & 1) signature.set(world);
      this.#bits.set(signature.key(), `${person}.${column}.${bit}`);
    }
  }

  /** The bits that some part of the answers equals in every world. Fewer than 50 worlds are not conclusive. */
  toldBy(answers: readonly (readonly Message[])[]): ReadonlySet<string> {
    const told = new Set<string>();
    if (answers.length < 50 || answers.length !== this.worlds) return told;
    for (const feature of featuresOf(answers)) {
      const bit = this.#bits.get(feature.key());
      if (bit !== undefined) told.add(bit);
    }
    return told;
  }
}

/** The worlds in which a bit is 1; a bit and its opposite have the same key. */
class Signature {
  readonly #worlds: number;
  #low = 0;
  #high = 0;
  constructor(worlds: number) {
    this.#worlds = worlds;
  }
  set(world: number): void {
    if (world < 32) this.#low |= 1 << world;
    else this.#high |= 1 << (world - 32);
  }
  get isConstant(): boolean {
    const { low, high } = this.#all();
    const [a, b] = [this.#low >>> 0, this.#high >>> 0];
    return (a === 0 && b === 0) || (a === low && b === high);
  }
  key(): string {
    const { low, high } = this.#all();
    const flip = (this.#low & 1) === 1;
    const a = flip ? (this.#low ^ low) >>> 0 : this.#low >>> 0;
    const b = flip ? (this.#high ^ high) >>> 0 : this.#high >>> 0;
    return `${a} ${b}`;
  }
  #all(): { readonly low: number; readonly high: number } {
    const mask = (count: number): number => (count >= 32 ? 0xffffffff : count <= 0 ? 0 : 2 ** count - 1);
    return { low: mask(this.#worlds) >>> 0, high: mask(this.#worlds - 32) >>> 0 };
  }
}

/** Only this much of a longer answer is examined. */
const LOOKED_AT = 60_000;

/** What differs between the answers in different worlds, bit by bit. */
function* featuresOf(answers: readonly (readonly Message[])[]): Generator<Signature> {
  const pieces = answers.map(piecesOf);
  const most = Math.max(...pieces.map((list) => list.length));
  yield* numbers(pieces.map((list) => BigInt(list.length)));
  yield* numbers(answers.map((answer) => BigInt(answer.filter(({ type }) => type === "D").length)));
  yield* numbers(pieces.map((list) => BigInt(list.reduce((sum, piece) => sum + piece.length, 0))));
  for (let at = 0, seen = 0; at < most && seen < LOOKED_AT; at++) {
    const values = pieces.map((list) => list[at] ?? "");
    seen += Math.max(...values.map((value) => value.length));
    if (values.every((value) => value === values[0])) continue;
    yield* letters(values);
    yield* letters(values.map(reversed));
    yield* numbers(values.map((value) => BigInt(value.length)));
    for (const base of FIGURES) yield* figures(values, base);
  }
}

/** Fields of rows, fields of errors, tags: each separately, preceded by the type of message. */
function piecesOf(answer: readonly Message[]): readonly string[] {
  return answer.flatMap(({ type, bytes }) => [type, ...fieldsOf(type, bytes)]);
}

function fieldsOf(type: string, bytes: Buffer): readonly string[] {
  if (type !== "D") return bodyOf(type, bytes).split("\0");
  const fields: string[] = [];
  for (let i = bytes.readUInt16BE(5), at = 7; i > 0; i--) {
    const length = bytes.readInt32BE(at);
    fields.push(length < 0 ? "-" : bytes.toString("latin1", at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  return fields;
}

/** Each bit of each letter's code. */
function* letters(values: readonly string[]): Generator<Signature> {
  const longest = Math.max(...values.map((value) => value.length));
  for (let at = 0; at < Math.min(longest, LOOKED_AT); at++) {
    const first = values[0]?.charCodeAt(at);
    if (values.every((value) => value.charCodeAt(at) === first)) continue;
    for (let bit = 0; bit < 8; bit++)
      yield* varying(values.map((value) => (value.charCodeAt(at) >> bit) & 1));
  }
}

/** Figures with at least this many digits are read as numbers, in binary: several bits packed into one. */
const FIGURES = [/-?\d+/g] as const;
const MOST_FIGURES = 40;

function* figures(values: readonly string[], pattern: RegExp): Generator<Signature> {
  const found = values.map((value) => (value.length > 20_000 ? [] : (value.match(pattern) ?? [])));
  const most = Math.min(MOST_FIGURES, Math.max(...found.map((list) => list.length)));
  for (let at = 0; at < most; at++)
    yield* numbers(found.map((list) => ((list[at]?.length ?? 0) > 1000 ? 0n : BigInt(list[at] ?? 0))));
}

function* numbers(values: readonly bigint[]): Generator<Signature> {
  if (values.every((value) => value === values[0])) return;
  const absolute = values.map((value) => (value < 0n ? -value : value));
  const longest = Math.max(...absolute.map((value) => value.toString(2).length));
  for (let bit = 0n; bit < BigInt(Math.min(longest, 4096)); bit++)
    yield* varying(absolute.map((value) => Number((value >> bit) & 1n)));
}

function* varying(bits: readonly number[]): Generator<Signature> {
  const signature = new Signature(bits.length);
  for (const [world, bit] of bits.entries()) if (bit === 1) signature.set(world);
  if (!signature.isConstant) yield signature;
}

function reversed(text: string): string {
  return [...text].reverse().join("");
}
