import {
  type Catalog,
  type CatalogType,
  type Column,
  type Relation,
  relationKey,
  returnsNothing,
} from "../catalog/catalog.ts";
import { type ExpressionUse, parseCondition, parseMaskExpression } from "./expressions.ts";
import { type MaskedType, maskSql } from "./masks.ts";
import { missingColumnHint, missingColumns, missingFilterHint, missingTableHint } from "./missing.ts";
import { strangeOperator } from "./operators.ts";
import type { Condition, MarkedCanaries, Place, Policy, Role, TablePolicy } from "./policy.ts";
import { relationSetHas } from "./policy.ts";
import { at, type PolicyProblem, sortProblems, suggest } from "./problems.ts";
import { checkPurpose } from "./purpose.ts";
import { isUnique, resolvePath } from "./subject-path.ts";

/**
 * What a policy says that one database does not bear out. An error: what is there would not be protected as the
 * policy says, for a table or a column that it names is not there, or is not what it takes it for. A warning: a
 * role gets less than it was meant to.
 */
export function checkAgainstCatalog(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  const problems = new Map<string, PolicyProblem>();
  const report: Report = (severity, place, message, hint, missing) => {
    if (missing?.some((table) => policy.tables.get(table)?.allowMissing)) return;
    const problem = {
      severity,
      place,
      message,
      hint,
      ...(missing?.[0] !== undefined && { missing: missing[0] }),
    };
    problems.set(`${place.file}:${place.line}:${place.column}:${message}`, problem);
  };
  for (const table of policy.tables.values()) checkTable(table, policy, catalog, report);
  for (const { name, mask, place } of policy.classes.values()) {
    if (mask.kind !== "sql") continue;
    const parsed = parseMaskExpression(mask.expression);
    if (parsed.ok) checkUse(`the mask of class "${name}"`, parsed.use, place, catalog, report);
  }
  for (const role of policy.roles.values()) checkRole(role, policy, catalog, report);
  for (const marked of policy.canaries?.marked ?? []) checkMark(marked, catalog, report);
  return sortProblems([...problems.values()]);
}

/** The type of a column as masks need it. */
export function maskedType(catalog: Catalog, column: Column): MaskedType {
  const own = catalog.typesByOid.get(column.typeOid);
  let type = own;
  // Clients see a domain as its base type (RowDescription does the same), and a mask need not pass its CHECK.
  while (type?.kind === "domain") type = catalog.typesByOid.get(type.base);
  return {
    sql: type === undefined || type === own ? column.type : qualifiedType(type),
    category: type?.category ?? "X",
    name: typeName(type),
    ...(column.collation === undefined ? {} : { collation: column.collation }),
  };
}

type Report = (
  severity: PolicyProblem["severity"],
  place: Place,
  message: string,
  hint: string,
  /** The table that is not there, or lacks a column; and others that may say as well that this is right. */
  missing?: readonly string[],
) => void;

function checkTable(table: TablePolicy, policy: Policy, catalog: Catalog, report: Report): void {
  const relation = catalog.relations.get(table.name);
  if (relation === undefined) {
    const hint = missingTableHint(table.name, policy, catalog);
    const what = `database "${catalog.database}" has no table ${table.name}`;
    report("error", table.place, what, hint, [table.name]);
    return;
  }
  const names = relation.columns.map(({ name }) => name);
  for (const missing of missingColumns(table, relation)) {
    const what = missing === table.subject ? "the subject" : "the column";
    const hint = missingColumnHint(missing, relation);
    report("error", table.place, `${what} "${missing}" is not in ${table.name}`, hint, [table.name]);
  }
  if (table.path !== undefined && names.includes(table.subject ?? "")) {
    const path = resolvePath(table, relation, policy, catalog);
    if (!path.ok) {
      const over = path.missing === undefined ? undefined : [path.missing, table.name];
      report("error", table.subjectPlace ?? table.place, path.message, path.hint, over);
    }
  }
  for (const [columnName, className] of table.columns) {
    const column = relation.columns.find(({ name }) => name === columnName);
    if (column === undefined) continue;
    const mask = policy.classes.get(className)?.mask;
    if (mask === undefined) continue;
    // Whether a key is set is another question than whether the mask fits.
    const made = maskSql(mask, "value", maskedType(catalog, column), Buffer.alloc(32));
    if (!made.ok) {
      const what = `class "${className}" does not fit ${table.name}.${columnName}: ${made.problem}`;
      report("error", table.place, what, 'Give the column a class with another mask; "null" fits all types.');
    }
  }
}

