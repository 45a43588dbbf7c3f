import type { CopyStmt, DefElem, Node } from "libpg-query";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { rowsCopied } from "./copied-rows.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";

/* COPY to and from the client. */

/** Files and programs belong to the server. */
export function copyOnServer({ role }: Pick<Given, "role">, body: CopyStmt): Refusal | undefined {
  if (body.is_program !== true && body.filename === undefined) return undefined;
  return refuse("42501", `role "${role.name}" may not COPY to or from the server's files and programs`, {
    hint: "Use COPY … TO STDOUT or FROM STDIN (psql: \\copy).",
  });
}

/** `COPY relation TO`: the relation is read as a whole, through a query if necessary. */
export function forbiddenCopy({ top }: BoundStatement, given: Given): Refusal | undefined {
  const reference = top?.form === "copy" ? top.relations[0] : undefined;
  if (top === undefined || reference?.source.kind !== "table") return undefined;
  const { role, sights } = given;
  const sight = sightOf(sights, reference);
  if (sight === undefined) return undefined;
  if (sight.people !== undefined && role.aggregatesOnly !== undefined)
    return denied(
      role,
      `role "${role.name}" may only see summaries of ${sight.key}`,
      "aggregates_only",
      "Ask for counts, sums or averages by group.",
    );
  const isQuery = sight.listed || rowsCopied(role) !== undefined;
  const { options, relation } = top.node as CopyStmt;
  if (!isQuery || !isBinaryBefore(options ?? [], relation?.location ?? 0)) return undefined;
  return refuse("42501", "COPY BINARY is not known of a relation that is read through a query", {
    hint: `Use COPY ${sight.key} TO STDOUT (FORMAT binary).`,
  });
}

/** `COPY BINARY relation`, the syntax before Postgres 7.3: the option precedes the name. */
function isBinaryBefore(options: readonly Node[], place: number): boolean {
  return options.some((node) => {
    const { defname, location = 0 } = nodeOf(node)[1] as DefElem;
    return defname === "format" && location < place;
  });
}

/**
 * Whether the first line certainly contains the column names: a header is not a person's row, and a row mistaken for a
 * header would be read uncounted. Accepts the spellings of defGetCopyHeaderOption in commands/copy.c.
 */
export function hasHeader(options: readonly Node[]): boolean {
  return options.some((node) => {
    const { defname, arg } = nodeOf(node)[1] as DefElem;
    return defname === "header" && (arg === undefined || isTrue(arg));
  });
}

function isTrue(value: Node): boolean {
  const [type, body] = nodeOf(value);
  switch (type) {
    case "Boolean":
      return (body as { boolval?: boolean }).boolval === true;
    case "Integer":
      return (body as { ival?: number }).ival === 1;
    case "String":
      return ["true", "on"].includes(stringOf(value).toLowerCase());
    default:
      return false;
  }
}
