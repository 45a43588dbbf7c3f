import type {
  CommonTableExpr,
  GroupingSet,
  Node,
  RangeVar,
  ResTarget,
  SelectStmt,
  SortBy,
  WithClause,
} from "libpg-query";
import type { LeftOut } from "./absence.ts";
import {
  type Analysis,
  type CteScope,
  type CteUse,
  type FromReference,
  innerLevel,
  type Level,
  peopleSoFar,
  type RelationUse,
} from "./analysis.ts";
import { levelConditions } from "./conditions.ts";
import { type FromItem, finishReferences, fromItem } from "./from.ts";
import { levelStart, settleGatherings } from "./gathering.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { heldByJoin } from "./held-by-join.ts";
import { noteOutputNames } from "./held-names.ts";
import { levelLookups } from "./lookups.ts";
import { lockedBy, noteSamePersons, strangerToLocked } from "./marking.ts";
import { masksOf } from "./mask-comparisons.ts";
import { nameSpan, qualify, readUse } from "./names.ts";
import { AFTER_GROUPING, clauseEnd, fromKeyword, placeOf, targetOf } from "./places.ts";
import { quoteIdentifier } from "./source.ts";
import { requireSummaries } from "./summaries.ts";
import { noteTies } from "./ties.ts";
import { namesProtectedIn, refuseLockingByProtected } from "./unprotecting.ts";
import { isWrapped } from "./wrap.ts";
import { refuseMarking } from "./write-rules.ts";

/** What the metering of a top-level SELECT needs to know of its level. */
export interface SelectLevel {
  readonly level: Level;
  /** References that expressions of the target list can name. */
  readonly visible: readonly FromReference[];
  readonly leftOut: readonly LeftOut[];
}

/** A SELECT of any form, at any depth. Returns its level when it is a plain one (no set operation, no VALUES). */
export function select(analysis: Analysis, body: SelectStmt, outer: Level): SelectLevel | undefined {
  if (body.intoClause !== undefined) {
    analysis.refuse("42501", `role "${analysis.scope.role.name}" may not create tables`, {
      hint: "SELECT … INTO makes a table; only a role that sees, reads and writes all may.",
    });
  }
  const ctes = withQueries(analysis, body.withClause, outer);
  const level: Level = { ...innerLevel(outer, ctes), where: body.whereClause, outputs: outputsOf(body) };
  if (body.op !== undefined && body.op !== "SETOP_NONE") {
    const operands: Level = { ...level, isSetOperation: true };
    for (const arm of [body.larg, body.rarg]) if (arm !== undefined) select(analysis, arm, operands);
    for (const clause of [body.sortClause, body.limitOffset, body.limitCount]) analysis.nodes(clause, level);
    return undefined;
  }
  if (isTableCommand(body)) spellOutTable(analysis, body);
  const start = levelStart(analysis);
  const items: FromItem[] = [];
  let isChosen = namesProtectedIn(analysis, () => {
    for (const item of body.fromClause ?? []) items.push(fromItem(analysis, item, level));
  });
  const hidden = items.flatMap((item) => item.hidden);
  const held = conditionsOf(analysis, level, items, body.whereClause);
  const joined = namesProtectedIn(analysis, () => {
    for (const { quals, sides } of items.flatMap(({ joins }) => joins)) analysis.nodes(quals, sides);
  });
  isChosen ||= joined;
  noteOutputNames(analysis, body);
  for (const clause of EXPRESSION_CLAUSES) {
    const isNamed = namesProtectedIn(analysis, () => analysis.nodes(body[clause], level));
    isChosen ||= isNamed && (clause !== "targetList" || choosesByTarget(body));
  }
  requireFilters(analysis, [...level.references, ...hidden], held);
  // In the order in which the clauses stand: both may put something into the same place.
  groupWholeRows(analysis, body, level);
  requireSummaries(analysis, body, { level, hidden, present: items.flatMap((item) => item.restrictable) });
  finishReferences(
    analysis,
    items.flatMap(({ wraps }) => wraps),
  );
  settleGatherings(analysis, level, start);
  refuseMarking(analysis, "lock", strangerToLocked(analysis, body.lockingClause ?? [], level, start));
  if (isChosen && body.lockingClause !== undefined)
    refuseLockingByProtected(analysis, lockedBy(body.lockingClause, level), body.whereClause);
  if (body.valuesLists !== undefined) return undefined;
  return { level, visible: level.references, leftOut: items.flatMap((item) => item.leftOut) };
}

