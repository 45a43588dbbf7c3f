import type { AuditKeys } from "./audit-keys.ts";
import { type Coverage, coverageOf } from "./coverage.ts";
import { MEASURES, textList } from "./log-lines.ts";
import { type Period, type Readings, withReadings } from "./readings.ts";

/** Somebody whom the user read, under one hash. */
export interface ReadPerson {
  readonly subject: string;
  /** Unix time, milliseconds. */
  readonly first: number;
  readonly last: number;
  readonly statements: number;
  /** Classes whose values the user learned: in the clear, in some rows, or by looking people up. */
  readonly classes: readonly string[];
  /** Some of these readings are of lines that do not say what was shown. */
  readonly unsaid: boolean;
  /** Statements for which the policy asked whether anything tied the user to the person: where it did, and did not. */
  readonly explained: number;
  readonly unexplained: number;
}

export interface ReadBy {
  readonly people: readonly ReadPerson[];
  readonly statements: number;
  readonly rows: number;
  /** What was done about the user, in the order of time. */
  readonly measures: readonly MeasureTaken[];
  /** Statements that named nobody over these tables, and people beyond those whom events name, of this user. */
  readonly notCovered: Coverage;
}

/** An alert, an order, or a question about the user. */
export interface MeasureTaken {
  readonly time: number;
  readonly kind: string;
  /** Who gave the order or asked; the proxy itself for an alert. */
  readonly by: string;
  readonly told: string;
}

export interface ReadByQuestion {
  readonly folder: string;
  readonly period: Period;
  readonly keys: readonly AuditKeys[];
  readonly user: string;
  /** Of one of these classes, or all. */
  readonly needs: readonly string[];
  /** Only those for whom nothing tied the user to the person at least once. */
  readonly unexplainedOnly: boolean;
}

const MINUTE = 60_000;

/** The log knows nobody of this name: whom they have read is another question than this. */
export class UnknownUser extends Error {}

/** Whom a user has read. `check` tells the tables that lead to them, and throws where the log cannot be asked so. */
export async function readBy(
  { folder, period, keys, user, needs, unexplainedOnly }: ReadByQuestion,
  check: (readings: Readings) => Promise<{ readonly namespace: string; readonly tables: readonly string[] }>,
): Promise<ReadBy> {
  return withReadings({ folder, period, events: "all" }, async (readings) => {
    const { namespace, tables } = await check(readings);
    const [known] = await readings.rows<{ statements: number; rows: number }>(KNOWN, [user]);
    if (known === undefined || known.statements === 0)
      throw new UnknownUser(`this log has no statement of a user "${user}" in this time`);
    const people = await readings.rows<ReadPerson>(peopleRead(needs, unexplainedOnly, namespace), [user]);
    const coverage = await coverageOf(readings, keys, tables);
    const own = <T extends { readonly user: string }>(list: readonly T[]) =>
      list.filter((one) => one.user === user);
    return {
      people,
      statements: known.statements,
      rows: known.rows,
      measures: await readings.rows<MeasureTaken>(MEASURES_TAKEN, [user]),
      notCovered: {
        ...coverage,
        unnamed: own(coverage.unnamed),
        cut: own(coverage.cut),
        failed: own(coverage.failed),
      },
    };
  });
}

const KNOWN = `
  SELECT (count(*) FILTER (kind = 'statement'))::DOUBLE AS statements,
    coalesce(sum("rows") FILTER (kind = 'statement'), 0)::DOUBLE AS rows
  FROM lines WHERE "user" = $1`;

/** What was done about the user `$1`. Each process writes an order down when it learns of it; it is one. */
export const MEASURES_TAKEN = `
  WITH taken AS (
    SELECT time, kind, CASE kind WHEN 'alert' THEN 'sluice' ELSE "user" END AS "by", coalesce(told, '') AS told,
      floor(time / ${MINUTE}) AS minute
    FROM lines WHERE about = $1 AND kind IN (${MEASURES.map((kind) => `'${kind}'`).join(", ")})
  )
  SELECT min(time) AS time, kind, "by", told FROM taken GROUP BY kind, "by", told, minute ORDER BY time`;

/** A result that left in pieces names people in the pieces, and the first of them in its own event again. */
function peopleRead(needs: readonly string[], unexplainedOnly: boolean, namespace: string): string {
  const counts = needs.length === 0 ? "true" : `list_has_any(coalesce(classes, []), ${textList(needs)})`;
  const ofNamespace = `(people_of IS NULL OR list_has_any(people_of, ${textList([namespace])}))`;
  return `WITH reads AS (
      SELECT time, kind, classes, unnest(subjects) AS subject, unnest(string_split(unexplained, '')) AS unexplained
      FROM readings WHERE "user" = $1 AND ${counts} AND ${ofNamespace}
    )
    SELECT subject, min(time) AS first, max(time) AS last,
      greatest(1, count(*) FILTER (kind = 'statement'))::DOUBLE AS statements,
      list_sort(list_distinct(flatten(list(coalesce(classes, []))))) AS classes,
      bool_or(classes IS NULL) AS unsaid,
      (count(*) FILTER (unexplained = '0' AND kind = 'statement'))::DOUBLE AS explained,
      (count(*) FILTER (unexplained = '1'))::DOUBLE AS unexplained
    FROM reads WHERE subject IS NOT NULL GROUP BY subject
    ${unexplainedOnly ? "HAVING count(*) FILTER (unexplained = '1') > 0" : ""}
    ORDER BY first, subject`;
}
