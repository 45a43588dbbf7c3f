/// <reference path="./libpg-query.d.ts" />
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { ParseResult, ScanResult } from "libpg-query";
import instantiate, { type PgQuery } from "libpg-query/wasm/libpg-query.js";
import { rereadsComments } from "./comment-cost.ts";

/*
 * Postgres's own parser, compiled to WebAssembly. Its library has functions like these, but only one instance, for
 * ever. A text that overflows the stack leaves that instance's memory as it is in that moment, and after a dozen such texts
 * no text parses any more. Here an instance that did not come back from a call is replaced.
 */

/** Postgres does not take the text: the message is its own, and so is the position, in characters from 1. */
export class SyntaxProblem extends Error {
  readonly position: number | undefined;

  constructor(message: string, position?: number) {
    super(message);
    this.position = position;
  }
}

/** The parser did not come back from this text, which is nested too deeply for it. */
export class TextTooDeep extends Error {}

/** There is no parser: memory was short, or the text before this one has just ended it. */
export class ParserAway extends Error {}

const WASM = createRequire(import.meta.url).resolve("libpg-query/wasm/libpg-query.wasm");
const wasm = new WebAssembly.Module(readFileSync(WASM));

let current: PgQuery | undefined = await start();
let isStarting = false;

/** The tree of a text of one or several statements. Throws the three errors above, as all that follow. */
export function parse(text: string): ParseResult {
  return JSON.parse(treeText(text)) as ParseResult;
}

/** The tree as JSON: where little of it is looked at, to read it would cost more than the parser does. */
export function treeText(text: string): string {
  return call(text, (parser, at) => {
    const result = parser._wasm_parse_query_raw(at);
    const [tree, error] = [parser.getValue(result, "i32"), parser.getValue(result + 8, "i32")];
    try {
      if (error) throw syntaxProblem(parser, error);
      return textAt(parser, tree);
    } finally {
      parser._wasm_free_parse_result(result);
    }
  });
}

/** Its tokens, comments too. */
export function scan(text: string): ScanResult {
  const json = call(text, (parser, at) => takeText(parser, parser._wasm_scan(at)));
  if (!json.startsWith("{")) throw new SyntaxProblem(json);
  return JSON.parse(json) as ScanResult;
}

/** The text with $n for the constants of its expressions. Not every mistake in the text is told as one. */
export function normalize(text: string): string {
  const normalized = call(text, (parser, at) => takeText(parser, parser._wasm_normalize_query(at)));
  if (/^(?:syntax error|ERROR)/.test(normalized)) throw new SyntaxProblem(normalized);
  return normalized;
}

/** 16 hexadecimal digits: the same for texts that differ in layout and literals. */
export function fingerprint(text: string): string {
  const found = call(text, (parser, at) => takeText(parser, parser._wasm_fingerprint(at)));
  if (!/^[0-9a-f]{16}$/.test(found)) throw new SyntaxProblem(found);
  return found;
}

function call(text: string, work: (parser: PgQuery, at: number) => string): string {
  if (rereadsComments(text)) throw new TextTooDeep("the comments are nested too deeply");
  const parser = current;
  if (parser === undefined) {
    renew();
    throw new ParserAway("the statement cannot be read now");
  }
  try {
    const bytes = Buffer.byteLength(text);
    const at = parser._malloc(bytes + 1);
    const heap = heapOf(parser);
    heap.write(text, at, "utf8");
    heap[at + bytes] = 0;
    try {
      return work(parser, at);
    } finally {
      parser._free(at);
    }
  } catch (error) {
    if (error instanceof SyntaxProblem) throw error;
    // An overflow of the stack (RangeError), or of what the parser holds (WebAssembly's RuntimeError).
    renew();
    throw new TextTooDeep("the statement is nested too deeply");
  }
}

/** Without a turn of the event loop, so that no other session's statement comes before it is done. */
function renew(): void {
  current = undefined;
  if (isStarting) return;
  isStarting = true;
  start()
    .then((parser) => {
      current = parser;
    })
    // The next text tries again.
    .catch(() => {})
    .finally(() => {
      isStarting = false;
    });
}

function start(): Promise<PgQuery> {
  return instantiate({
    instantiateWasm: (imports, receive) => receive(new WebAssembly.Instance(wasm, imports)),
  });
}

/** Of a PgQueryError: message, functname, filename, lineno, cursorpos. */
function syntaxProblem(parser: PgQuery, error: number): SyntaxProblem {
  const position = parser.getValue(error + 16, "i32");
  return new SyntaxProblem(
    textAt(parser, parser.getValue(error, "i32")),
    position > 0 ? position : undefined,
  );
}

function heapOf({ HEAPU8 }: PgQuery): Buffer {
  return Buffer.from(HEAPU8.buffer, HEAPU8.byteOffset, HEAPU8.length);
}

/** A C string. */
function textAt(parser: PgQuery, at: number): string {
  const heap = heapOf(parser);
  return heap.toString("utf8", at, heap.indexOf(0, at));
}

/** A string that is ours to free. */
function takeText(parser: PgQuery, at: number): string {
  const text = textAt(parser, at);
  parser._wasm_free_string(at);
  return text;
}
