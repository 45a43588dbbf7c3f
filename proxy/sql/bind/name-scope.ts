import type { TypeName } from "libpg-query";
import type { Body } from "../parse/grammar.ts";
import type {
  BoundColumn,
  BoundRelation,
  Call,
  Meaning,
  Operator,
  ProblemState,
  WithQuery,
} from "./bound.ts";

/**
 * Where the names in an expression are looked up: Postgres's ParseState (parser/parse_node.h), as far as names are
 * concerned. Each part of a query that sees other names gets a new scope; all scopes of one query share its `level`.
 */
export interface NameScope {
  readonly outer: NameScope | undefined;
  readonly depth: number;
  readonly items: readonly NamespaceItem[];
  /** The WITH queries of this level that can be named here. */
  readonly withs: ReadonlyMap<string, WithEntry>;
  readonly level: Level;
}

/** ParseNamespaceItem: one entry of FROM, and how it can be named. */
export interface NamespaceItem {
  readonly relation: BoundRelation;
  /** `alias.column` (p_rel_visible). */
  readonly hasName: boolean;
  /** `column` (p_cols_visible). */
  readonly showsColumns: boolean;
  /** It can be named here, but Postgres then refuses it (p_lateral_ok is false). */
  readonly isForbidden: boolean;
}

/** The contents of a query's expressions; filled during binding. */
export interface Level {
  readonly calls: Call[];
  readonly aggregates: Call[];
  readonly windows: Body[];
  /** Calls that may return several rows. */
  readonly sets: Body[];
  readonly operators: Operator[];
  readonly types: TypeName[];
}

/** A WITH query during name lookup. */
export interface WithEntry {
  readonly query: WithQuery;
  /** Known once the query is bound; for a recursive one, once its first part is. */
  columns: WithColumns | undefined;
  /** Binds the query if that has not begun: in WITH RECURSIVE a query may name a later one. */
  bind: (() => void) | undefined;
  isDone: boolean;
}

export interface WithColumns {
  readonly columns: readonly Pick<BoundColumn, "name" | "typeOid">[];
  readonly hasUnknownColumns: boolean;
  /** Names of the columns that SEARCH and CYCLE add. */
  readonly added: readonly string[];
}

export const NO_WITHS: ReadonlyMap<string, WithEntry> = new Map();

export function topScope(): NameScope {
  return { outer: undefined, depth: -1, items: [], withs: NO_WITHS, level: newLevel() };
}

/** The scope of a query inside another: it sees everything around it. */
export function innerScope(outer: NameScope): NameScope {
  return { outer, depth: outer.depth + 1, items: [], withs: NO_WITHS, level: newLevel() };
}

function newLevel(): Level {
  return { calls: [], aggregates: [], windows: [], sets: [], operators: [], types: [] };
}

export function withItems(scope: NameScope, items: readonly NamespaceItem[]): NameScope {
  return { ...scope, items };
}

export function item(relation: BoundRelation): NamespaceItem {
  return { relation, hasName: relation.alias !== "", showsColumns: true, isForbidden: false };
}

/** The maximum number of comparisons for a name: items of FROM, and their columns if the name is not qualified. */
export function namesAround(scope: NameScope, isQualified: boolean): number {
  let count = 0;
  for (let at: NameScope | undefined = scope; at !== undefined; at = at.outer)
    for (const { relation } of at.items) count += isQualified ? 1 : 1 + relation.columns.length;
  return count;
}

/** The result of a search, and why Postgres would refuse it nevertheless. */
export interface Found<T> {
  readonly found: T | undefined;
  readonly problem?: ProblemState;
}

/** An unqualified name (colNameToVar in parser/parse_relation.c). */
export function findColumn(scope: NameScope, name: string, reach: "local" | "all"): Found<Meaning> {
  const unsure: Meaning[] = [];
  for (
    let at: NameScope | undefined = scope;
    at !== undefined;
    at = reach === "local" ? undefined : at.outer
  ) {
    const shown = at.items.filter(({ showsColumns }) => showsColumns);
    const holders = shown.flatMap((each) =>
      columnsNamed(each.relation, name).map((column) => ({ each, column })),
    );
    const [first, second] = holders;
    if (first !== undefined) {
      const meaning: Meaning = { kind: "column", column: first.column, depth: at.depth };
      const problem = second !== undefined ? "42702" : first.each.isForbidden ? "42P10" : undefined;
      return { found: oneOf([...unsure, meaning]), ...(problem !== undefined && { problem }) };
    }
    for (const { relation } of shown)
      if (relation.hasUnknownColumns) unsure.push({ kind: "row", relation, depth: at.depth });
  }
  return { found: unsure.length === 0 ? undefined : { kind: "uncertain", candidates: unsure } };
}

function oneOf(candidates: readonly Meaning[]): Meaning | undefined {
  return candidates.length <= 1 ? candidates[0] : { kind: "uncertain", candidates };
}

/** A relation's own columns take precedence over system columns (scanNSItemForColumn). */
export function columnsNamed(relation: BoundRelation, name: string): readonly BoundColumn[] {
  const own = relation.columns.filter((column) => column.name === name);
  return own.length > 0 ? own : relation.systemColumns.filter((column) => column.name === name);
}

export interface FoundRelation {
  readonly relation: BoundRelation;
  readonly depth: number;
}

/** `alias` (scanNameSpaceForRefname), or `schema.relation` (scanNameSpaceForRelid), at the nearest level that has it. */
export function findRelation(
  scope: NameScope,
  schema: string | undefined,
  name: string,
): Found<FoundRelation> {
  for (let at: NameScope | undefined = scope; at !== undefined; at = at.outer) {
    const [first, second] = at.items.filter(
      ({ hasName, relation }) => hasName && isNamed(relation, schema, name),
    );
    if (first === undefined) continue;
    const problem = second !== undefined ? "42P09" : first.isForbidden ? "42P10" : undefined;
    return {
      found: { relation: first.relation, depth: at.depth },
      ...(problem !== undefined && { problem }),
    };
  }
  return { found: undefined };
}

/** Whether a name with a schema would mean something else without it, or nothing. */
export function needsSchema(scope: NameScope, schema: string | undefined, name: string): boolean {
  if (schema === undefined) return false;
  const [one, other] = [findRelation(scope, schema, name), findRelation(scope, undefined, name)];
  return one.found?.relation !== other.found?.relation || other.problem !== undefined;
}

/** A name with a schema refers to the relation itself, and only if it has no alias. */
function isNamed(
  { alias, hasAlias, source }: BoundRelation,
  schema: string | undefined,
  name: string,
): boolean {
  if (schema === undefined) return alias === name;
  if (hasAlias) return false;
  if (source.kind === "table") return source.relation.schema === schema && source.relation.name === name;
  return source.kind === "unknown table" && source.name.schemaname === schema && source.name.relname === name;
}

/** The WITH query of that name, and the level that defines it (scanNameSpaceForCTE). */
export function findWith(
  scope: NameScope,
  name: string,
): { readonly entry: WithEntry; readonly depth: number } | undefined {
  for (let at: NameScope | undefined = scope; at !== undefined; at = at.outer) {
    const entry = at.withs.get(name);
    if (entry !== undefined) return { entry, depth: at.depth };
  }
  return undefined;
}

export function levelAt(scope: NameScope, depth: number): Level | undefined {
  for (let at: NameScope | undefined = scope; at !== undefined; at = at.outer)
    if (at.depth === depth) return at.level;
  return undefined;
}
