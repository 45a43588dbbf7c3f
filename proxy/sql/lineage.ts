import {
  type Catalog,
  type CatalogFunction,
  type Column,
  type Relation,
  relationKey,
  type ViewLineage,
} from "../catalog/catalog.ts";
import { missingColumns } from "../policy/missing.ts";
import type { Policy, SealedPath, TablePolicy } from "../policy/policy.ts";
import { namespaceAt, resolvePath } from "../policy/subject-path.ts";
import { builtinUse, isHarmlessFunction } from "./functions.ts";
import type { Subject } from "./subjects.ts";
import { isOpenSystemRelation, isSystemSchema, systemView } from "./system-relations.ts";

/** What a column contains, according to the policy and to the columns it is computed from. */
export type ColumnLabel =
  /** `owner` is the relation whose policy entry gives the class: conditions refer to its columns. */
  | { readonly kind: "class"; readonly name: string; readonly owner: string }
  /** A document with values of classes inside. */
  | {
      readonly kind: "document";
      readonly paths: readonly SealedPath[];
      readonly classes: ReadonlySet<string>;
      readonly owner: string;
      readonly opaque: false;
    }
  /** Computed by a view from columns of these classes; `opaque` if it may contain anything. */
  | { readonly kind: "computed"; readonly classes: ReadonlySet<string>; readonly opaque: boolean };

/** Rows of one table that may be part of a row, each of another person. */
export interface People {
  readonly namespace: string;
  readonly count: number;
}

/** What the policy and the catalog together say about one relation, for every role. */
export interface Labels {
  readonly columns: ReadonlyMap<string, ColumnLabel>;
  /** The column that identifies the person of a row, and the name space of its values. */
  readonly subject?: Subject;
  /** The people whom a row may be about, including `subject`, by the table that identifies them. */
  readonly people: ReadonlyMap<string, People>;
  /** The number of values from other rows that a view's row shows: each may be another person's. */
  readonly picks: number;
  /** A view whose definition combines many rows into one. */
  readonly gathers: boolean;
  /** Protected values decide which rows exist: in a view's conditions, or in row security. */
  readonly isChosen: boolean;
  /** Relations whose row filters also apply to this one: itself and its ancestors by inheritance. */
  readonly filteredAs: readonly string[];
  /** The policy names a column that does not exist. The column that was meant has no class, so nothing may be read. */
  readonly misnamed: boolean;
  /** Relations that are read through this one but whose row filter cannot be applied here. */
  readonly readsBelow: ReadonlySet<string>;
}

/** Labels of a database's relations under one policy; computed when first asked for. */
export class Lineage {
  readonly #policy: Policy;
  readonly #catalog: Catalog;
  readonly #labels = new Map<number, Labels>();
  #children: Map<number, Relation[]> | undefined;

  constructor(policy: Policy, catalog: Catalog) {
    this.#policy = policy;
    this.#catalog = catalog;
  }

  labels(relation: Relation): Labels {
    const known = this.#labels.get(relation.oid);
    if (known !== undefined) return known;
    const made = relation.lineage === undefined ? this.#ofTable(relation) : this.#ofView(relation);
    this.#labels.set(relation.oid, made);
    return made;
  }

  /** The relation's ancestors by inheritance or partitioning, itself first. */
  ancestors(relation: Relation): readonly Relation[] {
    return reached([relation], (member) => this.#parentsOf(member));
  }

  /** Children and partitions, recursively. */
  descendants(relation: Relation): readonly Relation[] {
    return reached([relation], ({ oid }) => this.#childrenOf(oid)).slice(1);
  }

  /** Where rows of the relation are stored: the relation itself, its children and partitions. */
  takers(relation: Relation): readonly Relation[] {
    return [relation, ...this.descendants(relation)];
  }

  /**
   * All relations whose policy entries apply to the rows that reading the relation returns, nearest first: itself and
   * its ancestors, its descendants (their rows are included), and the other parents of those (a child may inherit from
   * several).
   */
  #family(relation: Relation): readonly Relation[] {
    const descendants = this.descendants(relation);
    const others = descendants.flatMap((child) => this.ancestors(child));
    return [...new Set([...this.ancestors(relation), ...descendants, ...others])];
  }

  #parentsOf({ parents }: Relation): readonly Relation[] {
    return parents.flatMap((oid) => this.#catalog.relationsByOid.get(oid) ?? []);
  }

  #childrenOf(oid: number): readonly Relation[] {
    if (this.#children === undefined) {
      this.#children = new Map();
      for (const child of this.#catalog.relations.values()) {
        for (const parent of child.parents) {
          const known = this.#children.get(parent);
          if (known === undefined) this.#children.set(parent, [child]);
          else known.push(child);
        }
      }
    }
    return this.#children.get(oid) ?? [];
  }

