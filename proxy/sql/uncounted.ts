import { Lineage } from "./lineage.ts";
import { isUnrestricted, type Scope } from "./scope.ts";
import type { Statement, Verdict } from "./verdict.ts";

/** Tables and views with protected columns that a statement reads although no one is counted for it. */
export interface CountsNobody {
  readonly tables: readonly string[];
  readonly why: "unlimited role" | "no subject" | "no row of people";
}

/**
 * The tables that a statement text reads uncounted; undefined if everything that it reads is counted or unprotected.
 */
export function countsNobody(verdict: Verdict, scope: Scope): CountsNobody | undefined {
  if (verdict.kind === "refuse") return undefined;
  const lineage = new Lineage(scope.policy, scope.catalog);
  const read = verdict.statements.flatMap((statement) =>
    statement.reads.flatMap((table) => {
      const relation = scope.catalog.relations.get(table);
      const labels = relation && lineage.labels(relation);
      if (labels === undefined || labels.columns.size === 0) return [];
      const hasPeople = labels.people.size > 0;
      return hasPeople && isCounted(statement) ? [] : [{ table, hasPeople }];
    }),
  );
  if (read.length === 0) return undefined;
  const without = read.filter(({ hasPeople }) => !hasPeople);
  const unlimited = isUnrestricted(scope.role) && scope.role.watch !== true;
  const shown = unlimited || without.length === 0 ? read : without;
  const why = unlimited ? "unlimited role" : without.length > 0 ? "no subject" : "no row of people";
  return { tables: [...new Set(shown.map(({ table }) => table))], why };
}

/** A statement that is prepared, or that a cursor is declared for, counts when it runs. */
function isCounted({ metering, effect }: Statement): boolean {
  if (metering !== undefined)
    return (
      metering.subjects.length > 0 ||
      metering.unknown > 0 ||
      metering.groups !== undefined ||
      metering.price !== undefined
    );
  const inner = effect?.kind === "prepare" || effect?.kind === "declare" ? effect.inner : undefined;
  return inner !== undefined && isCounted(inner);
}

/** As a sentence. */
export function countsNobodyText({ tables, why }: CountsNobody, countsOthers: boolean): string {
  if (why === "unlimited role") return "no one: the role sees, reads and writes everything without a limit";
  const names = tables.join(", ");
  if (why === "no subject") {
    const lack = tables.length === 1 ? "which has no subject" : "which have no subject";
    return countsOthers ? `no one of ${names}, ${lack}` : `no one: it reads ${names}, ${lack}`;
  }
  return `no one: no row of ${names} is sent as a person's`;
}
