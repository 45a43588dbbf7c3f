import type { CopyStmt } from "libpg-query";
import { quoteIdentifier, quoteQualified } from "../../pg/quote.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { tablesIn } from "../bind/questions.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { rowsCopied } from "../rules/copied-rows.ts";
import { sightOf } from "../rules/people.ts";
import type { MadeEdit } from "../verdict.ts";
import { qualified } from "./relation-edits.ts";
import type { Rewriting } from "./rewriting.ts";
import { bytesOf, closingParenthesis, nameSpan, placeOf, statementStart, word } from "./source-tokens.ts";
import { subquery } from "./subquery.ts";

/**
 * COPY to the client: a relation that the role sees only in part is copied through a query, and a query gets the role's
 * limit.
 */
export function copyEdits(rewriting: Rewriting): readonly MadeEdit[] {
  const { raw, bound } = rewriting;
  const [type, body] = nodeOf(raw.node);
  if (type !== "CopyStmt" || (body as CopyStmt).is_from === true) return [];
  const copied = bound.queries.find(({ form }) => form === "copy");
  return copied === undefined ? cutQuery(rewriting) : copiedRelation(rewriting, copied);
}

function copiedRelation(rewriting: Rewriting, { node, relations }: BoundQuery): readonly MadeEdit[] {
  const { source, given } = rewriting;
  const [reference] = relations;
  if (reference?.source.kind !== "table") return [];
  const { relation, name } = reference.source;
  const sight = sightOf(given.sights, reference);
  const limit = limitClause(rewriting);
  if (sight === undefined || (!sight.listed && limit === "")) return qualified(rewriting, reference);
  const { attlist } = node as CopyStmt;
  const span = nameSpan(source, name);
  const last = attlist === undefined ? span.last : closingParenthesis(source, span.last + 1);
  const { start, end } = bytesOf(source, { first: span.first, last });
  const columns = (attlist ?? []).map(stringOf).map(quoteIdentifier).join(", ") || "*";
  // COPY reads the table's own rows, not its children's (Postgres docs, "COPY"); a partitioned table has no rows of its
  // own.
  const only = relation.kind === "table";
  const parts = { only, sample: "", conditions: [], systemColumns: [], isPlan: false };
  const from = sight.listed
    ? `${subquery(sight, parts).text} AS ${quoteIdentifier(relation.name)}`
    : `${only ? "ONLY " : ""}${quoteQualified(relation.schema, relation.name)}`;
  const change = { kind: "copied relation", location: name.location ?? 0 } as const;
  return [{ at: start, end, text: `(SELECT ${columns} FROM ${from}${limit})`, change }];
}

/** `truncate`: the query itself ends after the allowed rows plus one, which shows that there were more. */
function cutQuery(rewriting: Rewriting): readonly MadeEdit[] {
  const { source, raw, index, bound, given } = rewriting;
  const limit = limitClause(rewriting);
  const reads = tablesIn(bound).some((each) => sightOf(given.sights, each) !== undefined);
  if (limit === "" || !reads || bound.queries.some(({ write }) => write !== undefined)) return [];
  const open = statementStart(source, raw) + 1;
  if (word(source, open) !== "(") throw new Error("COPY of a query without parentheses");
  const [start, end] = [placeOf(source, open + 1), placeOf(source, closingParenthesis(source, open))];
  const change = { kind: "copied query", statement: index } as const;
  return [
    { at: start, end: start, text: "SELECT * FROM (", change: { ...change, side: "before" } },
    { at: end, end, text: `) AS sluice${limit}`, change: { ...change, side: "behind" } },
  ];
}

function limitClause({ given }: Rewriting): string {
  const rows = rowsCopied(given.role);
  return rows === undefined ? "" : ` LIMIT ${rows}`;
}
