/**
 * What an error of Sluice's is found by, in the audit log and in the operational log: as much of the session's id as
 * somebody can read out from a screen, and which of the session's errors it is. A login has but one.
 */
export function referenceOf(session: string, error?: number): string {
  const start = session.slice(0, 8);
  return error === undefined ? start : `${start}-${error}`;
}
