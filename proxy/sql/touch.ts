import type {
  AlterTableCmd,
  AlterTableStmt,
  CreateTableAsStmt,
  DiscardStmt,
  ExecuteStmt,
  ExplainStmt,
  FuncCall,
  TransactionStmt,
  VariableSetStmt,
} from "libpg-query";
import type { Catalog } from "../catalog/catalog.ts";
import { factsOf, statementsWith, WRITES } from "../pg/statements.ts";
import { functionsNamed } from "./functions.ts";
import { type Body, nodeOf } from "./parse/grammar.ts";
import { forEachNamedRelation, someNamedRelation } from "./parse/named-relations.ts";
import type { RawStatement } from "./parse/parse-text.ts";
import { forEachObject } from "./parse/tree.ts";
import { keepsValues } from "./rules/keeping-functions.ts";
import { keysGiven } from "./rules/row-names.ts";
import { tablesMade, unsureWrite } from "./rules/unsure-writes.ts";
import type { Scope } from "./scope.ts";
import { type IsTelling, runsTouchingCode } from "./touching-code.ts";
import type { SessionTouch } from "./verdict.ts";

/** Postgres's own settings that decide what a text means, whose rows it returns, or which user runs it. */
const TELLING_SETTINGS: ReadonlySet<string> = new Set([
  ...["search_path", "role", "session_authorization", "application_name"],
  ...["client_encoding", "names", "standard_conforming_strings", "row_security"],
]);

/** What a statement may change for later statements. If that is not known, it may change everything. */
export function touchOf({ node }: RawStatement, isDefinition: boolean, scope: Scope): SessionTouch {
  const [type, body] = nodeOf(node);
  const bareNames = new Set<string>();
  let isTemporary = false;
  forEachNamedRelation(body, (named) => {
    const { schemaname, relname } = named;
    if (schemaname === undefined || schemaname === "pg_temp") bareNames.add(relname);
    isTemporary ||= schemaname?.startsWith("pg_temp") === true;
    isTemporary ||= "relpersistence" in named && named.relpersistence === "t";
  });
  const inner = innerExecute(type, body);
  const isTold = (setting: string) => isTelling(setting, scope);
  const keys = keysGiven(type, body, scope);
  const unsure = unsureWrite(type, body, scope);
  const makes = tablesMade(type, body);
  const { catalog } = scope;
  const hasMany = (name: string) => (catalog.relationsByName.get(name)?.length ?? 0) > 1;
  const runsCode =
    RUNS_CODE.has(type) || inner.runs !== undefined || runsTouchingCode(type, body, scope.catalog, isTold);
  const remeansNames = remeans(type, body);
  const moves = isTemporary || remeansNames || (runsCode && movesPath(type, body, catalog));
  return {
    session: isTemporary || runsCode || isDefinition || changesSession(type, body, isTold),
    // Only the server can say what a temporary relation is called.
    defines:
      (RUNS_CODE.has(type) && factsOf(type)?.family === "definition") || (isDefinition && !isTemporary),
    bareNames: [...bareNames],
    ...(remeansNames && { remeans: true }),
    ...(storesRows(type, body, scope) && { stores: true }),
    ...(keys.length > 0 && { keys }),
    ...(unsure && { unsure }),
    ...(makes.length > 0 && { makes }),
    ...(moves && { moves: true }),
    ...([...bareNames].some(hasMany) && { isAmbiguous: true }),
    ...inner,
  };
}

function innerExecute(type: string, body: Body): Pick<SessionTouch, "runs" | "makesTable"> {
  if (type !== "CreateTableAsStmt" && type !== "ExplainStmt") return {};
  const { query } = body as CreateTableAsStmt | ExplainStmt;
  if (query === undefined) return {};
  const [innerType, inner] = nodeOf(query);
  if (innerType === "CreateTableAsStmt") return innerExecute(innerType, inner);
  if (innerType !== "ExecuteStmt") return {};
  const runs = (inner as ExecuteStmt).name ?? "";
  return type === "CreateTableAsStmt" ? { runs, makesTable: true } : { runs };
}

/**
 * Whether names of relations may mean other rows after a statement. A definition may do that unless it is known not to: one
 * that makes something new, or that changes a table's own columns and what is attached to it.
 */