  /**
   * A table's columns take the classes of its own entry, then of its ancestors', then of its descendants' and of their
   * other parents': reading a parent reads the children's rows.
   */
  #ofTable(relation: Relation): Labels {
    const ancestors = this.ancestors(relation);
    const relatives = this.#family(relation);
    const family = relatives.flatMap((member) => {
      const entry = this.#policy.tables.get(relationKey(member.schema, member.name));
      return entry === undefined ? [] : [{ member, entry }];
    });
    const columns = new Map<string, ColumnLabel>();
    for (const { entry } of family.toReversed())
      for (const [name, label] of classLabels(entry)) columns.set(name, label);
    // Reading includes the rows of children: if a child's class differs, the role must be allowed to see both.
    const read = this.takers(relation);
    for (const name of columns.keys()) {
      const classes = new Set(read.flatMap((member) => this.#classesOf(member, name)));
      if (classes.size > 1) columns.set(name, { kind: "computed", classes, opaque: false });
    }
    for (const { name, generatedFrom } of relation.columns) {
      if (generatedFrom === undefined || columns.has(name)) continue;
      const classes = classesUsed(relation, generatedFrom, { columns });
      // A generated column is protected like the columns that it copies or computes from, and is masked as a whole.
      if (classes.length > 0)
        columns.set(name, { kind: "computed", classes: new Set(classes), opaque: false });
    }
    const subject = family.find(
      ({ entry }) => entry.subject !== undefined && hasColumn(relation, entry.subject),
    );
    return {
      columns,
      ...(subject?.entry.subject !== undefined && {
        subject: this.#subject(subject.entry, subject.entry.subject, subject.member),
      }),
      people: this.#peopleOf(
        // Identified by a column other than the subject's, a row is about another person as well.
        family.filter((each) => each === subject || each.entry.subject !== subject?.entry.subject),
      ),
      picks: 0,
      misnamed: family.some(({ member, entry }) => this.#isMisnamed(entry, member)),
      gathers: false,
      isChosen: relation.constraints.some(
        ({ kind, columns: named }) => kind === "policy" && named.some((name) => columns.has(name)),
      ),
      filteredAs: ancestors.map(keyOf),
      readsBelow: new Set(relatives.filter((member) => !ancestors.includes(member)).map(keyOf)),
    };
  }

  /** From a table's own entry, or else from its parents': if several give a class, all of them apply. */
  #classesOf(relation: Relation, column: string): readonly string[] {
    const own = this.#policy.tables.get(keyOf(relation))?.columns.get(column);
    if (own !== undefined) return [own];
    return this.#parentsOf(relation).flatMap((parent) => this.#classesOf(parent, column));
  }

