import { LRUCache } from "lru-cache";
import { type Catalog, type Column, type Relation, relationKey } from "../catalog/catalog.ts";
import { perCatalog } from "../catalog/per-catalog.ts";
import { quoteIdentifier, quoteLiteral } from "../pg/quote.ts";
import { formIn, maskedType } from "../policy/against-catalog.ts";
import { bindUser } from "../policy/bind-user.ts";
import { maskSql } from "../policy/masks/all.ts";
import { hiddenSql } from "../policy/masks/null.ts";
import { type Condition, type Policy, relationSetHas, type StoredClass } from "../policy/policy.ts";
import {
  type ParsedExpression,
  parseCondition,
  parseMaskExpression,
  placeholders,
} from "../policy/policy-sql.ts";
import { strangeOperator } from "../policy/strange-operator.ts";
import { MARKS } from "../tokens/sealed.ts";
import { conditionReads } from "./condition-reads.ts";
import { onlyTokensIn } from "./document-mask.ts";
import { hidesTraces } from "./hidden-traces.ts";
import { type ColumnLabel, type Labels, Lineage, unnamedPeople } from "./lineage.ts";
import type { Scope } from "./scope.ts";
import type { Subject } from "./subjects.ts";
import { isSystemSchema, systemView } from "./system-relations.ts";

/** One column as the role sees it. */
export interface ColumnSight {
  readonly column: Column;
  readonly kind: "real" | "masked" | "conditional" | "absent";
  /** Expression over the real relation that returns the column as the role sees it. */
  readonly sql: string;
  /** The replacement for `sql` in a statement whose plan is shown: without conditions and keys of the policy. */
  readonly planSql: string;
  readonly className: string | undefined;
  /** Its class, or the classes of the columns from which a view computes it. */
  readonly classes: readonly string[];
  /** The policy gives it a class or hides it. */
  readonly isProtected: boolean;
  /** May be searched by exact value. */
  readonly findable: boolean;
  /** How many people a person counts as when this value is read in the clear or used to look them up. */
  readonly cost: number;
}

/** One relation as the role sees it. */
export interface RelationSight {
  readonly relation: Relation;
  readonly key: string;
  readonly columns: readonly ColumnSight[];
  /** Must be read through a subquery. */
  readonly guarded: boolean;
  /**
   * A reference to all of its columns is written out, also by way of a subquery: a column added since the catalog was
   * last read has no class, and the policy does not show unclassified columns.
   */
  readonly listed: boolean;
  readonly filter: string | undefined;
  /** A view that combines many people into one row. */
  readonly gathers: boolean;
  /** Protected values decide which rows exist, even if a statement names none. */
  readonly isChosen: boolean;
  /** Set if rows are about people: the clear column that identifies them, if the role sees it. */
  readonly people:
    | {
        readonly subject: Subject | undefined;
        readonly unknown: number;
      }
    | undefined;
  /** EXPLAIN must not show a filter in the subquery's text. */
  readonly secretText: boolean;
}

/** Why a relation may not be read at all. */
export type Sight =
  | { readonly ok: true; readonly sight: RelationSight }
  | { readonly ok: false; readonly reason: "not granted" | "misnamed" | "filtered below" | "filter unsure" };

/** How one scope sees relations; each relation's sight is computed once. */
export class Sights {
  readonly #scope: Scope;
  readonly #lineage: Lineage;
  readonly #known = new Map<number, Sight>();
  readonly #absentColumns = new Map<number, ReadonlySet<string>>();
  readonly #hiddenColumns = new Map<number, ReadonlyMap<string, ColumnSight>>();

  constructor(scope: Scope) {
    this.#scope = scope;
    this.#lineage = lineageOf(scope);
  }

  of(relation: Relation): Sight {
    let sight = this.#known.get(relation.oid);
    if (sight === undefined) {
      sight = this.#look(relation);
      this.#known.set(relation.oid, sight);
    }
    return sight;
  }

