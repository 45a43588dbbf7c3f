import { alwaysRefersTo, type Catalog, type Relation } from "../../catalog/catalog.ts";
import { perCatalog } from "../../catalog/per-catalog.ts";
import type { Policy } from "../../policy/policy.ts";
import { resolvePath, type SubjectHop } from "../../policy/subject-path.ts";
import type { Lineage } from "../lineage.ts";
import { lineageOf } from "../sight.ts";
import type { Given } from "./given.ts";
import { writtenInto } from "./written-tables.ts";

/*
 * A path as a subject (`ticket_id -> public.tickets.customer_id`) says whose the rows of another table are. Users who could
 * put a row of their own under a key that such rows have would read them all as one person's.
 */

/** A table on the way from rows to their person. */
export interface PathStep {
  /** The column by which it is found. */
  readonly key: string;
  /** The table whose rows it leads on. */
  readonly from: Relation;
  /** A foreign key guarantees, at the end of each statement, that their row is there. */
  readonly isHeld: boolean;
}

/** Undefined if the column leads no other table's rows to their person. */
export function stepBy(given: Given, relation: Relation, column: string): PathStep | undefined {
  for (const { base, names } of writtenInto(given.catalog, relation, [column])) {
    const step = stepsThrough(given, base).find(({ key }) => names.has(key));
    if (step !== undefined) return step;
  }
  return undefined;
}

/** The table whose rows lose their person when rows of this one are deleted: ON DELETE SET NULL, also behind a cascade. */
export function losesPeople(given: Given, relation: Relation): Relation | undefined {
  const { lost } = pathsIn(given.policy, given.catalog);
  for (const { base } of writtenInto(given.catalog, relation, undefined))
    for (const { oid } of familyOf(given, base)) {
      const from = lost.get(oid);
      if (from !== undefined) return from;
    }
  return undefined;
}

/** Those of the relation itself, of what it is a part of, and of its parts. */
export function stepsThrough(given: Given, relation: Relation): readonly PathStep[] {
  const { steps } = pathsIn(given.policy, given.catalog);
  return familyOf(given, relation).flatMap(({ oid }) => steps.get(oid) ?? []);
}

function familyOf({ sights }: Given, relation: Relation): readonly Relation[] {
  return [...new Set([...sights.ancestors(relation), ...sights.takers(relation)])];
}

/** By the oids of tables: keys by which rows of others find their person, and tables whose rows lose it by a DELETE. */
interface Paths {
  readonly steps: ReadonlyMap<number, readonly PathStep[]>;
  readonly lost: ReadonlyMap<number, Relation>;
}

class Collection {
  readonly #catalog: Catalog;
  readonly #lineage: Lineage;
  readonly #steps = new Map<number, readonly PathStep[]>();
  readonly #lost = new Map<number, Relation>();

  constructor(policy: Policy, catalog: Catalog) {
    this.#catalog = catalog;
    this.#lineage = lineageOf({ policy, catalog });
    for (const table of policy.tables.values()) {
      const start = catalog.relations.get(table.name);
      if (start === undefined || table.subject === undefined) continue;
      this.#follow(start, start, table.subject, new Set());
      const path = table.path && resolvePath(table, start, policy, catalog);
      if (path?.ok === true) this.#walk(start, table.subject, path.hops);
    }
  }

  get paths(): Paths {
    return { steps: this.#steps, lost: this.#lost };
  }

  #walk(start: Relation, subject: string, hops: readonly SubjectHop[]): void {
    let [from, column] = [start, subject];
    for (const { relation, key, column: next } of hops) {
      const isHeld = this.#rowsOf(from).every((rows) => alwaysRefersTo(rows, column, relation, key));
      this.#step(relation.oid, { key, from, isHeld });
      [from, column] = [relation, next];
    }
  }

  /** What a foreign key writes into a column that names people: ON UPDATE CASCADE, ON DELETE SET NULL. */
  #follow(from: Relation, relation: Relation, column: string, seen: Set<string>): void {
    const place = `${relation.oid} ${column}`;
    if (seen.has(place)) return;
    seen.add(place);
    for (const { foreignKeys } of this.#lineage.takers(relation))
      for (const {
        columns,
        references,
        referencedColumns,
        changedByUpdate,
        changedByDelete,
      } of foreignKeys) {
        const key = referencedColumns[columns.indexOf(column)];
        const target = this.#catalog.relationsByOid.get(references);
        if (key === undefined || target === undefined) continue;
        if (changedByDelete === true) this.#lose(from, target);
        if (changedByUpdate !== true) continue;
        this.#step(target.oid, { key, from, isHeld: true });
        this.#follow(from, target, key, seen);
      }
  }

  #lose(from: Relation, relation: Relation): void {
    if (this.#lost.has(relation.oid)) return;
    this.#lost.set(relation.oid, from);
    for (const { foreignKeys } of this.#lineage.takers(relation))
      for (const { references, deletedByDelete } of foreignKeys) {
        const above = this.#catalog.relationsByOid.get(references);
        if (deletedByDelete === true && above !== undefined) this.#lose(from, above);
      }
  }

  #step(oid: number, step: PathStep): void {
    this.#steps.set(oid, [...(this.#steps.get(oid) ?? []), step]);
  }

  /** Foreign keys hold for partitions, but not for children by inheritance. */
  #rowsOf(relation: Relation): readonly Relation[] {
    return this.#lineage.takers(relation).filter(({ isPartition }) => !isPartition);
  }
}

const pathsIn = perCatalog((policy: Policy, catalog) => new Collection(policy, catalog).paths);
