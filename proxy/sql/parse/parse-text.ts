import type { Node, ParseResult } from "libpg-query";
import { ParserAway, SyntaxProblem, scan, TextTooDeep, treeText } from "../../parser/parser.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { plainTokens, type Token } from "./plain-tokens.ts";

export type { Token } from "./plain-tokens.ts";

/** A longer text of a guarded role is refused: its analysis would block the event loop (a 5.9 kB text takes 2 to 3 ms). */
export const MAXIMUM_TEXT = 256 * 1024;

export interface RawStatement {
  readonly node: Node;
  /** Byte offsets of the statement in the text; leading space and comments are included. */
  readonly start: number;
  readonly end: number;
}

export type Parsed = ParsedText | NotParsed;

export interface NotParsed {
  readonly ok: false;
  readonly refusal: Refusal;
}

export interface ParsedText {
  readonly ok: true;
  readonly statements: readonly RawStatement[];
  /** The whole tree, as the parser prints it. */
  readonly tree: string;
}

/** Parses a text of one or several statements; errors carry Postgres's own message and position. */
export function parseText(text: string): Parsed {
  const length = Buffer.byteLength(text);
  if (length <= MAXIMUM_TEXT && text.trim() === "") return { ok: true, statements: [], tree: "" };
  const found = treeOf(text);
  if (!found.ok) return found;
  const { tree } = found;
  const statements = ((JSON.parse(tree) as ParseResult).stmts ?? []).flatMap(
    ({ stmt, stmt_location, stmt_len }) => {
      if (stmt === undefined) return [];
      const start = stmt_location ?? 0;
      // A length of zero (absent) means "to the end" (RawStmt in nodes/parsenodes.h).
      return [
        { node: stmt, start, end: stmt_len === undefined || stmt_len === 0 ? length : start + stmt_len },
      ];
    },
  );
  return { ok: true, statements, tree };
}

/** The whole tree of a text, as the parser prints it. */
export function treeOf(text: string): Pick<ParsedText, "ok" | "tree"> | NotParsed {
  if (Buffer.byteLength(text) > MAXIMUM_TEXT)
    return { ok: false, refusal: tooComplex(`the statement is longer than ${MAXIMUM_TEXT} bytes`) };
  try {
    return { ok: true, tree: treeText(text) };
  } catch (error) {
    return { ok: false, refusal: parseProblem(error) };
  }
}

function parseProblem(error: unknown): Refusal {
  if (error instanceof ParserAway) return refuse("58000", error.message, { hint: "Send it again." });
  if (error instanceof TextTooDeep) return tooComplex(error.message);
  if (!(error instanceof SyntaxProblem)) throw error;
  // Bison's own limit, which very deep parentheses reach.
  if (/memory exhausted|stack depth|out of memory/i.test(error.message))
    return tooComplex("the statement is nested too deeply");
  const { message, position } = error;
  return refuse("42601", message, position === undefined ? {} : { position });
}

export function tooComplex(message: string): Refusal {
  return refuse("54001", message, {
    hint: "Split the statement, or send long lists as an array parameter (= ANY ($1)), or as the rows of COPY … FROM STDIN.",
  });
}

/** The text's tokens without comments, with byte offsets. The text must have parsed. */
export function scanTokens(text: string): readonly Token[] {
  const plain = plainTokens(text);
  if (plain !== undefined) return plain;
  return scan(text.replaceAll(/\p{Cc}/gu, blankControl))
    .tokens.filter(({ tokenName }) => tokenName !== "SQL_COMMENT" && tokenName !== "C_COMMENT")
    .map(({ start, end, text: token }) => ({ start, end, text: token }));
}

/**
 * The scanner's JSON leaves ASCII control characters unescaped and is then invalid. They occur inside literals, quoted
 * names and comments, or are white space.
 */
function blankControl(character: string): string {
  return character < " " && !"\t\n\r".includes(character) ? " " : character;
}
