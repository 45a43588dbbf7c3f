import type {
  A_Const,
  CreateTableAsStmt,
  DiscardStmt,
  ExecuteStmt,
  ExplainStmt,
  FuncCall,
  TransactionStmt,
  VariableSetStmt,
} from "libpg-query";
import { isHarmlessFunction } from "./functions.ts";
import { type Body, nodeOf, stringOf } from "./grammar.ts";
import { forEachNamedRelation } from "./named-relations.ts";
import type { RawStatement } from "./parse.ts";
import type { Scope } from "./scope.ts";
import { relationNamed } from "./survey.ts";
import { forEachObject } from "./tree.ts";
import type { SessionTouch } from "./verdict.ts";

/** Settings of Postgres's own that decide what a text means, whose rows it gives, or who it is that asks. */
const TELLING_SETTINGS: ReadonlySet<string> = new Set([
  ...["search_path", "role", "session_authorization", "application_name"],
  ...["client_encoding", "names", "standard_conforming_strings", "row_security"],
]);

/** What a statement may change for those after it. Where that is not known, it may change all. */
export function touchOf({ node }: RawStatement, isDefinition: boolean, scope: Scope): SessionTouch {
  const [type, body] = nodeOf(node);
  const bareNames = new Set<string>();
  let isTemporary = false;
  forEachNamedRelation(body, (named) => {
    const { schemaname, relname } = named;
    if (schemaname === undefined) bareNames.add(relname);
    isTemporary ||= schemaname?.startsWith("pg_temp") === true;
    isTemporary ||= "relpersistence" in named && named.relpersistence === "t";
  });
  const runsCode = RUNS_CODE.has(type) || firesCode(type, body, scope) || callsCode(body, scope);
  return {
    session: isTemporary || runsCode || isDefinition || changesSession(type, body),
    // What a temporary relation is called is asked of the server.
    defines: runsCode ? CODE_DEFINES.has(type) : isDefinition && !isTemporary,
    bareNames: [...bareNames],
    ...innerExecute(type, body),
  };
}

function innerExecute(type: string, body: Body): Pick<SessionTouch, "runs"> {
  if (type !== "CreateTableAsStmt" && type !== "ExplainStmt") return {};
  const { query } = body as CreateTableAsStmt | ExplainStmt;
  if (query === undefined) return {};
  const [innerType, inner] = nodeOf(query);
  if (innerType === "CreateTableAsStmt") return innerExecute(innerType, inner);
  return innerType === "ExecuteStmt" ? { runs: (inner as ExecuteStmt).name ?? "" } : {};
}

/** Statements that run what they do not show. */
export const RUNS_CODE: ReadonlySet<string> = new Set(["DoStmt", "CallStmt", "ExecuteStmt", "LoadStmt"]);
const CODE_DEFINES: ReadonlySet<string> = new Set(["DoStmt", "CallStmt"]);

const WRITES: ReadonlySet<string> = new Set(["InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"]);

function changesSession(type: string, body: Body): boolean {
  switch (type) {
    case "VariableSetStmt": {
      const { name = "", kind } = body as VariableSetStmt;
      return kind === "VAR_RESET_ALL" || isTelling(name);
    }
    case "DiscardStmt":
      return (body as DiscardStmt).target !== "DISCARD_PLANS";
    case "TransactionStmt":
      return (body as TransactionStmt).kind === "TRANS_STMT_ROLLBACK_TO";
    default:
      return false;
  }
}

function isTelling(name: string): boolean {
  return name.includes(".") || TELLING_SETTINGS.has(name.toLowerCase());
}

/** Triggers and rules of what is written. */
function firesCode(type: string, body: Body, scope: Scope): boolean {
  const writes = WRITES.has(type) || type === "CopyStmt" || type === "TruncateStmt" || "withClause" in body;
  if (!writes) return false;
  let fires = false;
  forEachNamedRelation(body, (named) => {
    fires ||= relationNamed(named, scope)?.hasRules === true;
  });
  return fires;
}

/** Calls that are not known to read nothing but their arguments, and set_config of a setting that tells something. */
function callsCode(part: object, scope: Scope): boolean {
  let calls = false;
  const look = (field: string, object: object): void => {
    // Nothing stands in a constant, and what looks into one judges by its value.
    if (calls || field === "A_Const") return;
    if (field === "FuncCall" && !isHarmlessCall(object as FuncCall, scope)) calls = true;
    forEachObject(object, look);
  };
  forEachObject(part, look);
  return calls;
}

function isHarmlessCall({ funcname, args }: FuncCall, { catalog }: Scope): boolean {
  const path = (funcname ?? []).map(stringOf);
  const name = path.at(-1) ?? "";
  const known = catalog.functionsByName.get(name) ?? [];
  if (known.length === 0 || (path.length > 1 && path[0] !== "pg_catalog")) return false;
  if (!known.every((fn) => fn.schema === "pg_catalog" || isHarmlessFunction(fn))) return false;
  if (name !== "set_config") return !RUNS_TEXT.has(name);
  const [first] = args ?? [];
  const [type, body] = first === undefined ? [] : nodeOf(first);
  const setting = type === "A_Const" ? (body as A_Const).sval?.sval : undefined;
  return setting !== undefined && !isTelling(setting);
}

/** Functions of pg_catalog that run a text as a statement. */
export const RUNS_TEXT: ReadonlySet<string> = new Set([
  ...[
    "query_to_xml",
    "query_to_xmlschema",
    "query_to_xml_and_xmlschema",
    "cursor_to_xml",
    "ts_stat",
    "ts_rewrite",
  ],
]);
