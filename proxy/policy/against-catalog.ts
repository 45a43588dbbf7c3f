import type { Catalog, CatalogType, Column, Relation } from "../catalog/catalog.ts";
import { quoteQualified } from "../pg/quote.ts";
import { MARKS, type TokenForm } from "../tokens/sealed.ts";
import { checkRowCondition, checkUse } from "./check-uses.ts";
import { checkDocuments } from "./documents-against-catalog.ts";
import { maskSql } from "./masks/all.ts";
import type { MaskedType } from "./masks/mask.ts";
import { capacity } from "./masks/mask-text.ts";
import { missingColumnHint, missingColumns, missingTableHint } from "./missing.ts";
import type { MarkedCanaries, Policy, StoredClass, TablePolicy } from "./policy.ts";
import { parseMaskExpression } from "./policy-sql.ts";
import { type PolicyProblem, sortProblems } from "./problems.ts";
import { ROLE_RULES } from "./rules/all.ts";
import type { Database, Report, RoleRule } from "./rules/rule.ts";
import { resolvePath } from "./subject-path.ts";

/**
 * Compares a policy with one database and returns what does not match. An error: the policy names a table or column
 * that does not exist or is not of the expected kind, so existing data would not be protected as the policy says. A
 * warning: a role gets less than it was meant to get.
 */
export function checkAgainstCatalog(
  policy: Policy,
  catalog: Catalog,
  rules: readonly RoleRule[] = ROLE_RULES,
): readonly PolicyProblem[] {
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
  const database = { policy, catalog, report };
  for (const table of policy.tables.values()) checkTable(table, database);
  for (const { name, mask, place } of policy.classes.values()) {
    if (mask.kind !== "sql") continue;
    const parsed = parseMaskExpression(mask.expression);
    if (parsed.ok) checkUse(`the mask of class "${name}"`, parsed.use, place, database);
  }
  for (const role of policy.roles.values()) for (const rule of rules) rule.againstCatalog?.(role, database);
  for (const marked of policy.canaries?.marked ?? []) checkMark(marked, database);
  return sortProblems([...problems.values()]);
}

/** The type of a column in the form that masks need. */
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

function checkTable(table: TablePolicy, { policy, catalog, report }: Database): void {
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
  checkDocuments(table, relation, { policy, catalog, report });
  for (const [columnName, className] of table.columns) {
    const column = relation.columns.find(({ name }) => name === columnName);
    if (column === undefined) continue;
    const found = policy.classes.get(className);
    if (found === undefined) continue;
    const { mask, stored } = found;
    if (stored !== undefined) checkStored(table, relation, column, stored, { policy, catalog, report });
    // Whether the key is configured is a separate check; here only the fit of the mask matters.
    // Bytes are masked as NULL, whatever the mask of the class.
    if (stored !== undefined && formIn(catalog, column, stored.form) === "bytes") continue;
    const made = maskSql(mask, "value", maskedType(catalog, column), Buffer.alloc(32));
    if (!made.ok) {
      const what = `class "${className}" does not fit ${table.name}.${columnName}: ${made.problem}`;
      report("error", table.place, what, 'Give the column a class with another mask; "null" fits all types.');
    }
  }
}

/** The shortest varchar that is worth it: a token of 24 bytes. */
const LEAST_ROOM = 64;
/** FF1 is not for domains of less than a million. */
const LEAST_DIGITS = 6;

/** The names of types that hold any text as it is. */
const TOKEN_TYPES: ReadonlySet<string> = new Set(["text", "varchar"]);

/** The form of a class's tokens in a column: a bytea column holds sealed bytes. */
export function formIn(catalog: Catalog, { typeOid }: Column, form: TokenForm): TokenForm {
  const type = catalog.typesByOid.get(typeOid);
  return form === "token" && type?.schema === "pg_catalog" && type.name === "bytea" ? "bytes" : form;
}

