import type { Catalog, CatalogFunction, Relation } from "../../catalog/catalog.ts";
import { isHarmlessFunction } from "../functions.ts";
import { RUNS_TEXT } from "../unnamed-code.ts";

/*
 * Functions of pg_catalog that keep something where it is read by no query of a table: settings by SHOW, large objects,
 * notifications, locks by pg_locks, sequences. One counts unless it is known to leave nothing behind.
 */

/** Those that may be called with anything, and yet keep a lock or a seed. */
const LEAVES = /^(?:pg_(?:try_)?advisory_.*|setseed|nextval)$/;
const ONLY_READS: ReadonlySet<string> = new Set(["currval", "lastval"]);

export function keepsValues(fn: CatalogFunction): boolean {
  const { schema, name, kind, volatility } = fn;
  if (schema !== "pg_catalog" || volatility !== "volatile" || kind !== "function") return false;
  return LEAVES.test(name) || (!isHarmlessFunction(fn) && !ONLY_READS.has(name));
}

/** What is kept until its transaction is undone. */
export function isUndone(name: string): boolean {
  return UNDONE.test(name);
}

const UNDONE = /^(?:set_config|pg_notify|lo_\w+|lowrite|loread)$/;

const known = new WeakMap<Catalog, Map<number, ReadonlySet<string>>>();

/** Names of such functions, and of those that run a text, which a view calls, or one that it is made from. */
export function keptInView(catalog: Catalog, relation: Relation): ReadonlySet<string> {
  const all = known.get(catalog) ?? new Map<number, ReadonlySet<string>>();
  known.set(catalog, all);
  let names = all.get(relation.oid);
  if (names === undefined) {
    names = new Set(namesIn(catalog, relation));
    all.set(relation.oid, names);
  }
  return names;
}

/** A view made from no relation, by functions that read none. */
export function readsNothing(catalog: Catalog, { kind, lineage }: Relation): boolean {
  if (kind !== "view" || lineage === undefined || lineage.dependsOn.length > 0) return false;
  return lineage.functions.every((oid) => {
    const fn = catalog.functionsByOid.get(oid);
    return fn?.schema === "pg_catalog" && (isHarmlessFunction(fn) || READS_NOTHING.has(fn.name));
  });
}

const READS_NOTHING: ReadonlySet<string> = new Set(["set_config", "pg_notify", "nextval", "setseed"]);

function namesIn(catalog: Catalog, start: Relation): readonly string[] {
  const reached = new Set([start]);
  const names: string[] = [];
  // Elements added during the iteration are visited too.
  for (const { kind, lineage } of reached) {
    if (kind !== "view") continue;
    for (const oid of lineage?.functions ?? []) {
      const fn = catalog.functionsByOid.get(oid);
      if (fn?.schema === "pg_catalog" && (keepsValues(fn) || RUNS_TEXT.has(fn.name))) names.push(fn.name);
    }
    for (const { relation } of lineage?.dependsOn ?? []) {
      const below = catalog.relationsByOid.get(relation);
      if (below !== undefined) reached.add(below);
    }
  }
  return names;
}
