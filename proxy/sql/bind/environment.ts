import type { RangeVar } from "libpg-query";
import { type Catalog, type Relation, relationKey } from "../../catalog/catalog.ts";
import type { Effort } from "./effort.ts";

/** Where a statement's names are looked up. */
export interface Environment {
  readonly catalog: Catalog;
  /** Schemas in order; pg_catalog comes first unless it is in the list (Postgres docs, "The System Catalog Schema"). */
  readonly searchPath: readonly string[];
  /**
   * Names of the relation's columns that cannot be referred to, because the text sent to the server will not have them.
   */
  absent(relation: Relation): ReadonlySet<string>;
  /** Shared by the whole text; if absent, the statement has its own. */
  readonly effort?: Effort;
}

const NOTHING: ReadonlySet<string> = new Set();

/** For statements that are sent unchanged. */
export function nothingAbsent(): ReadonlySet<string> {
  return NOTHING;
}

/** The relations that a name may mean; the first is Postgres's choice. */
export function relationsNamed({ catalog, searchPath }: Environment, name: RangeVar): readonly Relation[] {
  const { schemaname, relname = "" } = name;
  return [...new Set(schemaname === undefined ? withCatalog(searchPath) : [schemaname])].flatMap(
    (schema) => catalog.relations.get(relationKey(schema, relname)) ?? [],
  );
}

function withCatalog(searchPath: readonly string[]): readonly string[] {
  return searchPath.includes("pg_catalog") ? searchPath : ["pg_catalog", ...searchPath];
}
