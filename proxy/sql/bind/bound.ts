import type { Node, RangeTableSample, RangeVar, TypeName } from "libpg-query";
import type { Column, Relation } from "../../catalog/catalog.ts";
import type { Body } from "../parse/grammar.ts";

/*
 * The meaning of a statement, as an immutable tree: the relation that each name in FROM refers to, the column that each
 * name in an expression refers to, and the output of each query. It contains no role and no policy.
 *
 * A query refers to what is below it. References upwards or across (the query around another one, the meaning of a
 * name) are in the maps of the statement, with the parse tree's own objects as keys.
 */

/** A statement as Postgres would understand it. */
export interface BoundStatement {
  readonly kind: BoundKind;
  /** The query (or the write) whose rows the client gets; undefined for a utility statement. */
  readonly top: BoundQuery | undefined;
  /** All queries in it; each comes after the queries inside it. */
  readonly queries: readonly BoundQuery[];
  /** By the body of its SELECT or write, including the queries of expressions (SubLink). */
  readonly queryOf: ReadonlyMap<Body, BoundQuery>;
  readonly parentOf: ReadonlyMap<BoundQuery, BoundQuery>;
  /** The query that a WITH clause names. */
  readonly bodyOf: ReadonlyMap<WithQuery, BoundQuery>;
  /** WITH queries that refer to themselves. */
  readonly recursive: ReadonlySet<WithQuery>;
  /**
   * The meaning of each name: keys are bodies of ColumnRef, of A_Const (`ORDER BY 2`), FuncCall (`email(c)`),
   * A_Indirection (`(c).email`), IndexElem.
   */
  readonly meanings: ReadonlyMap<Body, Meaning>;
  /** Names with a schema that would mean something nearer without it. */
  readonly needSchema: ReadonlySet<Body>;
  /** Column names that would refer to a write's target if they lost their present meaning. */
  readonly behind: ReadonlyMap<Body, NameBehind>;
  /** Why Postgres will refuse the statement, as far as names are concerned. */
  readonly problems: readonly Problem[];
  /** The types that PREPARE declares for its parameters. */
  readonly parameterTypes: readonly TypeName[];
}

/** `utility` is everything else; it has no queries. */
export type BoundKind =
  | "select"
  | "values"
  | "insert"
  | "update"
  | "delete"
  | "merge"
  | "copy"
  | "explain"
  | "declare"
  | "prepare"
  | "create as"
  | "execute"
  | "lock"
  | "utility";

/** One SELECT, VALUES, set operation or write. */
export interface BoundQuery {
  readonly form: QueryForm;
  readonly node: Body;
  /** The number of queries around it. */
  readonly depth: number;
  readonly clauses: Clauses;
  readonly withs: readonly WithQuery[];
  /** The FROM clause (USING of a write), with its joins as a tree. */
  readonly from: readonly FromItem[];
  /** Everything that rows may be made from: all references of `from`, including joins, and a write's target. */
  readonly relations: readonly BoundRelation[];
  readonly outputs: readonly Output[];
  /** It has further outputs with unknown names: a star over a relation whose columns are unknown. */
  readonly hasUnknownOutputs: boolean;
  readonly setOperation: SetOperation | undefined;
  readonly write: Write | undefined;
  readonly traits: Traits;
  /** The calls in its expressions, except those in the expressions of subqueries. */
  readonly calls: readonly Call[];
  /** Aggregates over its rows, possibly called in a subquery. */
  readonly aggregates: readonly Call[];
  /** The operators in its expressions, except those in subqueries, like `calls`. */
  readonly operators: readonly Operator[];
  /** The types named in its expressions and by the functions of its FROM. */
  readonly types: readonly TypeName[];
}

/** An operator that is applied, even if it is not written: `CASE a WHEN b`, USING, BETWEEN. */
export interface Operator {
  readonly symbol: string;
  /** From OPERATOR(schema.symbol). */
  readonly schema: string | undefined;
}