/** Whether the column can hold tokens: Postgres's own text or varchar, of enough characters, or bytea. */
export function holdsTokens(
  catalog: Catalog,
  column: Column,
  { form, searches }: Pick<StoredClass, "form" | "searches">,
): boolean {
  if (hasSearches(searches) && !fitsSearches(catalog, column, form)) return false;
  if (formIn(catalog, column, form) === "bytes") return column.generatedFrom === undefined;
  const type = catalog.typesByOid.get(column.typeOid);
  const isText = type?.schema === "pg_catalog" && TOKEN_TYPES.has(type.name);
  const room = MARKS[form] === undefined ? LEAST_DIGITS : LEAST_ROOM;
  return isText && capacity(maskedType(catalog, column)) >= room && column.generatedFrom === undefined;
}

function hasSearches(searches: StoredClass["searches"]): boolean {
  return searches.some(({ kinds }) => kinds.size > 0);
}

/** A token that carries blind indexes may be of any length, and bytes have no case and no words. */
function fitsSearches(catalog: Catalog, column: Column, form: TokenForm): boolean {
  return formIn(catalog, column, form) === "token" && capacity(maskedType(catalog, column)) === Infinity;
}

/** What works on values and would work on tokens instead. */
function checkStored(
  table: TablePolicy,
  relation: Relation,
  column: Column,
  stored: StoredClass,
  { catalog, report }: Database,
): void {
  const form = formIn(catalog, column, stored.form);
  const name = `${table.name}.${column.name}`;
  const mark = MARKS[form];
  const tell = (severity: "error" | "warning", what: string, hint: string) =>
    report(severity, table.place, `${name} is stored as tokens, ${what}`, hint);
  if (hasSearches(stored.searches) && !fitsSearches(catalog, column, stored.form))
    tell(
      "error",
      `and its type ${column.type} cannot hold what "searches:" of class "${table.columns.get(column.name)}" asks for`,
      form === "bytes"
        ? "Give it a class without searches: bytes have no case and no words."
        : "Make it text, or varchar without a length.",
    );
  else if (!holdsTokens(catalog, column, stored))
    tell(
      "error",
      `which its type ${column.type} cannot hold`,
      mark === undefined
        ? "Make it text, or varchar of six characters or more: numbers of less than six digits could be guessed."
        : `Make it text, or varchar of ${LEAST_ROOM} characters or more: a token of n bytes has up to ${tokenRoom[form]}.`,
    );
  if (column.default !== undefined)
    tell(
      "error",
      "and its default would be stored as it is",
      "Drop the default, and write the value itself.",
    );
  for (const { kind, name: constraint, columns } of relation.constraints) {
    if (!columns.includes(column.name)) continue;
    if (kind === "check")
      tell(
        "warning",
        `and the CHECK "${constraint}" will see tokens`,
        mark === undefined
          ? "Let it accept any number of the same form."
          : `Let it accept ${form === "bytes" ? "bytes" : "texts"} that begin with ${mark}.`,
      );
    if (kind === "exclusion" || kind === "partition key" || kind === "policy")
      tell("warning", `and "${constraint}" will see tokens`, "Tokens can be compared for equality alone.");
  }
  for (const { name: other, generatedFrom } of relation.columns)
    if (generatedFrom?.includes(column.number) === true)
      tell(
        "error",
        `and "${other}" is generated from it`,
        "Drop the generated column: it would be made of tokens.",
      );
}

const tokenRoom: Readonly<Record<TokenForm, string>> = {
  bytes: "27 + n bytes",
  token: "12 + 4 * (16 + n) / 3 characters",
  email: "32 + 5 * (16 + n) / 3 characters",
  digits: "n characters",
  phone: "n characters",
};

/** A missing table is already reported under "tables:". */
function checkMark({ table, condition }: MarkedCanaries, database: Database): void {
  const relation = database.catalog.relations.get(table);
  if (relation !== undefined)
    checkRowCondition(`the mark of ${table}'s decoys`, condition, relation, database);
}

function typeName(type: CatalogType | undefined): string {
  if (type === undefined) return "other";
  if (type.schema === "pg_catalog") return type.name;
  // The only common text type outside of pg_catalog. Its input function is C, unlike that of a namesake in SQL.
  return type.name === "citext" && type.kind === "base" && type.category === "S" && type.plainInput
    ? "citext"
    : "other";
}

function qualifiedType(type: CatalogType): string {
  return quoteQualified(type.schema, type.name);
}
