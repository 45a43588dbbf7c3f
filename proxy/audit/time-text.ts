/** A day (UTC) or a time of ISO 8601 with its zone: where it begins and where it ends (Unix time in milliseconds). */
export function timeOf(text: string): { readonly start: number; readonly end: number } | undefined {
  const isDay = /^\d{4}-\d\d-\d\d$/.test(text);
  if (!isDay && !/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text)) return undefined;
  const start = Date.parse(text);
  if (Number.isNaN(start)) return undefined;
  return { start, end: isDay ? start + 86_400_000 : start };
}

/** The end of a day, or a time. */
export function endOf(text: string): number | undefined {
  return timeOf(text)?.end;
}
