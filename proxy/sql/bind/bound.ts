import type { Node, RangeVar } from "libpg-query";
import type { Column, Relation } from "../../catalog/catalog.ts";
import type { Body } from "../grammar.ts";

/*
 * What a statement means: an immutable tree. It says which relation each name in FROM refers to, which column each name
 * in an expression is, and what each query gives. It knows no role and no policy.
 *
 * A query refers to what is below it. What points upwards or across (the query around another one, the meaning of a
 * name) is in the maps of the statement, with the parse tree's own objects as keys.
 */

/** A statement as Postgres would understand it. */
export interface BoundStatement {
  readonly kind: StatementKind;
  /** The query whose rows the client gets (or the write); none in a utility statement. */
  readonly top: BoundQuery | undefined;
  /** All queries in it; each one comes after those inside of it. */
  readonly queries: readonly BoundQuery[];
  /** By the body of its SELECT or write: the queries of expressions (SubLink) among them. */
  readonly queryOf: ReadonlyMap<Body, BoundQuery>;
  readonly parentOf: ReadonlyMap<BoundQuery, BoundQuery>;
  /** The query that a WITH clause names. */
  readonly bodyOf: ReadonlyMap<WithQuery, BoundQuery>;
  /** WITH queries that refer to themselves. */
  readonly recursive: ReadonlySet<WithQuery>;
  /** What a name means: keys are bodies of ColumnRef, of A_Const (`ORDER BY 2`), FuncCall (`email(c)`), A_Indirection (`(c).email`), IndexElem. */
  readonly meanings: ReadonlyMap<Body, Meaning>;
  /** Why Postgres will refuse the statement, as far as names go. */
  readonly problems: readonly Problem[];
}

/** `utility` is everything else; it has no queries. */
export type StatementKind =
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
  | "lock"
  | "utility";

/** One SELECT, VALUES, set operation or write. */
export interface BoundQuery {
  readonly form: QueryForm;
  readonly node: Body;
  /** How many queries are around it. */
  readonly depth: number;
  readonly clauses: Clauses;
  readonly withs: readonly WithQuery[];
  /** The FROM clause (USING of a write), its joins as a tree. */
  readonly from: readonly FromItem[];
  /** What rows may be made of: all references of `from`, joins too, and a write's target. */
  readonly relations: readonly BoundRelation[];
  readonly outputs: readonly Output[];
  /** There are more outputs, of unknown names: a star over a relation of unknown columns. */
  readonly hasUnknownOutputs: boolean;
  readonly setOperation: SetOperation | undefined;
  readonly write: Write | undefined;
  readonly traits: Traits;
}

/** `copy` is `COPY relation TO`, `lock` is LOCK, which has no rows. */
export type QueryForm =
  | "select"
  | "values"
  | "set operation"
  | "insert"
  | "update"
  | "delete"
  | "merge"
  | "copy"
  | "lock";

export interface SetOperation {
  readonly operator: "union" | "intersect" | "except";
  /** ALL: rows that are equal stay. */
  readonly all: boolean;
  readonly arms: readonly BoundQuery[];
}

/** How a query's rows come out of those of FROM. */
export interface Traits {
  readonly isDistinct: boolean;
  /** GROUP BY. */
  readonly isGrouped: boolean;
  /** Calls an aggregate of its own, or has HAVING: without GROUP BY it gives one row. */
  readonly isAggregated: boolean;
  readonly isWindowed: boolean;
  /** An expression calls a function that may return a set: its arguments may decide how many rows there are. */
  readonly makesRows: boolean;
  /** FETCH FIRST … WITH TIES */
  readonly hasTies: boolean;
}

/** The expressions of a query by clause, as they are in the parse tree. */
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
  /** Of a write: `SET …`, also of ON CONFLICT and MERGE; the columns of an INSERT, which may have subscripts. */
  | "assignments"
  | "conflict"
  /** MERGE: ON, and the conditions of its WHEN clauses. */
  | "match"
  | "returning";

/** A column that a query gives. */
export interface Output {
  /** As RowDescription has it. */
  readonly name: string;
  /** The expression; undefined for a column of a star and for those of a set operation. */
  readonly node: Node | undefined;
  /** The column that it copies unchanged. */
  readonly column: BoundColumn | undefined;
  readonly typeOid: number | undefined;
}

