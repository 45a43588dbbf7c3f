/** What of an error may be in the operational log: its code, or Node's own message. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  return (error as NodeJS.ErrnoException).code ?? error.message;
}
