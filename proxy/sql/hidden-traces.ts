import { countsReads, type Role } from "../policy/policy.ts";

/**
 * The traces that a statement leaves elsewhere (counters, locks, positions of rows, positions in the WAL) reveal rows
 * that a filter hides and people who have not been counted. They are hidden from roles for which that matters.
 */
export function hidesTraces(role: Role): boolean {
  const { only, limits, aggregatesOnly } = role;
  return (
    only.size > 0 ||
    countsReads(role) ||
    limits.rows !== undefined ||
    limits.bytes !== undefined ||
    aggregatesOnly !== undefined
  );
}

/** The policy key that hides them. */
export function keyOfTraces({ only, limits, aggregatesOnly }: Role): string {
  if (aggregatesOnly !== undefined) return "aggregates_only";
  if (only.size > 0) return "only";
  return limits.rows !== undefined ? "rows" : limits.bytes !== undefined ? "bytes" : "budget";
}
