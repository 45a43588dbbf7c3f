import type { ViewReferences } from "./view-references.ts";

/** What a statement's analysis may know of one database: an immutable snapshot. */
export interface Catalog {
  readonly database: string;
  /** As `server_version_num`: 150020. */
  readonly serverVersion: number;
  /** Differs whenever anything below differs: part of every verdict's key. */
  readonly version: string;
  /** By `schema.name`, unquoted, as stored in the catalog: see `relationKey`. */
  readonly relations: ReadonlyMap<string, Relation>;
  readonly relationsByOid: ReadonlyMap<number, Relation>;
  readonly relationsByName: ReadonlyMap<string, readonly Relation[]>;
  readonly schemas: ReadonlySet<string>;
  readonly functionsByName: ReadonlyMap<string, readonly CatalogFunction[]>;
  readonly functionsByOid: ReadonlyMap<number, CatalogFunction>;
  /** Operators that live outside pg_catalog, by name. */
  readonly operatorsOutside: ReadonlyMap<string, readonly CatalogOperator[]>;
  /** Casts by functions outside pg_catalog. */
  readonly casts: readonly CatalogCast[];
  readonly typesByName: ReadonlyMap<string, readonly CatalogType[]>;
  readonly typesByOid: ReadonlyMap<number, CatalogType>;
}

export type RelationKind =
  | "table"
  | "partitioned"
  | "view"
  | "materialized view"
  | "foreign table"
  | "sequence";

export interface Relation {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: RelationKind;
  /** In attribute order, dropped ones left out. */
  readonly columns: readonly Column[];
  readonly primaryKey: readonly string[];
  readonly indexes: readonly Index[];
  readonly constraints: readonly Constraint[];
  readonly foreignKeys: readonly ForeignKey[];
  /** Direct parents by inheritance or partitioning (oids), and whether this is a partition. */
  readonly parents: readonly number[];
  readonly isPartition: boolean;
  /** Of views and materialised views. */
  readonly lineage?: ViewLineage;
  /** True where user-defined triggers, rules (beyond a view's own) or row security policies exist. */
  readonly hasRules: boolean;
  /** Rules (CREATE RULE) may do anything in place of a write or beside it, and answer it with rows. */
  readonly rulesOnWrites: boolean;
}

export interface Column {
  readonly name: string;
  /** pg_attribute.attnum */
  readonly number: number;
  readonly typeOid: number;
  /** `format_type(atttypid, atttypmod)`, schema-qualified where outside pg_catalog: safe to splice into SQL as a cast. */
  readonly type: string;
  readonly notNull: boolean;
  /** `schema.name` quoted as SQL, where the column's collation is not its type's own (`typcollation`). */
  readonly collation?: string;
  /** Of generated columns (GENERATED ALWAYS AS): the numbers of the columns that it is made from. */
  readonly generatedFrom?: readonly number[];
  /** The column that a generated one copies, or folds to lower or upper case. */
  readonly caseOf?: number;
  /** What it holds where a new row does not say: always the same, something new each time, or what unknown code gives. */
  readonly default?: "constant" | "fresh" | "code";
}

export interface Index {
  /** Leading plain columns, in order; stops at the first expression. */
  readonly columns: readonly string[];
  readonly unique: boolean;
  /** Has a WHERE clause. */
  readonly partial: boolean;
}

/** What the server checks when a row is written: that it takes or refuses a row tells of these columns. */
export interface Constraint {
  readonly name: string;
  readonly kind:
    | "check"
    | "unique"
    | "exclusion"
    | "foreign key"
    | "policy"
    | "partition key"
    | "generated column";
  /** Of a generated column those that it is made from. */
  readonly columns: readonly string[];
  /** Those of `columns` of which it tells no more than whether two values are equal. */
  readonly compared: readonly string[];
  /** NOT VALID: a row that is there may violate it, and then any change of that row fails. */
  readonly unproven?: true;
  /** Of indexes: the columns by which rows collide. */
  readonly keys: readonly string[];
  /** Of indexes: a row in which one of these is NULL collides with none. */
  readonly freeIfNull: readonly string[];
}

