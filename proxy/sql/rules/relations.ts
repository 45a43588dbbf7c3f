import { type Relation, relationKey } from "../../catalog/catalog.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement, RelationSource } from "../bind/bound.ts";
import { Lineage } from "../lineage.ts";
import type { RelationSight, Sight, Sights } from "../sight.ts";
import { isOpenSystemRelation, isSystemSchema } from "../system-relations.ts";
import { denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { sightOf } from "./people.ts";

/* Which relations a statement reads and writes, and whether the role may do so. */

/** A reference to a relation of the catalog. */
export interface Use {
  readonly reference: BoundRelation;
  readonly relation: Relation;
  /** `schema.name` */
  readonly key: string;
  /** Undefined for system relations that are shown unchanged. */
  readonly sight: RelationSight | undefined;
  /** The target of a write. */
  readonly isTarget: boolean;
}

/** All references to relations, from the outside in: those in FROM before those in expressions. */
export function usesOf(statement: BoundStatement, sights: Sights): readonly Use[] {
  return inOrder(statement).flatMap(({ reference, isTarget }) => {
    const { source } = reference;
    if (source.kind !== "table") return [];
    const { relation } = source;
    const key = relationKey(relation.schema, relation.name);
    return [{ reference, relation, key, sight: sightOf(sights, reference), isTarget }];
  });
}

/** A relation of the database's own data. A system relation is none, even if some of its columns are hidden. */
export function isOfData({ sight, relation }: Use): boolean {
  return sight !== undefined && !isSystemSchema(relation.schema);
}

interface Placed {
  readonly reference: BoundRelation;
  readonly isTarget: boolean;
}

function inOrder({ queries, parentOf, bodyOf }: BoundStatement): readonly Placed[] {
  const found: Placed[] = [];
  const inner = new Map<BoundQuery, BoundQuery[]>();
  for (const [query, parent] of parentOf) inner.set(parent, [...(inner.get(parent) ?? []), query]);
  const seen = new Set<BoundQuery>();
  const visit = (query: BoundQuery): void => {
    if (seen.has(query)) return;
    seen.add(query);
    const { withs, relations, write } = query;
    for (const each of withs) {
      const body = bodyOf.get(each);
      if (body !== undefined) visit(body);
    }
    for (const reference of relations) {
      found.push({ reference, isTarget: reference === write?.target });
      if (reference.source.kind === "subquery") visit(reference.source.query);
    }
    inner.get(query)?.forEach(visit);
  };
  queries.toReversed().forEach(visit);
  return found;
}

/** Why a relation may not be read or written as the statement does, or why the meaning of a name is uncertain. */
export function forbiddenRelation(statement: BoundStatement, given: Given): Refusal | undefined {
  for (const { reference, isTarget } of inOrder(statement)) {
    const refusal = forbidden(given, reference, isTarget);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function forbidden(given: Given, { source }: BoundRelation, isTarget: boolean): Refusal | undefined {
  switch (source.kind) {
    case "table":
      return (
        elsewhere(given, source) ??
        severalMeant(given, source) ??
        (isTarget ? unwritable(given, source.relation) : unreadable(given, source.relation))
      );
    case "unknown table":
      return elsewhere(given, source) ?? unknown(source);
    default:
      return undefined;
  }
}

type Named = Pick<Extract<RelationSource, { kind: "unknown table" }>, "name">;

function elsewhere({ catalog }: Given, { name }: Named): Refusal | undefined {
  const { catalogname, schemaname, relname } = name;
  if (catalogname === undefined || catalogname === catalog.database) return undefined;
  return refuse(
    "42501",
    `cross-database references are not implemented: "${catalogname}.${schemaname}.${relname}"`,
    { hint: "Write schema and name alone, and connect to the database in which the relation is." },
  );
}

function unknown({ name: { schemaname, relname = "" } }: Named): Refusal {
  const name = schemaname === undefined ? relname : `${schemaname}.${relname}`;
  return refuse("42P01", `relation "${name}" does not exist`, {
    hint: "Sluice knows the relations of its last look at the catalog; temporary ones it does not know.",
  });
}

/** Two relations of one name that the role sees differently. */
function severalMeant(
  { sights }: Given,
  { relation, namesakes, name }: Extract<RelationSource, { kind: "table" }>,
): Refusal | undefined {
  const all = [relation, ...namesakes];
  if (namesakes.length === 0 || !all.some((each) => isGuardedElsewhere(sights, each, relation)))
    return undefined;
  return refuse(
    "42501",
    `"${name.relname ?? ""}" may mean ${all.map((each) => `${each.schema}.${each.name}`).join(" or ")}`,
    { hint: "Write the schema before the name." },
  );
}

function isGuardedElsewhere(sights: Sights, relation: Relation, first: Relation): boolean {
  if (isSystemSchema(first.schema)) return false;
  const sight = isSystemSchema(relation.schema) ? undefined : sights.of(relation);
  return sight !== undefined && (!sight.ok || sight.sight.guarded || sight.sight.people !== undefined);
}

/** Readable: granted by the role, and visible in some way. */
function unreadable(given: Given, relation: Relation): Refusal | undefined {
  const { role, sights } = given;
  const key = relationKey(relation.schema, relation.name);
  if (isSystemSchema(relation.schema)) {
    const isShown =
      sights.ofSystem(relation) !== undefined || isOpenSystemRelation(relation.schema, relation.name);
    if (isShown) return undefined;
    return denied(
      role,
      `role "${role.name}" may not read ${key}`,
      "reads",
      "It may hold data of protected columns, secrets or other sessions' statements; only a role that sees, reads and writes all may read it.",
    );
  }
  const sight = sights.of(relation);
  return sight.ok ? undefined : closed(given, relation, key, sight.reason);
}

type Reason = Extract<Sight, { ok: false }>["reason"];

function closed(given: Given, relation: Relation, key: string, reason: Reason): Refusal {
  const { role } = given;
  switch (reason) {
    case "not granted":
      return denied(
        role,
        `role "${role.name}" may not read ${key}`,
        "reads",
        `Add ${key} under "reads:" of ${placeOfRole(role)}${subjectAdvice(given, relation)}.`,
      );
    case "misnamed":
      return refuse("42501", `${key} is closed: the policy names a column of it that is not there`, {
        hint: 'The DBA finds it with "sluice policy check --upstream …" and in the log.',
      });
    case "filter unsure":
      return refuse("42501", `${key} is closed: its filter may mean an operator of a user's own`, {
        rule: `roles.${role.name}.only`,
        hint: 'The DBA finds it with "sluice policy check --upstream …".',
      });
    case "filtered below":
      return denied(
        role,
        `${key} shows rows of a relation that role "${role.name}" sees only in part`,
        "only",
        `Give ${key} an entry of its own under "tables:", and a condition under "only:" of ${placeOfRole(role)} if it needs one.`,
      );
  }
}

/** A grant alone would open a table whose rows count no one: the hint must not suggest that. */
function subjectAdvice({ policy, role, catalog }: Given, relation: Relation): string {
  const { columns, people } = new Lineage(policy, catalog).labels(relation);
  const isCounted = role.budget.some(({ what }) => what === "people");
  if (people.size > 0 || !(isCounted || (columns.size === 0 && policy.unclassified === "show"))) return "";
  const what = isCounted ? "count no one" : "are shown as they are";
  return `. If it is about people, name the person of a row and the classes of its columns under "tables:": until then its rows ${what}`;
}

function unwritable(given: Given, relation: Relation): Refusal | undefined {
  const { role, sights } = given;
  const key = relationKey(relation.schema, relation.name);
  if (isSystemSchema(relation.schema) || !sights.mayWrite(relation))
    return denied(
      role,
      `role "${role.name}" may not write ${key}`,
      "writes",
      `Add ${key} under "writes:" of ${placeOfRole(role)}.`,
    );
  if (sights.of(relation).ok) return undefined;
  return denied(
    role,
    `role "${role.name}" may not read ${key}`,
    "reads",
    `Writing needs the right to read: add ${key} under "reads:" of ${placeOfRole(role)}${subjectAdvice(given, relation)}.`,
  );
}
