import {
  type Catalog,
  type CatalogCast,
  type CatalogType,
  isPlainExtensionFunction,
  type Relation,
} from "../catalog/catalog.ts";
import { groupBy } from "../catalog/group.ts";
import type { Analysis } from "./analysis.ts";
import { mayCall } from "./permission.ts";

/*
 * A cast may run a user's function (CREATE CAST … WITH FUNCTION), and Postgres applies casts that nobody writes: to store, to
 * compare, to join texts. So a statement that has a value of such a type is judged as one that calls the function.
 */

interface UnknownCasts {
  readonly all: readonly CatalogCast[];
  /** Between types that need not be named: of constants, and of what Postgres's own functions give and take. */
  readonly anywhere: readonly CatalogCast[];
  /** By a type of a user's, wherever a value of it is. */
  readonly byType: ReadonlyMap<number, readonly CatalogCast[]>;
  /** By a type of Postgres's own, where it is asked for. */
  readonly byTarget: ReadonlyMap<number, readonly CatalogCast[]>;
}

const known = new WeakMap<Catalog, UnknownCasts>();

function unknownCasts(catalog: Catalog): UnknownCasts {
  let casts = known.get(catalog);
  if (casts === undefined) {
    const all = catalog.casts.filter((cast) => {
      const fn = catalog.functionsByOid.get(cast.function);
      return fn === undefined || !isPlainExtensionFunction(fn);
    });
    const of = (kind: Place["kind"]) => all.filter((cast) => placeOf(catalog, cast).kind === kind);
    casts = {
      all,
      anywhere: of("anywhere"),
      byType: groupBy(of("type"), (cast) => placeOf(catalog, cast).type),
      byTarget: groupBy(of("target"), ({ target }) => target),
    };
    known.set(catalog, casts);
  }
  return casts;
}

/** Texts and documents are made of any value by Postgres's own functions and operators, explicit casts included. */
const MADE_OF_ANYTHING: ReadonlySet<string> = new Set(["json", "jsonb", "xml"]);

interface Place {
  readonly kind: "anywhere" | "type" | "target";
  readonly type: number;
}

/** What a statement must have before the cast is applied in it. */
function placeOf({ typesByOid }: Catalog, { source, target, context }: CatalogCast): Place {
  const [from, to] = [typesByOid.get(source), typesByOid.get(target)];
  if (from?.schema !== "pg_catalog") return { kind: "type", type: source };
  if (to?.schema !== "pg_catalog") return { kind: "type", type: target };
  const isMade = to.category === "S" || MADE_OF_ANYTHING.has(to.name);
  return { kind: context === "implicit" || isMade ? "anywhere" : "target", type: target };
}

/** At the beginning of a query. */
export function meetAnyQuery(analysis: Analysis): void {
  for (const cast of unknownCasts(analysis.scope.catalog).anywhere) judge(analysis, cast);
}

/** Values of the relation's columns are there, or are made where it is the target of a write. */
export function meetColumns(analysis: Analysis, { columns }: Relation, isTarget: boolean): void {
  if (unknownCasts(analysis.scope.catalog).all.length === 0) return;
  for (const { typeOid } of columns) {
    meetType(analysis, typeOid);
    if (isTarget) askForType(analysis, typeOid);
  }
}

/** Something is turned into this type. */
export function askForType(analysis: Analysis, oid: number): void {
  const { byTarget } = unknownCasts(analysis.scope.catalog);
  if (byTarget.size === 0) return;
  for (const type of typesWithin(analysis.scope.catalog, oid) ?? byTarget.keys())
    for (const cast of byTarget.get(type) ?? []) judge(analysis, cast);
}

/** A row as a whole, of the relation's own type. */
export function meetRow(analysis: Analysis, { oid }: Relation): void {
  const { all, byType } = unknownCasts(analysis.scope.catalog);
  if (all.length === 0) return;
  for (const [type, casts] of byType) {
    const isOwn = analysis.scope.catalog.typesByOid.get(type)?.relation === oid;
    if (isOwn) for (const cast of casts) judge(analysis, cast);
  }
}

/** A value of the type is there, and so those that can be taken out of it. */
export function meetType(analysis: Analysis, oid: number): void {
  const { byType } = unknownCasts(analysis.scope.catalog);
  if (byType.size === 0) return;
  for (const type of typesWithin(analysis.scope.catalog, oid) ?? byType.keys())
    for (const cast of byType.get(type) ?? []) judge(analysis, cast);
}

/** Whether a value of the type may bring a user's function along without a word in the statement. */
export function hasUnknownCasts(catalog: Catalog, oid: number): boolean {
  const { byType, byTarget } = unknownCasts(catalog);
  if (byType.size === 0 && byTarget.size === 0) return false;
  const types = typesWithin(catalog, oid);
  return types === undefined || [...types].some((type) => byType.has(type) || byTarget.has(type));
}

/** With the types of its elements, of its fields, of what a domain is made from; undefined where some are not known. */
function typesWithin(catalog: Catalog, oid: number): ReadonlySet<number> | undefined {
  const found = new Set([oid]);
  for (const type of found) {
    const parts = partsOf(catalog, catalog.typesByOid.get(type));
    if (parts === undefined) return undefined;
    for (const part of parts) found.add(part);
  }
  return found;
}

function partsOf({ relationsByOid }: Catalog, type: CatalogType | undefined): readonly number[] | undefined {
  if (type === undefined) return undefined;
  if (type.kind === "composite")
    return relationsByOid.get(type.relation)?.columns.map(({ typeOid }) => typeOid);
  if ((type.kind === "range" || type.kind === "multirange") && type.schema !== "pg_catalog") return undefined;
  return [type.element, type.base].filter((part) => part !== 0);
}

/** Each call may speak of another person, as one that is written: whoever reads `castFunctions` counts it. */
function judge(analysis: Analysis, { source, target, function: oid }: CatalogCast): void {
  if (analysis.castFunctions.has(oid)) return;
  analysis.castFunctions.add(oid);
  const { functionsByOid, typesByOid } = analysis.scope.catalog;
  const fn = functionsByOid.get(oid);
  const [from, to] = [source, target].map((type) => nameOf(typesByOid.get(type)));
  const how = `, by which ${from} is cast to ${to}`;
  if (fn === undefined)
    analysis.refuse("42501", `a function is not known${how}`, {
      hint: "It may have been made a moment ago: run the statement again.",
    });
  mayCall(analysis, fn, how);
}

function nameOf(type: CatalogType | undefined): string {
  return type === undefined ? "a type" : `${type.schema}.${type.name}`;
}
