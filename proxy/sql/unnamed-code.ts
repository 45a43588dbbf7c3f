import type { Catalog, CatalogFunction, CatalogType, Relation } from "../catalog/catalog.ts";
import type { Code } from "../catalog/stored-code.ts";
import { isHarmlessFunction } from "./functions.ts";

/*
 * Code that runs although the statement does not name it: of views, policies, defaults, checks, indexes, triggers,
 * domains, casts and operators. For a watched role, this file decides whether such code could change who reads. If in
 * doubt, it could.
 */

/** Functions of pg_catalog that run a text as a statement, or read a table of any name. */
export const RUNS_TEXT: ReadonlySet<string> = new Set([
  ...["query_to_xml", "query_to_xmlschema", "query_to_xml_and_xmlschema"],
  ...["table_to_xml", "table_to_xml_and_xmlschema", "schema_to_xml", "schema_to_xml_and_xmlschema"],
  ...["database_to_xml", "database_to_xml_and_xmlschema", "cursor_to_xml", "cursor_to_xmlschema"],
  ...["ts_stat", "ts_rewrite"],
]);

/** Functions of pg_catalog that read a value of any type from a text: this may check a domain's condition. */
export const READS_INPUT: ReadonlySet<string> = new Set([
  ...["pg_input_is_valid", "pg_input_error_info", "domain_in", "domain_recv", "record_in", "record_recv"],
  ...["array_in", "array_recv", "range_in", "range_recv", "multirange_in", "multirange_recv"],
]);

/**
 * The same, with an explicit type argument: in a statement the type is found, but in a stored expression it is not
 * searched for.
 */
const READS_NAMED_TYPE: ReadonlySet<string> = new Set(
  ["json", "jsonb"].flatMap((kind) =>
    ["populate_record", "populate_recordset", "to_record", "to_recordset"].map((name) => `${kind}_${name}`),
  ),
);

/** Volatile C code of extensions that defaults call and that only returns a value. */
const GIVES_A_VALUE = /^(?:uuid_generate_v\d\w*|gen_random_uuid|gen_random_bytes|gen_salt|crypt)$/;

/** Whether a function that stored code calls could change the session. */
function isLoud(fn: CatalogFunction | undefined): boolean {
  if (fn === undefined) return true;
  const { schema, name, extension, language, volatility } = fn;
  if (schema === "pg_catalog")
    return (
      name === "set_config" || RUNS_TEXT.has(name) || READS_INPUT.has(name) || READS_NAMED_TYPE.has(name)
    );
  if (isHarmlessFunction(fn)) return false;
  // Operators of pg_trgm are STABLE, because they read a threshold that is a setting of the session.
  const isCompiled = extension !== undefined && (language === "c" || language === "internal");
  return !isCompiled || (volatility === "volatile" && !GIVES_A_VALUE.test(name));
}

