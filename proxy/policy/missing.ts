import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import { type Policy, type Role, relationSetHas, type TablePolicy } from "./policy.ts";
import { nearest, suggest } from "./problems.ts";

/*
 * Names in a policy that do not exist in a database, and what that leaves unprotected. The hint of such a problem is
 * about the table that does exist: it is exposed while the policy names another.
 */

/**
 * Columns that a table's policy names and the table does not have: renamed in the database, or misspelt. The column
 * that was meant then has no class and would be shown, so a limited role may not read the table at all.
 */
export function missingColumns(table: TablePolicy, relation: Relation): readonly string[] {
  const named = [
    ...(table.subject === undefined ? [] : [table.subject]),
    ...table.columns.keys(),
    ...table.documents.keys(),
  ];
  return [...new Set(named)].filter((name) => !relation.columns.some((column) => column.name === name));
}

const LATER = "or write allow_missing: true";

/** The hint for a table under `tables:` that does not exist. */
export function missingTableHint(name: string, policy: Policy, catalog: Catalog): string {
  const meant = nearest(name, relationsWithoutEntry(policy, catalog));
  const advice = `Correct the name, ${LATER} if the table is made later.`;
  if (meant !== undefined) return `Did you mean "${meant}"? ${exposure(meant, policy)} ${advice}`;
  return `This entry protects nothing; if the table has another name there, that one is unprotected. ${advice}`;
}

/** The hint for a column that an entry under `tables:` names and the table does not have. */
export function missingColumnHint(column: string, relation: Relation): string {
  const key = relationKey(relation.schema, relation.name);
  const names = relation.columns.map(({ name }) => name);
  const now = `Until then ${key} is closed to all roles but those that see all, and they read it in the clear.`;
  return suggest(column, names, `${now} Correct the name, ${LATER} for ${key} if the column is made later.`);
}

/**
 * The hint for a missing table in a rule of a role that names the tables `named`; `open` describes what is exposed of
 * the table that was meant.
 */
export function missingFilterHint(
  name: string,
  named: { has(table: string): boolean },
  open: (table: string) => string,
  role: Role,
  catalog: Catalog,
): string {
  const others = ownRelations(catalog).filter((each) => isRead(role, each) && !named.has(each));
  const meant = nearest(name, others);
  const what = open(meant ?? "the table that was meant");
  const advice = `Correct the name, or give ${name} an entry with allow_missing: true under "tables:".`;
  return `${meant === undefined ? "" : `Did you mean "${meant}"? `}Until then ${what}. ${advice}`;
}

/** What is exposed of a table that has no entry under `tables:`. */
function exposure(name: string, policy: Policy): string {
  const readers = [...policy.roles.values()].filter((role) => isRead(role, name) && role.sees !== "all");
  const who = readers.map((role) => `"${role.name}"`).join(", ");
  if (readers.length === 0) return "It has no entry of its own, so nothing protects it once a role reads it.";
  const columns = {
    show: `its columns without a class are shown in the clear to ${who}`,
    mask: `its columns without a class are NULL to ${who}`,
    deny: `its columns without a class may not be read by ${who}`,
  }[policy.unclassified];
  return `It has no entry of its own: ${columns}, and its rows count no one.`;
}

function relationsWithoutEntry(policy: Policy, catalog: Catalog): readonly string[] {
  return ownRelations(catalog).filter((key) => !policy.tables.has(key));
}

/** The database's own relations, without those of the server. */
function ownRelations({ relations }: Catalog): readonly string[] {
  return [...relations].flatMap(([key, { schema, kind }]) =>
    kind === "sequence" || schema.startsWith("pg_") || schema === "information_schema" ? [] : [key],
  );
}

function isRead(role: Role, key: string): boolean {
  const dot = key.indexOf(".");
  return relationSetHas(role.reads, key.slice(0, dot), key.slice(dot + 1));
}