export interface Write {
  readonly target: BoundRelation;
  /** Columns that are assigned, in order, an INSERT's too. */
  readonly assigned: readonly BoundColumn[];
  /** INSERT … SELECT, INSERT … VALUES of several rows. */
  readonly source: BoundQuery | undefined;
}

/** A query of a WITH clause; what it gives is `BoundStatement.bodyOf`. */
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
      /** Of USING and NATURAL: the columns that are compared. */
      readonly pairs: readonly (readonly [BoundColumn, BoundColumn])[];
      readonly relation: BoundRelation;
    };

/** One reference in FROM, or a write's target: two references to one table are two of these. */
export interface BoundRelation {
  readonly source: RelationSource;
  /** The name that expressions may use; empty where there is none (a subquery or a join without an alias). */
  readonly alias: string;
  readonly hasAlias: boolean;
  readonly columns: readonly BoundColumn[];
  /** ctid, tableoid … (Postgres docs, "System Columns"): no star and no row shows them. */
  readonly systemColumns: readonly BoundColumn[];
  /** It has columns that are not known, and so any name may be one of them. */
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
      /** Others of this name further along search_path. */
      readonly namesakes: readonly Relation[];
    }
  /** A name that the catalog does not have. */
  | { readonly kind: "unknown table"; readonly name: RangeVar }
  | { readonly kind: "subquery"; readonly query: BoundQuery }
  | { readonly kind: "with"; readonly query: WithQuery; readonly name: RangeVar }
  /** A function in FROM, XMLTABLE, JSON_TABLE: its rows depend on its arguments. */
  | { readonly kind: "function"; readonly type: "RangeFunction" | "RangeTableFunc" | "JsonTable" }
  /** A join, or the alias that USING may have. */
  | { readonly kind: "join"; readonly sides: readonly BoundRelation[] }
  /** `excluded`, whose values come from the INSERT's source, and what RETURNING calls `old` and `new`. */
  | {
      readonly kind: "row of target";
      readonly target: BoundRelation;
      readonly values: BoundQuery | undefined;
    };

/** A column of one reference, by the name that it has there. */
export interface BoundColumn {
  readonly relation: BoundRelation;
  readonly name: string;
  readonly typeOid: number | undefined;
  readonly source: ColumnSource;
  /** A star leaves it out: what SEARCH and CYCLE add, inside of the WITH query. */
  readonly isHidden?: true;
}

export type ColumnSource =
  | { readonly kind: "own"; readonly column: Column }
  | { readonly kind: "system" }
  | { readonly kind: "output"; readonly position: number }
  /** One column, or several that USING made one. `plain` is the one that is copied unchanged. */
  | {
      readonly kind: "merged";
      readonly columns: readonly BoundColumn[];
      readonly plain: BoundColumn | undefined;
    }
  /** What a function or the CYCLE clause made. */
  | { readonly kind: "computed" };

/** What a name in an expression means. `depth` is that of the query whose FROM has it. */
export type Meaning =
  | { readonly kind: "column"; readonly column: BoundColumn; readonly depth: number }
  /** All columns of it; where `call` is given, of a function by that name: `c.reveal`. */
  | { readonly kind: "row"; readonly relation: BoundRelation; readonly depth: number; readonly call?: string }
  /** `*` in a target list. */
  | {
      readonly kind: "star";
      readonly relations: readonly BoundRelation[];
      readonly columns: readonly BoundColumn[];
    }
  /** ORDER BY and its like name an output of their query. */
  | { readonly kind: "output"; readonly output: Output }
  /** `ORDER BY 2`. The number is not read: texts that differ in their constants share what is bound. */
  | { readonly kind: "some output" }
  /** A relation of unknown columns comes before what is surely meant, or there is nothing else. */
  | { readonly kind: "uncertain"; readonly candidates: readonly Meaning[] }
  | { readonly kind: "none" };

/** Postgres's own refusal of a name: https://www.postgresql.org/docs/current/errcodes-appendix.html */
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
