/** What of an error may be in the operational log: its code, or Node's own message. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  // A DOMException's code is a number that says nothing; fetch names what it failed at in the cause alone.
  const { code } = error as { readonly code?: unknown };
  if (typeof code === "string") return code;
  return error.message === "fetch failed" && error.cause instanceof Error
    ? codeOf(error.cause)
    : error.message;
}
