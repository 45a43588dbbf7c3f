import { join } from "node:path";
import { type AuditKeys, isSigned, type TrustedKeys } from "./audit-keys.ts";
import type { Period } from "./segments.ts";
import { appendLines, linesOf } from "./side-file.ts";

/** What of the log must stay as it is, for a court or an authority, until the hold is lifted. */
export interface Hold {
  readonly id: string;
  /** Unix time, milliseconds: when it was ordered. */
  readonly time: number;
  readonly by: string;
  readonly why: string;
  readonly period: Period;
}

/** A line of the file: a hold is placed, or lifted. */
interface HoldLine {
  readonly order: "place" | "lift";
  readonly id: string;
  readonly time: number;
  readonly by: string;
  readonly why: string;
  readonly since: number;
  /** Undefined: without an end. */
  readonly until?: number;
  readonly signedBy: string;
  readonly signature: string;
}

/** Beside the log, and not a part of it: retention asks it before it drops anything. */
export function holdsFile(folder: string): string {
  return join(folder, "holds.jsonl");
}

function signedText({
  order,
  id,
  time,
  by,
  why,
  since,
  until,
}: Omit<HoldLine, "signedBy" | "signature">): string {
  return ["sluice audit hold 1", order, id, time, since, until ?? "", JSON.stringify([by, why])].join("\n");
}

export function placeHold(folder: string, keys: AuditKeys, { period, ...hold }: Hold): Promise<void> {
  const { since, until } = period;
  const fields = { order: "place", ...hold, since, ...(Number.isFinite(until) && { until }) } as const;
  return append(folder, keys, fields);
}

export function liftHold(folder: string, keys: AuditKeys, lift: Omit<Hold, "period">): Promise<void> {
  return append(folder, keys, { order: "lift", ...lift, since: 0 });
}

async function append(
  folder: string,
  keys: AuditKeys,
  fields: Omit<HoldLine, "signedBy" | "signature">,
): Promise<void> {
  const entry: HoldLine = { ...fields, signedBy: keys.id, signature: keys.sign(signedText(fields)) };
  await appendLines(holdsFile(folder), [JSON.stringify(entry)]);
}

export interface Holds {
  readonly inForce: readonly Hold[];
  /** Lines that cannot be read, or lift a hold without a trusted signature: they lift nothing. */
  readonly strange: number;
}

/** A hold counts whoever has signed it, and is lifted only with a trusted key: in doubt nothing is dropped. */
export async function readHolds(folder: string, trusted: TrustedKeys): Promise<Holds> {
  const inForce = new Map<string, Hold>();
  let strange = 0;
  for (const line of await linesOf(holdsFile(folder))) {
    const entry = entryOf(line);
    if (entry === undefined) strange += 1;
    else if (entry.order === "place") inForce.set(entry.id, holdOf(entry));
    else if (isSigned(trusted, entry.signedBy, signedText(entry), entry.signature)) inForce.delete(entry.id);
    else strange += 1;
  }
  return { inForce: [...inForce.values()], strange };
}

function holdOf({ id, time, by, why, since, until = Number.POSITIVE_INFINITY }: HoldLine): Hold {
  return { id, time, by, why, period: { since, until } };
}

function entryOf(line: string): HoldLine | undefined {
  try {
    const entry = JSON.parse(line) as Partial<HoldLine>;
    const { order, id, time, by, why, since, until, signedBy, signature } = entry;
    const texts = [id, by, why, signedBy, signature].every((one) => typeof one === "string");
    const numbers = [time, since, until ?? 0].every((one) => typeof one === "number");
    return texts && numbers && (order === "place" || order === "lift") ? (entry as HoldLine) : undefined;
  } catch {
    return undefined;
  }
}
