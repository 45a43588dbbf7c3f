import type { ColumnRef, MergeWhenClause, Node, ResTarget } from "libpg-query";
import type { CatalogType, Relation } from "../catalog/catalog.ts";
import { countsReads } from "../policy/policy.ts";
import {
  type Analysis,
  candidates,
  type FromReference,
  type Level,
  namedReferences,
  type RelationUse,
} from "./analysis.ts";
import {
  changes,
  refuseTellingInsert,
  refuseTellingOfReferences,
  refuseTellingUpdate,
  writtenInto,
} from "./constraints.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "./grammar.ts";
import type { ColumnSight } from "./sight.ts";

/* What no write may do: tell masked values, move people past the meter, store what stands for a value. */

function isCounted({ role }: Analysis["scope"]): boolean {
  return countsReads(role) || role.limits.rows !== undefined;
}

/** People copied into another row would be read there without being counted. */
export function refuseUnmeteredCopy(analysis: Analysis, target: FromReference): void {
  if (!isCounted(analysis.scope)) return;
  const people = analysis.uses.find(({ sight, isTarget }) => sight?.people !== undefined && !isTarget);
  analysis.deny(
    `role "${analysis.scope.role.name}" may not copy from ${people?.key ?? "other rows"} into ${target.use?.key ?? "a relation"}`,
    "budget",
    "What is copied would be read there without being counted; send the values themselves.",
  );
}

/** Rows that somebody else's values choose would tell of them, uncounted. */
export function refuseMarking(
  analysis: Analysis,
  what: "write" | "lock",
  stranger: string | undefined,
): void {
  if (stranger === undefined || !isCounted(analysis.scope)) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not choose the rows to ${what} by other people's, of ${stranger}`,
    "budget",
    "Which rows were chosen would tell of people who are not counted: join by the person, or name the rows by their keys.",
  );
}

/** Some expression may name a companion of the target, not the target alone. */
export function namesCompanion(
  level: Level,
  target: FromReference,
  nodes: readonly Node[] | undefined,
): boolean {
  let names = false;
  const look = (type: string, body: object): void => {
    if (type === "ColumnRef") {
      const fields = (body as ColumnRef).fields ?? [];
      const [qualifier, name] = [fields.at(-2), fields.at(-1)].map((field) => field && stringOf(field));
      const meant = [
        ...candidates(level, qualifier, name ?? ""),
        ...namedReferences(level, qualifier ?? name ?? ""),
      ];
      names ||= meant.some((reference) => reference !== target);
    }
    forEachChild(type, body, look);
  };
  for (const node of nodes ?? []) visitNode(node, look);
  return names;
}

/** Whether the column says whose row it is, for a role whose reads are counted by that. */
export function tellsWhose({ scope }: Analysis, { sight }: RelationUse, column: string): boolean {
  return sight?.people?.subject?.column === column && isCounted(scope);
}

