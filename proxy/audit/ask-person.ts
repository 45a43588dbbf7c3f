import type { AuditKeys } from "./audit-keys.ts";
import { coverageOf } from "./coverage.ts";
import { coverageLines } from "./coverage-lines.ts";
import { readForgotten } from "./forgotten.ts";
import { type EventDetails, readingsOf } from "./person-events.ts";
import { type Period, withReadings } from "./readings.ts";
import { hashesOfOne, kindOfValues } from "./subject-list.ts";
import { foreignSegments, misworded, onlyNamespace, vocabularyOf } from "./vocabulary.ts";

/** Who read one person. */
export interface PersonQuestion {
  readonly folder: string;
  readonly keys: AuditKeys;
  readonly id: string;
  /** Where the person is named: `public.customers.id`. Undefined: the only such place of the log. */
  readonly namespace: string | undefined;
  readonly period: Period;
  /** Milliseconds that each reading of the log may take. */
  readonly patience: number;
}

export type PersonAnswer =
  | {
      readonly ok: true;
      readonly namespace: string;
      /** In the order of time. */
      readonly events: readonly EventDetails[];
      /** What the answer does not cover, as sentences; never empty. */
      readonly notCovered: readonly string[];
    }
  /** The question cannot be asked like this: "nobody" would be a false answer. */
  | { readonly ok: false; readonly problem: string };

/** The hashes under which the log may name a person, or why it cannot be asked for them. */
export type PersonFound =
  | {
      readonly ok: true;
      readonly namespace: string;
      readonly hashes: readonly string[];
      readonly notCovered: readonly string[];
    }
  | { readonly ok: false; readonly problem: string };

/** Sees whether the log can be asked about this person. */
export async function findPerson({
  folder,
  keys,
  id,
  namespace,
  period,
  patience,
}: PersonQuestion): Promise<PersonFound> {
  const kind = kindOfValues([id]);
  if (kind !== undefined) return { ok: false, problem: `this is one of ${kind}, not an id` };
  const question = { folder, period, events: "all", patience } as const;
  const checked = await withReadings(question, async (readings) => {
    const foreign = await foreignSegments(readings, [keys]);
    if (foreign.of > 0 && foreign.segments === foreign.of)
      return { problem: "no line of this log was written with the fleet's present key" };
    const words = await vocabularyOf(readings);
    const problem = misworded(words, namespace, []);
    if (problem !== undefined) return { problem };
    const where = namespace ?? onlyNamespace(words) ?? "";
    const coverage = await coverageOf(readings, [keys], words.tables.get(where) ?? []);
    return { where, notCovered: coverageLines(coverage) };
  });
  if ("problem" in checked) return { ok: false, problem: checked.problem ?? "" };
  const { where, notCovered } = checked;
  const hashes = hashesOfOne(id, where, [keys]);
  const { hashes: forgotten } = await readForgotten(folder, new Map([[keys.id, keys.publicKey]]));
  if (hashes.some((hash) => forgotten.has(hash)))
    return { ok: false, problem: "this person is forgotten and is not looked for" };
  return { ok: true, namespace: where, hashes, notCovered };
}

/** Asks the log, as `sluice audit subject` does. The caller puts the question on record before showing the answer. */
export async function askPerson(question: PersonQuestion): Promise<PersonAnswer> {
  const found = await findPerson(question);
  if (!found.ok) return found;
  const { namespace, hashes, notCovered } = found;
  const { folder, period, patience } = question;
  const events = await readingsOf(folder, period, new Set(hashes), undefined, patience);
  return { ok: true, namespace, events, notCovered };
}
