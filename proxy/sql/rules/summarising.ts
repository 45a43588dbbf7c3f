import type { FuncCall } from "libpg-query";
import type { Catalog } from "../../catalog/catalog.ts";
import type { BoundStatement, Call } from "../bind/bound.ts";

/** Calls whose values are made from several rows, in the whole statement. */
export interface SummarisingCalls {
  readonly aggregates: number;
  /** With OVER: a number of rows, which has no more bits than a person counts for. */
  readonly rankings: number;
  /** Other calls with OVER. */
  readonly windows: number;
}

export function summarisingCalls({ queries }: BoundStatement, catalog: Catalog): SummarisingCalls {
  const calls = queries.flatMap((query) => query.calls);
  const windowed = calls.filter(isWindowed);
  const rankings = windowed.filter((call) => isRanking(catalog, call)).length;
  return {
    aggregates: calls.filter((call) => !isWindowed(call) && isAggregate(catalog, call)).length,
    rankings,
    windows: windowed.length - rankings,
  };
}

function isWindowed({ node, form }: Call): boolean {
  return form === "function" && (node as FuncCall).over !== undefined;
}

const RANKING: ReadonlySet<string> = new Set(["row_number", "rank", "dense_rank", "count"]);

function isRanking({ functionsByName }: Catalog, { name }: Call): boolean {
  return (
    RANKING.has(name) && (functionsByName.get(name) ?? []).every(({ schema }) => schema === "pg_catalog")
  );
}

/** Decided by name only: it is unknown which of several functions is called. */
function isAggregate({ functionsByName }: Catalog, { name, form }: Call): boolean {
  if (form === "syntax") return false;
  return (functionsByName.get(name) ?? []).some(({ kind }) => kind === "aggregate" || kind === "window");
}
