import type { CopyStmt, InsertStmt, MergeStmt, Node } from "libpg-query";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import type { ColumnSight } from "../sight.ts";
import { assignedColumns, foundInAssignments, foundInMerge } from "./assignments.ts";
import { castsIntoWrite } from "./casts.ts";
import { toldByReferences } from "./constraints.ts";
import { copiedPeople, takesCompanions } from "./copied-people.ts";
import { denied } from "./denied.ts";
import { tellingOfHiddenRows } from "./filtered-writes.ts";
import type { Given } from "./given.ts";
import { type KeptAssignment, sortedAssignments } from "./kept-columns.ts";
import type { NamedSights } from "./named-columns.ts";
import { ownColumns, ownMerge, ownRows } from "./own-writes.ts";
import { probingByRows } from "./probing.ts";
import { returnedVersions } from "./returned.ts";
import { storedMask } from "./stored-masks.ts";
import { markedByStrangers } from "./strangers.ts";
import { unsummarisedWrite } from "./summaries-in-writes.ts";
import { markedByProtected, protectedValues, storedProtected } from "./unprotecting.ts";
import { tellingConflict } from "./upserts.ts";
import {
  choiceOfInsert,
  givenColumns,
  rowsInserted,
  uncountedTries,
  valuesAssigned,
} from "./write-choice.ts";
import { type RowCount, type Target, uncountedLookups, type WriteFinding } from "./write-findings.ts";
import { writtenPeople } from "./written-people.ts";
import { hasRulesOnWrites } from "./written-tables.ts";

/** One write, its target, and the input of the rules. */
export interface Writing {
  readonly statement: BoundStatement;
  readonly given: Given;
  readonly query: BoundQuery;
  readonly target: Target;
  /** The table columns that the statement names. */
  readonly named: NamedSights;
}

/** The findings about one write. */
export interface WriteFindings {
  /** Why its columns may not be written, or its rows not be created or deleted. */
  readonly forbidden: Refusal | undefined;
  /** Why the rows that it chooses, the values that it stores or what it returns would reveal too much. */
  readonly telling: Refusal | undefined;
  /** Masked columns whose values it looks up, because an error would reveal that they exist. */
  readonly searched: readonly ColumnSight[];
  /** The number of lookups, one of each column per row. */
  readonly lookups: number;
  /** A stored value is made of protected columns. */
  readonly storesProtected: boolean;
  /** Assignments that either change nothing or fail. */
  readonly kept: readonly KeptAssignment[];
}

/** Applies all rules about one write. */
export function writeFindings(writing: Writing): WriteFindings {
  const { given, named, query } = writing;
  const { kept, changed } = assignmentsOf(writing);
  const { found, rows } = triedBy(writing, changed);
  const searched = found.flatMap((finding) => (finding.kind === "lookup" ? [finding.sight] : []));
  const forbidden =
    ruledWrite(writing) ??
    maskedMerge(writing) ??
    found.find((finding) => finding.kind === "refused")?.refusal ??
    (searched.length > 0 && rows === undefined ? uncountedLookups(given.role) : undefined) ??
    ownConditions(writing, changed) ??
    returnedVersions(given, query);
  const lookups = searched.length * (rows ?? 1);
  const storesProtected = protectedValues(named, query).length > 0;
  return { forbidden, telling: tellingWrite(writing), searched, lookups, storesProtected, kept };
}

/** The assignments of UPDATE and of ON CONFLICT; MERGE has no kept columns. */
function assignmentsOf({ statement, given, query, target }: Writing): {
  readonly kept: readonly KeptAssignment[];
  readonly changed: readonly Node[];
} {
  const { form, node, write, clauses } = query;
  const { onConflictClause: conflict } = node as InsertStmt;
  const items =
    form === "update" ? clauses.assignments : form === "insert" ? conflict?.targetList : undefined;
  if (items === undefined || write === undefined) return { kept: [], changed: [] };
  const { kept, changed } = sortedAssignments(statement, given, target, items);
  return { kept: kept.map((each) => ({ target: write.target, kept: each })), changed };
}

