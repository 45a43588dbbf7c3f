import type { PolicySet } from "../policy/compile.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { carriedBy, SEARCH_KINDS, type SearchKind } from "../tokens/blind-index.ts";
import type { Sealer } from "../tokens/sealed.ts";

/**
 * Why a policy may not come into force while tokens are written by another one: what those of a key carry would change, and
 * equality, which compares whole tokens, would not find them any more. A restart takes it, for columns without tokens.
 */
export function searchProblems(
  inForce: PolicySet,
  read: PolicySet,
  sealer: Sealer | undefined,
): readonly PolicyProblem[] {
  if (sealer === undefined) return [];
  const databases = new Set([...inForce.databases, ...read.databases, ""]);
  const problems = new Map<string, PolicyProblem>();
  for (const database of databases) {
    const before = inForce.forDatabase(database).classes;
    for (const { name, stored, place } of read.forDatabase(database).classes.values()) {
      const known = before.get(name)?.stored;
      if (stored?.form !== "token" || known?.form !== "token") continue;
      for (const version of sealer.searched) {
        const [was, is] = [known, stored].map(({ searches }) => written(carriedBy(searches, version)));
        if (was === is) continue;
        const message = `tokens of key ${version} of class "${name}" would carry ${is}, and those that are there carry ${was}`;
        problems.set(`${place.file} ${message}`, {
          severity: "error",
          place,
          message,
          hint: 'Equality would not find them. Write "searches:" by the version of the key, and change it from a new key on (docs/tokens.md). If no column holds tokens of the class yet, restart.',
        });
      }
    }
  }
  return [...problems.values()];
}

function written(kinds: ReadonlySet<SearchKind>): string {
  return `[${SEARCH_KINDS.filter((kind) => kinds.has(kind)).join(", ")}]`;
}