export interface ForeignKey {
  readonly columns: readonly string[];
  readonly references: number;
  readonly referencedColumns: readonly string[];
  /** NOT VALID or DEFERRABLE: for a while, or for ever, a row may refer to nothing. */
  readonly unsure?: true;
  /** An UPDATE of the row that is referred to changes `columns` (ON UPDATE CASCADE, SET NULL, SET DEFAULT). */
  readonly changedByUpdate?: true;
  /** Its DELETE does (ON DELETE SET NULL, SET DEFAULT). */
  readonly changedByDelete?: true;
}

export interface ViewLineage {
  /** By column name: the column that a view column copies unchanged (`resorigtbl`, `resorigcol` of the stored rule). */
  readonly origins: ReadonlyMap<string, ColumnOrigin>;
  /** Every column of every relation that the view's definition names (pg_depend); no columns means the whole relation. */
  readonly dependsOn: readonly { readonly relation: number; readonly columns: readonly number[] }[];
  /** Every function that the definition calls, also through operators and casts (oids). */
  readonly functions: readonly number[];
  /** How often a row may show another row of what the view is made from; undefined where that cannot be read. */
  readonly references: ViewReferences | undefined;
}

export interface ColumnOrigin {
  readonly relation: number;
  readonly column: number;
}

export interface CatalogFunction {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: "function" | "aggregate" | "window" | "procedure";
  readonly volatility: "immutable" | "stable" | "volatile";
  /** pg_language.lanname: internal, c, sql, plpgsql … */
  readonly language: string;
  readonly argumentTypes: readonly number[];
  readonly returnType: number;
  readonly returnsSet: boolean;
  /** Member of an extension. */
  readonly extension?: string;
  /** How many of the last arguments may be left out; none if left out. */
  readonly defaults?: number;
  /** The last argument is VARIADIC. */
  readonly variadic?: true;
  /** Its OUT, INOUT and TABLE parameters, where it has any; a name may be empty. */
  readonly outputs?: readonly { readonly name: string; readonly typeOid: number }[];
}

export interface CatalogOperator {
  readonly schema: string;
  readonly name: string;
  readonly function: number;
}

export interface CatalogCast {
  readonly source: number;
  readonly target: number;
  readonly function: number;
  /** When Postgres applies it by itself: never, when a value is stored, anywhere. */
  readonly context: "explicit" | "assignment" | "implicit";
}

export interface CatalogType {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: "base" | "composite" | "domain" | "enum" | "pseudo" | "range" | "multirange";
  /** pg_type.typcategory, one letter: S string, N numeric, D date/time, A array … */
  readonly category: string;
  /** Of arrays: the element's oid; of domains: the base type's oid; 0 otherwise. */
  readonly element: number;
  readonly base: number;
  /** Of composite types that are a relation's row type: the relation's oid; 0 otherwise. */
  readonly relation: number;
  /** Input runs no SQL or PL code: the input function is internal or C, and no domain constraint applies. */
  readonly plainInput: boolean;
}

/** The key of `Catalog.relations`. Names are case-sensitive, unquoted. A dot inside a name is doubled by no one: a schema name with a dot is refused at load. */
export function relationKey(schema: string, name: string): string {
  return `${schema}.${name}`;
}

/** Declared as RETURNS void: what a call of it gives tells nothing. */
export function returnsNothing({ typesByOid }: Catalog, { returnType }: CatalogFunction): boolean {
  const type = typesByOid.get(returnType);
  return type?.schema === "pg_catalog" && type.name === "void";
}

/** Immutable C code of an extension (pg_trgm, citext …) works on its arguments alone. */
export function isPlainExtensionFunction(fn: CatalogFunction): boolean {
  return (
    fn.extension !== undefined &&
    fn.volatility === "immutable" &&
    (fn.language === "c" || fn.language === "internal")
  );
}
