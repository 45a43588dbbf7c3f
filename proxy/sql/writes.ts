import type {
  ColumnRef,
  DeleteStmt,
  InsertStmt,
  List,
  MergeStmt,
  MergeWhenClause,
  Node,
  OnConflictClause,
  RangeVar,
  ResTarget,
  ReturningClause,
  ReturningOption,
  SelectStmt,
  UpdateStmt,
} from "libpg-query";
import { type Analysis, type FromReference, innerLevel, type Level, peopleSoFar } from "./analysis.ts";
import { conjuncts, isLeakproof, levelConditions, simpleCondition } from "./conditions.ts";
import { refuseTellingOfReferences } from "./constraints.ts";
import { LOOKS_OF_A_WHOLE_COLUMN } from "./effort.ts";
import { finishReferences, fromItem } from "./from.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { heldByJoin } from "./held-by-join.ts";
import { keptColumns } from "./kept-columns.ts";
import { levelLookups } from "./lookups.ts";
import { noteSamePersons, strangerTo } from "./marking.ts";
import { nameSpan, qualify, writeUse } from "./names.ts";
import { isOneRow } from "./one-row.ts";
import { refuseOwnConditions, refuseOwnDelete, refuseOwnInsert, refuseOwnMerge } from "./own-writes.ts";
import { addCondition, clauseEnd, closingParenthesis, firstPlace, keywordBefore, placeOf } from "./places.ts";
import { countsPeople, type RowChoice } from "./pricing.ts";
import { probing, type RowCount, rowsInserted, valuesAssigned } from "./probes.ts";
import { requireFilters, withQueries } from "./select.ts";
import { quoteIdentifier } from "./source.ts";
import { tellsOfProtected } from "./telling-writes.ts";
import { namesProtectedIn, refuseMarkingByProtected, refuseUnprotecting } from "./unprotecting.ts";
import {
  assignedColumns,
  hasRulesOnWrites,
  namesCompanion,
  refuseMarking,
  refuseMaskedAssignment,
  refuseProbing,
  refuseSubjectAssignment,
  refuseTellingMerge,
  refuseUnmeteredCopy,
  refuseUnsummarised,
  refusingColumns,
  triesProtected,
} from "./write-rules.ts";

/** A write whose rows, if it returns any, are its target's. */
export interface WriteLevel {
  readonly target: FromReference;
  /** The items of RETURNING. */
  readonly returned: readonly Node[] | undefined;
  readonly choice: RowChoice;
  /** That it succeeds tells of protected values that are there. */
  readonly tells: boolean;
}

export function insert(analysis: Analysis, body: InsertStmt, outer: Level): WriteLevel {
  const ctes = withQueries(analysis, body.withClause, outer);
  const target = writeTarget(analysis, body.relation);
  if (body.onConflictClause?.location !== undefined)
    analysis.conflictClauses.add(body.onConflictClause.location);
  const rows = rowsInserted(analysis, body);
  const given = givenColumns(body, target);
  probing(analysis, rows, () => refuseProbing(analysis, target, given));
  refuseOwnInsert(analysis, target.use);
  const before = peopleSoFar(analysis);
  const { lasting } = analysis;
  storing(analysis, () => {
    // `INSERT INTO t (a[…])`: a subscript is an expression.
    analysis.nodes(body.cols, innerLevel(outer, ctes));
    analysis.nodes(body.selectStmt, innerLevel(outer, ctes));
  });
  // Rows that come from nobody cannot carry anybody off: nextval() of a new key.
  if (peopleSoFar(analysis) === before) analysis.lasting = lasting;
  const level = { ...innerLevel(outer, ctes), references: [target] };
  if (body.onConflictClause !== undefined) onConflict(analysis, body.onConflictClause, target, level, rows);
  if (peopleSoFar(analysis) > before) refuseUnmeteredCopy(analysis, target);
  returning(analysis, body.returningClause, target, level);
  return {
    target,
    returned: body.returningClause?.exprs,
    choice: choiceOfInsert(analysis, body, target, rows),
    tells: tellsOfProtected(analysis, target.use, given),
  };
}

