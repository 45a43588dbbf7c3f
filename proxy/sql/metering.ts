import type { FuncCall, SelectStmt } from "libpg-query";
import { countedWhenLeftOut } from "./absence.ts";
import { type Analysis, type FromReference, peopleSoFar } from "./analysis.ts";
import { forEachChild, stringOf, visitNode } from "./grammar.ts";
import { clauseEnd, fromKeyword, insertBefore } from "./places.ts";
import { purposeSql } from "./purposes.ts";
import { isTableCommand, type SelectLevel } from "./select.ts";
import { identitySql, type Subject } from "./subjects.ts";
import type { Metering } from "./verdict.ts";
import type { WriteLevel } from "./writes.ts";

/**
 * What each output row of a statement says of people, and the columns appended so that it says it. Never less
 * than what was read: a reference that no appended column covers counts one unknown person for each row.
 */
export function meterSelect(
  analysis: Analysis,
  body: SelectStmt,
  plain: SelectLevel | undefined,
): Metering | undefined {
  const total = peoplePerRow(analysis);
  if (total === undefined) return undefined;
  const covered = plain !== undefined && givesRows(analysis, body) ? subjectsOf(analysis, plain) : [];
  const purpose = purposeOf(covered);
  if (covered.length > 0) {
    const columns = [...covered.map(({ sql }) => sql), ...(purpose === undefined ? [] : [purpose])].join(
      ", ",
    );
    insertBefore(
      analysis,
      fromKeyword(analysis.source, body.fromClause ?? []),
      body.targetList === undefined ? `${columns} ` : `, ${columns} `,
    );
  }
  return {
    subjects: covered.map(({ namespace }) => ({ namespace })),
    unknown: total - covered.length,
    ...(purpose !== undefined && { purpose: true }),
  };
}

/** Whether the reader has to do with all people of the row, where that can be said of each of them. */
function purposeOf(covered: readonly Appended[]): string | undefined {
  const tests = covered.map(({ purpose }) => purpose);
  if (tests.length === 0 || tests.includes(undefined)) return undefined;
  return `(CASE WHEN ${tests.join(" AND ")} THEN 't' ELSE 'f' END)::pg_catalog.text AS "sluice purpose"`;
}

/** The rows of RETURNING are the target's; other relations that were read count as unknown people. */
export function meterReturning(analysis: Analysis, { target, returns }: WriteLevel): Metering | undefined {
  const total = peoplePerRow(analysis);
  if (!returns || total === undefined) return speaksInErrors(target) ? NO_PEOPLE : undefined;
  const subject = target.use?.sight?.people?.subject;
  const place = target.use && analysis.targetNames.get(target.use);
  const person = subject && appended(analysis, subject, target.alias, subject.column);
  if (subject === undefined || person === undefined || place === undefined)
    return { subjects: [], unknown: total };
  insertBefore(
    analysis,
    clauseEnd(analysis.source, analysis.source.tokenAt(place), new Set()),
    `, ${person} `,
  );
  return { subjects: [{ namespace: subject.namespace }], unknown: total - 1 };
}

/** MERGE's rows are made of two relations: none of them is known to be one person's. */
export function meterMerge(analysis: Analysis, { target, returns }: WriteLevel): Metering | undefined {
  const counted = returns ? meterUnknown(analysis) : undefined;
  return counted ?? (speaksInErrors(target) ? NO_PEOPLE : undefined);
}

/** Gives no rows of people; and yet what the server says of it may quote a person's value. */
export const NO_PEOPLE: Metering = { subjects: [], unknown: 0 };

/** Triggers and constraints of the target work on its real values, and their errors quote them. */
function speaksInErrors({ use }: WriteLevel["target"]): boolean {
  return use?.sight?.people !== undefined || use?.sight?.guarded === true || use?.relation.hasRules === true;
}

/** Rows whose shape cannot be changed (COPY, EXPLAIN ANALYZE …). */
export function meterUnknown(analysis: Analysis): Metering | undefined {
  const total = peoplePerRow(analysis);
  return total === undefined ? undefined : { subjects: [], unknown: total };
}

function peoplePerRow(analysis: Analysis): number | undefined {
  const speaks = analysis.calls > 0 || analysis.uses.some(({ sight }) => sight?.people !== undefined);
  return speaks ? peopleSoFar(analysis) : undefined;
}

interface Appended {
  readonly namespace: string;
  readonly sql: string;
  readonly purpose: string | undefined;
}

/** The visible references whose clear subject can be named without doubt. */
function subjectsOf(analysis: Analysis, { level, visible, leftOut }: SelectLevel): readonly Appended[] {
  const named = visible.filter((reference) => subjectColumn(reference, visible) !== undefined);
  const counted = countedWhenLeftOut(level, named, leftOut);
  return named.flatMap((reference) => {
    const { alias, use } = reference;
    const sight = use?.sight;
    const subject = sight?.people?.subject;
    const exposed = subjectColumn(reference, visible);
    if (sight === undefined || subject === undefined || exposed === undefined) return [];
    const sql = appended(analysis, subject, alias, exposed, counted.has(reference));
    return sql === undefined
      ? []
      : [
          {
            namespace: subject.namespace,
            sql,
            purpose: purposeSql(analysis.scope, sight, alias, exposed),
          },
        ];
  });
}

/** What the subject of a reference is called there, if its alias is the only one of that name. */
function subjectColumn(
  { alias, use, columns }: FromReference,
  visible: readonly FromReference[],
): string | undefined {
  const subject = use?.sight?.people?.subject;
  const isOnly = visible.filter((other) => other.alias === alias).length === 1;
  return isOnly && subject !== undefined
    ? [...(columns ?? [])].find(([, own]) => own === subject.column)?.[0]
    : undefined;
}

/** `isCounted`: where there is nobody, the row counts somebody unknown. */
function appended(
  { scope }: Analysis,
  subject: Subject,
  alias: string,
  exposed: string,
  isCounted = false,
): string | undefined {
  const identity = identitySql(scope, subject, alias, exposed);
  if (identity === undefined) return undefined;
  // A name of its own: a cast takes its column's name, and the client's ORDER BY would find two of them.
  return `${isCounted ? `COALESCE(${identity}, ${NOBODY})` : identity} AS "sluice subject"`;
}

/** Another one in each row. */
const NOBODY = "('left out ' OPERATOR(pg_catalog.||) pg_catalog.gen_random_uuid()::pg_catalog.text)";

/** Output rows are the FROM clause's own rows, one by one: nothing is grouped, made distinct or aggregated. */
function givesRows(analysis: Analysis, body: SelectStmt): boolean {
  if (
    body.fromClause === undefined ||
    isTableCommand(body) ||
    body.distinctClause !== undefined ||
    body.groupClause !== undefined ||
    body.havingClause !== undefined
  )
    return false;
  let aggregates = false;
  const look = (type: string, node: object): void => {
    if (type === "SubLink") return;
    if (
      type === "JsonArrayAgg" ||
      type === "JsonObjectAgg" ||
      (type === "FuncCall" && isAggregate(analysis, node as FuncCall))
    )
      aggregates = true;
    forEachChild(type, node, look);
  };
  for (const node of [...(body.targetList ?? []), ...(body.sortClause ?? [])]) visitNode(node, look);
  return !aggregates;
}

function isAggregate(analysis: Analysis, { funcname, over }: FuncCall): boolean {
  if (over !== undefined) return false;
  const name = (funcname ?? []).map(stringOf).at(-1) ?? "";
  return analysis.scope.catalog.functionsByName.get(name)?.some(({ kind }) => kind === "aggregate") ?? false;
}
