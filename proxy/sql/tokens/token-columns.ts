import type { Column, ColumnOrigin, Relation } from "../../catalog/catalog.ts";
import { perCatalog } from "../../catalog/per-catalog.ts";
import { formIn, holdsTokens, maskedType } from "../../policy/against-catalog.ts";
import { holdsDocuments } from "../../policy/documents-against-catalog.ts";
import type { Policy } from "../../policy/policy.ts";
import { versionOf } from "../../tokens/sealed.ts";
import type { ColumnLabel } from "../lineage.ts";
import type { Scope } from "../scope.ts";
import { lineageOf } from "../sight.ts";
import { type DocumentColumn, documentColumn, type ValueColumn } from "./documents.ts";

/** A column whose values the database holds as tokens, or whose documents hold some. */
export type TokenColumn = ValueColumn | DocumentColumn;

/** The columns of a database that hold tokens, and the columns of views that copy them. */
export class TokenColumns {
  /** Names of the relations that have one: a text without any of them touches none. */
  readonly relationNames: ReadonlySet<string>;
  /** Of the same: tables of the policy that the catalog does not have, or not with all such columns. */
  readonly #lacking: ReadonlySet<string>;
  readonly #scope: Pick<Scope, "policy" | "catalog">;
  readonly #byRelation = new Map<number, ReadonlyMap<number, TokenColumn>>();
  readonly #madeByView = new Map<number, ReadonlySet<number>>();

