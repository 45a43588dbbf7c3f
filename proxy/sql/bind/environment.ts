import type { RangeVar } from "libpg-query";
import { type Catalog, type Relation, relationKey } from "../../catalog/catalog.ts";
import type { Effort } from "../effort.ts";

/** What a statement's names are looked up in. */
export interface Environment {
  readonly catalog: Catalog;
  /** Schemas in order; pg_catalog comes first unless it is in the list (Postgres docs, "The System Catalog Schema"). */
  readonly searchPath: readonly string[];
  /** Names of the relation's columns that cannot be named: the text that is sent will not have them. */
  absent(relation: Relation): ReadonlySet<string>;
  /** Of the whole text; the statement's own if left out. */
  readonly effort?: Effort;
}

const NOTHING: ReadonlySet<string> = new Set();

/** For statements that are sent as they are. */
export function nothingAbsent(): ReadonlySet<string> {
  return NOTHING;
}

/** The relations that a name may mean, the one that Postgres takes first. */
export function relationsNamed({ catalog, searchPath }: Environment, name: RangeVar): readonly Relation[] {
  const { schemaname, relname = "" } = name;
  return [...new Set(schemaname === undefined ? withCatalog(searchPath) : [schemaname])].flatMap(
    (schema) => catalog.relations.get(relationKey(schema, relname)) ?? [],
  );
}

function withCatalog(searchPath: readonly string[]): readonly string[] {
  return searchPath.includes("pg_catalog") ? searchPath : ["pg_catalog", ...searchPath];
}