/** ON CONFLICT passes over rows whose protected value is there already, and what it stored can be read afterwards. */
function choiceOfInsert(
  analysis: Analysis,
  body: InsertStmt,
  target: FromReference,
  rows: RowCount,
): RowChoice {
  if (body.onConflictClause === undefined) return "new";
  if (rows === 1) return "one";
  if (!triesProtected(analysis, target.use, givenColumns(body, target))) return "many";
  if (rows !== undefined || !countsPeople(analysis.scope.role)) return { tries: rows ?? 0 };
  return analysis.refuse(
    "42501",
    `role "${analysis.scope.role.name}" has a budget of people, and how many protected values this statement tries is not known before it runs`,
    {
      rule: `roles.${analysis.scope.role.name}.budget`,
      hint: "Write the rows out: INSERT … VALUES. Or leave ON CONFLICT out.",
    },
  );
}

/** Columns whose values the client chooses: not where each row says DEFAULT. Undefined: all of them. */
function givenColumns(
  { cols, selectStmt }: InsertStmt,
  { use }: FromReference,
): readonly string[] | undefined {
  const names =
    cols?.map((node) => (nodeOf(node)[1] as ResTarget).name ?? "") ??
    use?.relation.columns.map(({ name }) => name);
  if (selectStmt === undefined) return [];
  const rows = (nodeOf(selectStmt)[1] as SelectStmt).valuesLists?.map(
    (row) => (nodeOf(row)[1] as List).items ?? [],
  );
  if (rows === undefined) return names;
  return names?.filter((_, index) =>
    rows.some((row) => row[index] !== undefined && nodeOf(row[index])[0] !== "SetToDefault"),
  );
}

export function update(analysis: Analysis, body: UpdateStmt, outer: Level): WriteLevel {
  const ctes = withQueries(analysis, body.withClause, outer);
  const target = writeTarget(analysis, body.relation);
  const kept = keptColumns(analysis, target, body.targetList);
  const changed = body.targetList?.filter((node) => !kept.has(node));
  probing(analysis, valuesAssigned(body), () => refuseMaskedAssignment(analysis, target, changed));
  refuseOwnConditions(analysis, target.use, changed);
  const before = peopleSoFar(analysis);
  const choice = isOneRow(analysis, target, body.whereClause) ? "one" : "many";
  const clauses = { name: body.relation, from: body.fromClause, where: body.whereClause };
  const level: Level = { ...innerLevel(outer, ctes), references: [target] };
  const isChosen = namesProtectedIn(analysis, () => restrictedWrite(analysis, target, clauses, level));
  if (isChosen && choice === "many") refuseMarkingByProtected(analysis, target, body.targetList);
  const companions = peopleSoFar(analysis);
  storing(analysis, () =>
    refuseUnprotecting(analysis, target, body.targetList, (node) => analysis.nodes([node], level)),
  );
  const takesCompanions = companions > before && namesCompanion(level, target, body.targetList);
  if (peopleSoFar(analysis) > companions || takesCompanions) refuseUnmeteredCopy(analysis, target);
  returning(analysis, body.returningClause, target, level);
  const tells = tellsOfProtected(analysis, target.use, assignedColumns(body.targetList));
  return { target, returned: body.returningClause?.exprs, choice, tells };
}

export function remove(analysis: Analysis, body: DeleteStmt, outer: Level): WriteLevel {
  const ctes = withQueries(analysis, body.withClause, outer);
  const target = writeTarget(analysis, body.relation);
  refuseOwnDelete(analysis, target.use);
  const { use } = target;
  if (use !== undefined)
    probing(analysis, undefined, () => refuseTellingOfReferences(analysis, use, undefined));
  const choice = isOneRow(analysis, target, body.whereClause) ? "one" : "many";
  const clauses = { name: body.relation, from: body.usingClause, where: body.whereClause };
  const level: Level = { ...innerLevel(outer, ctes), references: [target] };
  const isChosen = namesProtectedIn(analysis, () => restrictedWrite(analysis, target, clauses, level));
  if (isChosen && choice === "many") refuseMarkingByProtected(analysis, target, undefined);
  returning(analysis, body.returningClause, target, level);
  return { target, returned: body.returningClause?.exprs, choice, tells: false };
}