  /**
   * Columns whose values the role does not see in the clear. For a relation that the role may not read at all: the
   * columns with a class, because a key that refers to it, or a view over it, could reveal them.
   */
  hidden(relation: Relation): ReadonlyMap<string, ColumnSight> {
    let hidden = this.#hiddenColumns.get(relation.oid);
    if (hidden === undefined) {
      const labels = this.#lineage.labels(relation);
      const sight = this.of(relation);
      const columns = sight.ok
        ? sight.sight.columns
        : relation.columns
            .filter(({ name }) => labels.columns.has(name))
            .map((column) => this.#column(relation, column, labels));
      hidden = new Map(
        columns.filter(({ kind }) => kind !== "real").map((column) => [column.column.name, column]),
      );
      this.#hiddenColumns.set(relation.oid, hidden);
    }
    return hidden;
  }

  /**
   * Names of columns that are missing in the text sent to the server: it reads the relation through a subquery without
   * them.
   */
  absent(relation: Relation): ReadonlySet<string> {
    let absent = this.#absentColumns.get(relation.oid);
    if (absent === undefined) {
      const sight = isSystemSchema(relation.schema) ? undefined : this.of(relation);
      const columns = sight?.ok ? sight.sight.columns : [];
      absent = new Set(columns.flatMap(({ kind, column }) => (kind === "absent" ? [column.name] : [])));
      this.#absentColumns.set(relation.oid, absent);
    }
    return absent;
  }

  /** Includes the relations it inherits from; for partitions, those whose keys apply to them. */
  ancestors(relation: Relation): readonly Relation[] {
    return this.#lineage.ancestors(relation);
  }

  /** A system relation's sight; undefined if the relation is shown unchanged. */
  ofSystem(relation: Relation): RelationSight | undefined {
    const traces = hidesTraces(this.#scope.role) ? "hidden" : "shown";
    const view = systemView(relation.schema, relation.name, traces);
    if (view === undefined) return undefined;
    return {
      relation,
      key: relationKey(relation.schema, relation.name),
      columns: relation.columns.map((column) => ({
        column,
        kind: view.hides(column.name) ? "masked" : "real",
        sql: view.hides(column.name) ? this.#hidden(column) : quoteIdentifier(column.name),
        planSql: view.hides(column.name) ? this.#hidden(column) : quoteIdentifier(column.name),
        className: undefined,
        classes: [],
        isProtected: false,
        findable: false,
        cost: 1,
      })),
      guarded: true,
      listed: true,
      filter: view.filter,
      gathers: false,
      isChosen: false,
      people: undefined,
      secretText: false,
    };
  }

  /** Children and partitions have the grants of their ancestors. */
  mayWrite(relation: Relation): boolean {
    const { writes } = this.#scope.role;
    return this.#lineage.ancestors(relation).some(({ schema, name }) => relationSetHas(writes, schema, name));
  }

  /** Where rows of the relation are stored: the relation itself, its children and partitions. */
  takers(relation: Relation): readonly Relation[] {
    return this.#lineage.takers(relation);
  }

  /** A read without a condition on an indexed column is refused. */
  requiresFilter(relation: Relation): boolean {
    const { requireFilter } = this.#scope.role;
    if (requireFilter.size === 0) return false;
    // A read through a view or a parent needs the condition there.
    return [
      ...this.#lineage.ancestors(relation).map(({ schema, name }) => relationKey(schema, name)),
      ...this.#lineage.labels(relation).readsBelow,
    ].some((key) => requireFilter.has(key));
  }

  #look(relation: Relation): Sight {
    const { role, policy } = this.#scope;
    if (
      !this.#lineage.ancestors(relation).some(({ schema, name }) => relationSetHas(role.reads, schema, name))
    ) {
      return { ok: false, reason: "not granted" };
    }
    const labels = this.#lineage.labels(relation);
    if (labels.misnamed && role.sees !== "all") return { ok: false, reason: "misnamed" };
    if ([...labels.readsBelow].some((key) => role.only.has(key) && !labels.filteredAs.includes(key)))
      return { ok: false, reason: "filtered below" };
    const filters = labels.filteredAs.flatMap((key) => role.only.get(key) ?? []);
    if (filters.some((filter) => !this.#isSure(parseCondition(filter.sql))))
      return { ok: false, reason: "filter unsure" };
    const columns = relation.columns.map((column) => this.#column(relation, column, labels));
    // Columns that the server itself refuses change no text of a watched role, which runs as it was written.
    const asWritten = role.watch === true;
    const guarded =
      filters.length > 0 || columns.some(({ kind }) => kind !== "real" && !(asWritten && kind === "absent"));
    return {
      ok: true,
      sight: {
        relation,
        key: relationKey(relation.schema, relation.name),
        columns,
        guarded,
        listed: guarded || (role.sees !== "all" && policy.unclassified !== "show"),
        filter:
          filters.length === 0 ? undefined : filters.map((filter) => `(${this.#bind(filter)})`).join(" AND "),
        gathers: labels.gathers && (labels.subject !== undefined || labels.people.size > 0),
        isChosen: labels.isChosen || filters.some((filter) => this.#asksProtected(filter.sql, relation)),
        people: this.#people(labels, columns),
        secretText: filters.length > 0,
      },
    };
  }

  /** Whether a row filter uses a classified column, of the row itself or in a subquery. */
  #asksProtected(sql: string, relation: Relation): boolean {
    const { own, tables } = conditionReads(sql, relation, this.#scope.catalog);
    return [{ relation, columns: own }, ...tables].some((read) => {
      const { columns, isChosen } = this.#lineage.labels(read.relation);
      return (read.relation !== relation && isChosen) || [...read.columns].some((name) => columns.has(name));
    });
  }

  #people(labels: Labels, columns: readonly ColumnSight[]): RelationSight["people"] {
    const { subject } = labels;
    if (subject === undefined && labels.people.size === 0) return undefined;
    const clear =
      subject !== undefined &&
      columns.some(({ column, kind }) => column.name === subject.column && kind === "real");
    return {
      subject: clear ? subject : undefined,
      unknown: unnamedPeople(labels) + (subject !== undefined && !clear ? 1 : 0),
    };
  }

  #column(relation: Relation, column: Column, labels: Labels): ColumnSight {
    const { role, policy, unreadable } = this.#scope;
    const reference = quoteIdentifier(column.name);
    const label = labels.columns.get(column.name);
    const className = label?.kind === "class" ? label.name : undefined;
    const as = (
      kind: ColumnSight["kind"],
      sql: string,
      findable: boolean,
      planSql: string = sql,
    ): ColumnSight => ({
      column,
      kind,
      sql,
      planSql,
      className,
      classes: classesOf(label),
      isProtected: label !== undefined || kind !== "real",
      findable,
      cost: this.#costOf(classesOf(label)),
    });
    if (unreadable.has(`${relationKey(relation.schema, relation.name)}.${column.name}`))
      return as("absent", "", false);
    if (role.sees === "all") return as("real", reference, false);
    const hidden = () =>
      policy.unclassified === "deny" ? as("absent", "", false) : as("masked", this.#hidden(column), false);
    if (label === undefined) {
      // The policy names the subject, so it counts as classified and is shown.
      const isShown = policy.unclassified === "show" || labels.subject?.column === column.name;
      return isShown ? as("real", reference, false) : hidden();
    }
    const { sees } = role;
    if (label.kind === "document") {
      // What is beside its classes in a document has none.
      if (policy.unclassified !== "show") return hidden();
      const isSeen = (name: string) => sees.get(name) === "always";
      const unseen = label.paths.filter((path) => !isSeen(path.className));
      if (unseen.length === 0) return as("real", reference, false);
      const { name } = maskedType(this.#scope.catalog, column);
      const sql = onlyTokensIn(name, reference, unseen) ?? this.#hidden(column);
      const seen = [...label.classes].filter(isSeen);
      // Of some of its classes the proxy shows the values.
      return seen.length === 0
        ? as("masked", sql, false)
        : { ...as("conditional", sql, false), classes: seen, cost: this.#costOf(seen) };
    }
    if (label.kind === "computed") {
      const seesAll = !label.opaque && [...label.classes].every((name) => sees.get(name) === "always");
      return seesAll ? as("real", reference, false) : as("masked", this.#hidden(column), false);
    }
    const sight = sees.get(label.name);
    if (sight === "always") return as("real", reference, false);
    const findable = role.finds === "all" || role.finds.has(label.name);
    const mask = this.#mask(label, column);
    const plain = this.#maskOf(className)?.kind === "token" ? this.#keyless(column) : mask;
    if (sight === undefined || !this.#speaksOf(sight, relation)) return as("masked", mask, findable, plain);
    const shown = `CASE WHEN (${this.#bind(sight)}) THEN ${reference} ELSE ${mask} END`;
    return as("conditional", shown, findable, plain);
  }

  /** A value computed from several classes costs as much as the most expensive of them. */
  #costOf(names: readonly string[]): number {
    return Math.max(1, ...names.map((name) => this.#scope.policy.classes.get(name)?.cost ?? 1));
  }

  /** A mask that cannot keep the column's type hides the value completely; loading the policy reports that. */
  #mask(label: ColumnLabel & { kind: "class" }, column: Column): string {
    // The proxy masks what a token stands for (sql/tokens/). What is no token is hidden.
    const stored = this.#scope.policy.classes.get(label.name)?.stored;
    if (stored !== undefined)
      return formIn(this.#scope.catalog, column, stored.form) === "bytes"
        ? this.#hidden(column)
        : onlyToken(column, stored);
    const mask = this.#maskOf(label.name);
    if (mask === undefined) return this.#hidden(column);
    if (mask.kind === "sql" && !this.#isSure(parseMaskExpression(mask.expression)))
      return this.#hidden(column);
    const made = maskSql(
      mask,
      quoteIdentifier(column.name),
      maskedType(this.#scope.catalog, column),
      this.#scope.maskKey,
    );
    return made.ok ? made.sql : this.#hidden(column);
  }

  /**
   * For a value that cannot be masked otherwise. It has a domain's base type, because the domain's CHECK may reject
   * NULL.
   */
  #hidden(column: Column): string {
    return hiddenSql(maskedType(this.#scope.catalog, column).sql);
  }

  /** A function of the value that takes as long to plan as a token's, but without its key. */
  #keyless(column: Column): string {
    const text = `CAST(${quoteIdentifier(column.name)} AS pg_catalog.text)`;
    return `CAST(pg_catalog.md5(${text}) AS ${maskedType(this.#scope.catalog, column).sql})`;
  }

  #maskOf(className: string | undefined) {
    return className === undefined ? undefined : this.#scope.policy.classes.get(className)?.mask;
  }

  /** A condition applies to tables that have the columns that it names; a view's columns are its own. */
  #speaksOf(condition: Condition, relation: Relation): boolean {
    if (relation.lineage !== undefined) return false;
    const parsed = parseCondition(condition.sql);
    return (
      parsed.ok &&
      this.#isSure(parsed) &&
      parsed.use.columns.every((name) => relation.columns.some((column) => column.name === name))
    );
  }

  /** Runs no user-defined operator on real values. */
  #isSure(parsed: ParsedExpression): boolean {
    return parsed.ok && strangeOperator(parsed.use, this.#scope.catalog) === undefined;
  }

  #bind(condition: Condition): string {
    const { user } = this.#scope;
    // A scope that is shared between users has no condition that names one.
    if (user === undefined && placeholders(condition.sql).length > 0)
      throw new Error("a condition that matches no one");
    return bindUser(condition, user ?? "");
  }
}

/** The column where it holds a token, and NULL where it does not; where nothing tells tokens from values, any number. */
function onlyToken(column: Column, { form }: StoredClass): string {
  const reference = quoteIdentifier(column.name);
  const mark = MARKS[form];
  const text = `CAST(${reference} AS pg_catalog.text)`;
  if (mark === undefined)
    return `CASE WHEN (${text} OPERATOR(pg_catalog.~) '^[-0-9 ()./+]*$') THEN ${reference} END`;
  const start = `pg_catalog.left(${text}, ${mark.length})`;
  return `CASE WHEN (${start} OPERATOR(pg_catalog.=) ${quoteLiteral(mark)}) THEN ${reference} END`;
}

function classesOf(label: ColumnLabel | undefined): readonly string[] {
  if (label === undefined) return [];
  return label.kind === "class" ? [label.name] : [...label.classes];
}

/** The number of scopes per catalog whose sights are kept; for other scopes they are computed again. */
const SCOPES_REMEMBERED = 100;
const remembered = new WeakMap<Catalog, LRUCache<Scope, Sights>>();

/** Independent of the statement that asks. */
export function sightsOf(scope: Scope): Sights {
  const { catalog } = scope;
  const known = remembered.get(catalog) ?? new LRUCache<Scope, Sights>({ max: SCOPES_REMEMBERED });
  remembered.set(catalog, known);
  let sights = known.get(scope);
  if (sights === undefined) {
    sights = new Sights(scope);
    known.set(scope, sights);
  }
  return sights;
}

const sharedLineage = perCatalog((policy: Policy, catalog) => new Lineage(policy, catalog));

/** One lineage is shared by all scopes of the same policy and catalog. */
export function lineageOf({ policy, catalog }: Pick<Scope, "policy" | "catalog">): Lineage {
  return sharedLineage(policy, catalog);
}