function checkRole(role: Role, policy: Policy, catalog: Catalog, report: Report): void {
  for (const set of [role.reads, role.writes]) {
    if (set === "all") continue;
    for (const name of set.tables) {
      if (catalog.relations.has(name)) continue;
      if (policy.tables.get(name)?.allowMissing) continue;
      const hint = suggest(name, catalog.relations.keys(), "Until it is there, the grant opens nothing.");
      report(
        "warning",
        role.place,
        `role "${role.name}" names ${name}, which is not in "${catalog.database}"`,
        hint,
      );
    }
    for (const schema of set.schemas) {
      if (catalog.schemas.has(schema)) continue;
      const hint = suggest(schema, catalog.schemas, "");
      report(
        "warning",
        role.place,
        `role "${role.name}" names the schema "${schema}", which is not there`,
        hint,
      );
    }
  }
  for (const [name, result] of role.calls) checkCall(role, name, result, catalog, report);
  for (const name of role.requireFilter) checkFilterable(role, name, catalog, report);
  for (const [name, condition] of role.only) checkFilter(role, name, condition, catalog, report);
  for (const [name, condition] of role.purpose)
    checkPurposeOf(role, name, condition, policy, catalog, report);
  if (role.sees !== "all") {
    for (const [className, sight] of role.sees) {
      if (sight !== "always") checkSight(role, className, sight, policy, catalog, report);
    }
  }
}

function checkCall(
  role: Role,
  name: string,
  result: "hidden" | "shown",
  catalog: Catalog,
  report: Report,
): void {
  const all = (catalog.functionsByName.get(name.slice(name.indexOf(".") + 1)) ?? []).filter(
    (fn) => `${fn.schema}.${fn.name}` === name,
  );
  if (all.length === 0) {
    report("warning", role.place, `role "${role.name}" may call ${name}, which is not there`, "");
  } else if (result === "hidden" && all.some((fn) => !returnsNothing(catalog, fn))) {
    report(
      "warning",
      role.place,
      `role "${role.name}" may call ${name}, but not see what it returns, and so not call it`,
      `If the role may see what it returns: { ${name}: shown }.`,
    );
  }
}

function checkFilterable(role: Role, name: string, catalog: Catalog, report: Report): void {
  const relation = catalog.relations.get(name);
  if (relation === undefined) {
    const hint = missingFilterHint("require_filter", name, role, catalog);
    report("error", role.place, `"require_filter" names ${name}, which is not there`, hint, [name]);
  } else if (!relation.indexes.some(({ columns }) => columns.length > 0)) {
    const what = `role "${role.name}" needs a condition on an indexed column of ${name}, which has no index`;
    report("warning", role.place, what, "Until it has one, the role cannot read the table.");
  }
}

function checkFilter(role: Role, name: string, condition: Condition, catalog: Catalog, report: Report): void {
  const relation = catalog.relations.get(name);
  if (relation === undefined) {
    const hint = missingFilterHint("only", name, role, catalog);
    report("error", condition.place, `"only" names ${name}, which is not there`, hint, [name]);
    return;
  }
  checkRowCondition(`the filter of ${name}`, condition, relation, catalog, report);
}

