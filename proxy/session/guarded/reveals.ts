import type { Reveal } from "../../meter/meter.ts";

/**
 * Whose values a row shows because tokens were turned back: those of the people whom it is about, once for each class.
 * Where it shows more values of a column than it names people, each of the others is someone unknown.
 */
export function revealsOf(
  opened: ReadonlyMap<string, number> | undefined,
  row: number,
  namespaces: readonly string[],
  identities: readonly string[],
): readonly Reveal[] {
  if (opened === undefined || opened.size === 0) return [];
  const people = new Map<string, readonly [namespace: string, identity: string]>();
  for (const [i, identity] of identities.entries()) {
    const namespace = namespaces[i] ?? "";
    // "" is a subject that was NULL: no person.
    if (identity !== "") people.set(`${namespace}\0${identity}`, [namespace, identity]);
  }
  const reveals: Reveal[] = [];
  for (const [of, values] of opened) {
    for (const [namespace, identity] of people.values()) reveals.push({ row, of, namespace, identity });
    for (let more = people.size; more < values; more++)
      reveals.push({ row, of, namespace: "", identity: undefined });
  }
  return reveals;
}
