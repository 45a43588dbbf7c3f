import type {
  A_Const,
  AlterTableCmd,
  AlterTableStmt,
  ColumnDef,
  Constraint,
  CreateFunctionStmt,
  CreateStmt,
  CreateTableAsStmt,
  IndexStmt,
  IntoClause,
  Node,
  RangeVar,
  SelectStmt,
  ViewStmt,
} from "libpg-query";
import { type Catalog, relationsNamed } from "../../catalog/catalog.ts";
import { classesIn, type Policy } from "../../policy/policy.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { forEachNamedRelation, type NamedRelation, someNamedRelation } from "../parse/named-relations.ts";
import { forbiddenIndex } from "./blind-definitions.ts";
import { withoutCasts } from "./blind-forms.ts";
import type { TokenColumns } from "./token-columns.ts";

/*
 * Definitions (DDL) that would store values in a column with tokens by themselves, or make a new way to such a column that
 * the catalog does not show: defaults, USING, rules, temporary views. What code inside of the database stores is not seen.
 */

interface Surroundings {
  readonly policy: Policy;
  readonly catalog: Catalog;
}

/** The relations that a definition gives another shape, or makes out of others. */
export function definedNames(node: Node): readonly string[] {
  const [type, body] = nodeOf(node);
  const names: string[] = [];
  const note = ({ relname }: NamedRelation) => void names.push(relname);
  if (type === "ViewStmt") forEachNamedRelation((body as ViewStmt).view ?? {}, note);
  // Without parents it holds tokens only if the policy says so, and is closed until the catalog has it.
  else if (type === "CreateStmt" && (body as CreateStmt).inhRelations === undefined) return [];
  else if (RESHAPES.has(type)) forEachNamedRelation(body, note);
  return names;
}

const RESHAPES: ReadonlySet<string> = new Set([
  "AlterTableStmt",
  "AlterObjectSchemaStmt",
  "CreateForeignTableStmt",
  "CreateStmt",
  "RenameStmt",
]);

/** The query of a view, which is analysed like another one: its constants become tokens. */
export function viewQuery(node: Node): Node | undefined {
  const [type, body] = nodeOf(node);
  return type === "ViewStmt" ? (body as ViewStmt).query : undefined;
}

/** Why a definition may not run. */
export function forbiddenDefinition(
  node: Node,
  surroundings: Surroundings,
  columns: TokenColumns,
): Refusal | undefined {
  const [type, body] = nodeOf(node);
  const isToken = (named: NamedRelation): boolean => mayHaveTokens(named, surroundings.catalog, columns);
  switch (type) {
    case "ViewStmt":
      return temporaryView(body as ViewStmt, surroundings.catalog, isToken);
    case "RuleStmt":
      return someNamedRelation(body, isToken)
        ? refuse("42501", "a rule may not name a table with tokens", {
            hint: "What a rule writes is not turned into tokens. Let the application write it.",
          })
        : undefined;
    case "CreateSchemaStmt":
      return someNamedRelation(body, isToken)
        ? refuse("42501", "CREATE SCHEMA may not contain a definition that names a table with tokens", {
            hint: "Write the definition as a statement of its own.",
          })
        : undefined;
    case "IndexStmt":
      return forbiddenIndex(body as IndexStmt, surroundings.catalog, columns);
    case "AlterTableStmt":
      return altered(body as AlterTableStmt, surroundings, columns);
    case "CreateStmt":
      return created(body as CreateStmt, surroundings, columns);
    case "CreateForeignTableStmt":
      return created((body as { base?: CreateStmt }).base ?? {}, surroundings, columns);
    case "DoStmt":
      return writingCode("a DO block", body, columns);
    case "CreateFunctionStmt": {
      const { funcname = [] } = body as CreateFunctionStmt;
      // One that stays is a part of the database, and gets its values from those who call it.
      const isTemporary = funcname.length > 1 && stringOf(funcname[0] as Node).startsWith("pg_temp");
      return isTemporary ? writingCode("a temporary function", body, columns) : undefined;
    }
    case "CreateTableAsStmt":
      return filled((body as CreateTableAsStmt).into, surroundings.policy);
    case "SelectStmt":
      return filled((body as SelectStmt).intoClause, surroundings.policy);
    default:
      return undefined;
  }
}

