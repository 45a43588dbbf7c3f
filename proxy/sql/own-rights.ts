import { alwaysRefersTo, type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import { type Condition, type Policy, type Role, relationSetHas } from "../policy/policy.ts";
import { type ConditionReads, conditionReads, type TableRead } from "./condition-reads.ts";
import { Lineage } from "./lineage.ts";

/*
 * What a role's own conditions (`when:`, `only:`, `purpose:`) depend on: users who write that data grant themselves
 * what the condition guards.
 */

/** A condition, and the role's key that contains it. */
export interface Basis {
  readonly key: "sees" | "only" | "purpose";
  readonly condition: Condition;
}

/** Columns of one table on which a condition depends. */
export interface Dependence {
  readonly basis: Basis;
  readonly relation: Relation;
  readonly columns: ReadonlySet<string>;
}

/** By the oid of each relation through which rows of those tables are written, including children and parents. */
export interface OwnRights {
  readonly columns: ReadonlyMap<number, readonly Dependence[]>;
  readonly inserts: ReadonlyMap<number, readonly Dependence[]>;
  readonly deletes: ReadonlyMap<number, readonly Dependence[]>;
  /** A row may be inserted and a row may be deleted, but not both in one statement: they could have the same key. */
  readonly replacements: ReadonlyMap<number, readonly Dependence[]>;
  /**
   * All columns on which a condition depends, by `schema.table`, including those that the policy lets the role write.
   */
  readonly used: ReadonlyMap<string, ReadonlySet<string>>;
}

const remembered = new WeakMap<Catalog, WeakMap<Role, OwnRights>>();

/** What a role's conditions depend on in one database; computed once. */
export function ownRights(role: Role, policy: Policy, catalog: Catalog): OwnRights {
  const byRole = remembered.get(catalog) ?? new WeakMap<Role, OwnRights>();
  remembered.set(catalog, byRole);
  const known = byRole.get(role) ?? new Collection(role, policy, catalog).rights;
  byRole.set(role, known);
  return known;
}

type Kind = "columns" | "inserts" | "deletes" | "replacements";

class Collection {
  readonly #role: Role;
  readonly #policy: Policy;
  readonly #catalog: Catalog;
  readonly #lineage: Lineage;
  readonly #found = {
    columns: new Map<number, Dependence[]>(),
    inserts: new Map<number, Dependence[]>(),
    deletes: new Map<number, Dependence[]>(),
    replacements: new Map<number, Dependence[]>(),
    used: new Map<string, Set<string>>(),
  };
  /** Columns seen in the condition that is being read. */
  #seen = new Set<string>();

  constructor(role: Role, policy: Policy, catalog: Catalog) {
    this.#role = role;
    this.#policy = policy;
    this.#catalog = catalog;
    this.#lineage = new Lineage(policy, catalog);
    for (const [className, sight] of role.sees === "all" ? [] : role.sees)
      if (sight !== "always") this.#sight(className, sight);
    for (const key of ["only", "purpose"] as const)
      for (const [table, condition] of role[key]) this.#rows(table, { key, condition });
  }

  get rights(): OwnRights {
    return this.#found;
  }

  /** A class condition applies to each table that has such columns, and to its children. */
  #sight(className: string, condition: Condition): void {
    const members = [...this.#policy.tables.values()].flatMap(({ name, columns }) => {
      const relation = this.#catalog.relations.get(name);
      return relation !== undefined && [...columns.values()].includes(className)
        ? this.#family(relation)
        : [];
    });
    for (const relation of new Set(members)) {
      // A view's columns are masked at the table that the condition belongs to.
      if (relation.lineage !== undefined || !this.#isRead(relation)) continue;
      this.#condition({ key: "sees", condition }, relation);
    }
  }

  #rows(table: string, basis: Basis): void {
    const relation = this.#catalog.relations.get(table);
    if (relation === undefined) return;
    for (const member of [relation, ...this.#lineage.descendants(relation)]) this.#condition(basis, member);
  }

  #condition(basis: Basis, relation: Relation): void {
    this.#seen = new Set();
    const reads: ConditionReads = conditionReads(basis.condition.sql, relation, this.#catalog);
    this.#columns(basis, relation, reads.own);
    for (const read of reads.tables) this.#table(basis, relation, read);
  }

  #table(basis: Basis, own: Relation, read: TableRead): void {
    const { relation, tie } = read;
    if (relation.lineage !== undefined) {
      for (const base of this.#madeFrom(relation, undefined)) {
        this.#columns(basis, base.relation, base.columns);
        this.#add("inserts", basis, base.relation, base.columns);
        this.#add("deletes", basis, base.relation, base.columns);
      }
      return;
    }
    // Moving a row into the partition, by any means, adds it here.
    const columns = relation.isPartition ? allOf(relation) : read.columns;
    this.#columns(basis, relation, columns);
    // No row of `own` can have the key of a row that is inserted or deleted.
    if (tie !== undefined && alwaysRefersTo(own, tie.own, relation, tie.column)) {
      this.#add("replacements", basis, relation, columns);
      // A foreign key checks the table's own rows and partitions, but not those of children by inheritance.
      for (const child of this.#lineage.descendants(relation))
        if (!child.isPartition) this.#add("inserts", basis, child, columns);
      return;
    }
    if (read.opensByInsert) this.#add("inserts", basis, relation, columns);
    if (read.opensByDelete) this.#add("deletes", basis, relation, columns);
  }

  /** Includes the columns from which generated columns are computed and those whose values a foreign key copies. */
  #columns(basis: Basis, relation: Relation, given: ReadonlySet<string>): void {
    if (relation.lineage !== undefined) {
      for (const base of this.#madeFrom(relation, given)) this.#columns(basis, base.relation, base.columns);
      return;
    }
    const columns = new Set(given);
    for (const { name, generatedFrom = [] } of relation.columns) {
      if (!columns.has(name)) continue;
      for (const origin of relation.columns)
        if (generatedFrom.includes(origin.number)) columns.add(origin.name);
    }
    const isNew = this.#add("columns", basis, relation, columns);
    if (!isNew) return;
    for (const key of this.#family(relation).flatMap(({ foreignKeys }) => foreignKeys)) {
      const target = this.#catalog.relationsByOid.get(key.references);
      if (target === undefined || !key.columns.some((name) => columns.has(name))) continue;
      const referenced = new Set(key.referencedColumns);
      if (key.changedByUpdate) this.#columns(basis, target, referenced);
      if (key.changedByDelete) this.#add("deletes", basis, target, referenced);
    }
  }

  /** Tables and columns of a view. If `wanted` is undefined: its rows, and so everything that it is computed from. */
  #madeFrom(
    view: Relation,
    wanted: ReadonlySet<string> | undefined,
  ): readonly { readonly relation: Relation; readonly columns: ReadonlySet<string> }[] {
    const { origins, dependsOn } = view.lineage ?? { origins: new Map(), dependsOn: [] };
    const copies = wanted === undefined ? undefined : [...wanted].map((name) => origins.get(name));
    const bases =
      copies?.every((origin) => origin !== undefined) === true
        ? copies.map(({ relation, column }) => ({ relation, columns: [column] }))
        : dependsOn;
    return bases.flatMap(({ relation: oid, columns: numbers }) => {
      const relation = this.#catalog.relationsByOid.get(oid);
      if (relation === undefined || oid === view.oid) return [];
      const named = relation.columns.filter(({ number }) => numbers.includes(number));
      const columns = numbers.length === 0 ? allOf(relation) : new Set(named.map(({ name }) => name));
      if (relation.lineage === undefined) return [{ relation, columns }];
      return this.#madeFrom(relation, wanted === undefined ? undefined : columns);
    });
  }

  /** Returns false if it is already known. */
  #add(kind: Kind, basis: Basis, relation: Relation, columns: ReadonlySet<string>): boolean {
    const key = JSON.stringify([kind, relation.oid, ...columns]);
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    const names = this.#lineage.ancestors(relation).map(({ schema, name }) => relationKey(schema, name));
    for (const name of names)
      this.#found.used.set(name, new Set([...(this.#found.used.get(name) ?? []), ...columns]));
    const closed = [...columns].filter((column) => !this.#mayWrite(names, column));
    const isOpen = kind === "columns" ? closed.length === 0 : this.#mayWriteRows(names, columns, closed);
    if (isOpen) return true;
    const dependence: Dependence = { basis, relation, columns: new Set(closed) };
    for (const { oid } of this.#writers(kind, relation))
      this.#found[kind].set(oid, [...(this.#found[kind].get(oid) ?? []), dependence]);
    return true;
  }

  /** The policy explicitly says so. */
  #mayWrite(tables: readonly string[], column: string): boolean {
    const { writesOwnConditions } = this.#role;
    return tables.some((table) => [column, "*"].some((name) => writesOwnConditions.has(`${table}.${name}`)));
  }

  /** An inserted or deleted row has a value in each column; if the condition names no column, the row itself counts. */
  #mayWriteRows(tables: readonly string[], columns: ReadonlySet<string>, closed: readonly string[]): boolean {
    return columns.size === 0 ? this.#mayWrite(tables, "*") : closed.length === 0;
  }

  /** The relations through which rows of this one are written. */
  #writers(kind: Kind, relation: Relation): readonly Relation[] {
    if (kind !== "inserts") return this.#family(relation);
    // A new row of a parent goes to a partition, but to no other kind of child.
    return this.#family(relation).filter(
      (member) =>
        member.kind === "partitioned" ||
        !this.#lineage.ancestors(relation).includes(member) ||
        member === relation,
    );
  }

  #family(relation: Relation): readonly Relation[] {
    return [...this.#lineage.ancestors(relation), ...this.#lineage.descendants(relation)];
  }

  #isRead(relation: Relation): boolean {
    const { reads } = this.#role;
    return this.#lineage.ancestors(relation).some(({ schema, name }) => relationSetHas(reads, schema, name));
  }
}

function allOf({ columns }: Relation): ReadonlySet<string> {
  return new Set(columns.map(({ name }) => name));
}