/** Rows moved to another person would be read as that person's. */
export function refuseSubjectAssignment(
  analysis: Analysis,
  { use }: FromReference,
  targets: readonly Node[] | undefined,
  clause?: Node,
): void {
  const isInsert =
    clause !== undefined && (nodeOf(clause)[1] as MergeWhenClause).commandType === "CMD_INSERT";
  const subject = use?.sight?.people?.subject?.column;
  if (isInsert || subject === undefined || !isCounted(analysis.scope)) return;
  if (!(targets ?? []).some((node) => (nodeOf(node)[1] as ResTarget).name === subject)) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not change ${use?.key}.${subject}: it tells whose row it is`,
    "budget",
    "Rows moved to another person would be counted as that person's: leave the column out, or send the value that the row has, as a constant or a parameter.",
  );
}

/**
 * Whether a new row violates a unique index tells whether the value exists: a search by exact value, for those
 * who may find by the column.
 */
export function refuseProbing(
  analysis: Analysis,
  { use }: FromReference,
  given: readonly string[] | undefined,
): void {
  refuseProbingByKey(analysis, use, given);
  refuseProbingHiddenRows(analysis, use, given);
  if (use !== undefined) refuseTellingInsert(analysis, use, given);
}

/**
 * A row filter hides rows, but no unique index does: a key that collides tells that a hidden row has it. A uuid cannot
 * be guessed, so who gives one knows the row already.
 */
function refuseProbingHiddenRows(
  analysis: Analysis,
  use: FromReference["use"],
  given: readonly string[] | undefined,
): void {
  if (use?.sight?.filter === undefined) return;
  const telling = refusingColumns(analysis, use.relation);
  const probed = use.relation.columns.find(
    ({ name, typeOid }) =>
      telling.has(name) &&
      given?.includes(name) !== false &&
      !isUuid(analysis.scope.catalog.typesByOid.get(typeOid)),
  );
  if (probed === undefined) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" sees only a part of ${use.key} and may not choose ${probed.name}: it is unique, so an error would tell which hidden rows exist`,
    "only",
    `Leave ${probed.name} to its default, or make it a uuid.`,
  );
}

function isUuid(type: CatalogType | undefined): boolean {
  return type?.schema === "pg_catalog" && type.name === "uuid";
}

/** Whether new rows are refused, or passed over, for a protected value of theirs that is there already. */
export function triesProtected(
  analysis: Analysis,
  use: FromReference["use"],
  given: readonly string[] | undefined,
): boolean {
  if (use === undefined) return false;
  const telling = refusingColumns(analysis, use.relation);
  return (use.sight?.columns ?? []).some(
    ({ isProtected, column: { name } }) =>
      isProtected && telling.has(name) && given?.includes(name) !== false,
  );
}

/** Columns whose values decide whether a new row violates a unique index or an exclusion constraint. */
export function refusingColumns(analysis: Analysis, relation: Relation): ReadonlySet<string> {
  const { sights } = analysis;
  if (relation.lineage !== undefined) {
    const written = writtenThrough(analysis, relation);
    return new Set(
      written.filter(({ base, to }) => refusingColumns(analysis, base).has(to)).map(({ name }) => name),
    );
  }
  // A partition may have unique indexes of its own, and refuses what comes through its parent by them.
  return new Set(sights.takers(relation).flatMap((taker) => [...ownRefusingColumns(taker)]));
}

interface WrittenColumn {
  readonly name: string;
  readonly base: Relation;
  readonly to: string;
}

/** Where a view's columns are written to, one step down: Postgres writes through plain copies alone. */
function writtenThrough({ scope }: Analysis, { lineage }: Relation): readonly WrittenColumn[] {
  return [...(lineage?.origins ?? [])].flatMap(([name, { relation, column }]) => {
    const base = scope.catalog.relationsByOid.get(relation);
    const to = base?.columns.find(({ number }) => number === column)?.name;
    return base === undefined || to === undefined ? [] : [{ name, base, to }];
  });
}

/** A rule reads real values, and answers a write with them: also one that comes through a view. */
export function hasRulesOnWrites(analysis: Analysis, relation: Relation): boolean {
  return (
    relation.rulesOnWrites ||
    writtenThrough(analysis, relation).some(({ base }) => hasRulesOnWrites(analysis, base))
  );
}

function ownRefusingColumns({ constraints }: Relation): readonly string[] {
  return constraints.flatMap(({ kind, columns }) =>
    kind === "unique" || kind === "exclusion" ? columns : [],
  );
}

