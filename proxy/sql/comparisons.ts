import type { Catalog } from "../catalog/catalog.ts";

/* Postgres's own comparisons: it is known which values they treat as equal, and that they cannot fail. */

/** Comparisons that cannot fail and reveal nothing about rows that they reject (their functions are proleakproof). */
const LEAKPROOF: ReadonlySet<string> = new Set(["=", "<", "<=", ">", ">=", "<>"]);

/** Takes an operator's name, or `between`. */
export function isLeakproof(operator: string): boolean {
  return LEAKPROOF.has(operator) || operator === "between";
}

const COMPARED_TYPES: ReadonlySet<string> = new Set(
  "int2 int4 int8 text varchar bpchar bool date timestamp timestamptz uuid oid float4 float8".split(" "),
);

/** Whether the type is compared by these operators. */
export function isComparedType({ typesByOid }: Catalog, oid: number | undefined): boolean {
  const type = oid === undefined ? undefined : typesByOid.get(oid);
  return type?.schema === "pg_catalog" && COMPARED_TYPES.has(type.name);
}
