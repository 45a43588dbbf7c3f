import type { FuncCall, SelectStmt } from "libpg-query";
import { countedWhenLeftOut } from "./absence.ts";
import { type Analysis, type FromReference, peopleSoFar, type RelationUse } from "./analysis.ts";
import { isSelected, withoutDistinct } from "./distinct.ts";
import { groupDistinctRows, isDistinctGroups } from "./distinct-groups.ts";
import { forEachChild, stringOf, visitNode } from "./grammar.ts";
import { appendReturned, appendTargets, type Column } from "./places.ts";
import { copyPrice, countsPeople, planPrice, queryPrice, writePrice } from "./pricing.ts";
import { purposeSql } from "./purposes.ts";
import { isTableCommand, type SelectLevel } from "./select.ts";
import { identitySql, type Subject } from "./subjects.ts";
import { tellsOfProtected } from "./telling-writes.ts";
import { isTiedTo } from "./ties.ts";
import type { Groups, Metering } from "./verdict.ts";
import { windowsOf } from "./windows.ts";
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
  const groups = plain && groupsOf(analysis, body, plain);
  if (groups !== undefined) {
    if (groups.told.most !== undefined) groupDistinctRows(analysis, body);
    appendTargets(analysis, body.targetList ?? [], groups.columns);
    return { subjects: [], unknown: 0, groups: groups.told, ...queryPrice(analysis, body, 0) };
  }
  const covered = plain === undefined ? [] : coveredBy(analysis, body, plain);
  const purpose = purposeOf(covered);
  if (covered.length > 0) {
    const columns = covered.map(({ sql }): Column => ({ sql, name: "sluice subject" }));
    if (purpose !== undefined) columns.push({ sql: purpose, name: "sluice purpose" });
    appendTargets(analysis, body.targetList ?? [], columns);
  }
  const { totals, others } = windowsOf(analysis, body);
  const unknown = total - covered.length - tiedTo(analysis, covered) + others;
  return {
    subjects: covered.map(({ namespace }) => ({ namespace })),
    unknown,
    ...(purpose !== undefined && { purpose: true }),
    ...queryPrice(analysis, body, unknown, totals),
  };
}

function coveredBy(analysis: Analysis, body: SelectStmt, plain: SelectLevel): readonly Appended[] {
  if (givesRows(analysis, body)) return subjectsOf(analysis, plain);
  // For other roles one more column behind DISTINCT would have a price of its own.
  const rows = analysis.scope.role.watch === true ? withoutDistinct(body) : undefined;
  if (rows === undefined || !givesRows(analysis, rows)) return [];
  return subjectsOf(analysis, plain).filter(({ use }) => {
    const reference = plain.visible.find((each) => each.use === use);
    const column = reference && subjectColumn(reference, plain.visible);
    return reference !== undefined && column !== undefined && isSelected(body, reference, column);
  });
}

/** References in subqueries that are held to a person whom the row names: they show nobody else. */
function tiedTo(analysis: Analysis, covered: readonly Appended[]): number {
  const told = new Set(covered.map(({ use }) => use));
  if (told.size === 0) return 0;
  return analysis.uses.filter(
    (use) =>
      use.sight?.people?.unknown === 0 &&
      !told.has(use) &&
      !use.isTarget &&
      !analysis.withinWith.has(use) &&
      isTiedTo(analysis, use, told),
  ).length;
}

/** Whether the reader has to do with all people of the row, where that can be said of each of them. */
function purposeOf(covered: readonly Appended[]): string | undefined {
  const tests = covered.map(({ purpose }) => purpose);
  if (tests.length === 0 || tests.includes(undefined)) return undefined;
  return `(CASE WHEN ${tests.join(" AND ")} THEN 't' ELSE 'f' END)::pg_catalog.text`;
}

/** The rows of RETURNING are the target's; other relations that were read count as unknown people. */
export function meterReturning(analysis: Analysis, level: WriteLevel): Metering | undefined {
  const { target, returned } = level;
  const write = pricedWrite(analysis, level);
  const total = peoplePerRow(analysis);
  if (returned === undefined || total === undefined)
    return speaksInErrors(target) || write.tells
      ? { ...NO_PEOPLE, ...writePrice(analysis, write, 0) }
      : undefined;
  const subject = target.use?.sight?.people?.subject;
  const person = subject && appended(analysis, subject, target.alias, subject.column);
  if (subject === undefined || person === undefined)
    return { subjects: [], unknown: total, ...writePrice(analysis, write, total) };
  appendReturned(analysis, returned, [{ sql: person, name: "sluice subject" }]);
  return {
    subjects: [{ namespace: subject.namespace }],
    unknown: total - 1,
    ...writePrice(analysis, write, total - 1),
  };
}

