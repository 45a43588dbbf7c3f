import type { FuncCall, Node, RangeVar, TypeName } from "libpg-query";
import {
  type Catalog,
  type CatalogFunction,
  type CatalogType,
  type Relation,
  relationsNamed,
} from "../catalog/catalog.ts";
import { isHarmlessFunction } from "./functions.ts";
import { stringOf } from "./parse/grammar.ts";

/*
 * Code that a statement runs without naming it, and code that it names. This file decides which of it may change the
 * session.
 */

/**
 * Functions that a guarded role may not call, because they read too much or change something that is checked elsewhere,
 * but that leave nothing else behind.
 */
const QUIET = new Set(["set_config", "current_setting", "setval", "pg_notify", "pg_export_snapshot"]);

/**
 * The name of a built-in function that leaves nothing behind, or whose name says what it leaves; undefined for
 * user-defined code.
 */
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

/**
 * Whether `row.name` may call a user-defined function (Postgres docs, "Functions on Composite Types": a column and a
 * function of the row are written alike). `(value).name` may be a call with a value of any type.
 */
export function mayCall(node: object, { functionsByName, typesByOid }: Catalog): boolean {
  const { fields = [], indirection = [] } = node as {
    fields?: readonly Node[];
    indirection?: readonly Node[];
  };
  const loud = (field: Node) => (functionsByName.get(stringOf(field)) ?? []).filter((fn) => !isQuiet(fn));
  return (
    indirection.some((field) => loud(field).length > 0) ||
    fields.flatMap(loud).some((fn) => {
      const takes = typesByOid.get(fn.argumentTypes[0] ?? 0)?.kind;
      return takes === "composite" || takes === "pseudo" || takes === "domain";
    })
  );
}

/**
 * Whether reading or writing this relation may run code that the statement does not name; "unknown": the catalog has no
 * relation of this name.
 */
export function hidesCode(named: RangeVar, catalog: Catalog): "yes" | "no" | "unknown" {
  const candidates = relationsNamed(catalog, named);
  if (candidates.length === 0) return "unknown";
  return candidates.some((each) => isCoded(each, catalog)) ? "yes" : "no";
}

function isCoded({ schema, kind, hasRules, columns }: Relation, { typesByOid }: Catalog): boolean {
  if (schema === "pg_catalog" || schema === "information_schema") return false;
  if (hasRules || kind === "view" || kind === "foreign table") return true;
  // Implicit casts of user-defined types, and columns that are computed when they are read.
  return columns.some(
    ({ typeOid, generatedFrom }) => generatedFrom !== undefined || isCodedType(typesByOid.get(typeOid)),
  );
}

/** Conditions of domains and casts to user-defined types are code. */
export function namesCodedType({ names }: TypeName, { typesByName }: Catalog): boolean {
  const parts = (names ?? []).map(stringOf);
  const all = typesByName.get(parts.at(-1) ?? "") ?? [];
  const schema = parts.at(-2);
  const candidates = schema === undefined ? all : all.filter((each) => each.schema === schema);
  return candidates.length === 0 || candidates.some(isCodedType);
}

function isCodedType(type: CatalogType | undefined): boolean {
  if (type === undefined) return true;
  const isPlain = type.kind === "base" && type.plainInput && type.element === 0;
  return type.schema !== "pg_catalog" && !isPlain;
}

const codedOperators = new WeakMap<Catalog, boolean>();

/** Whether the database has operators made of more than an extension's C code: any comparison may run them. */
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
