import type { FuncCall, RangeVar, TypeName } from "libpg-query";
import type { Catalog, CatalogFunction, Relation } from "../catalog/catalog.ts";
import { stringOf } from "./from.ts";
import { isHarmlessFunction } from "./functions.ts";

/* Code that a statement runs without naming it, and code that it names: what may change the session is told apart here. */

/** Functions that read too much for a guarded role, or change what is looked at elsewhere, and leave nothing else behind. */
const QUIET = new Set(["set_config", "current_setting", "setval", "pg_notify", "pg_export_snapshot"]);

/** The name of one of Postgres's own functions that leaves nothing behind, or what its name says; undefined: anybody's code. */
export function ownFunction({ funcname }: FuncCall, catalog: Catalog): string | undefined {
  const parts = (funcname ?? []).map(stringOf);
  const name = parts.at(-1) ?? "";
  const schema = parts.at(-2);
  const all = catalog.functionsByName.get(name) ?? [];
  const candidates = schema === undefined ? all : all.filter((each) => each.schema === schema);
  return candidates.length > 0 && candidates.every(isQuiet) ? name : undefined;
}

function isQuiet(fn: CatalogFunction): boolean {
  return isHarmlessFunction(fn) || (fn.schema === "pg_catalog" && QUIET.has(fn.name));
}

/** Whether to read or write this relation may run code that nobody has named; "unknown": the catalog has none of this name. */
export function hidesCode({ schemaname, relname }: RangeVar, { relationsByName }: Catalog) {
  const all = relationsByName.get(relname ?? "") ?? [];
  const candidates = schemaname === undefined ? all : all.filter(({ schema }) => schema === schemaname);
  if (candidates.length === 0) return "unknown";
  return candidates.some(isCoded) ? "yes" : "no";
}

function isCoded({ schema, kind, hasRules }: Relation): boolean {
  if (schema === "pg_catalog" || schema === "information_schema") return false;
  return hasRules || kind === "view" || kind === "foreign table";
}

/** Domains' conditions and casts to somebody's own types are code. */
export function isCodedType({ names }: TypeName, { typesByName }: Catalog): boolean {
  const parts = (names ?? []).map(stringOf);
  const all = typesByName.get(parts.at(-1) ?? "") ?? [];
  const schema = parts.at(-2);
  const candidates = schema === undefined ? all : all.filter((each) => each.schema === schema);
  return (
    candidates.length === 0 ||
    candidates.some((type) => type.schema !== "pg_catalog" && !(type.kind === "base" && type.plainInput))
  );
}

const codedOperators = new WeakMap<Catalog, boolean>();

/** The database has operators that are made of more than an extension's C code: any comparison may run them. */
export function hasCodedOperators(catalog: Catalog): boolean {
  let known = codedOperators.get(catalog);
  if (known === undefined) {
    known = [...catalog.operatorsOutside.values()]
      .flat()
      .some((operator) => !isHarmlessFunction(catalog.functionsByOid.get(operator.function)));
    codedOperators.set(catalog, known);
  }
  return known;
}
