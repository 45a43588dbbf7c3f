import type { Catalog, Constraint, ForeignKey, Relation } from "../catalog/catalog.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import type { ColumnSight } from "./sight.ts";

/*
 * The server checks a row that is written against real values, and says yes or no: a CHECK, a unique index, a key, a policy
 * or a computation over a column that is seen and one that is not tells of the latter, by as many tries as are made.
 */

/** Where columns are written to in the end: a view's are its base's. */
export interface Written {
  readonly base: Relation;
  readonly names: ReadonlySet<string>;
}

/** Names of `undefined` are all columns. Postgres writes through plain copies alone (docs, "Updatable Views"). */
export function writtenInto(
  catalog: Catalog,
  relation: Relation,
  names: readonly string[] | undefined,
): readonly Written[] {
  const { lineage } = relation;
  if (lineage === undefined)
    return [{ base: relation, names: new Set(names ?? relation.columns.map(({ name }) => name)) }];
  const below = new Map<Relation, string[]>();
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

/** An UPDATE of columns that are seen, in rows whose other columns are not. */
export function refuseTellingUpdate(analysis: Analysis, use: RelationUse, assigned: readonly string[]): void {
  const { sights, scope } = analysis;
  const compared = new Map<string, ColumnSight>();
  for (const { base, names } of writtenInto(scope.catalog, use.relation, assigned)) {
    for (const { relation, constraint } of checksOf(analysis, base)) {
      const { columns } = constraint;
      if (constraint.unproven !== true && !columns.some((name) => names.has(name))) continue;
      const hidden = sights.hidden(relation);
      // A masked column that is assigned is another rule's to refuse.
      const told = columns.filter((name) => hidden.has(name) && !names.has(name));
      judge(analysis, use, [...names], { relation, constraint, hidden, told }, compared);
    }
  }
  count(analysis, compared);
}

/** A new row whose masked columns are left to their defaults, or are compared otherwise than by equality. */
export function refuseTellingInsert(
  analysis: Analysis,
  use: RelationUse,
  given: readonly string[] | undefined,
): void {
  const compared = new Map<string, ColumnSight>();
  for (const { base, names } of writtenInto(analysis.scope.catalog, use.relation, given)) {
    for (const { relation, constraint } of checksOf(analysis, base)) {
      if (!constraint.columns.some((name) => names.has(name))) continue;
      const hidden = analysis.sights.hidden(relation);
      const told = toldByInsert(relation, constraint, names).filter((name) => hidden.has(name));
      judge(analysis, use, [...names], { relation, constraint, hidden, told }, compared);
    }
  }
  count(analysis, compared);
}

/**
 * Of rows that are there a unique index or an exclusion constraint alone tells; all others look at the new row, whose values
 * the client knows, but for what unknown code fills in.
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

/** A row that goes, or whose key changes, is refused (or takes others along) where rows refer to it. */
export function refuseTellingOfReferences(
  analysis: Analysis,
  use: RelationUse,
  changed: readonly string[] | undefined,
): void {
  const { sights, scope } = analysis;
  const compared = new Map<string, ColumnSight>();
  for (const { base, names } of writtenInto(scope.catalog, use.relation, changed)) {
    // A key to a partitioned table is one to each of its partitions.
    const above = sights.ancestors(base).filter(({ kind }) => kind === "partitioned");
    for (const relation of new Set([...sights.takers(base), ...above])) {
      const own = sights.hidden(relation);
      for (const { from, key } of referencesTo(scope.catalog, relation.oid)) {
        const isTouched = key.referencedColumns.some((name) => changes(relation, name, names));
        if (changed !== undefined && !isTouched) continue;
        const referring = sights.hidden(from);
        const told = key.columns.filter((name) => referring.has(name));
        const constraint: Constraint = {
          name: `a key of ${from.schema}.${from.name}`,
          kind: "foreign key",
          columns: key.columns,
          compared: key.columns,
          keys: [],
          freeIfNull: [],
        };
        judge(analysis, use, [...names], { relation: from, constraint, hidden: referring, told }, compared);
        const kept = key.referencedColumns.filter(
          (name) => own.has(name) && (changed === undefined || !names.has(name)),
        );
        const mine = { ...constraint, compared: key.referencedColumns };
        judge(analysis, use, [...names], { relation, constraint: mine, hidden: own, told: kept }, compared);
      }
    }
  }
  count(analysis, compared);
}

interface Told {
  readonly relation: Relation;
  readonly constraint: Constraint;
  readonly hidden: ReadonlyMap<string, ColumnSight>;
  readonly told: readonly string[];
}

/** Refused, or noted as a look-up where equality is all that is told and the role may find by it. */
function judge(
  analysis: Analysis,
  use: RelationUse,
  written: readonly string[],
  { relation, constraint, hidden, told }: Told,
  compared: Map<string, ColumnSight>,
): void {
  for (const name of told) {
    const sight = hidden.get(name);
    if (sight === undefined) continue;
    const isLookup = sight.findable && constraint.compared.includes(name);
    if (!isLookup) deny(analysis, use, written, { relation, constraint, sight });
    compared.set(name, sight);
  }
}

/** A partition and its parent have the same column: it is looked up once. */
function count(analysis: Analysis, compared: ReadonlyMap<string, ColumnSight>): void {
  analysis.lookups += compared.size;
  for (const sight of compared.values()) analysis.costs(sight, "looked up");
}

function deny(
  analysis: Analysis,
  use: RelationUse,
  written: readonly string[],
  {
    relation,
    constraint: { name, kind, columns, compared },
    sight: { column, className },
  }: { readonly relation: Relation; readonly constraint: Constraint; readonly sight: ColumnSight },
): never {
  const key = compared.includes(column.name) ? "finds" : "sees";
  const told = `${relation.schema}.${relation.name}.${column.name}`;
  const what = written.find((each) => each !== column.name && columns.includes(each));
  const message = written.includes(column.name)
    ? `give ${use.key} a value of ${column.name}: by ${nameOf(kind, name)} an error would tell which values exist`
    : `${what === undefined ? `write ${use.key} so` : `write ${use.key}.${what}`}: by ${nameOf(kind, name)} an error would tell of ${told}`;
  return analysis.deny(
    `role "${analysis.scope.role.name}" may not ${message}`,
    key,
    `Add the class "${className ?? "of this column"}" under "${key}:" of ${analysis.rolePlace}, or leave the column out.`,
  );
}

function nameOf(kind: Constraint["kind"], name: string): string {
  switch (kind) {
    case "partition key":
    case "foreign key":
      return name;
    case "check":
      return `the CHECK ${name}`;
    case "unique":
      return `the unique index ${name}`;
    default:
      return `the ${kind} ${name}`;
  }
}

/** What is checked of a row that is written into the relation: its own, its partitions' and children's, and all partition keys above. */
export function checksOf(
  { sights }: Analysis,
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

/** The column takes another value when these are written: it is one of them, or made from one. */
export function changes({ columns }: Relation, name: string, written: ReadonlySet<string>): boolean {
  if (written.has(name)) return true;
  const from = columns.find((column) => column.name === name)?.generatedFrom ?? [];
  return columns.some((column) => from.includes(column.number) && written.has(column.name));
}

interface Reference {
  readonly from: Relation;
  readonly key: ForeignKey;
}

const references = new WeakMap<Catalog, ReadonlyMap<number, readonly Reference[]>>();

/** Keys of all relations that refer to this one. */
function referencesTo(catalog: Catalog, oid: number): readonly Reference[] {
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
