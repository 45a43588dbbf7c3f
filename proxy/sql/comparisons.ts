import type { Catalog } from "../catalog/catalog.ts";

/* Postgres's own comparisons, of which it is known what they take for equal and that they cannot fail. */

/** Comparisons that cannot fail nor tell of a row that they reject (proleakproof of their functions). */
const LEAKPROOF: ReadonlySet<string> = new Set(["=", "<", "<=", ">", ">=", "<>"]);

/** Of an operator's name, or of `between`. */
export function isLeakproof(operator: string): boolean {
  return LEAKPROOF.has(operator) || operator === "between";
}

const COMPARED_TYPES: ReadonlySet<string> = new Set(
  "int2 int4 int8 text varchar bpchar bool date timestamp timestamptz uuid oid float4 float8".split(" "),
);

/** Whether the comparisons of the type are those. */
export function isComparedType({ typesByOid }: Catalog, oid: number | undefined): boolean {
  const type = oid === undefined ? undefined : typesByOid.get(oid);
  return type?.schema === "pg_catalog" && COMPARED_TYPES.has(type.name);
}
