import type { RangeVar } from "libpg-query";
import { type Relation, relationKey } from "../catalog/catalog.ts";
import type { Analysis, RelationUse } from "./analysis.ts";
import { meetColumns } from "./casts.ts";
import { Lineage } from "./lineage.ts";
import type { Scope } from "./scope.ts";
import { quoteQualified } from "./source.ts";
import { isOpenSystemRelation, isSystemSchema } from "./system-relations.ts";

/** The relation that a name is bound to. Refuses what may mean two things or nothing known. */
export function resolveRelation(analysis: Analysis, name: RangeVar): Relation {
  const { catalog } = analysis.scope;
  const relname = name.relname ?? "";
  const { source } = analysis.referenceOf(name);
  if (name.catalogname !== undefined && name.catalogname !== catalog.database) {
    return analysis.refuse(
      "42501",
      `cross-database references are not implemented: "${name.catalogname}.${name.schemaname}.${relname}"`,
      { hint: "Write schema and name alone, and connect to the database in which the relation is." },
    );
  }
  if (source.kind !== "table") return unknown(analysis, name);
  const { relation, namesakes } = source;
  const all = [relation, ...namesakes];
  if (namesakes.length > 0 && all.some((each) => isGuardedElsewhere(analysis, each, relation))) {
    return analysis.refuse(
      "42501",
      `"${relname}" may mean ${all.map((each) => `${each.schema}.${each.name}`).join(" or ")}`,
      {
        hint: "Write the schema before the name.",
      },
    );
  }
  return relation;
}

function isGuardedElsewhere(analysis: Analysis, relation: Relation, first: Relation): boolean {
  if (isSystemSchema(first.schema)) return false;
  const sight = isSystemSchema(relation.schema) ? undefined : analysis.sights.of(relation);
  return sight !== undefined && (!sight.ok || sight.sight.guarded || sight.sight.people !== undefined);
}

function unknown(analysis: Analysis, { schemaname, relname = "" }: RangeVar): never {
  const name = schemaname === undefined ? relname : `${schemaname}.${relname}`;
  return analysis.refuse("42P01", `relation "${name}" does not exist`, {
    hint: "Sluice knows the relations of its last look at the catalog; temporary ones it does not know.",
  });
}

/** A relation that is read: granted by the role, and seen in some way. */
export function readUse(analysis: Analysis, name: RangeVar): RelationUse {
  const relation = resolveRelation(analysis, name);
  const key = relationKey(relation.schema, relation.name);
  const reference = analysis.referenceOf(name);
  const base = { reference, relation, key, conditions: [], isTarget: false };
  if (isSystemSchema(relation.schema)) {
    const system = analysis.sights.ofSystem(relation);
    if (system !== undefined) return record(analysis, { ...base, sight: system });
    if (!isOpenSystemRelation(relation.schema, relation.name)) {
      analysis.deny(
        `role "${analysis.scope.role.name}" may not read ${key}`,
        "reads",
        "It may hold data of protected columns, secrets or other sessions' statements; only a role that sees, reads and writes all may read it.",
      );
    }
    return record(analysis, { ...base, sight: undefined });
  }
  const sight = analysis.sights.of(relation);
  if (!sight.ok) {
    if (sight.reason === "not granted") {
      analysis.deny(
        `role "${analysis.scope.role.name}" may not read ${key}`,
        "reads",
        `Add ${key} under "reads:" of ${analysis.rolePlace}${subjectAdvice(analysis.scope, relation)}.`,
      );
    }
    if (sight.reason === "misnamed") {
      analysis.refuse("42501", `${key} is closed: the policy names a column of it that is not there`, {
        hint: 'The DBA finds it with "sluice policy check --upstream …" and in the log.',
      });
    }
    if (sight.reason === "filter unsure") {
      analysis.refuse("42501", `${key} is closed: its filter may mean an operator of a user's own`, {
        rule: `roles.${analysis.scope.role.name}.only`,
        hint: 'The DBA finds it with "sluice policy check --upstream …".',
      });
    }
    analysis.deny(
      `${key} shows rows of a relation that role "${analysis.scope.role.name}" sees only in part`,
      "only",
      `Give ${key} an entry of its own under "tables:", and a condition under "only:" of ${analysis.rolePlace} if it needs one.`,
    );
  }
  analysis.reads.add(key);
  return record(analysis, { ...base, sight: sight.sight });
}

