import type { Constraint, Relation } from "../../catalog/catalog.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { ColumnSight } from "../sight.ts";
import { classOf, denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import type { Columns, Target, WriteFinding } from "./write-findings.ts";
import { changes, checksOf, referencesTo, toldByInsert, writtenInto } from "./written-tables.ts";

/*
 * The server checks a written row against real values and accepts or rejects it. A CHECK, a unique index, a key, a
 * policy or a computation over a visible and a hidden column therefore reveals the hidden one, given enough tries.
 */

/** A check by the server that may reveal columns. */
interface Check {
  readonly relation: Relation;
  readonly constraint: Constraint;
  /** The written columns, by their names in that relation. */
  readonly written: ReadonlySet<string>;
  /** The columns that it may reveal; those that the role sees reveal nothing new. */
  readonly told: readonly string[];
}

/** An UPDATE of visible columns, in rows whose other columns are hidden. */
export function toldByUpdate(
  given: Given,
  target: Target,
  assigned: readonly string[],
): readonly WriteFinding[] {
  const checks = writtenInto(given.catalog, target.relation, assigned).flatMap(({ base, names }) =>
    checksOf(given.sights, base).flatMap(({ relation, constraint }): readonly Check[] => {
      const { columns, unproven } = constraint;
      if (unproven !== true && !columns.some((name) => names.has(name))) return [];
      // Assigning a masked column is refused by another rule.
      const told = columns.filter((name) => !names.has(name));
      return [{ relation, constraint, written: names, told }];
    }),
  );
  return judge(given, target, checks);
}

/** A new row whose masked columns get their defaults, or are compared by something other than equality. */
export function toldByNewRows(given: Given, target: Target, columns: Columns): readonly WriteFinding[] {
  const checks = writtenInto(given.catalog, target.relation, columns).flatMap(({ base, names }) =>
    checksOf(given.sights, base).flatMap(({ relation, constraint }): readonly Check[] => {
      if (!constraint.columns.some((name) => names.has(name))) return [];
      return [{ relation, constraint, written: names, told: toldByInsert(relation, constraint, names) }];
    }),
  );
  return judge(given, target, checks);
}

/**
 * If other rows refer to a row that is deleted or whose key changes, the server refuses this (or changes those rows
 * too).
 */
export function toldByReferences(given: Given, target: Target, changed: Columns): readonly WriteFinding[] {
  const { sights, catalog } = given;
  const checks = writtenInto(catalog, target.relation, changed).flatMap(({ base, names }) => {
    // A key that refers to a partitioned table refers to each of its partitions.
    const above = sights.ancestors(base).filter(({ kind }) => kind === "partitioned");
    return [...new Set([...sights.takers(base), ...above])].flatMap((relation) =>
      checksOfReferences(given, relation, changed === undefined ? undefined : names, names),
    );
  });
  return judge(given, target, checks);
}

/** `changed`: undefined if rows are deleted. */
function checksOfReferences(
  { catalog }: Given,
  relation: Relation,
  changed: ReadonlySet<string> | undefined,
  written: ReadonlySet<string>,
): readonly Check[] {
  return referencesTo(catalog, relation.oid).flatMap(({ from, key }): readonly Check[] => {
    const { columns, referencedColumns } = key;
    if (changed !== undefined && !referencedColumns.some((name) => changes(relation, name, changed)))
      return [];
    const constraint: Constraint = {
      name: `a key of ${from.schema}.${from.name}`,
      kind: "foreign key",
      columns,
      compared: columns,
      keys: [],
      freeIfNull: [],
    };
    const kept = referencedColumns.filter((name) => changed?.has(name) !== true);
    return [
      { relation: from, constraint, written, told: columns },
      { relation, constraint: { ...constraint, compared: referencedColumns }, written, told: kept },
    ];
  });
}

/** A refusal, or a lookup if only equality is revealed and the role may search by that column. */
function judge(given: Given, target: Target, checks: readonly Check[]): readonly WriteFinding[] {
  // A partition and its parent have the same column: it counts as one lookup.
  const compared = new Map<string, ColumnSight>();
  for (const check of checks) {
    const hidden = given.sights.hidden(check.relation);
    for (const name of check.told) {
      const sight = hidden.get(name);
      if (sight === undefined) continue;
      const isLookup = sight.findable && check.constraint.compared.includes(name);
      if (!isLookup) return [{ kind: "refused", refusal: refusalOf(given, target, check, sight) }];
      compared.set(name, sight);
    }
  }
  return [...compared.values()].map((sight) => ({ kind: "lookup", sight }));
}

function refusalOf(
  { role }: Given,
  target: Target,
  { relation, constraint: { name, kind, columns, compared }, written }: Check,
  sight: ColumnSight,
): Refusal {
  const { column } = sight;
  const key = compared.includes(column.name) ? "finds" : "sees";
  const told = `${relation.schema}.${relation.name}.${column.name}`;
  const what = [...written].find((each) => each !== column.name && columns.includes(each));
  const message = written.has(column.name)
    ? `give ${target.key} a value of ${column.name}: by ${nameOf(kind, name)} an error would reveal which values exist`
    : `${what === undefined ? `write ${target.key} so` : `write ${target.key}.${what}`}: by ${nameOf(kind, name)} an error would reveal ${told}`;
  return denied(
    role,
    `role "${role.name}" may not ${message}`,
    key,
    `Add ${classOf(sight)} under "${key}:" of ${placeOfRole(role)}, or leave the column out.`,
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