/**
 * Code that a client sends to run once, with values in it. It is another language, so this sees what is written plainly:
 * it is for clients that do not know of tokens, not against those who would hide something.
 */
function writingCode(what: string, body: object, { relationNames }: TokenColumns): Refusal | undefined {
  const code = JSON.stringify(body).replaceAll(/\\(?:[nrt]|")/g, (escaped) =>
    escaped === '\\"' ? '"' : " ",
  );
  const written = code.matchAll(
    /\b(?:insert\s+into|merge\s+into|update|copy)\s+(?:only\s+)?(?:(?:"[^"]+"|\w+)\s*\.\s*)?(?:"([^"]+)"|(\w+))/gi,
  );
  const names = [...written].map(([, quoted, bare = ""]) => quoted ?? bare.toLowerCase());
  const name = names.find((each) => relationNames.has(each));
  return name === undefined
    ? undefined
    : refuse("42501", `${what} may not write ${name}, which has columns that are stored as tokens`, {
        hint: "What code inside of the database writes is not turned into tokens. Send the INSERT or UPDATE itself (Sequelize: findOne and create in place of findOrCreate).",
      });
}

function mayHaveTokens(named: NamedRelation, catalog: Catalog, columns: TokenColumns): boolean {
  return (
    columns.isLacking(named.relname) ||
    relationsNamed(catalog, named).some((relation) => columns.has(relation))
  );
}

/**
 * What is written to a view goes to its table, and the catalog does not show temporary ones. A view that names a temporary
 * relation is temporary without saying so.
 */
function temporaryView(
  { view, query }: ViewStmt,
  catalog: Catalog,
  isToken: (named: NamedRelation) => boolean,
): Refusal | undefined {
  if (query === undefined || !someNamedRelation(query, isToken)) return undefined;
  const isUnknown = (named: NamedRelation) => relationsNamed(catalog, named).length === 0;
  const isTemporary = view?.relpersistence === "t" || view?.schemaname?.startsWith("pg_temp") === true;
  return isTemporary || someNamedRelation(query, isUnknown)
    ? refuse("42501", "a temporary view may not name a table with tokens", {
        hint: "Define a view that stays, or use WITH in the statement.",
      })
    : undefined;
}

/** By the policy, of any table of this name: the catalog may not have it yet. */
function isTokenByPolicy(
  { policy }: Surroundings,
  { schemaname, relname = "" }: RangeVar,
  column: string,
): boolean {
  return [...policy.tables.values()].some(({ name, columns, documents }) => {
    const [schema, table] = [name.slice(0, name.indexOf(".")), name.slice(name.indexOf(".") + 1)];
    if (table !== relname || (schemaname !== undefined && schema !== schemaname)) return false;
    const of = columns.get(column);
    return documents.has(column) || (of !== undefined && policy.classes.get(of)?.stored !== undefined);
  });
}

function isToken(
  surroundings: Surroundings,
  columns: TokenColumns,
  table: RangeVar,
  column: string,
): boolean {
  const named = { relname: table.relname ?? "", ...(table.schemaname && { schemaname: table.schemaname }) };
  return (
    isTokenByPolicy(surroundings, table, column) ||
    relationsNamed(surroundings.catalog, named).some((relation) =>
      relation.columns.some((each) => each.name === column && columns.of(relation, each) !== undefined),
    )
  );
}

/** By the policy. */
function isOfDocuments({ policy }: Surroundings, { relname = "" }: RangeVar, column: string): boolean {
  return [...policy.tables.values()].some(
    ({ name, documents }) => name.slice(name.indexOf(".") + 1) === relname && documents.has(column),
  );
}

function altered(
  { relation, cmds = [] }: AlterTableStmt,
  surroundings: Surroundings,
  columns: TokenColumns,
): Refusal | undefined {
  if (relation === undefined) return undefined;
  for (const cmd of cmds) {
    const { subtype = "", name = "", def } = nodeOf(cmd)[1] as AlterTableCmd;
    const [type, body] = def === undefined ? [] : nodeOf(def);
    const added = type === "ColumnDef" ? (body as ColumnDef) : undefined;
    const column = name === "" ? (added?.colname ?? "") : name;
    if (!isToken(surroundings, columns, relation, column)) continue;
    const isDocument = isOfDocuments(surroundings, relation, column);
    const isNothing = (node: Node) => isNull(node) || (isDocument && isEmptyDocument(node));
    const isFilled =
      subtype === "AT_AddColumn"
        ? added !== undefined && presets(added, isNothing)
        : subtype === "AT_AlterColumnType"
          ? added?.raw_default !== undefined && !isColumnItself(added.raw_default, column)
          : FILLS.has(subtype) && def !== undefined && !isNothing(def);
    if (isFilled) return presetValue(relation, column);
  }
  return undefined;
}

const FILLS: ReadonlySet<string> = new Set([
  "AT_ColumnDefault",
  "AT_CookedColumnDefault",
  "AT_SetExpression",
]);

function created(
  { relation, tableElts = [], inhRelations = [] }: CreateStmt,
  surroundings: Surroundings,
  columns: TokenColumns,
): Refusal | undefined {
  const tables = [relation, ...inhRelations.map((node) => nodeOf(node)[1] as RangeVar)].filter(
    (table) => table !== undefined,
  );
  for (const node of tableElts) {
    const [type, body] = nodeOf(node);
    if (type !== "ColumnDef") continue;
    const { colname = "" } = body as ColumnDef;
    const table = tables.find((each) => isToken(surroundings, columns, each, colname));
    if (table === undefined) continue;
    const isDocument = isOfDocuments(surroundings, table, colname);
    if (presets(body as ColumnDef, (node) => isNull(node) || (isDocument && isEmptyDocument(node))))
      return presetValue(table, colname);
  }
  return undefined;
}

/** CREATE TABLE … AS of a table that the policy knows: its rows would not be turned. */
function filled(into: IntoClause | undefined, policy: Policy): Refusal | undefined {
  const table = into?.rel;
  if (table === undefined || into?.skipData === true) return undefined;
  const tokens = [...policy.tables.values()].find(
    (each) =>
      each.name.slice(each.name.indexOf(".") + 1) === table.relname &&
      [...classesIn(each)].some((of) => policy.classes.get(of)?.stored !== undefined),
  );
  return tokens === undefined || table.relpersistence === "t"
    ? undefined
    : refuse("42501", `${tokens.name} stores columns as tokens, and may not be filled as it is defined`, {
        hint: "Define the table first, and INSERT the rows.",
      });
}

function presetValue({ relname = "" }: RangeVar, column: string): Refusal {
  return refuse(
    "42501",
    `${relname}.${column} is stored as tokens, and may have no value of its own making`,
    {
      hint: "The database would store a default or a computed value as it is. Let the application give the value.",
    },
  );
}

/** Whether a column has a value of its own making. */
function presets({ constraints = [], raw_default }: ColumnDef, isNothing: (node: Node) => boolean): boolean {
  return (
    (raw_default !== undefined && !isNothing(raw_default)) ||
    constraints.some((node) => {
      const { contype, raw_expr } = nodeOf(node)[1] as Constraint;
      if (contype === "CONSTR_GENERATED") return true;
      return contype === "CONSTR_DEFAULT" && raw_expr !== undefined && !isNothing(raw_expr);
    })
  );
}

function isNull(node: Node): boolean {
  const [type, body] = nodeOf(withoutCasts(node));
  return type === "A_Const" && (body as A_Const).isnull === true;
}

/** `'{}'` or `'[]'`, with casts. */
function isEmptyDocument(node: Node): boolean {
  const [type, body] = nodeOf(withoutCasts(node));
  return type === "A_Const" && /^\s*(?:\{\s*\}|\[\s*\])\s*$/.test((body as A_Const).sval?.sval ?? "");
}

/** `USING email::text`. */
function isColumnItself(node: Node, column: string): boolean {
  const [type, body] = nodeOf(withoutCasts(node));
  const { fields = [] } = body as { fields?: Node[] };
  return type === "ColumnRef" && fields.length === 1 && stringOf(fields[0] as Node) === column;
}