/** A call in an expression, whatever is called. */
export interface Call {
  readonly node: Body;
  readonly name: string;
  readonly schema: string | undefined;
  /**
   * By a function's name; as a field of a value (`c.reveal`) that is not certainly a column; or by syntax that gathers
   * rows, such as ARRAY(…).
   */
  readonly form: "function" | "field" | "syntax";
}

/** `copy` is `COPY relation TO`; `lock` and `execute` are LOCK and EXECUTE, which have no rows of their own. */
export type QueryForm =
  | "select"
  | "values"
  | "set operation"
  | "insert"
  | "update"
  | "delete"
  | "merge"
  | "copy"
  | "execute"
  | "lock";

export interface SetOperation {
  readonly operator: "union" | "intersect" | "except";
  /** ALL: duplicate rows are kept. */
  readonly all: boolean;
  readonly arms: readonly BoundQuery[];
}

/** How a query's rows result from those of FROM. */
export interface Traits {
  readonly isDistinct: boolean;
  /** GROUP BY. */
  readonly isGrouped: boolean;
  /** Calls an aggregate of its own, or has HAVING: without GROUP BY it returns one row. */
  readonly isAggregated: boolean;
  readonly isWindowed: boolean;
  /** An expression calls a function that may return a set: its arguments may determine the number of rows. */
  readonly makesRows: boolean;
  /** FETCH FIRST … WITH TIES */
  readonly hasTies: boolean;
}

/** The expressions of a query by clause, as in the parse tree. */
export type Clauses = Readonly<Partial<Record<ClauseName, readonly Node[]>>>;

export type ClauseName =
  | "distinct"
  | "targets"
  | "where"
  | "group"
  | "having"
  | "window"
  | "sort"
  | "offset"
  | "limit"
  | "locking"
  | "values"
  /**
   * For a write: `SET …`, including that of ON CONFLICT and MERGE; the columns of an INSERT, which may have subscripts.
   */
  | "assignments"
  | "conflict"
  /** MERGE: ON, and the conditions of its WHEN clauses. */
  | "match"
  | "returning";

/** A column that a query returns. */
export interface Output {
  /** As in RowDescription. */
  readonly name: string;
  /** The expression; undefined for a column of a star or of a set operation. */
  readonly node: Node | undefined;
  /** The column that it copies unchanged. */
  readonly column: BoundColumn | undefined;
  readonly typeOid: number | undefined;
}

export interface Write {
  readonly target: BoundRelation;
  /** Assigned columns in order, including an INSERT's. */
  readonly assigned: readonly BoundColumn[];
  /** For INSERT … SELECT and INSERT … VALUES with several rows. */
  readonly source: BoundQuery | undefined;
}

/** A query of a WITH clause; its body is in `BoundStatement.bodyOf`. */
export interface WithQuery {
  readonly name: string;
  readonly node: Body;
}

export type FromItem =
  | { readonly kind: "relation"; readonly relation: BoundRelation }
  | {
      readonly kind: "join";
      readonly node: Body;
      readonly type: "inner" | "left" | "right" | "full";
      readonly left: FromItem;
      readonly right: FromItem;
      readonly on: Node | undefined;
      /** For USING and NATURAL: the columns that are compared. */
      readonly pairs: readonly (readonly [BoundColumn, BoundColumn])[];
      readonly relation: BoundRelation;
    };

/** One reference in FROM, or a write's target: two references to one table are two of these. */
export interface BoundRelation {
  readonly source: RelationSource;
  /** The name that expressions may use; empty if there is none (a subquery or a join without an alias). */
  readonly alias: string;
  readonly hasAlias: boolean;
  readonly columns: readonly BoundColumn[];
  /** ctid, tableoid … (Postgres docs, "System Columns"): not included in a star or a whole row. */
  readonly systemColumns: readonly BoundColumn[];
  /** Some of its columns are unknown, so any name may be one of them. */
  readonly hasUnknownColumns: boolean;
  /** An outer join may leave it out of a row. */
  readonly isNullable: boolean;
  readonly node: Body;
}