function remeans(type: string, body: Body): boolean {
  switch (type) {
    case "VariableSetStmt": {
      const { name = "", kind } = body as VariableSetStmt;
      return kind === "VAR_RESET_ALL" || MEANING_SETTINGS.has(name.toLowerCase());
    }
    case "DiscardStmt":
      return (body as DiscardStmt).target !== "DISCARD_PLANS";
    case "AlterTableStmt":
      return ((body as AlterTableStmt).cmds ?? []).some((command) =>
        TAKES_ROWS.has((nodeOf(command)[1] as AlterTableCmd).subtype ?? ""),
      );
    default:
      return factsOf(type)?.family === "definition" && !KEEPS_NAMES.has(type);
  }
}

/** Whether what a statement runs may change what names mean. A cursor or another statement may run anything. */
function movesPath(type: string, body: Body, catalog: Catalog): boolean {
  if (RUNS_CODE.has(type) || type === "ExecuteStmt" || type === "FetchStmt") return true;
  return runsTouchingCode(type, body, catalog, (setting) => MEANING_SETTINGS.has(setting.toLowerCase()));
}

const MEANING_SETTINGS: ReadonlySet<string> = new Set(["search_path", "role", "session_authorization"]);
/** A table has the rows of another one from now on. */
const TAKES_ROWS: ReadonlySet<string> = new Set(["AT_AddInherit", "AT_AttachPartition"]);
const KEEPS_NAMES: ReadonlySet<string> = new Set([
  ...["CreateStmt", "CreateTableAsStmt", "IndexStmt", "CreateSeqStmt", "AlterSeqStmt", "CreateStatsStmt"],
  ...["AlterStatsStmt", "CreateTrigStmt", "CommentStmt", "SecLabelStmt", "GrantStmt", "GrantRoleStmt"],
  ...["AlterOwnerStmt", "CreatePolicyStmt", "AlterPolicyStmt", "ReindexStmt", "ClusterStmt"],
  ...["CreateFunctionStmt", "AlterFunctionStmt", "CreateEnumStmt", "AlterEnumStmt", "CompositeTypeStmt"],
  ...["CreateRangeStmt", "CreateDomainStmt", "AlterDomainStmt", "CreateExtensionStmt"],
]);

/**
 * Whether it has a write, makes a table or calls what keeps a value, and names a relation that is not the target of one.
 */
function storesRows(type: string, body: Body, { catalog }: Scope): boolean {
  let keeps = false;
  const targets = new Set<object>();
  const look = (field: string, object: object): void => {
    if (field === "A_Const") return;
    if (field === "FuncCall") keeps ||= callsKeeping(object as FuncCall, catalog);
    if (WRITES.has(field) && "relation" in object) targets.add(object.relation as object);
    if (field === "into" || field === "intoClause") targets.add((object as { rel?: object }).rel ?? object);
    forEachObject(object, look);
  };
  look(type, body);
  return (keeps || targets.size > 0) && someNamedRelation(body, (named) => !targets.has(named));
}

function callsKeeping(call: FuncCall, catalog: Catalog): boolean {
  return functionsNamed(catalog, call).some((fn) => fn.name !== "nextval" && keepsValues(fn));
}

/** Statements that run code that they do not show. */
export const RUNS_CODE = statementsWith("runsCode");

function changesSession(type: string, body: Body, isTold: IsTelling): boolean {
  switch (type) {
    case "VariableSetStmt": {
      const { name = "", kind } = body as VariableSetStmt;
      return kind === "VAR_RESET_ALL" || isTold(name);
    }
    case "DiscardStmt":
      return (body as DiscardStmt).target !== "DISCARD_PLANS";
    case "TransactionStmt":
      return (body as TransactionStmt).kind === "TRANS_STMT_ROLLBACK_TO";
    // Deferred triggers run now.
    case "ConstraintsSetStmt":
      return true;
    default:
      return false;
  }
}

function isTelling(name: string, { role }: Scope): boolean {
  const folded = name.toLowerCase();
  const isSource = (role.peopleBehind ?? []).some(
    (source) => source.kind === "setting" && source.name.toLowerCase() === folded,
  );
  return folded.includes(".") || TELLING_SETTINGS.has(folded) || isSource;
}