  #peopleOf(
    family: readonly { readonly member: Relation; readonly entry: TablePolicy }[],
  ): ReadonlyMap<string, People> {
    return new Map(
      family.flatMap(({ member, entry }) =>
        entry.subject === undefined
          ? []
          : [
              [
                entry.name,
                { namespace: this.#subject(entry, entry.subject, member).namespace, count: 1 },
              ] as const,
            ],
      ),
    );
  }

  /** A plain copy keeps its origin's label; a value computed from protected columns is protected as a whole. */
  #ofView(view: Relation): Labels {
    const lineage = view.lineage;
    if (lineage === undefined) throw new Error(`${view.name} is no view`);
    const bases = lineage.dependsOn.flatMap(({ relation, columns }) => {
      const base = this.#catalog.relationsByOid.get(relation);
      return base === undefined || base.oid === view.oid
        ? []
        : [{ base, columns, labels: this.labels(base) }];
    });
    const computed: ColumnLabel = {
      kind: "computed",
      classes: new Set(bases.flatMap(({ base, columns, labels }) => classesUsed(base, columns, labels))),
      opaque:
        bases.length < lineage.dependsOn.length ||
        bases.some(({ base, columns }) => usesClosed(base, columns)) ||
        bases.some(({ base, columns, labels }) => opaqueUsed(base, columns, labels)) ||
        !lineage.functions.every((oid) => isHarmlessFunction(this.#catalog.functionsByOid.get(oid))),
    };
    const isProtected = computed.opaque || computed.classes.size > 0;
    const columns = new Map<string, ColumnLabel>();
    let subject: Labels["subject"];
    for (const { name } of view.columns) {
      const origin = lineage.origins.get(name);
      const base = origin && this.#catalog.relationsByOid.get(origin.relation);
      const column = base?.columns.find(({ number }) => number === origin?.column);
      if (base === undefined || column === undefined || usesClosed(base, [column.number])) {
        if (isProtected) columns.set(name, computed);
        continue;
      }
      const from = this.labels(base);
      const label = from.columns.get(column.name);
      if (label !== undefined) columns.set(name, label);
      if (subject === undefined && from.subject?.column === column.name)
        subject = { ...from.subject, column: name };
    }
    const own = this.#policy.tables.get(keyOf(view));
    if (own !== undefined) for (const [name, label] of classLabels(own)) columns.set(name, label);
    if (own?.path !== undefined && own.subject !== undefined) subject = this.#subject(own, own.subject, view);
    else if (own?.subject !== undefined && own.subject !== subject?.column)
      subject = { column: own.subject, namespace: subject?.namespace ?? keyOf(view) };
    const people = peopleOfView(lineage, bases);
    const below = bases.flatMap(({ base, labels }) => [
      keyOf(base),
      ...labels.filteredAs,
      ...labels.readsBelow,
    ]);
    return {
      columns,
      ...(subject && { subject }),
      people,
      picks: picksOfView(lineage, subject !== undefined, (oid) => this.#catalog.functionsByOid.get(oid)),
      misnamed:
        bases.some(({ labels }) => labels.misnamed) || (own !== undefined && this.#isMisnamed(own, view)),
      gathers:
        bases.some(
          ({ base, labels }) =>
            labels.gathers ||
            (labels.people.size > 0 && lineage.references?.gathered.has(base.oid) !== false),
        ) || lineage.functions.some((oid) => gathersRows(this.#catalog.functionsByOid.get(oid))),
      isChosen:
        computed.opaque || bases.some((each) => each.labels.isChosen || choosesByProtected(lineage, each)),
      filteredAs: [keyOf(view)],
      readsBelow: new Set(own === undefined ? below : []),
    };
  }

  /** Also true if its subject leads to no person: people who cannot be distinguished are not shown uncounted. */
  #isMisnamed(entry: TablePolicy, relation: Relation): boolean {
    return (
      missingColumns(entry, relation).length > 0 ||
      !resolvePath(entry, relation, this.#policy, this.#catalog).ok
    );
  }

  #subject(entry: TablePolicy, column: string, relation: Relation): Subject {
    const path = resolvePath(entry, relation, this.#policy, this.#catalog);
    const hops = path.ok ? path.hops : [];
    const namespace = namespaceAt(this.#catalog, relation, column, hops);
    return { column, namespace, ...(hops.length > 0 && { hops }) };
  }
}

/** Contains statistics, secrets or other sessions' text: a view over it is no safer. */
function usesClosed(base: Relation, columns: readonly number[]): boolean {
  const { schema, name } = base;
  if (!isSystemSchema(schema)) return false;
  // A view is labelled once for all roles, so columns that are hidden from only some roles count too.
  const view = systemView(schema, name, "hidden");
  return (
    !isOpenSystemRelation(schema, name) ||
    view?.filter !== undefined ||
    usedColumns(base, columns).some((column) => view?.hides(column.name) === true)
  );
}

/** A relation that a view reads. */
interface Base {
  readonly base: Relation;
  readonly columns: readonly number[];
  readonly labels: Labels;
}

/** Whether a protected column of this relation decides which rows the view has. */
function choosesByProtected({ chosenBy }: ViewLineage, { base, columns, labels }: Base): boolean {
  const chosen = chosenBy === undefined ? columns : chosenBy.get(base.oid);
  return chosen !== undefined && classesUsed(base, [...chosen], labels).length > 0;
}

/** The result of a user-defined aggregate is unknown. */
function gathersRows(fn: CatalogFunction | undefined): boolean {
  if (fn === undefined) return false;
  return fn.schema === "pg_catalog" ? builtinUse(fn) === "gathering" : fn.kind === "aggregate";
}

/**
 * Each reference to a table may show another of its people. If several tables have one name space (tickets and their
 * customers), a view joins their rows by the key and so shows the same people: the table with the most references
 * counts.
 */
function peopleOfView(
  { references }: ViewLineage,
  bases: readonly { readonly base: Relation; readonly labels: Labels }[],
): ReadonlyMap<string, People> {
  const all = new Map<string, People>();
  for (const { base, labels } of bases) {
    const times = Math.max(1, references?.times.get(base.oid) ?? 1);
    for (const [table, { namespace, count }] of labels.people)
      all.set(table, { namespace, count: (all.get(table)?.count ?? 0) + times * count });
  }
  return all;
}

/** If rows are grouped by person, an aggregate's value belongs to that person; a window function reads beyond them. */
function picksOfView(
  { references }: ViewLineage,
  tellsSubject: boolean,
  functionOf: (oid: number) => CatalogFunction | undefined,
): number {
  const { aggregates = [], windows = [] } = references ?? {};
  return [...windows, ...(tellsSubject ? [] : aggregates)].filter((oid) => {
    const fn = functionOf(oid);
    return fn?.schema === "pg_catalog" && builtinUse(fn) === "picking";
  }).length;
}

/** The number of people a row may show in addition to the person that its subject identifies. */
export function unnamedPeople({ people, picks, subject }: Labels): number {
  const byNamespace = new Map<string, number>();
  for (const { namespace, count } of people.values())
    byNamespace.set(namespace, Math.max(byNamespace.get(namespace) ?? 0, count));
  const own = subject === undefined ? undefined : byNamespace.get(subject.namespace);
  if (subject !== undefined && own !== undefined) byNamespace.set(subject.namespace, own - 1);
  const rows = [...byNamespace.values()].reduce((sum, count) => sum + count, 0);
  return people.size === 0 ? 0 : rows + picks;
}

/** All relations that can be reached, nearest first, each once. */
export function reached(
  from: readonly Relation[],
  next: (relation: Relation) => readonly Relation[],
): Relation[] {
  const found = new Set(from);
  // A set is iterated in insertion order, and elements added during the iteration are visited too.
  for (const relation of found) for (const one of next(relation)) found.add(one);
  return [...found];
}

function keyOf(relation: Relation): string {
  return relationKey(relation.schema, relation.name);
}

function hasColumn(relation: Relation, name: string): boolean {
  return relation.columns.some((column) => column.name === name);
}

function classLabels(entry: TablePolicy): readonly (readonly [string, ColumnLabel])[] {
  const { name: owner, columns, documents } = entry;
  return [
    ...[...columns].map(([column, name]) => [column, { kind: "class", name, owner }] as const),
    ...[...documents].map(([column, paths]) => {
      const classes = new Set(paths.map(({ className }) => className));
      return [column, { kind: "document", paths, classes, owner, opaque: false }] as const;
    }),
  ];
}

/** A dependency without column numbers refers to the whole relation. */
function usedColumns(base: Relation, numbers: readonly number[]): readonly Column[] {
  return numbers.length === 0 ? base.columns : base.columns.filter(({ number }) => numbers.includes(number));
}

function classesUsed(
  base: Relation,
  numbers: readonly number[],
  labels: Pick<Labels, "columns">,
): readonly string[] {
  return usedColumns(base, numbers).flatMap(({ name }) => {
    const label = labels.columns.get(name);
    if (label === undefined) return [];
    return label.kind === "class" ? [label.name] : [...label.classes];
  });
}

function opaqueUsed(base: Relation, numbers: readonly number[], labels: Labels): boolean {
  return usedColumns(base, numbers).some(({ name }) => {
    const label = labels.columns.get(name);
    return label?.kind === "computed" && label.opaque;
  });
}
