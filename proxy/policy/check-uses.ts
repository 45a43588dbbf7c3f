import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import type { Condition, Place } from "./policy.ts";
import { type ExpressionUse, parseCondition } from "./policy-sql.ts";
import { suggest } from "./problems.ts";
import type { Database } from "./rules/rule.ts";
import { strangeOperator } from "./strange-operator.ts";

/* Checks the names in the policy's own SQL against a database. */

/** Checks a condition over the columns of one relation. */
export function checkRowCondition(
  what: string,
  condition: Condition,
  relation: Relation,
  database: Pick<Database, "catalog" | "report">,
): void {
  const parsed = parseCondition(condition.sql);
  if (!parsed.ok) return;
  for (const column of unknownColumns(parsed.use, relation)) {
    const names = relation.columns.map((known) => known.name);
    const hint = suggest(column, names, "Whatever needs it will fail.");
    const key = relationKey(relation.schema, relation.name);
    const problem = `${what} names "${column}", which is not a column of it`;
    database.report("error", condition.place, problem, hint, [key]);
  }
  checkUse(what, parsed.use, condition.place, database);
}

/** Columns that an expression names and the relation does not have. */
export function unknownColumns(use: ExpressionUse, relation: Relation): readonly string[] {
  return use.columns.filter((name) => !relation.columns.some((column) => column.name === name));
}

/** Checks the relations, operators and functions that an expression names. */
export function checkUse(
  what: string,
  use: ExpressionUse,
  place: Place,
  { catalog, report }: Pick<Database, "catalog" | "report">,
): void {
  for (const name of use.relations) {
    if (catalog.relations.has(name)) continue;
    const hint = suggest(name, catalog.relations.keys(), "");
    report("error", place, `${what} reads ${name}, which is not there`, hint, [name]);
  }
  const strange = strangeOperator(use, catalog);
  if (strange !== undefined) {
    report(
      "error",
      place,
      `${what} may mean the operator ${strange.schema}.${strange.name}, which runs code of a user's`,
      `Write OPERATOR(pg_catalog.${strange.name}) for Postgres's own; until then it hides what it would show.`,
    );
  }
  for (const name of use.functions) {
    if (hasFunction(catalog, name)) continue;
    const bare = name.slice(name.indexOf(".") + 1);
    const elsewhere = (catalog.functionsByName.get(bare) ?? []).map(({ schema }) => `${schema}.${bare}`);
    const hint = elsewhere.length > 0 ? `Write it with its schema: ${elsewhere[0]}.` : "";
    report("error", place, `${what} calls ${name}, which is not there`, hint);
  }
}

function hasFunction(catalog: Catalog, qualified: string): boolean {
  const dot = qualified.indexOf(".");
  const known = catalog.functionsByName.get(qualified.slice(dot + 1)) ?? [];
  return known.some(({ schema }) => schema === qualified.slice(0, dot));
}
