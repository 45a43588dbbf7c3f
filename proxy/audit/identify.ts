import type { AuditKeys } from "./audit-keys.ts";
import type { ReadPerson } from "./read-by.ts";
import { hashesOfOne } from "./subject-list.ts";

/** Somebody whom a user read, by their id where it is known; under several keys they are one. */
export interface Identified extends Omit<ReadPerson, "subject"> {
  readonly id: string | undefined;
  readonly hashes: readonly string[];
}

/** Looks for the people of the log among all who may be meant: each is hashed as the log hashes them. */
export async function identify(
  people: readonly ReadPerson[],
  candidates: AsyncIterable<readonly string[]> | Iterable<readonly string[]>,
  namespace: string,
  keys: readonly AuditKeys[],
): Promise<readonly Identified[]> {
  const bySubject = new Map(people.map((person) => [person.subject, person]));
  const found = new Map<string, ReadPerson[]>();
  for await (const ids of candidates) {
    for (const id of ids) {
      for (const hash of hashesOfOne(id, namespace, keys)) {
        const person = bySubject.get(hash);
        if (person === undefined) continue;
        bySubject.delete(hash);
        found.set(id, [...(found.get(id) ?? []), person]);
      }
    }
  }
  const known = [...found].map(([id, own]) => merged(id, own));
  return [...known, ...[...bySubject.values()].map((person) => merged(undefined, [person]))].toSorted(
    (a, b) => a.first - b.first,
  );
}

function merged(id: string | undefined, people: readonly ReadPerson[]): Identified {
  const sum = (of: (person: ReadPerson) => number) => people.reduce((total, person) => total + of(person), 0);
  return {
    id,
    hashes: people.map(({ subject }) => subject),
    first: Math.min(...people.map(({ first }) => first)),
    last: Math.max(...people.map(({ last }) => last)),
    statements: sum(({ statements }) => statements),
    classes: [...new Set(people.flatMap(({ classes }) => classes))].toSorted(),
    unsaid: people.some(({ unsaid }) => unsaid),
    explained: sum(({ explained }) => explained),
    unexplained: sum(({ unexplained }) => unexplained),
  };
}

/** What is known about the reason of a reading. */
export type Reason = "with" | "without" | "both" | "not asked";

export function readingReason({
  explained,
  unexplained,
}: Pick<ReadPerson, "explained" | "unexplained">): Reason {
  if (unexplained === 0) return explained === 0 ? "not asked" : "with";
  return explained === 0 ? "without" : "both";
}
