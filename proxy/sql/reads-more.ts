import type { FuncCall } from "libpg-query";
import type { Catalog, CatalogFunction, Relation } from "../catalog/catalog.ts";
import { functionsNamed, isHarmlessFunction } from "./functions.ts";
import type { Body } from "./parse/grammar.ts";
import { type NamedRelation, someNamedRelation } from "./parse/named-relations.ts";
import { someObject } from "./parse/tree.ts";
import type { Scope } from "./scope.ts";
import { RUNS_CODE } from "./touch.ts";
import { RUNS_TEXT } from "./unnamed-code.ts";

/*
 * What a statement reads that its text does not name: for the record of roles whose statements pass as they are written.
 * Whoever asks the log who read a table must not be told "nobody" because it was read under another name.
 */

/**
 * Whether the statement may read relations that are not found by their names: it runs code or another statement, reads
 * from a cursor, or names a relation that the catalog does not have (a temporary one).
 */
export function readsMore(
  type: string,
  body: Body,
  scope: Scope,
  isKnown: (named: NamedRelation) => boolean,
): boolean {
  if (READS_OTHERS.has(type)) return true;
  const ctes = new Set<string>();
  const runs = someObject(body, (field, object) => {
    if (field === "CommonTableExpr" && "ctename" in object) ctes.add(String(object.ctename));
    return READS_OTHERS.has(field) || (field === "FuncCall" && !isKnownCall(object as FuncCall, scope));
  });
  const isUnknown = (named: NamedRelation) =>
    !isKnown(named) && !(named.schemaname === undefined && ctes.has(named.relname));
  return runs || someNamedRelation(body, isUnknown);
}

const READS_OTHERS: ReadonlySet<string> = new Set([...RUNS_CODE, "FetchStmt"]);

/** Postgres's own functions that read no table; a user-defined function may read everything. */
export function isKnownCall(call: FuncCall, { catalog }: Scope): boolean {
  const known = functionsNamed(catalog, call);
  return known.length > 0 && known.every(readsItsArgumentsOnly);
}

/** Whether a call shows nothing that is stored: no table, no file, no large object. */
export function readsItsArgumentsOnly(fn: CatalogFunction): boolean {
  const { schema, name } = fn;
  if (RUNS_TEXT.has(name) || READS_FILES.test(name)) return false;
  return schema === "pg_catalog" || isHarmlessFunction(fn);
}

/** Functions that read files, large objects, rows of the WAL, or tables by name. */
const READS_FILES =
  /^(pg_read_|pg_ls_|lo_get|lo_export|loread|pg_logical_slot_|table_to_xml|schema_to_xml|database_to_xml)/;

/** What is read with a relation: what a view is made from, and by inheritance its ancestors' and descendants' rows. */
export interface Beneath {
  /** Keys of relations. */
  readonly relations: readonly string[];
  /** It runs code that may read other relations, or its definition is not known. */
  readonly more: boolean;
}

const NOTHING: Beneath = { relations: [], more: false };

const known = new WeakMap<Catalog, RelationsBeneath>();

/** What is read with these relations (keys), without themselves. */
export function beneath(keys: readonly string[], catalog: Catalog): Beneath {
  if (keys.length === 0) return NOTHING;
  let all = known.get(catalog);
  if (all === undefined) {
    all = new RelationsBeneath(catalog);
    known.set(catalog, all);
  }
  return all.of(keys);
}

class RelationsBeneath {
  readonly #catalog: Catalog;
  readonly #known = new Map<number, Beneath>();
  #children: Map<number, Relation[]> | undefined;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
  }

  of(keys: readonly string[]): Beneath {
    const found = new Set<string>();
    let more = false;
    for (const key of keys) {
      const relation = this.#catalog.relations.get(key);
      if (relation === undefined || isSystem(relation)) continue;
      const below = this.#ofOne(relation);
      more ||= below.more;
      for (const each of below.relations) found.add(each);
    }
    for (const key of keys) found.delete(key);
    return found.size === 0 && !more ? NOTHING : { relations: [...found], more };
  }

  #ofOne(relation: Relation): Beneath {
    let found = this.#known.get(relation.oid);
    if (found === undefined) {
      found = this.#reach(relation);
      this.#known.set(relation.oid, found);
    }
    return found;
  }

  #reach(start: Relation): Beneath {
    const reached = new Set([start]);
    let more = false;
    for (const relation of reached) {
      if (isSystem(relation)) continue;
      const { lineage, kind } = relation;
      const isView = kind === "view" || kind === "materialized view";
      more ||= isView && (lineage === undefined || lineage.functions.some((oid) => this.#readsTables(oid)));
      const next = [...relation.parents, ...(lineage?.dependsOn ?? []).map((each) => each.relation)];
      for (const oid of next) {
        const other = this.#catalog.relationsByOid.get(oid);
        if (other === undefined) more = true;
        else reached.add(other);
      }
      for (const child of this.#childrenOf(relation.oid)) reached.add(child);
    }
    if (reached.size === 1 && !more) return NOTHING;
    reached.delete(start);
    return { relations: [...reached].map(({ schema, name }) => `${schema}.${name}`), more };
  }

  #readsTables(oid: number): boolean {
    const fn = this.#catalog.functionsByOid.get(oid);
    return fn === undefined || !readsItsArgumentsOnly(fn);
  }

  #childrenOf(oid: number): readonly Relation[] {
    if (this.#children === undefined) {
      this.#children = new Map();
      for (const child of this.#catalog.relations.values()) {
        for (const parent of child.parents) {
          const siblings = this.#children.get(parent);
          if (siblings === undefined) this.#children.set(parent, [child]);
          else siblings.push(child);
        }
      }
    }
    return this.#children.get(oid) ?? [];
  }
}

function isSystem({ schema }: Relation): boolean {
  return schema === "pg_catalog" || schema === "information_schema";
}