/** MERGE compares and assigns in too many places at once: only into a target that is seen in the clear. */
export function merge(analysis: Analysis, body: MergeStmt, outer: Level): WriteLevel {
  const ctes = withQueries(analysis, body.withClause, outer);
  const target = writeTarget(analysis, body.relation);
  if (target.use?.sight?.guarded) {
    analysis.deny(
      `role "${analysis.scope.role.name}" sees ${target.use.key} masked or in part and may not MERGE into it`,
      "sees",
      "Use INSERT or UPDATE.",
    );
  }
  const level = innerLevel(outer, ctes);
  level.references.push(target, ...versions(target, body.returningClause));
  probing(analysis, undefined, () => refuseProbing(analysis, target, undefined));
  refuseOwnMerge(analysis, target.use, body);
  probing(analysis, undefined, () => refuseTellingMerge(analysis, target, body.mergeWhenClauses));
  for (const node of body.mergeWhenClauses ?? [])
    refuseSubjectAssignment(analysis, target, (nodeOf(node)[1] as MergeWhenClause).targetList, node);
  const before = peopleSoFar(analysis);
  const source = storing(analysis, () =>
    body.sourceRelation === undefined ? undefined : fromItem(analysis, body.sourceRelation, level),
  );
  storing(analysis, () => {
    const isChosen = namesProtectedIn(analysis, () => {
      for (const part of [body.joinCondition, body.mergeWhenClauses]) analysis.nodes(part, level);
    });
    if (isChosen) refuseMarkingByProtected(analysis, target, undefined);
    analysis.nodes(body.returningClause?.exprs, level);
  });
  for (const { quals, sides } of source?.joins ?? []) analysis.nodes(quals, sides);
  finishReferences(analysis, source?.wraps ?? []);
  const present = [...level.references, ...(source?.hidden ?? [])];
  requireFilters(
    analysis,
    present.filter((reference) => reference === target || reference.use !== target.use),
    heldByMerge(analysis, body, target, level),
  );
  refuseUnsummarised(analysis, present);
  if (peopleSoFar(analysis) > before) refuseUnmeteredCopy(analysis, target);
  const tells = tellsOfProtected(analysis, target.use, undefined);
  return { target, returned: body.returningClause?.exprs, choice: "many", tells };
}

/**
 * ON holds the target alone, as a source row without a match is read as well; and not even that where rows without a
 * source are written (Postgres docs, "MERGE", WHEN NOT MATCHED BY SOURCE).
 */
function heldByMerge(
  analysis: Analysis,
  { joinCondition, mergeWhenClauses }: MergeStmt,
  target: FromReference,
  level: Level,
): ReadonlySet<FromReference> {
  const isBySource = (mergeWhenClauses ?? []).some(
    (node) => (nodeOf(node)[1] as MergeWhenClause).matchKind === "MERGE_WHEN_NOT_MATCHED_BY_SOURCE",
  );
  if (joinCondition === undefined || isBySource) return new Set();
  const clauses = [{ quals: joinCondition, restrictable: [target] }];
  const restricted = levelConditions(analysis, level, clauses, levelLookups(analysis, level, clauses));
  const [tests, none] = [conjuncts(joinCondition), []];
  const alone = { references: [target], others: none, tests, held: tests, using: none };
  return heldByJoin(analysis, level, none, [alone], restricted);
}

function writeTarget(analysis: Analysis, name: RangeVar | undefined): FromReference {
  if (name === undefined) throw new Error("a write without a target");
  const use = writeUse(analysis, name);
  if (hasRulesOnWrites(analysis, use.relation) && analysis.scope.role.sees !== "all") {
    analysis.deny(
      `role "${analysis.scope.role.name}" may not write ${use.key}: there are rules on writes`,
      "sees",
      "What a rule reads is not masked, and it may answer a write with rows. Use a trigger in its place.",
    );
  }
  qualify(analysis, name, use.relation);
  const columns = new Map(use.relation.columns.map(({ name: column }) => [column, column]));
  return { alias: name.alias?.aliasname ?? name.relname ?? "", columns, use };
}

/** The rows as they were and as they are now, by the names that RETURNING has for them. */
function versions(target: FromReference, clause: ReturningClause | undefined): readonly FromReference[] {
  const given = (clause?.options ?? []).map((node) => (nodeOf(node)[1] as ReturningOption).value ?? "");
  return ["old", "new", ...given].map((alias) => ({ ...target, alias }));
}

/** What is read here will be stored: a mask must not be. */
function storing<T>(analysis: Analysis, visit: () => T): T {
  const before = analysis.storing;
  analysis.storing = true;
  const result = visit();
  analysis.storing = before;
  return result;
}

interface WriteClauses {
  readonly name: RangeVar | undefined;
  readonly from: readonly Node[] | undefined;
  readonly where: Node | undefined;
}

