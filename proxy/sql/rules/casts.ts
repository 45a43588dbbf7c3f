import {
  type Catalog,
  type CatalogCast,
  type CatalogType,
  isPlainExtensionFunction,
  type Relation,
} from "../../catalog/catalog.ts";
import { groupBy } from "../../catalog/group.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { columnsMeant } from "./base-columns.ts";
import { functionsMeant } from "./calls.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";
import { forbiddenCall } from "./permission.ts";
import { typesNamed } from "./types.ts";

/*
 * A cast may run a user-defined function (CREATE CAST … WITH FUNCTION), and Postgres applies casts implicitly: when
 * storing, comparing, concatenating. So a statement that contains a value of such a type is judged as one that calls
 * the function.
 */

interface UnknownCasts {
  readonly all: readonly CatalogCast[];
  /**
   * Between types that need not be named: types of constants, and argument and result types of Postgres's own
   * functions.
   */
  readonly anywhere: readonly CatalogCast[];
  /** By a user-defined type, wherever there is a value of it. */
  readonly byType: ReadonlyMap<number, readonly CatalogCast[]>;
  /** By one of Postgres's own types, when a value is converted to it. */
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
    const of = (kind: CastSite["kind"]) => all.filter((cast) => placeOf(catalog, cast).kind === kind);
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

/**
 * Postgres's own functions and operators make texts and documents from any value, and use explicit casts for it too.
 */
const MADE_OF_ANYTHING: ReadonlySet<string> = new Set(["json", "jsonb", "xml"]);

interface CastSite {
  readonly kind: "anywhere" | "type" | "target";
  readonly type: number;
}

/** What a statement must contain for the cast to be applied in it. */
function placeOf({ typesByOid }: Catalog, { source, target, context }: CatalogCast): CastSite {
  const [from, to] = [typesByOid.get(source), typesByOid.get(target)];
  if (from?.schema !== "pg_catalog") return { kind: "type", type: source };
  if (to?.schema !== "pg_catalog") return { kind: "type", type: target };
  const isMade = to.category === "S" || MADE_OF_ANYTHING.has(to.name);
  return { kind: context === "implicit" || isMade ? "anywhere" : "target", type: target };
}

/** Why the role may not run the statement: a cast that it may apply runs a function that the role may not call. */
export function forbiddenCast(statement: BoundStatement, given: CastsGiven): Refusal | undefined {
  for (const cast of castsApplied(statement, given).values()) {
    const refusal = forbidden(given, cast);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

type CastsGiven = Omit<Given, "castFunctions">;

/**
 * Casts with user-defined functions, by the oids of these functions: one entry per function that may run, because each
 * may be about another person.
 */
export type Casts = ReadonlyMap<number, CatalogCast>;

const NONE: Casts = new Map();

/** The casts that a statement may apply. */
export function castsApplied(statement: BoundStatement, given: CastsGiven): Casts {
  if (unknownCasts(given.catalog).all.length === 0) return NONE;
  const casts = new CastsMet(given.catalog);
  if (!WITHOUT_VALUES.has(statement.kind)) casts.anywhere();
  meetQueries(casts, statement, given, statement.queries);
  for (const oid of typesNamed(given.catalog, statement.parameterTypes)) casts.named(oid);
  return casts.met;
}

const WITHOUT_VALUES: ReadonlySet<BoundStatement["kind"]> = new Set(["utility", "lock", "create as"]);

/** Whether the values that a write stores may be made by a cast other than those that its target needs anyway. */
export function castsIntoWrite(statement: BoundStatement, given: CastsGiven, query: BoundQuery): boolean {
  const { write, form } = query;
  if (write === undefined || unknownCasts(given.catalog).all.length === 0) return false;
  const anyway = new CastsMet(given.catalog);
  anyway.anywhere();
  meetColumns(anyway, write.target, true);
  const values = new CastsMet(given.catalog);
  const within = form === "insert" ? write.source : query;
  if (within !== undefined)
    meetQueries(
      values,
      statement,
      given,
      statement.queries.filter((each) => isWithin(statement, each, within)),
    );
  return [...values.met.keys()].some((oid) => !anyway.met.has(oid));
}

function isWithin({ parentOf }: BoundStatement, query: BoundQuery, outer: BoundQuery): boolean {
  for (let at: BoundQuery | undefined = query; at !== undefined; at = parentOf.get(at))
    if (at === outer) return true;
  return false;
}

function meetQueries(
  casts: CastsMet,
  statement: BoundStatement,
  { catalog, sights }: CastsGiven,
  queries: readonly BoundQuery[],
): void {
  const wholes = new Set([...statement.meanings.values()].flatMap((meaning) => columnsMeant(meaning).wholes));
  for (const { relations, write, calls, operators, types } of queries) {
    for (const relation of relations) {
      const isTarget = relation === write?.target;
      meetColumns(casts, relation, isTarget);
      // From a subquery it is a row of no type.
      const isRow = isTarget || sightOf(sights, relation)?.guarded !== true;
      if (isRow && wholes.has(relation)) meetRow(casts, relation);
    }
    for (const call of calls)
      for (const { schema, returnType } of functionsMeant(catalog, call))
        if (schema !== "pg_catalog") casts.made(returnType);
    for (const { symbol, schema } of operators)
      for (const operator of schema === "pg_catalog" ? [] : (catalog.operatorsOutside.get(symbol) ?? []))
        casts.made(catalog.functionsByOid.get(operator.function)?.returnType ?? 0);
    for (const oid of typesNamed(catalog, types)) casts.named(oid);
  }
}

/** Values of the relation's columns are used, or are created if it is the target of a write. */
function meetColumns(casts: CastsMet, { source }: BoundRelation, isTarget: boolean): void {
  if (source.kind !== "table") return;
  for (const { typeOid } of source.relation.columns) {
    if (isTarget) casts.named(typeOid);
    else casts.made(typeOid);
  }
}

/** A row as a whole, of the relation's own type. */
function meetRow(casts: CastsMet, { source }: BoundRelation): void {
  if (source.kind === "table") casts.row(source.relation);
}

/** The casts found so far. */
class CastsMet {
  readonly met = new Map<number, CatalogCast>();
  readonly #catalog: Catalog;
  readonly #unknown: UnknownCasts;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    this.#unknown = unknownCasts(catalog);
  }

  anywhere(): void {
    this.#add(this.#unknown.anywhere);
  }

  /** A value of the type is used, and therefore the values that can be extracted from it. */
  made(oid: number): void {
    this.#ofTypes(oid, this.#unknown.byType);
  }

  /** Something is converted to this type. */
  named(oid: number): void {
    this.made(oid);
    this.#ofTypes(oid, this.#unknown.byTarget);
  }

  row({ oid }: Relation): void {
    for (const [type, casts] of this.#unknown.byType)
      if (this.#catalog.typesByOid.get(type)?.relation === oid) this.#add(casts);
  }

  #ofTypes(oid: number, casts: ReadonlyMap<number, readonly CatalogCast[]>): void {
    if (casts.size === 0) return;
    for (const type of typesWithin(this.#catalog, oid) ?? casts.keys()) this.#add(casts.get(type) ?? []);
  }

  #add(casts: readonly CatalogCast[]): void {
    for (const cast of casts) if (!this.met.has(cast.function)) this.met.set(cast.function, cast);
  }
}

/** Whether a value of the type may run a user-defined function that the statement does not name. */
export function hasUnknownCasts(catalog: Catalog, oid: number): boolean {
  const { byType, byTarget } = unknownCasts(catalog);
  if (byType.size === 0 && byTarget.size === 0) return false;
  const types = typesWithin(catalog, oid);
  return types === undefined || [...types].some((type) => byType.has(type) || byTarget.has(type));
}

/** Includes the types of its elements, of its fields, and of a domain's base; undefined if some of them are unknown. */
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

function forbidden(given: CastsGiven, { source, target, function: oid }: CatalogCast): Refusal | undefined {
  const { functionsByOid, typesByOid } = given.catalog;
  const fn = functionsByOid.get(oid);
  const [from, to] = [source, target].map((type) => nameOf(typesByOid.get(type)));
  const how = `, by which ${from} is cast to ${to}`;
  if (fn === undefined)
    return refuse("42501", `a function is not known${how}`, {
      hint: "It may have been made a moment ago: run the statement again.",
    });
  return forbiddenCall(given, fn, how);
}

function nameOf(type: CatalogType | undefined): string {
  return type === undefined ? "a type" : `${type.schema}.${type.name}`;
}
