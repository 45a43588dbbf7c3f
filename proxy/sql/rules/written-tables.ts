import type { Catalog, Constraint, ForeignKey, Relation } from "../../catalog/catalog.ts";
import type { Sights } from "../sight.ts";
import type { Given } from "./given.ts";
import type { Columns } from "./write-findings.ts";

/* Where a written row is stored, and what the server checks there. */

/** Where columns are ultimately written: for a view, in its base relation. */
export interface Written {
  readonly base: Relation;
  readonly names: ReadonlySet<string>;
}

/** `undefined` means all columns. Postgres writes only through plain copies (docs, "Updatable Views"). */
export function writtenInto(catalog: Catalog, relation: Relation, names: Columns): readonly Written[] {
  const { lineage } = relation;
  if (lineage === undefined)
    return [{ base: relation, names: new Set(names ?? relation.columns.map(({ name }) => name)) }];
  // Rows go also through a view that shows no column as it is.
  const below = new Map<Relation, string[]>(
    lineage.origins.size > 0
      ? []
      : lineage.dependsOn.flatMap(({ relation: oid }) => {
          const base = catalog.relationsByOid.get(oid);
          return base === undefined || base === relation ? [] : [[base, []]];
        }),
  );
  for (const [name, { relation: oid, column }] of lineage.origins) {
    const base = catalog.relationsByOid.get(oid);
    const to = base?.columns.find(({ number }) => number === column)?.name;
    if (base === undefined || to === undefined) continue;
    const known = below.get(base) ?? [];
    below.set(base, known);
    if (names?.includes(name) !== false) known.push(to);
  }
  return [...below].flatMap(([base, written]) => writtenInto(catalog, base, written));
}

/**
 * The checks of a row that is written into the relation: its own, those of its partitions and children, and all
 * partition keys above.
 */
export function checksOf(
  sights: Sights,
  base: Relation,
): readonly { readonly relation: Relation; readonly constraint: Constraint }[] {
  const above = sights
    .ancestors(base)
    .slice(1)
    .flatMap((relation) =>
      relation.constraints
        .filter(({ kind }) => kind === "partition key")
        .map((constraint) => ({ relation, constraint })),
    );
  const own = sights
    .takers(base)
    .flatMap((relation) => relation.constraints.map((constraint) => ({ relation, constraint })));
  return [...own, ...above];
}

/**
 * Only unique indexes and exclusion constraints reveal existing rows. All other checks look at the new row, whose
 * values the client knows, except for those that unknown code fills in.
 */
export function toldByInsert(
  relation: Relation,
  { kind, columns, keys, freeIfNull }: Constraint,
  given: ReadonlySet<string>,
): readonly string[] {
  const defaultOf = (name: string) => relation.columns.find((column) => column.name === name)?.default;
  if (kind !== "unique" && kind !== "exclusion")
    return columns.filter((name) => !given.has(name) && defaultOf(name) === "code");
  const isFree = freeIfNull.some((name) => !given.has(name) && defaultOf(name) === undefined);
  const isFresh = keys.some((name) => !given.has(name) && defaultOf(name) === "fresh");
  return isFree || isFresh ? [] : columns;
}

/** With the columns that are computed from these. */
export function withGenerated({ base, names }: Written): Written {
  const written = base.columns.filter(({ name }) => names.has(name)).map(({ number }) => number);
  const made = base.columns.filter(({ generatedFrom = [] }) =>
    generatedFrom.some((number) => written.includes(number)),
  );
  return made.length === 0
    ? { base, names }
    : { base, names: new Set([...names, ...made.map(({ name }) => name)]) };
}

/** The column's value changes when these are written: it is one of them, or is computed from one. */
export function changes({ columns }: Relation, name: string, written: ReadonlySet<string>): boolean {
  if (written.has(name)) return true;
  const from = columns.find((column) => column.name === name)?.generatedFrom ?? [];
  return columns.some((column) => from.includes(column.number) && written.has(column.name));
}

/** Columns whose values decide whether a new row violates a unique index or an exclusion constraint. */
export function refusingColumns(given: Given, relation: Relation): ReadonlySet<string> {
  const { sights } = given;
  if (relation.lineage !== undefined) {
    const written = writtenThrough(given, relation);
    return new Set(
      written.filter(({ base, to }) => refusingColumns(given, base).has(to)).map(({ name }) => name),
    );
  }
  // A partition may have unique indexes of its own, which also apply to rows that come through its parent.
  return new Set(sights.takers(relation).flatMap((taker) => [...ownRefusingColumns(taker)]));
}

interface WrittenColumn {
  readonly name: string;
  readonly base: Relation;
  readonly to: string;
}

/** Where a view's columns are written to, one level down: Postgres writes only through plain copies. */
function writtenThrough({ catalog }: Given, { lineage }: Relation): readonly WrittenColumn[] {
  return [...(lineage?.origins ?? [])].flatMap(([name, { relation, column }]) => {
    const base = catalog.relationsByOid.get(relation);
    const to = base?.columns.find(({ number }) => number === column)?.name;
    return base === undefined || to === undefined ? [] : [{ name, base, to }];
  });
}

/** A rewrite rule reads real values and answers a write with them, also for a write through a view. */
export function hasRulesOnWrites(given: Given, relation: Relation): boolean {
  return (
    relation.rulesOnWrites ||
    writtenThrough(given, relation).some(({ base }) => hasRulesOnWrites(given, base))
  );
}

function ownRefusingColumns({ constraints }: Relation): readonly string[] {
  return constraints.flatMap(({ kind, columns }) =>
    kind === "unique" || kind === "exclusion" ? columns : [],
  );
}

interface Reference {
  readonly from: Relation;
  readonly key: ForeignKey;
}

const references = new WeakMap<Catalog, ReadonlyMap<number, readonly Reference[]>>();

/** Foreign keys of all relations that refer to this one. */
export function referencesTo(catalog: Catalog, oid: number): readonly Reference[] {
  let known = references.get(catalog);
  if (known === undefined) {
    const made = new Map<number, Reference[]>();
    for (const from of catalog.relations.values()) {
      for (const key of from.foreignKeys) {
        const all = made.get(key.references);
        if (all === undefined) made.set(key.references, [{ from, key }]);
        else all.push({ from, key });
      }
    }
    known = made;
    references.set(catalog, known);
  }
  return known.get(oid) ?? [];
}
