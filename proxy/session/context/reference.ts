/**
 * The reference by which an error of Sluice is found in the audit log and the operational log: the first digits of the
 * session's id, short enough to read out from a screen, and the number of the error within the session. A login has
 * only one error.
 */
export function referenceOf(session: string, error?: number): string {
  const start = session.slice(0, 8);
  return error === undefined ? start : `${start}-${error}`;
}
