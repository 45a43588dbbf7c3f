import type { RangeTableSample, RangeVar } from "libpg-query";
import { quoteIdentifier, quoteQualified } from "../../pg/quote.ts";
import type { BoundRelation } from "../bind/bound.ts";
import type { Source } from "../parse/source.ts";
import type { ShownColumns } from "../rules/base-columns.ts";
import { writesHidden } from "../rules/held-names.ts";
import { wrappedSight } from "../rules/wrapped.ts";
import type { RelationSight } from "../sight.ts";
import type { MadeEdit } from "../verdict.ts";
import type { Rewriting } from "./rewriting.ts";
import { bytesOf, closingParenthesis, nameSpan } from "./source-tokens.ts";
import { subquery } from "./subquery.ts";

/** The client's conditions, by reference, that are checked in the subqueries that replace the references. */
export type ConditionsOf = ReadonlyMap<BoundRelation, readonly string[]>;

/** Replaces relations that the role sees only in part by subqueries, and adds schemas to the names of all others. */
export function relationEdits(rewriting: Rewriting, conditions: ConditionsOf): readonly MadeEdit[] {
  const {
    bound,
    given,
    findings: { shown },
  } = rewriting;
  const holdsColumns = writesHidden(bound, given.sights);
  return bound.queries.flatMap(({ form, relations, write }) =>
    // The relation of COPY becomes a query: see copies.ts.
    relations.flatMap((reference): readonly MadeEdit[] => {
      const { source } = reference;
      if (source.kind !== "table" || form === "copy") return [];
      const isRead = form !== "lock" && reference !== write?.target;
      const sight = isRead ? wrappedSight(given, shown, reference) : undefined;
      if (sight === undefined) return qualified(rewriting, reference);
      const own = conditions.get(reference) ?? [];
      const all = holdsColumns ? [columnsAreThere(sight, own), ...own] : own;
      return wrapped(rewriting, { reference, name: source.name, sample: source.sample, sight, shown }, all);
    }),
  );
}

/**
 * Adds the schema to a name without one: the server resolves names again when it plans, and search_path may have
 * changed by then.
 */
export function qualified(
  { source }: Pick<Rewriting, "source">,
  { source: meant }: BoundRelation,
): readonly MadeEdit[] {
  if (meant.kind !== "table") return [];
  const { name, relation } = meant;
  if (name.schemaname !== undefined && name.catalogname === undefined) return [];
  const { nameFirst: first, nameLast: last } = nameSpan(source, name);
  const { start, end } = bytesOf(source, { first, last });
  const text = quoteQualified(relation.schema, relation.name);
  return [{ at: start, end, text, change: { kind: "relation", location: name.location ?? 0 } }];
}

interface Wrapped {
  readonly reference: BoundRelation;
  readonly name: RangeVar;
  readonly sample: RangeTableSample | undefined;
  readonly sight: RelationSight;
  readonly shown: ShownColumns;
}

function wrapped(
  { source, bound }: Rewriting,
  { reference, name, sample, sight, shown }: Wrapped,
  conditions: readonly string[],
): readonly MadeEdit[] {
  const span = nameSpan(source, name);
  const { start, end } = bytesOf(source, span);
  const sampled = sample && sampleSpan(source, sample);
  const { text, list } = subquery(sight, {
    only: span.only,
    sample: sampled === undefined ? "" : ` ${source.slice(sampled.start, sampled.end)}`,
    conditions,
    systemColumns: [...(shown.systemColumns.get(reference) ?? [])],
    isPlan: bound.kind === "explain",
  });
  const alias = reference.hasAlias ? "" : ` AS ${quoteIdentifier(sight.relation.name)}`;
  const change = {
    ...({ kind: "relation", location: name.location ?? 0 } as const),
    ...(sampled !== undefined && ({ sample: true } as const)),
  };
  return [
    { at: start, end, text: text + alias, change, list },
    // The sample moves into the subquery together with the table.
    ...(sampled === undefined ? [] : [{ at: sampled.start, end: sampled.end, text: "" }]),
  ];
}

/** `TABLESAMPLE method (…) REPEATABLE (…)`; its node is located at the method. */
function sampleSpan(source: Source, { location, repeatable }: RangeTableSample) {
  const method = source.tokenAt(location ?? 0);
  let last = closingParenthesis(source, source.nameEnd(method) + 1);
  if (repeatable !== undefined) last = closingParenthesis(source, last + 2);
  return bytesOf(source, { first: method - 1, last });
}

/**
 * A condition that is true, and an error if one of the columns that the subquery reads has been dropped; it costs
 * nothing during execution. A mask that does not read its column needs no such check.
 */
function columnsAreThere(
  { relation, columns, filter = "" }: RelationSight,
  conditions: readonly string[],
): string {
  const table = quoteIdentifier(relation.name);
  const read = [...columns.map(({ sql }) => sql), filter, ...conditions].join(" ");
  const named = columns
    .filter(({ kind, column }) => kind !== "absent" && read.includes(column.name))
    .map(({ column }) => `${table}.${quoteIdentifier(column.name)}`);
  return `(true OR ROW(${named.join(", ")}) IS NULL)`;
}