/** The target, its companions in FROM or USING, and the WHERE clause of UPDATE and DELETE. */
function restrictedWrite(
  analysis: Analysis,
  target: FromReference,
  clauses: WriteClauses,
  level: Level,
): void {
  const { from, where } = clauses;
  const since = { uses: analysis.uses.length, ctePeople: analysis.ctePeople };
  const items = storing(analysis, () => (from ?? []).map((item) => fromItem(analysis, item, level)));
  const joins = items.flatMap((item) => item.joins);
  const restrictable = [target, ...items.flatMap((item) => item.restrictable)];
  const conditions = where === undefined ? joins : [...joins, { quals: where, restrictable }];
  const leftOut = items.flatMap((item) => item.leftOut);
  noteSamePersons(
    analysis,
    level,
    conditions.map(({ quals }) => quals),
    leftOut,
  );
  const restricted = levelConditions(analysis, level, conditions, levelLookups(analysis, level, conditions));
  const held = heldByJoin(analysis, level, conditions, leftOut, restricted);
  for (const { quals, sides } of joins) analysis.nodes(quals, sides);
  analysis.nodes(where, level);
  requireFilters(
    analysis,
    [...level.references, ...items.flatMap((item) => item.hidden)],
    // WHERE CURRENT OF: the one row at which a cursor stands.
    where !== undefined && nodeOf(where)[0] === "CurrentOfExpr" ? new Set([...held, target]) : held,
  );
  finishReferences(
    analysis,
    items.flatMap(({ wraps }) => wraps),
  );
  refuseUnsummarised(analysis, [...level.references, ...items.flatMap((item) => item.hidden)]);
  refuseMarking(analysis, "write", strangerTo(analysis, target.use, since));
  const filter = target.use?.sight?.filter;
  if (filter !== undefined) addFilter(analysis, target, clauses, filter);
}

const BEHIND_WHERE = new Set(["returning"]);

/**
 * The row filter of a write's target. A target cannot be fenced, so its own conditions must be such that they
 * neither fail nor tell anything of a row that the filter hides.
 */
function addFilter(
  analysis: Analysis,
  target: FromReference,
  { name, from, where }: WriteClauses,
  filter: string,
): void {
  const { source } = analysis;
  const isSimple =
    where === undefined ||
    conjuncts(where).every((conjunct) => {
      const condition = simpleCondition(source, conjunct);
      return condition !== undefined && isLeakproof(condition.operator);
    });
  if (!isSimple || from !== undefined) {
    analysis.deny(
      `role "${analysis.scope.role.name}" sees only a part of ${target.use?.key}: it may write there by plain conditions only`,
      "only",
      "Use conditions of the form column = constant, joined by AND, and no FROM or USING.",
    );
  }
  if (name === undefined) throw new Error("a write without a place");
  const change = { kind: "filter", location: name.location ?? 0 } as const;
  const place = where === undefined ? undefined : firstPlace([where]);
  if (place !== undefined) {
    const first = keywordBefore(source, place, "where") + 1;
    const end = clauseEnd(analysis, first, BEHIND_WHERE);
    addCondition(analysis, { first, end }, `(${filter})`, change);
    return;
  }
  const behind = clauseEnd(analysis, nameSpan(analysis, name).last + 1, BEHIND_WHERE);
  const end = placeOf(source, behind);
  analysis.edit(end, end, ` WHERE ${filter} `, change);
}

function onConflict(
  analysis: Analysis,
  clause: OnConflictClause,
  target: FromReference,
  base: Level,
  rows: RowCount,
): void {
  const columns = target.columns ?? new Map();
  const level: Level = { ...base, references: [target, { alias: "excluded", columns, use: undefined }] };
  const masked = new Set(
    target.use?.sight?.columns.filter(({ kind }) => kind !== "real").map(({ column }) => column.name),
  );
  // Whether a row conflicts tells whether a value exists: only on columns that are seen.
  const telling = target.use === undefined ? [] : [...refusingColumns(analysis, target.use.relation)];
  if (clause.infer?.indexElems === undefined && telling.some((column) => masked.has(column))) {
    analysis.deny(
      `ON CONFLICT on ${target.use?.key} would tell which masked values exist`,
      "sees",
      "Name the columns of the conflict, such as ON CONFLICT (id).",
    );
  }
  const kept = keptColumns(analysis, target, clause.targetList);
  const changed = clause.targetList?.filter((node) => !kept.has(node));
  probing(analysis, rows, () => refuseMaskedAssignment(analysis, target, changed));
  refuseOwnConditions(analysis, target.use, changed);
  analysis.nodes(clause.infer?.indexElems, level);
  analysis.nodes(clause.infer?.whereClause, level);
  storing(analysis, () => analysis.nodes(clause.targetList, level));
  analysis.nodes(clause.whereClause, level);
  if (target.use?.sight?.filter !== undefined && clause.action === "ONCONFLICT_UPDATE") {
    analysis.deny(
      `role "${analysis.scope.role.name}" sees only a part of ${target.use.key} and may not update it by ON CONFLICT`,
      "only",
      "Use UPDATE.",
    );
  }
}

