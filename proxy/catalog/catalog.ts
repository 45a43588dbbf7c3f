import type { Code, StoredCode } from "./stored-code.ts";
import type { ChosenBy } from "./view-choice.ts";
import type { ViewReferences } from "./view-references.ts";

/** All that a statement's analysis may know about one database: an immutable snapshot. */
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
  /** Operators outside of pg_catalog, by name. */
  readonly operatorsOutside: ReadonlyMap<string, readonly CatalogOperator[]>;
  /** Casts that use functions outside of pg_catalog. */
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
  /** In attribute order, without dropped columns. */
  readonly columns: readonly Column[];
  readonly primaryKey: readonly string[];
  /** DEFERRABLE: until the transaction ends, two rows may have the same primary key. */
  readonly isKeyDeferrable?: true;
  /**
   * Sets of columns in which no two of its own rows are equal at any moment: unique indexes that are checked at once.
   */
  readonly rowKeys: readonly (readonly string[])[];
  readonly indexes: readonly Index[];
  readonly constraints: readonly Constraint[];
  readonly foreignKeys: readonly ForeignKey[];
  /** Direct parents by inheritance or partitioning (oids), and whether this is a partition. */
  readonly parents: readonly number[];
  readonly isPartition: boolean;
  /** For views and materialised views. */
  readonly lineage?: ViewLineage;
  /** True if user-defined triggers, rules (other than a view's own) or row security policies exist. */
  readonly hasRules: boolean;
  /** Rules (CREATE RULE) may do anything instead of a write or in addition to it, and may return rows for it. */
  readonly rulesOnWrites: boolean;
  /**
   * Code of defaults, checks, indexes, generated columns, policies, triggers and partition keys; a view's query is in
   * `lineage`.
   */
  readonly code: StoredCode;
}

export interface Column {
  readonly name: string;
  /** pg_attribute.attnum */
  readonly number: number;
  readonly typeOid: number;
  /**
   * `format_type(atttypid, atttypmod)`, with a schema unless the type is in pg_catalog: safe to splice into SQL as a
   * cast.
   */
  readonly type: string;
  readonly notNull: boolean;
  /** `schema.name` quoted as SQL, if the column's collation differs from its type's (`typcollation`). */
  readonly collation?: string;
  /** For generated columns (GENERATED ALWAYS AS): the numbers of the columns that they are computed from. */
  readonly generatedFrom?: readonly number[];
  /** The column that a generated column copies or converts to lower or upper case. */
  readonly caseOf?: number;
  /**
   * The value of a new row that does not specify one: always the same, a new one each time, or the result of unknown
   * code.
   */
  readonly default?: "constant" | "empty document" | "fresh" | "code";
}

export interface Index {
  /** Leading plain columns, in order, up to the first expression. */
  readonly columns: readonly string[];
  readonly unique: boolean;
  /** The index has a WHERE clause. */
  readonly partial: boolean;
}

/**
 * A check that the server makes when a row is written: whether it accepts the row reveals something about these
 * columns.
 */
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
  /** For a generated column: the columns that it is computed from. */
  readonly columns: readonly string[];
  /** Those of `columns` about which the check reveals only whether two values are equal. */
  readonly compared: readonly string[];
  /** NOT VALID: an existing row may violate the constraint, and then every change of that row fails. */
  readonly unproven?: true;
  /** For indexes: the columns by which rows conflict. */
  readonly keys: readonly string[];
  /** For indexes: a row in which one of these is NULL conflicts with no other row. */
  readonly freeIfNull: readonly string[];
}

export interface ForeignKey {
  readonly columns: readonly string[];
  readonly references: number;
  readonly referencedColumns: readonly string[];
  /** NOT VALID or DEFERRABLE: temporarily or permanently, a row may refer to a row that does not exist. */
  readonly unsure?: true;
  /** An UPDATE of the referenced row changes `columns` (ON UPDATE CASCADE, SET NULL, SET DEFAULT). */
  readonly changedByUpdate?: true;
  /** A DELETE of the referenced row changes `columns` (ON DELETE SET NULL, SET DEFAULT). */
  readonly changedByDelete?: true;
  /** A DELETE of the referenced row deletes the referring row (ON DELETE CASCADE). */
  readonly deletedByDelete?: true;
}