/** A foreign key to a masked column tells whether the value is there: an error, if not. */
function refuseProbingByKey(
  analysis: Analysis,
  use: FromReference["use"],
  given: readonly string[] | undefined,
): void {
  if (use === undefined) return;
  const { sights, scope } = analysis;
  for (const { base, names } of writtenInto(scope.catalog, use.relation, given)) {
    for (const taker of sights.takers(base)) {
      for (const { columns, references, referencedColumns } of taker.foreignKeys) {
        const relation = scope.catalog.relationsByOid.get(references);
        if (relation === undefined || !columns.some((name) => changes(taker, name, names))) continue;
        const hidden = sights.hidden(relation);
        for (const name of referencedColumns) {
          const sight = hidden.get(name);
          if (sight !== undefined) lookUpByKey(analysis, use, relation, sight);
        }
      }
    }
  }
}

function lookUpByKey(
  analysis: Analysis,
  { key }: RelationUse,
  { schema, name }: Relation,
  sight: ColumnSight,
): void {
  if (!sight.findable) {
    analysis.deny(
      `role "${analysis.scope.role.name}" may not give ${key} a key of ${schema}.${name}.${sight.column.name}: an error would tell which values exist`,
      "finds",
      `Add the class "${sight.className ?? "of this column"}" under "finds:" of ${analysis.rolePlace}.`,
    );
  }
  analysis.lookups += 1;
  analysis.costs(sight, "looked up");
}

/** `aggregates_only`: what stands beside a write's target could be stored or returned row by row. */
export function refuseUnsummarised(analysis: Analysis, references: readonly FromReference[]): void {
  const people = references.find(({ use }) => use?.sight?.people !== undefined && !use.isTarget);
  if (people === undefined || analysis.scope.role.aggregatesOnly === undefined) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may only see summaries of ${people.use?.key}`,
    "aggregates_only",
    "Leave it out of the write, or take a summary of it in a subquery.",
  );
}

/** The columns of SET. */
export function assignedColumns(targets: readonly Node[] | undefined): readonly string[] {
  return (targets ?? []).map((target) => (nodeOf(target)[1] as ResTarget).name ?? "");
}

/** A masked column may not be assigned: who sees a mask would write it back. */
export function refuseMaskedAssignment(
  analysis: Analysis,
  { use }: FromReference,
  targets: readonly Node[] | undefined,
): void {
  refuseSubjectAssignment(analysis, { alias: "", columns: undefined, use }, targets);
  const assigned = assignedColumns(targets);
  refuseProbingByKey(analysis, use, assigned);
  refuseProbingHiddenRows(analysis, use, assigned);
  refuseMasked(analysis, use, targets);
  if (use === undefined || assigned.length === 0) return;
  refuseTellingUpdate(analysis, use, assigned);
  refuseTellingOfReferences(analysis, use, assigned);
}

/** MERGE writes into what is seen in the clear, but children and keys of others may hold what is not. */
export function refuseTellingMerge(
  analysis: Analysis,
  { use }: FromReference,
  clauses: readonly Node[] | undefined,
): void {
  if (use === undefined) return;
  for (const node of clauses ?? []) {
    const { commandType, targetList } = nodeOf(node)[1] as MergeWhenClause;
    const assigned = assignedColumns(targetList);
    if (commandType === "CMD_UPDATE") refuseTellingUpdate(analysis, use, assigned);
    if (commandType === "CMD_UPDATE") refuseTellingOfReferences(analysis, use, assigned);
    if (commandType === "CMD_DELETE") refuseTellingOfReferences(analysis, use, undefined);
  }
}

function refuseMasked(
  analysis: Analysis,
  use: FromReference["use"],
  targets: readonly Node[] | undefined,
): void {
  for (const node of targets ?? []) {
    const { name } = nodeOf(node)[1] as ResTarget;
    const sight = use?.sight?.columns.find(({ column }) => column.name === name);
    if (sight === undefined || sight.kind === "real") continue;
    analysis.deny(
      `role "${analysis.scope.role.name}" sees ${use?.key}.${name} masked and may not write it`,
      "sees",
      `Let ${analysis.rolePlace} see the class "${sight.className ?? "of this column"}", or leave the column out.`,
    );
  }
}
