import type { Reveal } from "../../meter/meter.ts";
import type { OpenedValue } from "../../protocol/server-leg.ts";
import type { Metering } from "../../sql/verdict.ts";

/** Whom a row names. "" is a subject that was NULL: no person. */
interface Named {
  readonly namespaces: readonly string[];
  readonly identities: readonly string[];
}

/**
 * Whose values a row shows because tokens were turned back: those of the people whom it is about, once for each class.
 * Each value that may be of someone whom it does not name is of someone unknown.
 */
export function revealsOf(
  opened: readonly OpenedValue[] | undefined,
  row: number,
  named: Named,
  metering: Metering | undefined,
): readonly Reveal[] {
  if (opened === undefined || opened.length === 0) return [];
  const { namespaces, identities } = named;
  const people = new Map<string, readonly [namespace: string, identity: string]>();
  for (const [i, identity] of identities.entries()) {
    const namespace = namespaces[i] ?? "";
    if (identity !== "") people.set(`${namespace}\0${identity}`, [namespace, identity]);
  }
  const unnamed = mayShow(metering) + identities.filter((identity) => identity === "").length;
  const reveals: Reveal[] = [];
  for (const [of, values] of byClass(opened)) {
    for (const [namespace, identity] of people.values()) reveals.push({ row, of, namespace, identity });
    const strangers = Math.min(unnamed, countStray(values, identities, metering?.owners));
    for (let more = Math.max(strangers, mostOfColumn(values) - people.size); more > 0; more--)
      reveals.push({ row, of, namespace: "", identity: undefined });
  }
  return reveals;
}

/** How many people a row may show whom it does not name. */
function mayShow(metering: Metering | undefined): number {
  const { unknown = 0, groups } = metering ?? {};
  return groups?.tell === "number" ? groups.namespaces.length : unknown;
}

function byClass(opened: readonly OpenedValue[]): ReadonlyMap<string, readonly OpenedValue[]> {
  const classes = new Map<string, OpenedValue[]>();
  for (const value of opened) {
    const values = classes.get(value.className);
    if (values === undefined) classes.set(value.className, [value]);
    else values.push(value);
  }
  return classes;
}

/** Values that no field shows as those of a person whom the row names. */
function countStray(
  values: readonly OpenedValue[],
  identities: readonly string[],
  owners: Metering["owners"],
): number {
  const key = ({ column, token }: OpenedValue) => `${column}\0${token}`;
  const isOwned = ({ field }: OpenedValue) => (identities[owners?.[field] ?? -1] ?? "") !== "";
  const owned = new Set(values.filter(isOwned).map(key));
  return new Set(values.map(key).filter((each) => !owned.has(each))).size;
}

/** A person may have several columns of a class, but one value in each. */
function mostOfColumn(values: readonly OpenedValue[]): number {
  const tokens = new Map<string, Set<string>>();
  for (const { column, token } of values) tokens.set(column, (tokens.get(column) ?? new Set()).add(token));
  return Math.max(...[...tokens.values()].map(({ size }) => size));
}