export interface ViewLineage extends Code {
  /** By column name: the column that a view column copies unchanged (`resorigtbl`, `resorigcol` of the stored rule). */
  readonly origins: ReadonlyMap<string, ColumnOrigin>;
  /**
   * By the name of a column that the view computes: the columns that its expression names. What is not here may be made of
   * anything in `dependsOn`.
   */
  readonly madeOf: ReadonlyMap<string, readonly ColumnOrigin[]>;
  /**
   * Every column of every relation that the view's definition names (pg_depend); an empty list means the whole
   * relation.
   */
  readonly dependsOn: readonly { readonly relation: number; readonly columns: readonly number[] }[];
  /** How many rows of its underlying relations one row of the view may show; undefined if the query cannot be read. */
  readonly references: ViewReferences | undefined;
  /** The columns that decide which rows the view has; undefined where the definition cannot be read. */
  readonly chosenBy: ChosenBy | undefined;
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
  /** The extension that the function belongs to. */
  readonly extension?: string;
  /** How many trailing arguments have defaults; absent if none. */
  readonly defaults?: number;
  /** The last argument is VARIADIC. */
  readonly variadic?: true;
  /** Its OUT, INOUT and TABLE parameters, if any; a name may be empty. */
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
  /** When Postgres applies the cast automatically: never, when a value is stored, or anywhere. */
  readonly context: "explicit" | "assignment" | "implicit";
}

export interface CatalogType {
  readonly oid: number;
  readonly schema: string;
  readonly name: string;
  readonly kind: "base" | "composite" | "domain" | "enum" | "pseudo" | "range" | "multirange";
  /** pg_type.typcategory, one letter: S string, N numeric, D date/time, A array … */
  readonly category: string;
  /** For arrays: the element's oid; for domains: the base type's oid; otherwise 0. */
  readonly element: number;
  readonly base: number;
  /** For a composite type that is a relation's row type: the relation's oid; otherwise 0. */
  readonly relation: number;
  /** Input runs no SQL or PL code: the input function is internal or C, and no domain constraint applies. */
  readonly plainInput: boolean;
  /** For domains: the code that their conditions run, without that of the base type's conditions. */
  readonly code?: Code;
}

/**
 * The key of `Catalog.relations`. Names are case-sensitive and unquoted. A dot inside a name is not escaped: the
 * catalog leaves out relations in a schema whose name contains a dot (`buildRelations`), so that keys are unique.
 */
export function relationKey(schema: string, name: string): string {
  return `${schema}.${name}`;
}

/** A foreign key guarantees, at the end of each statement, that the row with the column's value as its key is there. */
export function alwaysRefersTo(from: Relation, column: string, to: Relation, key: string): boolean {
  return from.foreignKeys.some(
    ({ columns, references, referencedColumns, unsure }) =>
      unsure !== true &&
      references === to.oid &&
      columns.length === 1 &&
      columns[0] === column &&
      referencedColumns[0] === key,
  );
}

/** The relations that a name may mean, whatever the search_path is. */
export function relationsNamed(
  { relationsByName }: Catalog,
  { schemaname, relname = "" }: { readonly schemaname?: string; readonly relname?: string },
): readonly Relation[] {
  const all = relationsByName.get(relname) ?? [];
  return schemaname === undefined ? all : all.filter(({ schema }) => schema === schemaname);
}

/** Declared as RETURNS void: the result of a call reveals nothing. */
export function returnsNothing({ typesByOid }: Catalog, { returnType }: CatalogFunction): boolean {
  const type = typesByOid.get(returnType);
  return type?.schema === "pg_catalog" && type.name === "void";
}

/** Immutable C code of an extension (pg_trgm, citext …) depends on its arguments only. */
export function isPlainExtensionFunction(fn: CatalogFunction): boolean {
  return (
    fn.extension !== undefined &&
    fn.volatility === "immutable" &&
    (fn.language === "c" || fn.language === "internal")
  );
}
