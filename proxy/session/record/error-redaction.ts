import { mapPosition } from "../../sql/position.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { ErrorFields, Telling } from "../../wire/errors.ts";
import type { Judged } from "../statement/decision.ts";
import { textOfError } from "./error-texts.ts";

/**
 * How a guarded session is told of the server's errors about one text. What a statement fails on, where, and in which
 * words can reveal people who are not counted, so for statements that touch people the client gets nothing but the SQLSTATE
 * and, of violated constraints, their names. An error with a position is the parser's own: it was made before any row was
 * read, and is told as it is.
 */
export function tellingOf(judged: Judged | undefined, fields: ErrorFields, touches: boolean): Telling {
  const isOpen = !touches || isOfParser(fields);
  const sqlstate = fields.get("C") ?? "";
  return {
    position: (at) => (isOpen ? positionIn(judged, at) : undefined),
    message: (text) => (isOpen ? text : textOfError(sqlstate)),
    tells: (code, text) => isOpen || (judged !== undefined && namesConstraint(code, text, fields, judged)),
    tellsSource: isOpen,
  };
}

/**
 * Functions give no position in the client's text; those in texts of their own are other fields (p and q). But
 * `name::regtype` runs the grammar on a value and tells the place in it (parseTypeString of parser/parse_type.c): what the
 * grammar finds wrong is not taken for an error in the client's text, which Sluice has parsed already.
 */
export function isOfParser(fields: ErrorFields): boolean {
  return fields.has("P") && !OF_THE_GRAMMAR.has(fields.get("F") ?? "");
}

const OF_THE_GRAMMAR: ReadonlySet<string> = new Set(["scan.l", "gram.y", "scan.c", "gram.c", "parser.c"]);

/**
 * Names of a violated constraint and of what it belongs to, which object mappers read. They are the catalog's; what PL
 * code raises may hold anything.
 */
function namesConstraint(code: string, text: string, fields: ErrorFields, { scope }: Judged): boolean {
  const isViolation = fields.get("C")?.startsWith("23") === true;
  if (!isViolation || fields.get("F")?.startsWith("pl") === true) return false;
  const { schemas, relationsByName } = scope.catalog;
  const relations = relationsByName.get(fields.get("t") ?? "") ?? [];
  switch (code) {
    case "s":
      return schemas.has(text);
    case "t":
      return relations.length > 0;
    case "c":
      return relations.some(({ columns }) => columns.some(({ name }) => name === text));
    case "n":
      return relations.length > 0 && /^\w+$/.test(text);
    default:
      return false;
  }
}

/** Whether what the server says of one of a text's statements may tell of people. */
export function touchesPeople({ metering, effect }: Statement): boolean {
  if (metering !== undefined) return true;
  switch (effect?.kind) {
    case "prepare":
    case "declare":
      return effect.inner.metering !== undefined;
    // What they run is told by another text; they are taken to touch people.
    case "execute":
    case "fetch":
      return true;
    // Constraints that were deferred are checked now.
    case "transaction":
      return effect.ends;
    default:
      return false;
  }
}

/** A position in the text that the server got, as one in the client's own text. */
function positionIn(judged: Judged | undefined, at: number): number | undefined {
  if (judged === undefined) return undefined;
  const { verdict, text } = judged;
  return verdict.kind === "rewrite" ? mapPosition(text, verdict.sql, verdict.edits, at) : at;
}
