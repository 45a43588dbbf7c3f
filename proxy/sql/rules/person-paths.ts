import { alwaysRefersTo, type Catalog, type Relation } from "../../catalog/catalog.ts";
import { perCatalog } from "../../catalog/per-catalog.ts";
import type { Policy } from "../../policy/policy.ts";
import { resolvePath, type SubjectHop } from "../../policy/subject-path.ts";
import type { Lineage } from "../lineage.ts";
import type { Scope } from "../scope.ts";
import { lineageOf } from "../sight.ts";
import type { Given } from "./given.ts";
import { withGenerated, writtenInto } from "./written-tables.ts";

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
  for (const { base, names } of writtenInto(given.catalog, relation, [column]).map(withGenerated)) {
    const step = stepsThrough(given, base).find(({ key }) => names.has(key));
    if (step !== undefined) return step;
  }
  return undefined;
}

/** The table whose rows lose their person when rows of this one are deleted: ON DELETE SET NULL, also behind a cascade. */
export function losesPeople(given: Given, relation: Relation): Relation | undefined {
  const { lost } = pathsIn(given.policy, given.catalog);
  return deletedWith(given, relation).flatMap(({ oid }) => lost.get(oid)?.from ?? [])[0];
}

/** How many people's names a deleted row takes from the rows of others. */
export type Loss = "one person" | "any number";

/**
 * The same, and for rows that no foreign key holds: those that lead to their person through a deleted one are led by whatever
 * has its key later.
 */
export function lossBy(given: Given, relation: Relation): Loss | undefined {
  const { lost, unheld } = pathsIn(given.policy, given.catalog);
  const losses = deletedWith(given, relation).flatMap(({ oid }) =>
    [lost, unheld].flatMap((each) => each.get(oid)?.of ?? []),
  );
  return losses.includes("any number") ? "any number" : losses[0];
}

/** How many people's names a deleted row takes from others at most, of whatever table it is. */
export function mostLost(policy: Policy, catalog: Catalog): number {
  const { lost, unheld } = pathsIn(policy, catalog);
  const all = [...lost.values(), ...unheld.values()];
  if (all.some(({ of }) => of === "any number")) return Number.POSITIVE_INFINITY;
  return all.length > 0 ? 1 : 0;
}

function deletedWith(given: Given, relation: Relation): readonly Relation[] {
  return writtenInto(given.catalog, relation, undefined).flatMap(({ base }) => familyOf(given, base));
}

/** Those of the relation itself, of what it is a part of, and of its parts. */
export function stepsThrough(given: Given, relation: Relation): readonly PathStep[] {
  const { steps } = pathsIn(given.policy, given.catalog);
  return familyOf(given, relation).flatMap(({ oid }) => steps.get(oid) ?? []);
}

export function familyOf(scope: Pick<Scope, "policy" | "catalog">, relation: Relation): readonly Relation[] {
  const lineage = lineageOf(scope);
  return [...new Set([...lineage.ancestors(relation), ...lineage.takers(relation)])];
}

/** What rows of another table lose by a DELETE. */
interface Lost {
  readonly from: Relation;
  readonly of: Loss;
}

/** By the oids of tables: keys by which rows of others find their person, and tables whose rows lose it by a DELETE. */
interface Paths {
  readonly steps: ReadonlyMap<number, readonly PathStep[]>;
  readonly lost: ReadonlyMap<number, Lost>;
  /** A step on the way is gone. */
  readonly unheld: ReadonlyMap<number, Lost>;
}

class Collection {
  readonly #catalog: Catalog;
  readonly #lineage: Lineage;
  readonly #steps = new Map<number, readonly PathStep[]>();
  readonly #lost = new Map<number, Lost>();
  readonly #unheld = new Map<number, Lost>();

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
    return { steps: this.#steps, lost: this.#lost, unheld: this.#unheld };
  }

  #walk(start: Relation, subject: string, hops: readonly SubjectHop[]): void {
    let [from, column] = [start, subject];
    for (const { relation, key, column: next } of hops) {
      const isHeld = this.#rowsOf(from).every((rows) => alwaysRefersTo(rows, column, relation, key));
      this.#step(relation.oid, { key, from, isHeld });
      if (!isHeld) this.#lose(this.#unheld, { from, relation, of: "one person" });
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
        if (changedByDelete === true) this.#lose(this.#lost, { from, relation: target, of: "one person" });
        if (changedByUpdate !== true) continue;
        this.#step(target.oid, { key, from, isHeld: true });
        this.#follow(from, target, key, seen);
      }
  }

  /** A row that is referred to is one person's; of rows that a cascade deletes with another nobody knows. */
  #lose(losses: Map<number, Lost>, { relation, from, of }: Lost & { readonly relation: Relation }): void {
    if (losses.has(relation.oid)) return;
    losses.set(relation.oid, { from, of });
    for (const { foreignKeys } of this.#lineage.takers(relation))
      for (const { references, deletedByDelete } of foreignKeys) {
        const above = this.#catalog.relationsByOid.get(references);
        if (deletedByDelete === true && above !== undefined)
          this.#lose(losses, { from, relation: above, of: "any number" });
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
