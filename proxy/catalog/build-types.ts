import type { CatalogType } from "./catalog.ts";
import type { Code } from "./stored-code.ts";

/** A row of queries.TYPES. */
export type TypeRow = readonly [
  oid: number,
  schema: number,
  name: string,
  kind: string,
  category: string,
  base: number,
  relation: number,
  element: number,
  rangeSubtype: number,
  inputLanguage: string,
  canonicalLanguage: string,
];

export type MultirangeRow = readonly [multirange: number, range: number];

/** pg_type.typtype. */
const KINDS: ReadonlyMap<string, CatalogType["kind"]> = new Map([
  ["b", "base"],
  ["c", "composite"],
  ["d", "domain"],
  ["e", "enum"],
  ["p", "pseudo"],
  ["r", "range"],
  ["m", "multirange"],
]);

/** Types in the form of the catalog; types of an unknown kind are left out. */
export function buildTypes(
  rows: readonly TypeRow[],
  multiranges: readonly MultirangeRow[],
  schemas: ReadonlyMap<number, string>,
  domainCode: ReadonlyMap<number, Code>,
): readonly CatalogType[] {
  const inputs = new Inputs(rows, multiranges);
  return rows.flatMap((row): readonly CatalogType[] => {
    const [oid, schema, name, typtype, category, base, relation, element] = row;
    const kind = KINDS.get(typtype);
    if (kind === undefined) return [];
    const code = domainCode.get(oid);
    return [
      {
        oid,
        schema: schemas.get(schema) ?? "",
        name,
        kind,
        category,
        element,
        base,
        relation,
        plainInput: inputs.arePlain(oid),
        ...(code && { code }),
      },
    ];
  });
}

/** Finds the types whose input runs no SQL or PL code. */
class Inputs {
  readonly #rows: ReadonlyMap<number, TypeRow>;
  readonly #rangeOf: ReadonlyMap<number, number>;

  constructor(rows: readonly TypeRow[], multiranges: readonly MultirangeRow[]) {
    this.#rows = new Map(rows.map((row) => [row[0], row]));
    this.#rangeOf = new Map(multiranges);
  }

  arePlain(oid: number): boolean {
    const row = this.#rows.get(oid);
    if (row === undefined) return false;
    const [, , , typtype, , , , element, rangeSubtype, inputLanguage, canonicalLanguage] = row;
    switch (typtype) {
      case "b":
        return element === 0 ? isCompiled(inputLanguage) : this.arePlain(element);
      case "e":
        return true;
      case "r":
        return this.arePlain(rangeSubtype) && (canonicalLanguage === "" || isCompiled(canonicalLanguage));
      case "m":
        return this.arePlain(this.#rangeOf.get(oid) ?? 0);
      // A domain has constraints, and a composite type may contain domains.
      default:
        return false;
    }
  }
}

function isCompiled(language: string): boolean {
  return language === "internal" || language === "c";
}
