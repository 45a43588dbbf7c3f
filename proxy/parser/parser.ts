/// <reference path="./libpg-query.d.ts" />
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { ParseResult, ScanResult } from "libpg-query";
import instantiate, { type PgQuery } from "libpg-query/wasm/libpg-query.js";
import { rereadsComments } from "./comment-cost.ts";

/*
 * Postgres's own parser, compiled to WebAssembly. Its library has functions like these, but only one permanent
 * instance. A text that overflows the stack leaves that instance's memory as it was at that moment, and after a dozen
 * such texts no text parses any more. Here an instance that did not return from a call is replaced.
 */

/** Postgres rejects the text. The message is its own, and so is the position, in characters from 1. */
export class SyntaxProblem extends Error {
  readonly position: number | undefined;

  constructor(message: string, position?: number) {
    super(message);
    this.position = position;
  }
}

/** The parser did not return from this text, which is nested too deeply for it. */
export class TextTooDeep extends Error {}

/** No parser is available: memory was short, or the previous text has just ended it. */
export class ParserAway extends Error {}

const WASM = createRequire(import.meta.url).resolve("libpg-query/wasm/libpg-query.wasm");
const wasm = new WebAssembly.Module(readFileSync(WASM));

let current: PgQuery | undefined = await start();
let isStarting = false;

/** The tree of a text with one or more statements. This and the functions below throw the three errors above. */
export function parse(text: string): ParseResult {
  return JSON.parse(treeText(text)) as ParseResult;
}

/** The tree as JSON: if little of it is needed, decoding it would cost more than the parser does. */
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

/** The tokens of a text, including comments. */
export function scan(text: string): ScanResult {
  const json = call(text, (parser, at) => takeText(parser, parser._wasm_scan(at)));
  if (!json.startsWith("{")) throw new SyntaxProblem(json);
  return JSON.parse(json) as ScanResult;
}

/** The text with $n for the constants of its expressions. Not every mistake in the text is reported. */
export function normalize(text: string): string {
  const normalized = call(text, (parser, at) => takeText(parser, parser._wasm_normalize_query(at)));
  if (/^(?:syntax error|memory exhausted|ERROR)/.test(normalized)) throw new SyntaxProblem(normalized);
  return normalized;
}

/** 16 hexadecimal digits: equal for texts that differ only in layout and literals. */
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
    // An overflow of the stack (RangeError), or of the parser's memory (WebAssembly's RuntimeError).
    renew();
    throw new TextTooDeep("the statement is nested too deeply");
  }
}

/** Takes no turn of the event loop, so that no other session's statement runs before it is done. */
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

/** The fields of a PgQueryError: message, functname, filename, lineno, cursorpos. */
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

/** Reads a C string. */
function textAt(parser: PgQuery, at: number): string {
  const heap = heapOf(parser);
  return heap.toString("utf8", at, heap.indexOf(0, at));
}

/** Reads and frees a string that the caller owns. */
function takeText(parser: PgQuery, at: number): string {
  const text = textAt(parser, at);
  parser._wasm_free_string(at);
  return text;
}
