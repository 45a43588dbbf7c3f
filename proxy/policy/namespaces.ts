import type { Catalog } from "../catalog/catalog.ts";
import { perCatalog } from "../catalog/per-catalog.ts";
import type { PolicySet } from "./compile.ts";
import type { Policy } from "./policy.ts";
import { namespaceIn, namespaceOf } from "./subject-path.ts";

/** Where people are named, `public.customers.id`, and the tables whose rows are theirs. */
export type TablesByNamespace = ReadonlyMap<string, readonly string[]>;

/**
 * Where the people of all policies are named. Of a database that has been read its foreign keys count; of one that has not, the
 * policy alone says it.
 */
export function namespacesOf(policies: PolicySet, catalogs: Iterable<Catalog>): TablesByNamespace {
  const known = [...catalogs];
  const tables = new Map<string, Set<string>>();
  for (const policy of policiesIn(policies)) {
    const own = known.filter(({ database }) => policies.forDatabase(database) === policy);
    for (const table of policy.tables.values()) {
      const names =
        own.length === 0 ? [namespaceOf(table)] : own.map((catalog) => namespaceIn(table, policy, catalog));
      for (const name of names)
        if (name !== undefined) tables.set(name, (tables.get(name) ?? new Set()).add(table.name));
    }
  }
  const names = [...tables.keys()].toSorted();
  return new Map(names.map((name) => [name, [...(tables.get(name) ?? [])]]));
}

/** The policies of databases with a file of their own, and the one of all other databases. */
export function policiesIn(policies: PolicySet): readonly Policy[] {
  return [...policies.databases, ""].map((database) => policies.forDatabase(database));
}

/**
 * The names that a policy's tables give to the people of a name space, as in `public.tickets.customer_id`: decoys are
 * written under those.
 */
export function namesWritten(policy: Policy, catalog: Catalog, namespace: string): readonly string[] {
  return allNamesWritten(policy, catalog).get(namespace) ?? [namespace];
}

const allNamesWritten = perCatalog((policy: Policy, catalog): TablesByNamespace => {
  const found = new Map<string, string[]>();
  for (const table of policy.tables.values()) {
    const [name, own] = [namespaceIn(table, policy, catalog), namespaceOf(table)];
    if (name !== undefined && own !== undefined) found.set(name, [...(found.get(name) ?? []), own]);
  }
  return found;
});
