import type { Catalog } from "./catalog.ts";

/** Computes something from a catalog and another object once, and remembers it for as long as both exist. */
export function perCatalog<Key extends object, Made>(
  make: (key: Key, catalog: Catalog) => Made,
): (key: Key, catalog: Catalog) => Made {
  const known = new WeakMap<Key, WeakMap<Catalog, { readonly made: Made }>>();
  return (key, catalog) => {
    const byCatalog = known.get(key) ?? new WeakMap<Catalog, { readonly made: Made }>();
    known.set(key, byCatalog);
    const entry = byCatalog.get(catalog) ?? { made: make(key, catalog) };
    byCatalog.set(catalog, entry);
    return entry.made;
  };
}