/** A table that is not there has been told of with "tables:". */
function checkMark({ table, condition }: MarkedCanaries, catalog: Catalog, report: Report): void {
  const relation = catalog.relations.get(table);
  if (relation === undefined) return;
  checkRowCondition(`the mark of ${table}'s decoys`, condition, relation, catalog, report);
}

function checkRowCondition(
  what: string,
  condition: Condition,
  relation: Relation,
  catalog: Catalog,
  report: Report,
): void {
  const parsed = parseCondition(condition.sql);
  if (!parsed.ok) return;
  for (const column of unknownColumns(parsed.use, relation)) {
    const names = relation.columns.map((known) => known.name);
    const hint = suggest(column, names, "Whatever needs it will fail.");
    const key = relationKey(relation.schema, relation.name);
    report("error", condition.place, `${what} names "${column}", which is not a column of it`, hint, [key]);
  }
  checkUse(what, parsed.use, condition.place, catalog, report);
}

function checkPurposeOf(
  role: Role,
  name: string,
  condition: Condition,
  policy: Policy,
  catalog: Catalog,
  report: Report,
): void {
  const relation = catalog.relations.get(name);
  const entry = policy.tables.get(name);
  if (relation === undefined) {
    const hint = missingFilterHint("purpose", name, role, catalog);
    report("error", condition.place, `"purpose" names ${name}, which is not there`, hint, [name]);
    return;
  }
  if (entry?.subject === undefined || entry.path !== undefined || !isUnique(relation, entry.subject)) {
    const hint = 'Name the table of the people, whose "subject" is its key.';
    report("error", condition.place, `"purpose": no key of ${name} names one person`, hint);
    return;
  }
  const checked = checkPurpose(condition, relation, catalog);
  if (checked.ok) return;
  const hint = "It runs beside every statement, so it must be one that cannot fail: comparisons and EXISTS.";
  report("error", condition.place, `the purpose of ${name}: ${checked.problem}`, hint);
}

/** A condition speaks of one table's columns; a table that lacks them stays masked. */
function checkSight(
  role: Role,
  className: string,
  condition: Condition,
  policy: Policy,
  catalog: Catalog,
  report: Report,
): void {
  const parsed = parseCondition(condition.sql);
  if (!parsed.ok) return;
  checkUse(`the condition of class "${className}"`, parsed.use, condition.place, catalog, report);
  for (const table of policy.tables.values()) {
    const relation = catalog.relations.get(table.name);
    if (relation === undefined || ![...table.columns.values()].includes(className)) continue;
    if (!relationSetHas(role.reads, relation.schema, relation.name)) continue;
    const [missing] = unknownColumns(parsed.use, relation);
    if (missing === undefined) continue;
    const what = `the condition of class "${className}" names "${missing}", which ${table.name} (${at(table.place)}) has not`;
    report(
      "warning",
      condition.place,
      what,
      `It stays masked there; give the columns of ${table.name} a class of their own.`,
    );
  }
}

function unknownColumns(use: ExpressionUse, relation: Relation): readonly string[] {
  return use.columns.filter((name) => !relation.columns.some((column) => column.name === name));
}

function checkUse(what: string, use: ExpressionUse, place: Place, catalog: Catalog, report: Report): void {
  for (const name of use.relations) {
    if (catalog.relations.has(name)) continue;
    report(
      "error",
      place,
      `${what} reads ${name}, which is not there`,
      suggest(name, catalog.relations.keys(), ""),
      [name],
    );
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

function typeName(type: CatalogType | undefined): string {
  if (type === undefined) return "other";
  if (type.schema === "pg_catalog") return type.name;
  // The one text type from outside that is common. Its input function is C, unlike that of a namesake in SQL.
  return type.name === "citext" && type.kind === "base" && type.category === "S" && type.plainInput
    ? "citext"
    : "other";
}

function qualifiedType(type: CatalogType): string {
  return [type.schema, type.name].map((name) => `"${name.replaceAll('"', '""')}"`).join(".");
}