/** A grant alone would open a table whose rows count nobody: the hint must not lead there. */
function subjectAdvice({ policy, role, catalog }: Scope, relation: Relation): string {
  const { columns, people } = new Lineage(policy, catalog).labels(relation);
  const isCounted = role.budget.some(({ what }) => what === "people");
  if (people.size > 0 || !(isCounted || (columns.size === 0 && policy.unclassified === "show"))) return "";
  const what = isCounted ? "count nobody" : "are shown as they are";
  return `. If it is about people, say under "tables:" whose record a row is and what its columns hold: until then its rows ${what}`;
}

/** The target of a write. */
export function writeUse(analysis: Analysis, name: RangeVar): RelationUse {
  const relation = resolveRelation(analysis, name);
  const key = relationKey(relation.schema, relation.name);
  const { role } = analysis.scope;
  if (isSystemSchema(relation.schema) || !analysis.sights.mayWrite(relation)) {
    analysis.deny(
      `role "${role.name}" may not write ${key}`,
      "writes",
      `Add ${key} under "writes:" of ${analysis.rolePlace}.`,
    );
  }
  const sight = analysis.sights.of(relation);
  if (!sight.ok)
    analysis.deny(
      `role "${role.name}" may not read ${key}`,
      "reads",
      `Writing needs the right to read: add ${key} under "reads:" of ${analysis.rolePlace}${subjectAdvice(analysis.scope, relation)}.`,
    );
  analysis.writes.add(key);
  return record(analysis, {
    reference: analysis.referenceOf(name),
    relation,
    key,
    sight: sight.sight,
    conditions: [],
    isTarget: true,
  });
}

function record(analysis: Analysis, use: RelationUse): RelationUse {
  analysis.uses.push(use);
  meetColumns(analysis, use.relation, use.isTarget);
  return use;
}

/** Token indexes of a relation name with what belongs to it: `ONLY (a.b)`, `a.b *`. */
export interface NameSpan {
  readonly first: number;
  readonly last: number;
  readonly nameFirst: number;
  readonly nameLast: number;
  readonly only: boolean;
}

export function nameSpan(analysis: Analysis, name: RangeVar): NameSpan {
  const { source } = analysis;
  const nameFirst = source.tokenAt(name.location ?? 0);
  const nameLast = source.nameEnd(nameFirst);
  const text = (index: number): string => source.token(index)?.text.toLowerCase() ?? "";
  if (name.inh !== true) {
    const inParentheses = text(nameFirst - 1) === "(";
    const first = inParentheses ? nameFirst - 2 : nameFirst - 1;
    if (text(first) !== "only") throw new Error("ONLY is not where the grammar has it");
    return { first, last: inParentheses ? nameLast + 1 : nameLast, nameFirst, nameLast, only: true };
  }
  // "name *" is the old way to say "with its children"; a star is no operator after a relation's name.
  return {
    first: nameFirst,
    last: text(nameLast + 1) === "*" ? nameLast + 1 : nameLast,
    nameFirst,
    nameLast,
    only: false,
  };
}

/**
 * Writes the schema before a name that lacks it: the server resolves names again when it plans, and
 * search_path may be another by then.
 */
export function qualify(analysis: Analysis, name: RangeVar, relation: Relation): void {
  if (name.schemaname !== undefined && name.catalogname === undefined) return;
  const { nameFirst, nameLast } = nameSpan(analysis, name);
  const { source } = analysis;
  const [first, last] = [source.token(nameFirst), source.token(nameLast)];
  if (first === undefined || last === undefined) throw new Error("a name without tokens");
  analysis.edit(first.start, last.end, quoteQualified(relation.schema, relation.name), {
    kind: "relation",
    location: name.location ?? 0,
  });
}
