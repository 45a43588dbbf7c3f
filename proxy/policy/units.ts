const SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** Seconds of `30s`, `1m`, `12h`, `30d`, `2w`. The schema checks the form. */
export function durationSeconds(text: string): number | undefined {
  const unit = SECONDS[text.slice(-1)];
  const count = Number(text.slice(0, -1));
  return unit === undefined || !Number.isSafeInteger(count) ? undefined : count * unit;
}

// Postgres docs, "Parameter Names and Values": memory units are B, kB, MB, GB, and the multiplier is 1024.
const BYTES: Readonly<Record<string, number>> = { B: 1, kB: 1024, MB: 1024 ** 2, GB: 1024 ** 3 };

/** Bytes of `256kB`, `10MB`, or of a plain number. */
export function sizeBytes(size: string | number): number | undefined {
  if (typeof size === "number") return size;
  const [, count, unit] = /^(\d+) ?(\w+)$/.exec(size) ?? [];
  const multiplier = BYTES[unit ?? ""];
  return multiplier === undefined ? undefined : Number(count) * multiplier;
}

/** The same to read, to three digits: `2 MB`. */
export function bytesText(bytes: number): string {
  if (bytes < 1_024) return `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  let [value, unit] = [bytes / 1_024, 0];
  while (value >= 1_024 && unit < READ_UNITS.length - 1) [value, unit] = [value / 1_024, unit + 1];
  return `${Number(value.toPrecision(3))} ${READ_UNITS[unit]}`;
}

const READ_UNITS = ["kB", "MB", "GB"] as const;

/** An amount of a budget: `300 people`, `2 MB`. */
export function amountText(limit: number, what: string): string {
  return what === "bytes" ? bytesText(limit) : `${limit.toLocaleString("en")} ${what}`;
}
