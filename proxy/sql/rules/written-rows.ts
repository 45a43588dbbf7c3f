import { type Relation, relationKey } from "../../catalog/catalog.ts";
import type { Role } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundRelation, BoundStatement } from "../bind/bound.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { speaksOfPeople } from "./people.ts";
import { hasRulesOnWrites } from "./written-tables.ts";

/*
 * What a statement writes is known only from its command tag, which counts the rows of the statement itself and nothing
 * else (Postgres docs, "CommandComplete").
 */

/** What the rows in the tag are counted as. */
export type WrittenRows = "people" | "rows";

/** `tagged`: the target whose rows the tag counts. */
export function rowsWritten({ sights }: Given, tagged: BoundRelation): WrittenRows {
  return speaksOfPeople(sights, tagged) ? "people" : "rows";
}

/** Why a statement would write rows that no tag counts. */
export function untoldWrites(
  { queries }: BoundStatement,
  given: Given,
  tagged: BoundRelation | undefined,
): Refusal | undefined {
  const { role, sights } = given;
  for (const { write } of queries) {
    const relation = write && relationOf(write.target);
    if (write === undefined || relation === undefined || !isHeld(role, speaksOfPeople(sights, write.target)))
      continue;
    const name = relationKey(relation.schema, relation.name);
    if (write.target !== tagged)
      return denied(
        role,
        `role "${role.name}" may not write ${name} inside another statement: nothing reports how many rows it writes`,
        keyOfWrites(role),
        "Send the INSERT, UPDATE, DELETE or MERGE as a statement of its own; RETURNING gives its rows.",
      );
    if (hasRulesOnWrites(given, relation))
      return denied(
        role,
        `role "${role.name}" may not write ${name}: there are rules on writes, and nothing reports how many rows they write`,
        keyOfWrites(role),
        "Use a trigger in place of the rules.",
      );
  }
  return undefined;
}

function relationOf({ source }: BoundRelation): Relation | undefined {
  return source.kind === "table" ? source.relation : undefined;
}

/** EXPLAIN ANALYZE runs a write, and its tag does not report it. */
export function explainedWrite({ role }: Given, written: WrittenRows): Refusal | undefined {
  if (!isHeld(role, written === "people")) return undefined;
  return denied(
    role,
    `role "${role.name}" may not use EXPLAIN ANALYZE on a write: nothing reports how many rows it writes`,
    keyOfWrites(role),
    "Use EXPLAIN without ANALYZE.",
  );
}

/** Whether the role's number of written rows is limited, for tables with people or for all. */
function isHeld({ limits, budget }: Role, hasPeople: boolean): boolean {
  return limits.changes !== undefined || (hasPeople && budget.some(({ what }) => what === "changes"));
}

function keyOfWrites({ limits }: Role): string {
  return limits.changes === undefined ? "budget" : "changes";
}
