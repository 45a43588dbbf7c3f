import type {
  CreateTableAsStmt,
  DiscardStmt,
  ExecuteStmt,
  ExplainStmt,
  TransactionStmt,
  VariableSetStmt,
} from "libpg-query";
import { factsOf, statementsWith } from "../pg/statements.ts";
import { type Body, nodeOf } from "./parse/grammar.ts";
import { forEachNamedRelation } from "./parse/named-relations.ts";
import type { RawStatement } from "./parse/parse.ts";
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
    if (schemaname === undefined) bareNames.add(relname);
    isTemporary ||= schemaname?.startsWith("pg_temp") === true;
    isTemporary ||= "relpersistence" in named && named.relpersistence === "t";
  });
  const inner = innerExecute(type, body);
  const isTold = (setting: string) => isTelling(setting, scope);
  const runsCode =
    RUNS_CODE.has(type) || inner.runs !== undefined || runsTouchingCode(type, body, scope.catalog, isTold);
  return {
    session: isTemporary || runsCode || isDefinition || changesSession(type, body, isTold),
    // Only the server can say what a temporary relation is called.
    defines:
      (RUNS_CODE.has(type) && factsOf(type)?.family === "definition") || (isDefinition && !isTemporary),
    bareNames: [...bareNames],
    ...inner,
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
