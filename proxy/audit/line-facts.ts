/** What of a line stands in the envelope of other protocols; found without parsing the line, of which there are many. */
export interface LineFacts {
  /** Unix time, milliseconds. */
  readonly time: number;
  readonly kind: string;
  /** OCSF's: 1 informational to 5 critical. */
  readonly severity: number;
  readonly trace: { readonly id: string; readonly span: string; readonly flags: number } | undefined;
}

/** All lines begin so. What a client has written stands in quotes, where a quote has a backslash before it. */
const TIME = /^\{"time":(\d+)/;
const KIND = /"kind":"([\w ]{1,40})"/;
const SEVERITY = /"severity_id":(\d)/;
const TRACE = /"traceparent":"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})"/;

export function factsOf(line: string): LineFacts {
  const [, id, span, flags = "0"] = TRACE.exec(line) ?? [];
  return {
    time: Number(TIME.exec(line)?.[1] ?? 0),
    kind: KIND.exec(line)?.[1] ?? "",
    severity: Number(SEVERITY.exec(line)?.[1] ?? 1),
    trace:
      id === undefined || span === undefined ? undefined : { id, span, flags: Number.parseInt(flags, 16) },
  };
}