/**
 * What the target list calls its columns; of a set operation, what its first arm does (Postgres docs, "Combining
 * Queries"), where plain columns keep their names.
 */
function outputsOf({ targetList, larg }: SelectStmt, isArm = false): ReadonlySet<string> | "any" {
  if (larg !== undefined) return outputsOf(larg, true);
  const names = new Set<string>();
  for (const node of targetList ?? []) {
    const { name, val } = nodeOf(node)[1] as ResTarget;
    const column = isArm && val !== undefined ? columnFields(val)?.at(-1) : undefined;
    if (column === "") return "any";
    names.add(name ?? column ?? "");
  }
  return names;
}

/** ORDER BY may mean a target, by its place or its label, and LIMIT then chooses rows by that. */
function choosesByTarget({ sortClause = [], limitCount, targetList = [] }: SelectStmt): boolean {
  if (limitCount === undefined) return false;
  const labels = targetList.map((node) => (nodeOf(node)[1] as ResTarget).name);
  return sortClause.some((node) => {
    const value = (nodeOf(node)[1] as SortBy).node;
    if (value === undefined) return false;
    const [name, ...more] = columnFields(value) ?? [];
    return (
      nodeOf(value)[0] === "A_Const" || (more.length === 0 && name !== undefined && labels.includes(name))
    );
  });
}

/** `TABLE x` is read as `SELECT * FROM x` whose star stands nowhere. */
export function isTableCommand({ targetList }: SelectStmt): boolean {
  const [target] = targetList ?? [];
  return target !== undefined && (nodeOf(target)[1] as { location?: number }).location === -1;
}

/** A subquery cannot follow TABLE. */
function spellOutTable(analysis: Analysis, { fromClause }: SelectStmt): void {
  const [item] = fromClause ?? [];
  if (item === undefined) throw new Error("TABLE of nothing");
  const name = nodeOf(item)[1] as RangeVar;
  const keyword = analysis.source.token(nameSpan(analysis, name).first - 1);
  if (keyword?.text.toLowerCase() !== "table") throw new Error("TABLE is not where the grammar has it");
  analysis.edit(keyword.start, keyword.end, "SELECT * FROM", { kind: "star" });
}

const EXPRESSION_CLAUSES = [
  "distinctClause",
  "targetList",
  "whereClause",
  "groupClause",
  "havingClause",
  "windowClause",
  "valuesLists",
  "sortClause",
  "limitOffset",
  "limitCount",
] as const;

function conditionsOf(
  analysis: Analysis,
  level: Level,
  items: readonly FromItem[],
  where: Node | undefined,
): ReadonlySet<FromReference> {
  const restrictable = items.flatMap((item) => item.restrictable);
  const joins = items.flatMap((item) => item.joins);
  const clauses = where === undefined ? joins : [...joins, { quals: where, restrictable }];
  const leftOut = items.flatMap((item) => item.leftOut);
  noteSamePersons(
    analysis,
    level,
    clauses.map(({ quals }) => quals),
    leftOut,
  );
  noteTies(analysis, level, clauses, leftOut);
  const restricted = levelConditions(analysis, level, clauses, levelLookups(analysis, level, clauses));
  return heldByJoin(analysis, level, clauses, leftOut, restricted);
}

/** `require_filter`: such a relation is neither read nor written whole. */
export function requireFilters(
  analysis: Analysis,
  references: readonly FromReference[],
  held: ReadonlySet<FromReference>,
): void {
  for (const reference of references) {
    const { use } = reference;
    if (use?.sight === undefined || held.has(reference) || !analysis.sights.requiresFilter(use.relation))
      continue;
    const columns = [
      ...new Set([
        ...use.relation.primaryKey.slice(0, 1),
        ...use.relation.indexes.flatMap((index) => index.columns[0] ?? []),
      ]),
    ];
    analysis.refuse(
      "54000",
      `role "${analysis.scope.role.name}" may ${use.isTarget ? "change rows of" : "read"} ${use.key} only with a condition on an indexed column`,
      {
        rule: `roles.${analysis.scope.role.name}.require_filter`,
        hint: `Add a condition such as "${columns[0] ?? "id"} = …", with =, IN or BETWEEN on the column itself; indexed are ${columns.join(", ") || "none"}.`,
      },
    );
  }
}

