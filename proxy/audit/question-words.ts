import type { AuditKeys } from "./audit-keys.ts";
import type { Readings } from "./readings.ts";
import {
  type ForeignSegments,
  foreignSegments,
  misworded,
  onlyNamespace,
  type Vocabulary,
  vocabularyOf,
} from "./vocabulary.ts";

/** The question cannot be put so: its answer would be a false "nobody". */
export class WrongQuestion extends Error {}

/** How many segments were written with other keys; throws where all were, as no person of the log can be known then. */
export async function checkKeys(readings: Readings, keys: readonly AuditKeys[]): Promise<ForeignSegments> {
  const foreign = await foreignSegments(readings, keys);
  if (foreign.of === 0 || foreign.segments < foreign.of) return foreign;
  const given = keys.map(({ peopleId }) => peopleId).join(", ");
  throw new WrongQuestion(
    `--key-file: no line of this log was written with this key (it has ${foreign.keys.join(", ")}; given: ${given})`,
  );
}

/** The name space that is meant, and the log's words; throws where the log cannot be asked so. */
export async function checkWords(
  readings: Readings,
  { namespace, keys }: { readonly namespace: string | undefined; readonly keys: readonly AuditKeys[] },
  needs: readonly string[],
): Promise<{ readonly namespace: string; readonly words: Vocabulary }> {
  await checkKeys(readings, keys);
  const words = await vocabularyOf(readings);
  const problem = misworded(words, namespace, needs);
  if (problem !== undefined) throw new WrongQuestion(problem);
  return { namespace: namespace ?? onlyNamespace(words) ?? "", words };
}

/** Throws where the log has nothing of this user: of a mistyped name nobody is to be told that they read nobody. */
export async function checkUser({ rows }: Readings, user: string): Promise<void> {
  const [known] = await rows(`SELECT 1 AS known FROM lines WHERE "user" = $1 LIMIT 1`, [user]);
  if (known === undefined)
    throw new WrongQuestion(`--user: this log has no reading of a user "${user}" in this time`);
}
