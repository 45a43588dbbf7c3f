import { countsReads, type Role } from "../policy/policy.ts";

/**
 * What a statement leaves behind elsewhere (counters, locks, places of rows, positions in the WAL) tells of rows that a filter
 * hides, and of people whom nobody has counted. It is hidden from roles for whom that matters.
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
