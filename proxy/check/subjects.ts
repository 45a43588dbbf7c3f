import type { Catalog, Relation } from "../catalog/catalog.ts";
import { relationKey } from "../catalog/catalog.ts";
import { type Role, relationSetHas } from "../policy/policy.ts";
import { isUnique } from "../policy/subject-path.ts";
import { isSystemSchema } from "../sql/system-relations.ts";
import { type Check, type Checked, hasPeopleBudget, listed, rolesText, warning } from "./checked.ts";

/* Subjects that do not tell people apart, and tables of people's data without one. */

/**
 * A subject whose values repeat, of a type that does not identify rows: whoever reads a million customers by
 * `subject: birth_date` has read thirty thousand people.
 */
export const coarseSubjects: Check = ({ policy, catalog }) =>
  catalog === undefined
    ? []
    : [...policy.tables.values()].flatMap(({ name, subject, path, subjectPlace, place }) => {
        const relation = catalog.relations.get(name);
        if (relation === undefined || subject === undefined || path !== undefined) return [];
        if (relation.kind === "view" || isUnique(relation, subject) || leadsOn(relation, subject)) return [];
        const column = relation.columns.find((each) => each.name === subject);
        if (column === undefined || !isCoarse(catalog, column.typeOid)) return [];
        const what = `one value of ${name}.${subject}, the subject, may belong to many people: it is neither a key nor a foreign key`;
        const hint =
          "Name the column that identifies the person. If each value is one person's, add a unique index or a foreign key.";
        return [warning(subjectPlace ?? place, what, hint)];
      });

function leadsOn({ foreignKeys }: Relation, column: string): boolean {
  return foreignKeys.some(({ columns }) => columns.length === 1 && columns[0] === column);
}

/** pg_type.typcategory of dates, booleans and enums. A text may be an address or a number that identifies a person. */
const COARSE: ReadonlySet<string> = new Set(["D", "B", "E"]);

function isCoarse({ typesByOid }: Catalog, oid: number): boolean {
  return COARSE.has(typesByOid.get(oid)?.category ?? "");
}

/**
 * Tables without an entry whose foreign keys lead to people, for roles with a budget of people: their columns are
 * shown, and their rows count no one.
 */
export const forgottenTables: Check = (checked) => {
  const { policy, catalog } = checked;
  if (catalog === undefined || policy.unclassified !== "show") return [];
  const forgotten = [...catalog.relations.values()].filter((relation) => isForgotten(relation, checked));
  return checked.roles.filter(hasPeopleBudget).flatMap((role) => {
    const read = forgotten.filter(({ schema, name }) => relationSetHas(role.reads, schema, name));
    if (read.length === 0) return [];
    const names = read.map(({ schema, name }) => relationKey(schema, name));
    const what = `${rolesText([role])} reads ${listed(names)}, whose foreign keys lead to people and which ${names.length === 1 ? "has" : "have"} no entry under "tables:": all columns are shown, and no one is counted`;
    const hint = `Name the person of a row and the classes of its columns: ${names[0]}: { subject: …, columns: { … } }.`;
    return [warning(readsPlace(checked, role), what, hint)];
  });
};

function isForgotten(relation: Relation, { policy, catalog, lineage }: Checked): boolean {
  const { schema, name, foreignKeys, kind } = relation;
  if (kind !== "table" || isSystemSchema(schema) || policy.tables.has(relationKey(schema, name)))
    return false;
  const labels = lineage?.labels(relation);
  if (labels === undefined || labels.columns.size > 0 || labels.people.size > 0) return false;
  return foreignKeys.some(({ columns, references, referencedColumns }) => {
    const target = catalog?.relationsByOid.get(references);
    const entry = target && policy.tables.get(relationKey(target.schema, target.name));
    return columns.length === 1 && entry?.subject !== undefined && referencedColumns[0] === entry.subject;
  });
}

function readsPlace(checked: Checked, role: Role) {
  return checked.written(role)?.keys.get("reads") ?? role.place;
}