/** WITH: a query sees those before it, or all of them when the clause is RECURSIVE. */
export function withQueries(
  analysis: Analysis,
  clause: WithClause | undefined,
  outer: Level,
): CteScope | undefined {
  const queries = (clause?.ctes ?? []).map((node) => nodeOf(node)[1] as CommonTableExpr);
  if (queries.length === 0) return outer.ctes;
  const named = queries.map((query): readonly [string, CteUse] => [
    query.ctename ?? "",
    { people: 0, masked: undefined },
  ]);
  const all: CteScope = { names: new Map(named), outer: outer.ctes };
  queries.forEach((query, index) => {
    const visible = clause?.recursive ? all : { names: new Map(named.slice(0, index)), outer: outer.ctes };
    const use = named[index]?.[1];
    if (use !== undefined) withQuery(analysis, query, innerLevel(outer, visible), use);
    if (clause?.recursive && use !== undefined && use.people > 0) analysis.gathers ??= "WITH RECURSIVE";
  });
  return all;
}

/** Each reference shows the people of the query anew: they are counted there and not where it is defined. */
function withQuery(analysis: Analysis, query: CommonTableExpr, level: Level, use: CteUse): void {
  analysis.meetRelation();
  const [people, mentions] = [peopleSoFar(analysis), analysis.maskMentions.length];
  const uses = analysis.uses.length;
  analysis.nodes(query.ctequery, level);
  if (query.cycle_clause !== undefined) analysis.visit("CTECycleClause", query.cycle_clause, level);
  use.people = peopleSoFar(analysis) - people;
  use.masked = analysis.maskMentions[mentions];
  use.masks = masksOf(analysis, query.ctequery, mentions, (query.aliascolnames ?? []).map(stringOf));
  analysis.ctePeople -= use.people;
  for (const each of analysis.uses.slice(uses)) analysis.withinWith.add(each);
}

/**
 * Grouping by a primary key lets the other columns be named (Postgres docs, "GROUP BY"): a subquery has no
 * key, so the columns of such a relation are added to the grouping. The groups stay the same.
 */
function groupWholeRows(analysis: Analysis, body: SelectStmt, level: Level): void {
  const group = body.groupClause ?? [];
  if (
    group.length === 0 ||
    group.some(
      (node) => nodeOf(node)[0] === "GroupingSet" && (nodeOf(node)[1] as GroupingSet).kind !== undefined,
    )
  )
    return;
  const grouped = group.map(columnFields).filter((fields) => fields !== undefined);
  for (const reference of level.references) {
    const { use, alias, columns } = reference;
    if (use?.sight === undefined || !isWrapped(analysis, use)) continue;
    if (use.relation.primaryKey.length === 0 || columns === undefined) continue;
    const isGrouped = (own: string): boolean =>
      grouped.some((fields) => {
        const [name, qualifier] = [fields.at(-1) ?? "", fields.at(-2)];
        return columns.get(name) === own && (qualifier === undefined || qualifier === alias);
      });
    if (!use.relation.primaryKey.every(isGrouped)) continue;
    const seen = new Set(
      use.sight.columns.filter(({ kind }) => kind !== "absent").map(({ column }) => column.name),
    );
    const others = [...columns]
      .filter(([, own]) => seen.has(own) && !isGrouped(own) && isNamed(own, body, columns))
      .map(([name]) => `${quoteIdentifier(alias)}.${quoteIdentifier(name)}`);
    if (others.length > 0) addGrouping(analysis, body, others);
  }
}

/** At the end of GROUP BY, so that numbers of columns go on meaning what they mean. */
function addGrouping(analysis: Analysis, { targetList = [] }: SelectStmt, columns: readonly string[]): void {
  const from = fromKeyword(analysis, targetList);
  const place = placeOf(analysis.source, clauseEnd(analysis, from, AFTER_GROUPING));
  const last = targetOf(targetList.at(-1)).location ?? 0;
  analysis.edit(place, place, `, ${columns.join(", ")} `, { kind: "grouping", last });
}

/** Some expression outside GROUP BY names the column, or everything. */
function isNamed(own: string, body: SelectStmt, columns: ReadonlyMap<string, string>): boolean {
  const text = JSON.stringify([body.targetList, body.havingClause, body.sortClause]);
  if (text.includes('"A_Star"')) return true;
  return [...columns].some(
    ([name, column]) => column === own && text.includes(`"sval":${JSON.stringify(name)}`),
  );
}

function columnFields(node: Node): readonly string[] | undefined {
  const [type, body] = nodeOf(node);
  return type === "ColumnRef" ? ((body as { fields?: Node[] }).fields ?? []).map(stringOf) : undefined;
}

/** A relation that LOCK names: with its schema. */
export function lockedRelation(analysis: Analysis, name: RangeVar): RelationUse {
  const use = readUse(analysis, name);
  qualify(analysis, name, use.relation);
  return use;
}
