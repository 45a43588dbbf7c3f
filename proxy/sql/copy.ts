import type { CopyStmt, DefElem, Node, RangeVar } from "libpg-query";
import { type Analysis, innerLevel, type Level } from "./analysis.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { nameSpan, qualify, readUse, writeUse } from "./names.ts";
import { refuseOwnInsert } from "./own-writes.ts";
import { closingParenthesis, placeOf, statementStart, word } from "./places.ts";
import { probing } from "./probes.ts";
import { quoteIdentifier, quoteQualified } from "./source.ts";
import { subquery } from "./wrap.ts";
import { refuseProbing } from "./write-rules.ts";

/** COPY to and from the client. A guarded relation is copied through a query. */
export function copy(
  analysis: Analysis,
  body: CopyStmt,
  level: Level,
): { readonly kind: "copyIn" } | { readonly kind: "copyOut"; readonly header: boolean } {
  const { role } = analysis.scope;
  if (body.is_program || body.filename !== undefined) {
    analysis.refuse("42501", `role "${role.name}" may not COPY to or from the server's files and programs`, {
      hint: "Use COPY … TO STDOUT or FROM STDIN (psql: \\copy).",
    });
  }
  if (body.is_from) {
    if (body.relation === undefined) throw new Error("COPY FROM without a relation");
    const use = writeUse(analysis, body.relation);
    qualify(analysis, body.relation, use.relation);
    // WHERE speaks of the rows that come in: the client's own values.
    const columns = new Map(use.relation.columns.map(({ name }) => [name, name]));
    probing(analysis, undefined, () =>
      refuseProbing(analysis, { alias: use.relation.name, columns, use }, body.attlist?.map(stringOf)),
    );
    refuseOwnInsert(analysis, use);
    analysis.nodes(body.whereClause, {
      ...innerLevel(level),
      references: [{ alias: use.relation.name, columns, use: undefined }],
    });
    return { kind: "copyIn" };
  }
  if (body.query !== undefined) {
    analysis.nodes(body.query, level);
    cutQuery(analysis);
  } else if (body.relation !== undefined) {
    copyRelation(analysis, body, body.relation);
  }
  return { kind: "copyOut", header: hasHeader(body.options ?? []) };
}

/**
 * Whether the first line surely holds the columns' names: a line that is one is no row of a person, and a row that
 * is taken for one would be read uncounted. The ways to say it are those of defGetCopyHeaderOption in commands/copy.c.
 */
function hasHeader(options: readonly Node[]): boolean {
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

function copyRelation(analysis: Analysis, body: CopyStmt, name: RangeVar): void {
  const use = readUse(analysis, name);
  const { source, sights } = analysis;
  if (use.sight !== undefined && sights.requiresFilter(use.relation)) {
    analysis.refuse(
      "54000",
      `role "${analysis.scope.role.name}" may read ${use.key} only with a condition on an indexed column`,
      {
        rule: `roles.${analysis.scope.role.name}.require_filter`,
        hint: "Use COPY (SELECT … WHERE …) TO STDOUT.",
      },
    );
  }
  if (use.sight?.people !== undefined && analysis.scope.role.aggregatesOnly !== undefined) {
    analysis.deny(
      `role "${analysis.scope.role.name}" may only see summaries of ${use.key}`,
      "aggregates_only",
      "Ask for counts, sums or averages by group.",
    );
  }
  const copied = body.attlist?.map(stringOf);
  for (const column of use.sight?.columns ?? [])
    if (copied?.includes(column.column.name) !== false) analysis.costs(column, "named");
  const limit = cut(analysis);
  if (use.sight === undefined || (!use.sight.listed && limit === "")) {
    qualify(analysis, name, use.relation);
    return;
  }
  const span = nameSpan(analysis, name);
  if (word(source, span.first - 1) === "binary") {
    analysis.refuse("42501", "COPY BINARY is not known of a relation that is read through a query", {
      hint: `Use COPY ${use.key} TO STDOUT (FORMAT binary).`,
    });
  }
  const last = body.attlist === undefined ? span.last : closingParenthesis(source, span.last + 1);
  const [start, end] = [source.token(span.first)?.start, source.token(last)?.end];
  if (start === undefined || end === undefined) throw new Error("a name without tokens");
  const columns = (copied ?? []).map(quoteIdentifier).join(", ") || "*";
  for (const { className, column, kind } of use.sight.columns)
    if (kind !== "real") analysis.masked.add(className ?? column.name);
  // COPY reads the table's own rows, not its children's (Postgres docs, "COPY"); a partitioned table has none of its own.
  const only = use.relation.kind === "table";
  const from = use.sight.listed
    ? `${subquery(use.sight, { only, sample: "", conditions: [], systemColumns: [], isPlan: false }).text} AS ${quoteIdentifier(use.relation.name)}`
    : `${only ? "ONLY " : ""}${quoteQualified(use.relation.schema, use.relation.name)}`;
  const change = { kind: "copied relation", location: name.location ?? 0 } as const;
  analysis.edit(start, end, `(SELECT ${columns} FROM ${from}${limit})`, change);
}

/** `truncate`: the query itself ends after the allowed rows and one more, which tells that there were more. */
function cutQuery(analysis: Analysis): void {
  const limit = cut(analysis);
  if (limit === "" || !analysis.uses.some(({ sight }) => sight !== undefined) || analysis.writes.size > 0)
    return;
  const { source, raw, index } = analysis;
  const open = statementStart(source, raw) + 1;
  if (word(source, open) !== "(") throw new Error("COPY of a query without parentheses");
  const [start, end] = [placeOf(source, open + 1), placeOf(source, closingParenthesis(source, open))];
  const change = { kind: "copied query", statement: index } as const;
  analysis.edit(start, start, "SELECT * FROM (", { ...change, side: "before" });
  analysis.edit(end, end, `) AS sluice${limit}`, { ...change, side: "behind" });
}

function cut(analysis: Analysis): string {
  const { rows, onExcess } = analysis.scope.role.limits;
  return onExcess === "truncate" && rows !== undefined ? ` LIMIT ${rows + 1}` : "";
}
