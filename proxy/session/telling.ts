import { mapPosition } from "../sql/position.ts";
import type { ErrorFields, Telling } from "../wire/errors.ts";
import type { Judged } from "./judged.ts";

/**
 * How a guarded session is told of the server's errors and notices about one text. What a statement fails on
 * can be a value that the role sees in the clear, of a person whom nobody has counted: `name::int` would read
 * one person for each error.
 */
export function tellingOf(judged: Judged | undefined, fields: ErrorFields): Telling {
  const guarded = judged !== undefined && readsPeople(judged) ? judged : undefined;
  const sqlstate = fields.get("C") ?? "";
  return {
    position: (at) => positionIn(judged, at),
    message: (text) => {
      if (guarded === undefined) return text;
      return isRaised(fields)
        ? "an exception of the database's own code"
        : withheld(text, sqlstate, guarded.text);
    },
    tells: (code, text) => guarded === undefined || tells(code, text, fields, guarded),
  };
}

/** RAISE and its like in other languages put into an error whatever their author likes. */
function isRaised(fields: ErrorFields): boolean {
  return fields.get("F")?.startsWith("pl") === true;
}

/**
 * The parser's own errors have a position, which no function can give. Others name what the catalog knows; of
 * constraints it knows no names, so these must at least look like one.
 */
function tells(code: string, text: string, fields: ErrorFields, { scope }: Judged): boolean {
  if (fields.has("P")) return true;
  const { schemas, relationsByName, typesByName } = scope.catalog;
  const relations = relationsByName.get(fields.get("t") ?? "") ?? [];
  switch (code) {
    case "s":
      return schemas.has(text);
    case "t":
      return relationsByName.has(text);
    case "c":
      return relations.some(({ columns }) => columns.some(({ name }) => name === text));
    case "d":
      return typesByName.has(text);
    case "n":
      return !isRaised(fields) && relations.length > 0 && /^\w+$/.test(text);
    default:
      return false;
  }
}

function readsPeople({ verdict }: Judged): boolean {
  return verdict.statements.some(({ metering, effect }) => {
    const inner = effect !== undefined && "inner" in effect ? effect.inner.metering : undefined;
    // What EXECUTE and FETCH read is told by another text; they are taken to read people.
    return (
      metering !== undefined || inner !== undefined || effect?.kind === "execute" || effect?.kind === "fetch"
    );
  });
}

/** Constraint violations name relations and constraints only; their values stand in DETAIL, which is never told. */
const NAMES_ONLY = "23";
/** Data exceptions: the value follows a colon, quoted or not. */
const DATA_EXCEPTION = "22";

/** From the first quotation mark (of any language's) to the last one. */
const QUOTED = /["«„“‹](.*)["»“”›]/s;

/** The message without what it quotes, unless the client's own text has that. */
export function withheld(message: string, sqlstate: string, statement: Buffer): string {
  if (sqlstate.startsWith(NAMES_ONLY)) return message;
  const quoted = QUOTED.exec(message);
  const isOwn = quoted?.[1] !== undefined && quoted[1] !== "" && statement.includes(quoted[1]);
  if (isOwn) return message;
  const told = quoted === null ? message : message.replace(QUOTED, "…");
  return sqlstate.startsWith(DATA_EXCEPTION) ? told.replace(/: .*$/s, "") : told;
}

/** A position in the text that the server got, as one in the client's own text. */
function positionIn(judged: Judged | undefined, at: number): number | undefined {
  if (judged === undefined) return undefined;
  const { verdict, text } = judged;
  return verdict.kind === "rewrite" ? mapPosition(text, verdict.sql, verdict.edits, at) : at;
}