/** RETURNING: masked columns come back masked when they are named by themselves; expressions may not use them. */
function returning(
  analysis: Analysis,
  clause: ReturningClause | undefined,
  target: FromReference,
  base: Level,
): void {
  if (clause === undefined) return;
  if (target.use?.sight?.people !== undefined && analysis.scope.role.aggregatesOnly !== undefined) {
    analysis.deny(
      `role "${analysis.scope.role.name}" may only see summaries of ${target.use.key}`,
      "aggregates_only",
      "Leave RETURNING out.",
    );
  }
  const level: Level = { ...base, references: [...base.references, ...versions(target, clause)] };
  const isGuarded = target.use?.sight?.columns.some(({ kind }) => kind !== "real") === true;
  if (!isGuarded) {
    for (const node of clause.exprs ?? [])
      if (base.references.length > 1 || !listedReturn(analysis, node, target, base))
        analysis.nodes(node, level);
    return;
  }
  if (clause.options !== undefined)
    analysis.deny(
      `RETURNING WITH is not known on ${target.use?.key}`,
      "sees",
      "Leave WITH (OLD AS …, NEW AS …) out.",
    );
  for (const node of clause.exprs ?? []) {
    const item = nodeOf(node)[1] as ResTarget;
    const value = item.val === undefined ? undefined : nodeOf(item.val);
    if (value?.[0] !== "ColumnRef" || !maskedReturn(analysis, item, value[1] as ColumnRef, target, base))
      analysis.nodes(node, level);
  }
}

/** Writes out a star of a target whose columns are to be listed; false when the item is none. */
function listedReturn(analysis: Analysis, node: Node, target: FromReference, level: Level): boolean {
  const item = nodeOf(node)[1] as ResTarget;
  const [type, reference] = item.val === undefined ? [] : nodeOf(item.val);
  if (type !== "ColumnRef" || target.use?.sight?.listed !== true) return false;
  const last = (reference as ColumnRef).fields?.at(-1);
  if (last === undefined || nodeOf(last)[0] !== "A_Star") return false;
  return maskedReturn(analysis, item, reference as ColumnRef, target, level);
}

/** Replaces `*`, `target.*` or a masked column; false when the item is none of these. */
function maskedReturn(
  analysis: Analysis,
  item: ResTarget,
  reference: ColumnRef,
  target: FromReference,
  level: Level,
): boolean {
  const fields = reference.fields ?? [];
  const last = fields.at(-1);
  const names = fields.map(stringOf);
  const qualifier = fields.length > 1 ? names.at(-2) : undefined;
  if (last === undefined || (qualifier !== undefined && qualifier !== target.alias)) return false;
  const sights = target.use?.sight?.columns ?? [];
  const isStar = nodeOf(last)[0] === "A_Star";
  const chosen = sights.filter(
    ({ kind, column }) => kind !== "absent" && (isStar || column.name === names.at(-1)),
  );
  if (chosen.length === 0 || (!isStar && chosen[0]?.kind === "real")) return false;
  analysis.look(LOOKS_OF_A_WHOLE_COLUMN * chosen.length);
  if (level.references.length > 1) {
    analysis.deny(
      `RETURNING masked columns of ${target.use?.key} is not known together with FROM or USING`,
      "sees",
      "Name the columns that are seen.",
    );
  }
  const { source } = analysis;
  const [location, place] = [item.location ?? 0, reference.location ?? 0];
  // In parentheses: `RETURNING (email)`.
  const first = source.tokenAt(location);
  const behind = location === place ? source.nameEnd(first) : closingParenthesis(source, first);
  const [start, end] = [source.token(first)?.start, source.token(behind)?.end];
  if (start === undefined || end === undefined) throw new Error("a column without tokens");
  const list = chosen.map(({ kind, sql, planSql, column }) => {
    const seen = analysis.isPlan ? planSql : sql;
    return kind === "real" || item.name !== undefined ? seen : `${seen} AS ${quoteIdentifier(column.name)}`;
  });
  for (const sight of chosen) analysis.costs(sight, "named");
  for (const { kind, className, column } of chosen) {
    if (kind === "real") continue;
    analysis.masked.add(className ?? column.name);
    analysis.maskMentions.push(`${target.use?.key}.${column.name}`);
  }
  analysis.edit(start, end, list.join(", "), { kind: "item", location, column: place });
  return true;
}