/** What is derived from one catalog; computed on first use. */
class UnnamedCode {
  readonly #catalog: Catalog;
  readonly #types = new Map<number, boolean>();
  readonly #reads = new Map<number, boolean>();
  readonly #writes = new Map<number, boolean>();
  /** The names of operators that run loud code. */
  readonly operators: ReadonlySet<string>;
  /** Implicit casts may run loud code. */
  readonly hasCasts: boolean;
  readonly #children = new Map<number, Relation[]>();
  readonly #changed = new Map<number, Relation[]>();

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    const { operatorsOutside, functionsByOid, casts, relations } = catalog;
    this.operators = new Set(
      [...operatorsOutside].flatMap(([name, all]) =>
        all.some((operator) => isLoud(functionsByOid.get(operator.function))) ? [name] : [],
      ),
    );
    this.hasCasts = casts.some((cast) => isLoud(functionsByOid.get(cast.function)));
    for (const relation of relations.values()) {
      for (const parent of relation.parents) note(this.#children, parent, relation);
      for (const key of relation.foreignKeys)
        if (key.changedByUpdate || key.changedByDelete || key.deletedByDelete)
          note(this.#changed, key.references, relation);
    }
  }

  /** Whether reading the relation may run such code. */
  reads(relation: Relation): boolean {
    return remembered(this.#reads, relation.oid, () => this.#isReadLoud(relation));
  }

  writes(relation: Relation): boolean {
    return remembered(this.#writes, relation.oid, () => this.#isWrittenLoud(relation));
  }

  /** Whether creating a value of the type may run such code. */
  makes(oid: number): boolean {
    return remembered(this.#types, oid, () => this.#isTypeLoud(this.#catalog.typesByOid.get(oid)));
  }

  #isReadLoud({ oid, schema, kind, code, lineage }: Relation): boolean {
    if (isSystem(schema)) return false;
    if (kind === "foreign table" || this.#isLoud(code.read)) return true;
    if (kind === "view" && (lineage === undefined || this.#isLoud(lineage))) return true;
    const below = kind === "view" ? this.#madeFrom(lineage?.dependsOn ?? []) : this.#children.get(oid);
    return below === "unknown" || (below ?? []).some((each) => this.reads(each));
  }

  #isWrittenLoud(relation: Relation): boolean {
    const { oid, schema, kind, code, lineage, columns, rulesOnWrites } = relation;
    if (rulesOnWrites) return true;
    if (isSystem(schema)) return false;
    if (this.reads(relation) || this.#isLoud(code.write)) return true;
    if (columns.some(({ typeOid }) => this.makes(typeOid))) return true;
    // The partition key decides where a row goes.
    if (this.#partitionedParents(relation).some((parent) => this.#isLoud(parent.code.write))) return true;
    const below =
      kind === "view" ? this.#madeFrom(lineage?.dependsOn ?? []) : (this.#children.get(oid) ?? []);
    if (below === "unknown") return true;
    return [...below, ...(this.#changed.get(oid) ?? [])].some((each) => this.writes(each));
  }

  #madeFrom(depends: readonly { readonly relation: number }[]): readonly Relation[] | "unknown" {
    const relations = depends.map(({ relation }) => this.#catalog.relationsByOid.get(relation));
    const known = relations.filter((each) => each !== undefined);
    return known.length < relations.length ? "unknown" : known;
  }

  #partitionedParents({ parents, isPartition }: Relation): readonly Relation[] {
    if (!isPartition) return [];
    const own = parents.flatMap((oid) => this.#catalog.relationsByOid.get(oid) ?? []);
    return [...own, ...own.flatMap((parent) => this.#partitionedParents(parent))];
  }

  #isTypeLoud(type: CatalogType | undefined): boolean {
    if (type === undefined) return true;
    if (type.plainInput) return false;
    const { kind, element, base, relation, code } = type;
    switch (kind) {
      case "base":
        return element === 0 || this.makes(element);
      case "domain":
        return (code !== undefined && this.#isLoud(code)) || this.makes(base);
      case "composite": {
        const columns = this.#catalog.relationsByOid.get(relation)?.columns;
        return columns === undefined || columns.some(({ typeOid }) => this.makes(typeOid));
      }
      case "pseudo":
        return false;
      default:
        return true;
    }
  }

  #isLoud({ functions, types }: Code): boolean {
    return (
      functions.some((oid) => isLoud(this.#catalog.functionsByOid.get(oid))) ||
      types.some((oid) => this.makes(oid))
    );
  }
}

function note(map: Map<number, Relation[]>, oid: number, relation: Relation): void {
  const known = map.get(oid);
  if (known === undefined) map.set(oid, [relation]);
  else known.push(relation);
}

/** A question that comes up while it is being answered adds nothing to the answer. */
function remembered(known: Map<number, boolean>, oid: number, find: () => boolean): boolean {
  let answer = known.get(oid);
  if (answer === undefined) {
    known.set(oid, false);
    answer = find();
    known.set(oid, answer);
  }
  return answer;
}

function isSystem(schema: string): boolean {
  return schema === "pg_catalog" || schema === "information_schema";
}

const known = new WeakMap<Catalog, UnnamedCode>();

export function unnamedCode(catalog: Catalog): UnnamedCode {
  let code = known.get(catalog);
  if (code === undefined) {
    code = new UnnamedCode(catalog);
    known.set(catalog, code);
  }
  return code;
}