  constructor(scope: Pick<Scope, "policy" | "catalog">) {
    this.#scope = scope;
    const { policy, catalog } = scope;
    const lacking = [...policy.tables.values()].filter(({ name, columns, documents }) => {
      const known = catalog.relations.get(name)?.columns.map((column) => column.name) ?? [];
      return (
        [...columns].some(
          ([column, of]) => policy.classes.get(of)?.stored !== undefined && !known.includes(column),
        ) || [...documents.keys()].some((column) => !known.includes(column))
      );
    });
    this.#lacking = new Set(lacking.map(({ name }) => name.slice(name.indexOf(".") + 1)));
    this.relationNames = new Set(
      [...catalog.relations.values()]
        .filter((relation) => this.#of(relation).size + this.#made(relation).size > 0)
        .map(({ name }) => name)
        .concat([...this.#lacking]),
    );
  }

  of(relation: Relation, column: Pick<Column, "number">): TokenColumn | undefined {
    return this.#of(relation).get(column.number);
  }

  /** A view computes the column from one with tokens, and may have taken a token out of it, or left it as it is. */
  isMade(relation: Relation, column: Pick<Column, "number">): boolean {
    return this.#made(relation).has(column.number);
  }

  /** As RowDescription names a column. */
  ofAttribute(table: number, number: number): TokenColumn | undefined {
    const relation = this.#scope.catalog.relationsByOid.get(table);
    return relation && this.#of(relation).get(number);
  }

  /** Whether a function of this name is not only Postgres's own: which one is called is then not known. */
  hasNamesake(name: string): boolean {
    const named = this.#scope.catalog.functionsByName.get(name) ?? [];
    return named.some(({ schema }) => schema !== "pg_catalog");
  }

  /** Whether a table of this name has, by the policy, token columns that the catalog does not show. */
  isLacking(name: string): boolean {
    return this.#lacking.has(name);
  }

  has(relation: Relation): boolean {
    return this.#of(relation).size > 0;
  }

  #of(relation: Relation): ReadonlyMap<number, TokenColumn> {
    let known = this.#byRelation.get(relation.oid);
    if (known === undefined) {
      // A view that names itself, by way of a broken catalog, has none.
      this.#byRelation.set(relation.oid, NONE);
      known = relation.lineage === undefined ? this.#ofTable(relation) : this.#ofView(relation);
      this.#byRelation.set(relation.oid, known);
    }
    return known;
  }

  #made(relation: Relation): ReadonlySet<number> {
    const { lineage, columns, oid } = relation;
    if (lineage === undefined) return NO_COLUMNS;
    let known = this.#madeByView.get(oid);
    if (known === undefined) {
      this.#madeByView.set(oid, NO_COLUMNS);
      const { catalog } = this.#scope;
      const holds = ({ relation: of, column: number }: ColumnOrigin): boolean => {
        const base = catalog.relationsByOid.get(of);
        return base !== undefined && (this.#of(base).has(number) || this.#made(base).has(number));
      };
      const readsTokens = lineage.dependsOn.some(({ relation: base, columns: named }) => {
        const all = catalog.relationsByOid.get(base)?.columns ?? [];
        const read = named.length === 0 ? all.map(({ number }) => number) : named;
        return read.some((column) => holds({ relation: base, column }));
      });
      const isMade = (column: Column): boolean => {
        const origin = lineage.origins.get(column.name);
        if (origin !== undefined) return this.#madeAt(origin);
        return (
          (lineage.madeOf.get(column.name)?.some(holds) ?? readsTokens) &&
          !TOKENLESS.has(maskedType(catalog, column).category)
        );
      };
      known = new Set(columns.filter(isMade).map(({ number }) => number));
      this.#madeByView.set(oid, known);
    }
    return known;
  }

  #madeAt({ relation, column }: ColumnOrigin): boolean {
    const base = this.#scope.catalog.relationsByOid.get(relation);
    return base !== undefined && this.#made(base).has(column);
  }

  #ofTable(relation: Relation): ReadonlyMap<number, TokenColumn> {
    const { policy, catalog } = this.#scope;
    if (relation.kind === "sequence") return NONE;
    const version = versionOf(policy.tokenCanary ?? "") ?? 0;
    const { columns } = lineageOf(this.#scope).labels(relation);
    return new Map(
      relation.columns.flatMap((column): readonly (readonly [number, TokenColumn])[] => {
        const label = columns.get(column.name);
        if (label?.kind === "document")
          return [[column.number, this.#document(column, label, version)]] as const;
        const stored = label?.kind === "class" ? policy.classes.get(label.name)?.stored : undefined;
        if (label?.kind !== "class" || stored === undefined) return [];
        const name = `${label.owner}.${column.name}`;
        const form = formIn(catalog, column, stored.form);
        const place = stored.joinable ? `class ${label.name}` : `column ${name}`;
        // Bytes are never compared with texts.
        const associated = form === "bytes" ? `bytes of ${place}` : place;
        const fits = holdsTokens(catalog, column, stored);
        const carried = form === "token" ? stored.searches : [];
        return [
          [column.number, { name, className: label.name, associated, form, version, fits, carried }] as const,
        ];
      }),
    );
  }

  #document(
    column: Column,
    { owner, paths }: ColumnLabel & { readonly kind: "document" },
    version: number,
  ): DocumentColumn {
    const { policy, catalog } = this.#scope;
    const name = `${owner}.${column.name}`;
    const fits = holdsDocuments(catalog, column);
    return documentColumn(name, fits, paths, (path, className) => {
      const { joinable = false, searches: carried = [] } = policy.classes.get(className)?.stored ?? {};
      const associated = joinable ? `class ${className}` : `json ${name} ${path}`;
      return { name: `${name} ${path}`, className, associated, form: "token", version, fits, carried };
    });
  }

  #ofView({ columns, lineage }: Relation): ReadonlyMap<number, TokenColumn> {
    return new Map(
      columns.flatMap((column) => {
        const origin = lineage?.origins.get(column.name);
        const found = origin && this.ofAttribute(origin.relation, origin.column);
        return found === undefined ? [] : [[column.number, found] as const];
      }),
    );
  }
}

/** Categories of types that are no texts (pg_type.typcategory): booleans, dates, numbers, intervals. */
const TOKENLESS: ReadonlySet<string> = new Set(["B", "D", "N", "T"]);
const NO_COLUMNS: ReadonlySet<number> = new Set();
const NONE: ReadonlyMap<number, TokenColumn> = new Map();

const sharedColumns = perCatalog((policy: Policy, catalog) => new TokenColumns({ policy, catalog }));

/** Undefined if the policy stores no class as tokens. */
export function tokenColumnsOf(scope: Pick<Scope, "policy" | "catalog">): TokenColumns | undefined {
  const { policy, catalog } = scope;
  return policy.tokenCanary === undefined ? undefined : sharedColumns(policy, catalog);
}