/** MERGE's rows are made of two relations: none of them is known to be one person's. */
export function meterMerge(analysis: Analysis, level: WriteLevel): Metering | undefined {
  const { target, returned } = level;
  const write = pricedWrite(analysis, level);
  const total = returned === undefined ? undefined : peoplePerRow(analysis);
  if (total !== undefined) return { subjects: [], unknown: total, ...writePrice(analysis, write, total) };
  return speaksInErrors(target) || write.tells
    ? { ...NO_PEOPLE, ...writePrice(analysis, write, 0) }
    : undefined;
}

/** That new rows meet no value that is there tells something, and so does it that a key meets one. */
function pricedWrite({ lookups }: Analysis, { choice, tells }: WriteLevel) {
  return { choice, tells: tells || lookups > 0 };
}

/** COPY FROM: that its rows are stored may tell of values that are there. */
export function meterCopyIn(analysis: Analysis, given: readonly string[] | undefined): Metering | undefined {
  const use = analysis.uses.find(({ isTarget }) => isTarget);
  const tells = tellsOfProtected(analysis, use, given) || analysis.lookups > 0;
  return tells ? { ...NO_PEOPLE, ...writePrice(analysis, { choice: "new", tells }, 0) } : undefined;
}

/** Gives no rows of people; and yet what the server says of it may quote a person's value. */
export const NO_PEOPLE: Metering = { subjects: [], unknown: 0 };

/** Triggers and constraints of the target work on its real values, and their errors quote them. */
function speaksInErrors({ use }: WriteLevel["target"]): boolean {
  return use?.sight?.people !== undefined || use?.sight?.guarded === true || use?.relation.hasRules === true;
}

/** Rows of COPY, whose shape cannot be changed. */
export function meterCopy(analysis: Analysis): Metering | undefined {
  const total = peoplePerRow(analysis);
  return total === undefined ? undefined : { subjects: [], unknown: total, ...copyPrice(analysis, total) };
}

/** A plan's lines are no people; what they say has a price where statistics of people are behind it. */
export function meterPlan(analysis: Analysis): Metering {
  return peoplePerRow(analysis) === undefined ? NO_PEOPLE : { ...NO_PEOPLE, ...planPrice(analysis) };
}

/**
 * A cursor WITH HOLD is run to its end by the COMMIT (PersistHoldablePortal of commands/portalcmds.c), which tells whether
 * that fails; its rows are counted when they are fetched.
 */
export function meterHeldCursor(query: Metering | undefined): Metering | undefined {
  if (query?.price === undefined) return undefined;
  const { execution } = query.price;
  return { ...NO_PEOPLE, price: { execution, pinned: execution, bySize: false } };
}

function peoplePerRow(analysis: Analysis): number | undefined {
  const speaks = analysis.calls > 0 || analysis.uses.some(({ sight }) => sight?.people !== undefined);
  return speaks ? peopleSoFar(analysis) : undefined;
}

