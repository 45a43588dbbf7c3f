import { loadModule, type Node, parseSync, scanSync } from "libpg-query";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { plainTokens, type Token } from "./plain-tokens.ts";

export type { Token } from "./plain-tokens.ts";

/**
 * Postgres's own parser. It must be loaded once (`loadParser`) before anything of this floor is called;
 * afterwards it is synchronous.
 */
export const loadParser: () => Promise<void> = loadModule;

/** A longer text of a guarded role is refused: its analysis would block the event loop (a 5.9 kB text takes 2 to 3 ms). */
export const MAXIMUM_TEXT = 256 * 1024;

export interface RawStatement {
  readonly node: Node;
  /** Byte offsets of the statement in the text; leading space and comments are inside. */
  readonly start: number;
  readonly end: number;
}

export type Parsed =
  | { readonly ok: true; readonly statements: readonly RawStatement[] }
  | { readonly ok: false; readonly refusal: Refusal };

/** Parses a text of one or several statements; errors carry Postgres's own message and position. */
export function parseText(text: string): Parsed {
  const length = Buffer.byteLength(text);
  if (length > MAXIMUM_TEXT)
    return { ok: false, refusal: tooComplex(`the statement is longer than ${MAXIMUM_TEXT} bytes`) };
  if (text.trim() === "") return { ok: true, statements: [] };
  try {
    const statements = (parseSync(text).stmts ?? []).flatMap(({ stmt, stmt_location, stmt_len }) => {
      if (stmt === undefined) return [];
      const start = stmt_location ?? 0;
      // A length of zero (left out) means "to the end" (RawStmt in nodes/parsenodes.h).
      return [
        { node: stmt, start, end: stmt_len === undefined || stmt_len === 0 ? length : start + stmt_len },
      ];
    });
    return { ok: true, statements };
  } catch (error) {
    return { ok: false, refusal: parseProblem(error, text) };
  }
}

function parseProblem(error: unknown, text: string): Refusal {
  // The JSON of a very long left-deep chain overflows the stack; very deep input exhausts the parser's memory.
  // Both are ordinary errors, and the module stays usable.
  if (error instanceof RangeError) return tooComplex("the statement is nested too deeply");
  if (!(error instanceof Error)) throw error;
  if (/memory exhausted|stack depth|out of memory/i.test(error.message))
    return tooComplex("the statement is nested too deeply");
  const position = syntaxErrorPosition(error.message, text);
  return refuse("42601", error.message, position === undefined ? {} : { position });
}

/**
 * The library drops the parser's cursor position. The first token at which the text up to and with it fails
 * in the same words is where Postgres stopped too, as its grammar fails at the first token that fits nothing.
 */
function syntaxErrorPosition(message: string, text: string): number | undefined {
  if (message.endsWith("at end of input")) return [...text].length + 1;
  const near = / at or near "(.*)"$/s.exec(message)?.[1];
  if (near === undefined) return undefined;
  const bytes = Buffer.from(text);
  const candidates = scanTokensOrNone(text).filter((token) => token.text === near);
  const failing = candidates
    .slice(0, 20)
    .find(({ end }) => messageOf(bytes.toString("utf8", 0, end)) === message);
  return failing && [...bytes.toString("utf8", 0, failing.start)].length + 1;
}

function scanTokensOrNone(text: string): readonly Token[] {
  try {
    return scanTokens(text);
  } catch {
    return [];
  }
}

function messageOf(text: string): string {
  try {
    parseSync(text);
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : "";
  }
}

export function tooComplex(message: string): Refusal {
  return refuse("54001", message, {
    hint: "Split the statement, or send long lists as rows of a temporary table or as an array parameter.",
  });
}

/** The text's tokens without comments, with byte offsets. The text must have parsed. */
export function scanTokens(text: string): readonly Token[] {
  const plain = plainTokens(text);
  if (plain !== undefined) return plain;
  return scanSync(text.replaceAll(/\p{Cc}/gu, blankControl))
    .tokens.filter(({ tokenName }) => tokenName !== "SQL_COMMENT" && tokenName !== "C_COMMENT")
    .map(({ start, end, text: token }) => ({ start, end, text: token }));
}

/** The scanner's JSON leaves ASCII control characters bare, and cannot be read then. They stand inside of literals, quoted names and comments, or are white space. */
function blankControl(character: string): string {
  return character < " " && !"\t\n\r".includes(character) ? " " : character;
}
