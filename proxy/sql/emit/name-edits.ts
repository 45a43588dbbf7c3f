import type { ColumnRef, FuncCall } from "libpg-query";
import { quoteIdentifier } from "../../pg/quote.ts";
import { namesToHold } from "../rules/held-names.ts";
import { namesToShorten } from "../rules/unqualified-names.ts";
import type { MadeEdit } from "../verdict.ts";
import type { Rewriting } from "./rewriting.ts";
import { bytesOf, closingParenthesis, placeOf } from "./source-tokens.ts";

/* Changes within expressions: names of functions and of columns, and arguments. */

/** Adds schemas to function names and changes qualifiers of columns. */
export function nameEdits(rewriting: Rewriting): readonly MadeEdit[] {
  const calls = [...rewriting.findings.schemas].flatMap(([call, schema]) => schemaOfCall(call, schema));
  return [...calls, ...columnEdits(rewriting)];
}

export function argumentEdits(rewriting: Rewriting): readonly MadeEdit[] {
  return [...rewriting.findings.withoutArgument].flatMap((call) => nullArgument(rewriting, call));
}

/** Replaces the only argument by NULL of the same type, because Postgres chooses the function by it. */
function nullArgument({ source }: Rewriting, { location }: FuncCall): readonly MadeEdit[] {
  if (location === undefined) return [];
  const open = source.nameEnd(source.tokenAt(location)) + 1;
  const [start, end] = [placeOf(source, open + 1), placeOf(source, closingParenthesis(source, open))];
  return [
    { at: start, end: start, text: "CASE WHEN false THEN ", change: { kind: "argument", location } },
    { at: end, end, text: " END" },
  ];
}

function schemaOfCall({ location, funcformat }: FuncCall, schema: string): readonly MadeEdit[] {
  // A call that SQL spells as syntax (EXTRACT, OVERLAY) is qualified by the grammar already.
  if (funcformat !== "COERCE_EXPLICIT_CALL" || location === undefined) return [];
  const text = `${schema === "pg_catalog" ? schema : quoteIdentifier(schema)}.`;
  return [{ at: location, end: location, text, change: { kind: "call", location, schema } }];
}

/** Removes schemas that do not reach into a subquery, and adds relations to names that must stay bound to theirs. */
function columnEdits(rewriting: Rewriting): readonly MadeEdit[] {
  const { bound, given } = rewriting;
  const shortened = [...namesToShorten(bound, given.sights)].flatMap((node) =>
    withoutSchema(rewriting, node),
  );
  const held = namesToHold(bound, given.sights).flatMap(({ node, holder }): readonly MadeEdit[] => {
    const { location } = node;
    if (location === undefined || holder === undefined) return [];
    const text = `${quoteIdentifier(holder.alias)}.`;
    return [{ at: location, end: location, text, change: { kind: "column", location } }];
  });
  return [...shortened, ...held];
}

function withoutSchema({ source }: Rewriting, { location }: ColumnRef): readonly MadeEdit[] {
  if (location === undefined) return [];
  const parts = source.nameParts(source.tokenAt(location));
  // From the right: the column (or star), the relation.
  const [first, relation] = [parts[0], parts.at(-2)];
  if (first === undefined || relation === undefined) throw new Error("a column without tokens");
  const { start } = bytesOf(source, { first, last: first });
  const end = placeOf(source, relation);
  return [{ at: start, end, text: "", change: { kind: "column", location: start } }];
}