interface Appended {
  readonly use: RelationUse;
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
    if (use === undefined || sight === undefined || subject === undefined || exposed === undefined) return [];
    const sql = appended(analysis, subject, alias, exposed, counted.has(reference));
    return sql === undefined
      ? []
      : [
          {
            use,
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
  return orNobody(identity, isCounted);
}

function orNobody(identity: string, isCounted: boolean): string {
  return isCounted ? `COALESCE(${identity}, ${NOBODY})` : identity;
}

/** Another one in each row. */
const NOBODY = "('left out ' OPERATOR(pg_catalog.||) pg_catalog.gen_random_uuid()::pg_catalog.text)";

interface GroupColumns {
  readonly columns: readonly Column[];
  readonly told: Groups;
}

/** More people than these in one row are not named: the row is charged by its size. */
const NAMED_IN_A_ROW = 1_000;

/**
 * Rows that stand for groups: whose they are is asked for beside the client's own aggregates, at the same level, so
 * that nothing is evaluated twice. Undefined where that cannot be, or people are read elsewhere in the statement.
 */
function groupsOf(
  analysis: Analysis,
  body: SelectStmt,
  { level, visible, leftOut }: SelectLevel,
): GroupColumns | undefined {
  const isDistinct = isDistinctGroups(analysis, body);
  if (!countsPeople(analysis.scope.role) || !(isDistinct || givesGroups(analysis, body))) return undefined;
  const people = analysis.uses.filter(({ sight }) => sight?.people !== undefined);
  if (people.length === 0 || analysis.calls > 0 || analysis.ctePeople !== 0) return undefined;
  const tell = mergesNames(analysis) ? "people" : "number";
  const counted = countedInGroups(analysis, { level, visible, leftOut });
  const told = people.map((use) => {
    const reference = visible.find((each) => each.use === use);
    const subject = use.sight?.people?.unknown === 0 ? use.sight.people.subject : undefined;
    const exposed = reference && subjectColumn(reference, visible);
    const identity = subject && exposed && identitySql(analysis.scope, subject, reference.alias, exposed);
    return subject && identity
      ? { namespace: subject.namespace, sql: groupColumn(orNobody(identity, counted.has(reference)), tell) }
      : undefined;
  });
  const known = told.filter((each) => each !== undefined);
  if (known.length < told.length) return undefined;
  return {
    columns: known.map(({ sql }) => ({ sql, name: "sluice people" })),
    told: {
      namespaces: known.map(({ namespace }) => namespace),
      tell,
      isPlain: !analysis.namesProtected,
      ...(isDistinct && { most: known.length }),
    },
  };
}

/** A group of rows in which somebody is left out tells of him, where protected columns decide who that is. */
function countedInGroups(
  { namesProtected }: Analysis,
  { level, visible, leftOut }: Pick<SelectLevel, "level" | "visible" | "leftOut">,
): ReadonlySet<FromReference> {
  if (!namesProtected) return new Set();
  const named = visible.filter((reference) => subjectColumn(reference, visible) !== undefined);
  return countedWhenLeftOut(level, named, leftOut);
}

function groupColumn(identity: string, tell: Groups["tell"]): string {
  const sql =
    tell === "number"
      ? `pg_catalog.count(DISTINCT ${identity})`
      : `pg_catalog.array_to_json((pg_catalog.array_agg(DISTINCT ${identity}))[1:${NAMED_IN_A_ROW + 1}])`;
  return `(${sql})::pg_catalog.text`;
}

/** Values are gathered to be read one by one, so that their people can be named. */
function mergesNames(analysis: Analysis): boolean {
  return analysis.gathers !== undefined || analysis.gatherings.length > 0;
}

/** Groups of the FROM clause's rows, of which nothing but aggregates tells. */
function givesGroups(analysis: Analysis, body: SelectStmt): boolean {
  if (body.fromClause === undefined || body.targetList === undefined) return false;
  if (body.distinctClause !== undefined || body.windowClause !== undefined) return false;
  if (analysis.outerAggregates) return false;
  const { aggregates, windows } = callsOf(analysis, body);
  return !windows && (aggregates || body.groupClause !== undefined || body.havingClause !== undefined);
}

/** Output rows are the FROM clause's own rows, one by one: nothing is grouped, made distinct or aggregated. */
function givesRows(analysis: Analysis, body: SelectStmt): boolean {
  if (
    body.fromClause === undefined ||
    analysis.outerAggregates ||
    // Rows without columns: nothing can be put behind the last one.
    body.targetList === undefined ||
    isTableCommand(body) ||
    body.distinctClause !== undefined ||
    body.groupClause !== undefined ||
    body.havingClause !== undefined
  )
    return false;
  return !callsOf(analysis, body).aggregates;
}

/** Whether the target list or the order has aggregates or windows, of this level. */
function callsOf(
  analysis: Analysis,
  { targetList, sortClause }: SelectStmt,
): { readonly aggregates: boolean; readonly windows: boolean } {
  const found = { aggregates: false, windows: false };
  const look = (type: string, node: object): void => {
    if (type === "SubLink") return;
    if (type === "FuncCall" && (node as FuncCall).over !== undefined) found.windows = true;
    if (
      type === "JsonArrayAgg" ||
      type === "JsonObjectAgg" ||
      (type === "FuncCall" && isAggregate(analysis, node as FuncCall))
    )
      found.aggregates = true;
    forEachChild(type, node, look);
  };
  for (const node of [...(targetList ?? []), ...(sortClause ?? [])]) visitNode(node, look);
  return found;
}

function isAggregate(analysis: Analysis, { funcname, over }: FuncCall): boolean {
  if (over !== undefined) return false;
  const name = (funcname ?? []).map(stringOf).at(-1) ?? "";
  return analysis.scope.catalog.functionsByName.get(name)?.some(({ kind }) => kind === "aggregate") ?? false;
}
