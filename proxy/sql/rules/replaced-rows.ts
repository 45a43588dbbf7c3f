import type { MergeStmt, MergeWhenClause } from "libpg-query";
import { type Relation, relationKey } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { nodeOf } from "../parse/grammar.ts";
import { assignedColumns } from "./assignments.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { isCounted } from "./people.ts";
import { losesPeople, type PathStep, stepsThrough } from "./person-paths.ts";
import { givenColumns } from "./write-choice.ts";
import type { Columns } from "./write-findings.ts";
import { withGenerated, writtenInto } from "./written-tables.ts";

/**
 * Why new rows may not have keys of the client's own choice: on the way to a person, a key may have been another row's.
 * Postgres looks for rows that refer to a lost key at the end of the statement, and accepts a new row with that key
 * (ri_Check_Pk_Match in utils/adt/ri_triggers.c).
 */
export function replacedOnPath(statement: BoundStatement, given: Given): Refusal | undefined {
  if (!isCounted(given.role)) return undefined;
  for (const query of statement.queries) {
    const target = query.write?.target.source;
    if (target?.kind !== "table" || !changesOf(query).deletes) continue;
    const from = losesPeople(given, target.relation);
    if (from !== undefined) return lost(given, target.relation, from);
  }
  const found = newKeyOnPath(statement, given, "held or not");
  return found && replaced(given, found.relation, found.step);
}

interface NewKey {
  readonly relation: Relation;
  readonly step: PathStep;
}

/** `held`: only where the same statement deletes rows, as a foreign key otherwise keeps their keys. */
export function newKeyOnPath(
  { queries }: BoundStatement,
  given: Given,
  keys: "held" | "held or not",
): NewKey | undefined {
  const isEmptied = queries.some((query) => changesOf(query).deletes);
  for (const query of queries) {
    const target = query.write?.target.source;
    const { inserts } = changesOf(query);
    if (target?.kind !== "table" || inserts === "none") continue;
    for (const { base, names } of writtenInto(given.catalog, target.relation, inserts).map(withGenerated)) {
      const step = stepsThrough(given, base).find(
        ({ key, isHeld }) => names.has(key) && (isEmptied || (keys === "held or not" && !isHeld)),
      );
      if (step !== undefined) return { relation: target.relation, step };
    }
  }
  return undefined;
}

function replaced({ role }: Given, { schema, name }: Relation, { key, from, isHeld }: PathStep): Refusal {
  const of = relationKey(from.schema, from.name);
  const table = relationKey(schema, name);
  return denied(
    role,
    `role "${role.name}" may not choose ${key} of a new row of ${table}: rows of ${of} that have it would be counted as that person's`,
    "budget",
    isHeld
      ? "Delete and insert in two statements."
      : `Leave ${key} to its default, or let ${of} refer to it by a foreign key that is valid and not deferrable.`,
  );
}

function lost({ role }: Given, { schema, name }: Relation, from: Relation): Refusal {
  const of = relationKey(from.schema, from.name);
  return denied(
    role,
    `role "${role.name}" may not delete from ${relationKey(schema, name)}: rows of ${of} would be nobody's afterwards`,
    "budget",
    `A foreign key clears the column that names their person, and ${of} could then be read without being counted: delete through the application, or by a function under "calls:".`,
  );
}

interface Changes {
  /** The columns for which new rows have a value of the client's. */
  readonly inserts: Columns | "none";
  readonly deletes: boolean;
}

function changesOf(query: BoundQuery): Changes {
  switch (query.form) {
    case "insert":
    case "copy":
      return { inserts: query.write === undefined ? "none" : givenColumns(query), deletes: false };
    case "delete":
      return { inserts: "none", deletes: true };
    case "merge": {
      const { mergeWhenClauses = [] } = query.node as MergeStmt;
      const actions = mergeWhenClauses.map((node) => nodeOf(node)[1] as MergeWhenClause);
      const inserts = actions.filter(({ commandType }) => commandType === "CMD_INSERT");
      return {
        inserts: inserts.length === 0 ? "none" : insertedColumns(inserts),
        deletes: actions.some(({ commandType }) => commandType === "CMD_DELETE"),
      };
    }
    default:
      return { inserts: "none", deletes: false };
  }
}

/** INSERT without a list of columns gives all of them. */
function insertedColumns(inserts: readonly MergeWhenClause[]): Columns {
  if (inserts.some(({ targetList }) => targetList === undefined)) return undefined;
  return inserts.flatMap(({ targetList }) => assignedColumns(targetList));
}
