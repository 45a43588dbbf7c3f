import type { AuditKeys } from "./audit-keys.ts";
import { textList } from "./log-lines.ts";
import type { Readings } from "./readings.ts";
import { type ForeignSegments, foreignSegments } from "./vocabulary.ts";

/** What an answer does not cover: in which ways somebody may have got at these people and is not found. */
export interface Coverage {
  /** Users whose statements over these tables name nobody: roles that see all, summaries, set operations. */
  readonly unnamed: readonly { readonly user: string; readonly statements: number; readonly rows: number }[];
  /** Users who read more people in one statement than its event names, or people who could not be named. */
  readonly cut: readonly { readonly user: string; readonly people: number }[];
  /** Statements over these tables that failed after they had begun: an error may tell of a row. */
  readonly failed: readonly { readonly user: string; readonly statements: number }[];
  readonly foreign: ForeignSegments;
  readonly unreadable: readonly string[];
  /** Events that never got to disk, and segments that retention has dropped. */
  readonly lost: number;
  readonly dropped: number;
  readonly damaged: number;
  /** First and last event of a statement, Unix time in milliseconds; undefined where there is none. */
  readonly first: number | undefined;
  readonly last: number | undefined;
}

/** Shorter lists are whole: events name up to 5,000 people (event.ts). */
const MAYBE_CUT = 100;

/** A large result's own event names its first people only; its pieces before name all who can be named. */
const CUT = `
  WITH large AS (
    SELECT *, count(*) FILTER (kind = 'statement') OVER (
      PARTITION BY writer, session, "user" ORDER BY sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS result
    FROM readings WHERE session IN (SELECT session FROM readings WHERE people >= ${MAYBE_CUT} OR uncounted)
  ), results AS (
    SELECT "user", max(people) FILTER (kind = 'statement') AS people,
      len(list_distinct(flatten(list(subjects)))) AS named, bool_or(uncounted) AS uncounted
    FROM large GROUP BY writer, session, "user", result
  )
  SELECT "user", sum(people - named)::DOUBLE AS people FROM results
  WHERE (named >= ${MAYBE_CUT} OR uncounted) AND people > named GROUP BY "user" ORDER BY people DESC, "user"`;

/** Over one of the tables, or over any where none is known; whatever may have read others may have read these. */
function over(tables: readonly string[]): string {
  const named =
    tables.length === 0
      ? "len(relations) > 0"
      : `list_has_any(list_concat(relations, beneath), ${textList(tables)})`;
  return `(${named} OR coalesce(reads_more, false))`;
}

const unnamedOver = (tables: readonly string[]) => `
  SELECT "user", count(*)::DOUBLE AS statements, sum("rows")::DOUBLE AS rows FROM lines
  WHERE kind = 'statement' AND "rows" > 0 AND len(subjects) = 0 AND ${over(tables)}
  GROUP BY "user" ORDER BY rows DESC, "user"`;

/** Refusals of ours were never run: what the server says of data are its classes 21 to 23 and 2F to 39 (Postgres docs, appendix A). */
const failedOver = (tables: readonly string[]) => `
  SELECT "user", count(*)::DOUBLE AS statements FROM lines
  WHERE kind = 'statement' AND decision <> 'refuse' AND regexp_matches(status, '^(2[123]|P0)') AND ${over(tables)}
  GROUP BY "user" ORDER BY statements DESC, "user"`;

const LACKS = `
  SELECT coalesce(sum(events) FILTER (kind = 'events lost'), 0)::DOUBLE AS lost,
    (count(*) FILTER (kind = 'segments dropped'))::DOUBLE AS dropped,
    (count(*) FILTER (kind = 'log damaged'))::DOUBLE AS damaged,
    min(time) FILTER (kind IN ('statement', 'rows')) AS first, max(time) FILTER (kind IN ('statement', 'rows')) AS last
  FROM lines`;

/** `tables`: those that lead to the people asked about, so far as the log says it. */
export async function coverageOf(
  readings: Readings,
  keys: readonly AuditKeys[],
  tables: readonly string[],
): Promise<Coverage> {
  const [lacks] = await readings.rows<{
    lost: number;
    dropped: number;
    damaged: number;
    first: number | null;
    last: number | null;
  }>(LACKS);
  return {
    unnamed: await readings.rows(unnamedOver(tables)),
    cut: await readings.rows(CUT),
    failed: await readings.rows(failedOver(tables)),
    foreign: await foreignSegments(readings, keys),
    unreadable: readings.unreadable,
    lost: lacks?.lost ?? 0,
    dropped: lacks?.dropped ?? 0,
    damaged: lacks?.damaged ?? 0,
    first: lacks?.first ?? undefined,
    last: lacks?.last ?? undefined,
  };
}
