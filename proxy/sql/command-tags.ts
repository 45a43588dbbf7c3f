import type { Body } from "./grammar.ts";

/** Command tags by node type (Postgres source, src/include/tcop/cmdtaglist.h), for events and metrics. */
const TAGS: Readonly<Record<string, string>> = {
  SelectStmt: "SELECT",
  InsertStmt: "INSERT",
  UpdateStmt: "UPDATE",
  DeleteStmt: "DELETE",
  MergeStmt: "MERGE",
  CopyStmt: "COPY",
  ExplainStmt: "EXPLAIN",
  PrepareStmt: "PREPARE",
  ExecuteStmt: "EXECUTE",
  DeallocateStmt: "DEALLOCATE",
  DeclareCursorStmt: "DECLARE",
  FetchStmt: "FETCH",
  ClosePortalStmt: "CLOSE",
  DiscardStmt: "DISCARD",
  TransactionStmt: "TRANSACTION",
  VariableSetStmt: "SET",
  VariableShowStmt: "SHOW",
  LockStmt: "LOCK",
  ListenStmt: "LISTEN",
  UnlistenStmt: "UNLISTEN",
  NotifyStmt: "NOTIFY",
  VacuumStmt: "VACUUM",
  CheckPointStmt: "CHECKPOINT",
  LoadStmt: "LOAD",
  ConstraintsSetStmt: "SET",
  TruncateStmt: "TRUNCATE",
  RefreshMatViewStmt: "REFRESH",
  CallStmt: "CALL",
  DoStmt: "DO",
  CreateStmt: "CREATE TABLE",
  CreateTableAsStmt: "CREATE TABLE AS",
  ViewStmt: "CREATE VIEW",
  IndexStmt: "CREATE INDEX",
  CreateFunctionStmt: "CREATE FUNCTION",
  CreateTrigStmt: "CREATE TRIGGER",
  CreateSchemaStmt: "CREATE SCHEMA",
  CreateSeqStmt: "CREATE SEQUENCE",
  CreateRoleStmt: "CREATE ROLE",
  CreatePolicyStmt: "CREATE POLICY",
  CreateExtensionStmt: "CREATE EXTENSION",
  CreateEnumStmt: "CREATE TYPE",
  CompositeTypeStmt: "CREATE TYPE",
  CreateRangeStmt: "CREATE TYPE",
  CreateDomainStmt: "CREATE DOMAIN",
  RuleStmt: "CREATE RULE",
  AlterSeqStmt: "ALTER SEQUENCE",
  AlterRoleStmt: "ALTER ROLE",
  AlterRoleSetStmt: "ALTER ROLE",
  AlterEnumStmt: "ALTER TYPE",
  AlterDomainStmt: "ALTER DOMAIN",
  AlterPolicyStmt: "ALTER POLICY",
  AlterFunctionStmt: "ALTER FUNCTION",
  AlterDefaultPrivilegesStmt: "ALTER DEFAULT PRIVILEGES",
  DropRoleStmt: "DROP ROLE",
  DropOwnedStmt: "DROP OWNED",
  CommentStmt: "COMMENT",
  ReindexStmt: "REINDEX",
};

/** Kinds of objects that many statements share, as tags name them; the rarer ones are OTHER. */
const OBJECTS: Readonly<Record<string, string>> = {
  OBJECT_TABLE: "TABLE",
  OBJECT_INDEX: "INDEX",
  OBJECT_SEQUENCE: "SEQUENCE",
  OBJECT_VIEW: "VIEW",
  OBJECT_MATVIEW: "MATERIALIZED VIEW",
  OBJECT_FOREIGN_TABLE: "FOREIGN TABLE",
  OBJECT_TYPE: "TYPE",
  OBJECT_DOMAIN: "DOMAIN",
  OBJECT_SCHEMA: "SCHEMA",
  OBJECT_FUNCTION: "FUNCTION",
  OBJECT_PROCEDURE: "PROCEDURE",
  OBJECT_TRIGGER: "TRIGGER",
  OBJECT_POLICY: "POLICY",
  OBJECT_RULE: "RULE",
  OBJECT_EXTENSION: "EXTENSION",
  OBJECT_COLUMN: "TABLE",
  OBJECT_TABCONSTRAINT: "TABLE",
  OBJECT_ROLE: "ROLE",
};

interface ObjectStatement {
  readonly objtype?: string;
  readonly removeType?: string;
  readonly renameType?: string;
  readonly objectType?: string;
  readonly is_grant?: boolean;
}

/** The command of a statement, from a bounded set: `SELECT`, `DROP TABLE`; OTHER for what nobody counts. */
export function commandTag(type: string, body: Body): string {
  const { objtype, removeType, renameType, objectType, is_grant } = body as ObjectStatement;
  switch (type) {
    case "AlterTableStmt":
      return withObject("ALTER", objtype);
    case "RenameStmt":
      return withObject("ALTER", renameType);
    case "AlterOwnerStmt":
    case "AlterObjectSchemaStmt":
      return withObject("ALTER", objectType);
    case "DropStmt":
      return withObject("DROP", removeType);
    case "GrantStmt":
    case "GrantRoleStmt":
      return is_grant === true ? "GRANT" : "REVOKE";
    default:
      return (Object.hasOwn(TAGS, type) && TAGS[type]) || "OTHER";
  }
}

function withObject(verb: string, kind: string | undefined): string {
  const object = kind === undefined || !Object.hasOwn(OBJECTS, kind) ? undefined : OBJECTS[kind];
  return object === undefined ? "OTHER" : `${verb} ${object}`;
}