/** What its errors would reveal, and for how many rows each. */
function triedBy(
  { given, query, target }: Writing,
  changed: readonly Node[],
): { readonly found: readonly WriteFinding[]; readonly rows: RowCount } {
  const assigned = assignedColumns(changed);
  switch (query.form) {
    case "update":
      return { found: foundInAssignments(given, target, assigned), rows: valuesAssigned(query) };
    case "delete":
      return { found: toldByReferences(given, target, undefined), rows: undefined };
    case "merge": {
      const found = [
        ...probingByRows(given, target, undefined),
        ...foundInMerge(given, target, query.node as MergeStmt),
      ];
      return { found, rows: undefined };
    }
    default: {
      const inserted = probingByRows(given, target, givenColumns(query));
      if ((query.node as CopyStmt).is_from === true) return { found: inserted, rows: undefined };
      const updates = (query.node as InsertStmt).onConflictClause !== undefined;
      return {
        found: [...inserted, ...(updates ? foundInAssignments(given, target, assigned) : [])],
        rows: rowsInserted(query),
      };
    }
  }
}

/** What a rewrite rule reads is not masked, and it may answer a write with rows. COPY runs no rewrite rules. */
function ruledWrite({ given, query, target }: Writing): Refusal | undefined {
  const { role } = given;
  const isCopied = (query.node as CopyStmt).is_from === true;
  if (isCopied || role.sees === "all" || !hasRulesOnWrites(given, target.relation)) return undefined;
  return denied(
    role,
    `role "${role.name}" may not write ${target.key}: there are rules on writes`,
    "sees",
    "What a rule reads is not masked, and it may answer a write with rows. Use a trigger in its place.",
  );
}

/** A condition of the role itself depends on it. */
function ownConditions({ given, query, target }: Writing, changed: readonly Node[]): Refusal | undefined {
  switch (query.form) {
    case "update":
      return ownColumns(given, target, assignedColumns(changed));
    case "delete":
      return ownRows(given, target, "deletes");
    case "merge":
      return ownMerge(given, target, query.node as MergeStmt);
    default:
      return ownRows(given, target, "inserts") ?? ownColumns(given, target, assignedColumns(changed));
  }
}

function tellingWrite(writing: Writing): Refusal | undefined {
  const { statement, given, query, target, named } = writing;
  switch (query.form) {
    case "update":
      return (
        tellingChoice(writing) ??
        storedProtected(statement, given, named, query) ??
        storedMask(statement, given, query) ??
        copied(writing)
      );
    case "delete":
      return tellingChoice(writing);
    case "merge":
      return (
        markedByProtected(statement, given, named, query) ??
        storedMask(statement, given, query) ??
        unsummarisedWrite(given, query) ??
        copied(writing)
      );
    default:
      if ((query.node as CopyStmt).is_from === true) return undefined;
      return (
        tellingConflict(given, query, target) ??
        storedProtected(statement, given, named, query) ??
        markedByProtected(statement, given, named, query) ??
        storedMask(statement, given, query) ??
        copied(writing) ??
        unsummarisedWrite(given, query) ??
        uncountedTries(given, choiceOfInsert(given, query, target))
      );
  }
}

/** How an UPDATE or DELETE chooses its rows. */
function tellingChoice({ statement, given, query, target, named }: Writing): Refusal | undefined {
  return (
    unsummarisedWrite(given, query) ??
    markedByStrangers(statement, given, query) ??
    tellingOfHiddenRows(statement, given, target, query) ??
    markedByProtected(statement, given, named, query)
  );
}

/** The stored values contain people: through a name, or through what a cast reads. */
function copied({ statement, given, query, target }: Writing): Refusal | undefined {
  const { choosing, values } = writtenPeople(statement, given, query);
  const takes = (choosing > 0 || given.castFunctions > 0) && query.form === "update";
  const hasPeople = values > 0 || castsIntoWrite(statement, given, query);
  return hasPeople || (takes && takesCompanions(statement, query))
    ? copiedPeople(statement, given, target)
    : undefined;
}

/**
 * MERGE compares and assigns in too many places at once: it is allowed only into a target that is seen in the clear.
 */
function maskedMerge({ given: { role }, query, target }: Writing): Refusal | undefined {
  if (query.form !== "merge" || target.sight?.guarded !== true) return undefined;
  return denied(
    role,
    `role "${role.name}" sees ${target.key} masked or in part and may not MERGE into it`,
    "sees",
    "Use INSERT or UPDATE.",
  );
}
