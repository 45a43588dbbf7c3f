import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import { type Policy, type Role, relationSetHas, type TablePolicy } from "./policy.ts";
import { nearest, suggest } from "./problems.ts";

/*
 * What a policy names and a database does not have, and what that leaves unprotected. The hint of such a problem
 * is about the table that is really there: it is what somebody reads while the policy speaks of another.
 */

/**
 * Columns that a table's policy names and the table has not: renamed in the database, or misspelt. The column
 * that was meant has no class then and would be shown, so a limited role may not read the table at all.
 */
export function missingColumns(table: TablePolicy, relation: Relation): readonly string[] {
  const named = [...(table.subject === undefined ? [] : [table.subject]), ...table.columns.keys()];
  return [...new Set(named)].filter((name) => !relation.columns.some((column) => column.name === name));
}

const LATER = "or say allow_missing: true";

/** Of a table under `tables:` that is not there. */
export function missingTableHint(name: string, policy: Policy, catalog: Catalog): string {
  const meant = nearest(name, relationsWithoutEntry(policy, catalog));
  const advice = `Correct the name, ${LATER} if the table is made later.`;
  if (meant !== undefined) return `Did you mean "${meant}"? ${exposure(meant, policy)} ${advice}`;
  return `This entry protects nothing; if the table has another name there, that one is unprotected. ${advice}`;
}

/** Of a column that an entry under `tables:` names and its table does not have. */
export function missingColumnHint(column: string, relation: Relation): string {
  const key = relationKey(relation.schema, relation.name);
  const names = relation.columns.map(({ name }) => name);
  const now = `Until then ${key} is closed to all roles but those that see all, and they read it in the clear.`;
  return suggest(column, names, `${now} Correct the name, ${LATER} for ${key} if the column is made later.`);
}

/** Of a table under `only:` or `require_filter:` of a role. */
export function missingFilterHint(
  key: "only" | "require_filter" | "purpose",
  name: string,
  role: Role,
  catalog: Catalog,
): string {
  const own: ReadonlyMap<string, unknown> | ReadonlySet<string> =
    key === "require_filter" ? role.requireFilter : role[key];
  const others = ownRelations(catalog).filter((each) => isRead(role, each) && !own.has(each));
  const meant = nearest(name, others);
  const what = {
    only: `role "${role.name}" reads all rows of ${meant ?? "the table that was meant"}`,
    require_filter: `role "${role.name}" reads ${meant ?? "the table that was meant"} without a condition`,
    purpose: `nobody's reading of ${meant ?? "the table that was meant"} is looked at`,
  }[key];
  const advice = `Correct the name, or give ${name} an entry with allow_missing: true under "tables:".`;
  return `${meant === undefined ? "" : `Did you mean "${meant}"? `}Until then ${what}. ${advice}`;
}

/** What is open of a table that has no entry under `tables:`. */
function exposure(name: string, policy: Policy): string {
  const readers = [...policy.roles.values()].filter((role) => isRead(role, name) && role.sees !== "all");
  const who = readers.map((role) => `"${role.name}"`).join(", ");
  if (readers.length === 0) return "It has no entry of its own, so nothing protects it once a role reads it.";
  const columns = {
    show: `its columns without a class are shown in the clear to ${who}`,
    mask: `its columns without a class are NULL to ${who}`,
    deny: `its columns without a class may not be read by ${who}`,
  }[policy.unclassified];
  return `It has no entry of its own: ${columns}, and its rows count nobody.`;
}

function relationsWithoutEntry(policy: Policy, catalog: Catalog): readonly string[] {
  return ownRelations(catalog).filter((key) => !policy.tables.has(key));
}

/** The database's own, without what belongs to the server. */
function ownRelations({ relations }: Catalog): readonly string[] {
  return [...relations].flatMap(([key, { schema, kind }]) =>
    kind === "sequence" || schema.startsWith("pg_") || schema === "information_schema" ? [] : [key],
  );
}

function isRead(role: Role, key: string): boolean {
  const dot = key.indexOf(".");
  return relationSetHas(role.reads, key.slice(0, dot), key.slice(dot + 1));
}