export type RelationSource =
  | {
      readonly kind: "table";
      readonly relation: Relation;
      readonly name: RangeVar;
      /** Other relations of this name further along search_path. */
      readonly namesakes: readonly Relation[];
      /** TABLESAMPLE: returns some of its rows, depending on where they are stored. */
      readonly sample: RangeTableSample | undefined;
    }
  /** A name that is not in the catalog. */
  | { readonly kind: "unknown table"; readonly name: RangeVar }
  | { readonly kind: "subquery"; readonly query: BoundQuery }
  | { readonly kind: "with"; readonly query: WithQuery; readonly name: RangeVar }
  /** A function in FROM, XMLTABLE, JSON_TABLE: its rows depend on its arguments. */
  | { readonly kind: "function"; readonly type: "RangeFunction" | "RangeTableFunc" | "JsonTable" }
  /** A join, or the alias that USING may have. */
  | { readonly kind: "join"; readonly sides: readonly BoundRelation[] }
  /** `excluded`, with the values of the INSERT's source, or `old` and `new` in RETURNING. */
  | {
      readonly kind: "row of target";
      readonly target: BoundRelation;
      readonly values: BoundQuery | undefined;
    };

/** A column of one reference, with its name in that reference. */
export interface BoundColumn {
  readonly relation: BoundRelation;
  readonly name: string;
  readonly typeOid: number | undefined;
  readonly source: ColumnSource;
  /** Not included in a star: columns that SEARCH and CYCLE add, inside the WITH query. */
  readonly isHidden?: true;
}

export type ColumnSource =
  | { readonly kind: "own"; readonly column: Column }
  | { readonly kind: "system" }
  | { readonly kind: "output"; readonly position: number }
  /** One column, or several that USING merged. `plain` is the one that is copied unchanged. */
  | {
      readonly kind: "merged";
      readonly columns: readonly BoundColumn[];
      readonly plain: BoundColumn | undefined;
    }
  /** The result of a function or of the CYCLE clause. */
  | { readonly kind: "computed" };

/** The meaning of a name in an expression. `depth` is that of the query whose FROM contains it. */
export type Meaning =
  | { readonly kind: "column"; readonly column: BoundColumn; readonly depth: number }
  /** All columns of the relation; if `call` is given, as the argument of a function of that name: `c.reveal`. */
  | { readonly kind: "row"; readonly relation: BoundRelation; readonly depth: number; readonly call?: string }
  /** `*` in a target list. */
  | {
      readonly kind: "star";
      readonly relations: readonly BoundRelation[];
      readonly columns: readonly BoundColumn[];
    }
  /** ORDER BY and similar clauses can name an output of their query. */
  | { readonly kind: "output"; readonly output: Output }
  /** `ORDER BY 2`. The number is not read: texts that differ only in constants share one bound statement. */
  | { readonly kind: "some output" }
  /** A relation with unknown columns precedes the certain meaning, or there is no other meaning. */
  | { readonly kind: "uncertain"; readonly candidates: readonly Meaning[] }
  | { readonly kind: "none" };

/** What an unqualified column name would mean if its relation lost the column. */
export interface NameBehind {
  /** Targets of enclosing writes that have a column of this name, or that have this name themselves. */
  readonly targets: readonly BoundRelation[];
  /** The relation whose name can qualify the column here; undefined if there is none. */
  readonly holder: BoundRelation | undefined;
}

/** Postgres's own error for a name: https://www.postgresql.org/docs/current/errcodes-appendix.html */
export interface Problem {
  readonly sqlstate: ProblemState;
  readonly message: string;
  readonly node: Body;
}

export type ProblemState =
  /** undefined_column, undefined_table, ambiguous_column, ambiguous_alias, duplicate_alias, duplicate_column */
  | "42703"
  | "42P01"
  | "42702"
  | "42P09"
  | "42712"
  | "42701"
  /** syntax_error, invalid_column_reference, invalid_recursion, feature_not_supported */
  | "42601"
  | "42P10"
  | "42P19"
  | "0A000";
