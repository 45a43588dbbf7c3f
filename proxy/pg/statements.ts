import type * as Trees from "libpg-query";
import { objectTag, objectTags, type Verb } from "./object-tags.ts";

/**
 * The catalogue of statements: one row for each kind of statement in Postgres's grammar (`stmt` of parser/gram.y), with
 * all that is true of it for every sender. Command tags are those of CreateCommandTag (tcop/utility.c).
 */

/** All nodes of the parser's tree, by name. */
type NodeTypes = Trees.Node extends infer One
  ? One extends unknown
    ? { [Name in keyof One]: One[Name] }
    : never
  : never;
type NodeName = NodeTypes extends infer One ? (One extends unknown ? keyof One : never) : never;
type BodyOf<Name extends NodeName> = NodeTypes extends infer One
  ? One extends { readonly [N in Name]: infer Body }
    ? Body
    : never
  : never;

/**
 * Nodes with such a name that are not statements of a text: analysis creates them, or they occur within a statement.
 */
type Within = "RawStmt" | "SetOperationStmt" | "ReturnStmt" | "PLAssignStmt" | "ReplicaIdentityStmt";

export type StatementNode = Exclude<Extract<NodeName, `${string}Stmt`>, Within>;

export type StatementFamily =
  | "read"
  | "write"
  | "transaction"
  | "session"
  | "cursor"
  | "explain"
  | "definition"
  | "other";

/**
 * What a statement itself leaves in its session once its transaction is over. "traces": code attached to tables may
 * have run, and sequences may have advanced. "anything": it is unknown what ran.
 */
export type Leaves = "nothing" | "traces" | "anything";

/** The tags of one kind of statement, if more than the kind decides. */
export interface TagChoice<Body> {
  readonly among: readonly string[];
  of(body: Body): string;
}

export interface StatementFacts<Body> {
  readonly tag: string | TagChoice<Body>;
  readonly family: StatementFamily;
  readonly leaves: Leaves;
  /** Running it twice has the same effect as running it once, if that is true of everything it calls. */
  readonly isRepeatable?: true;
  /** Its answer contains nothing that a table stores. */
  readonly showsNothing?: true;
  /** Its names are not looked up by search_path: of settings, cursors, channels, prepared statements. */
  readonly ignoresPath?: true;
  /** It runs code that it does not show. */
  readonly runsCode?: true;
}

const writes = (tag: string) => ({ tag, family: "write", leaves: "traces" }) as const;
const OF_SESSION = { family: "session", leaves: "nothing" } as const;
/** Neither shows what is stored nor looks up a name by search_path. */
const ASIDE = { showsNothing: true, ignoresPath: true } as const;
const OF_CURSOR = { family: "cursor", leaves: "nothing" } as const;
const OTHER = { family: "other", leaves: "nothing" } as const;
const MAINTENANCE = { family: "other", leaves: "anything", showsNothing: true } as const;
/** The statement may change the catalog. */
const DEFINITION = { family: "definition", leaves: "anything" } as const;
const defines = (tag: string) => ({ ...DEFINITION, tag }) as const;
/** Code that the statement does not show. */
const CODE = { runsCode: true } as const;

/** Definitions for objects of several kinds. */
const definesObject = <Body>(verb: Verb, kindOf: (body: Body) => string | undefined) =>
  ({
    ...DEFINITION,
    tag: { among: objectTags(verb), of: (body: Body) => objectTag(verb, kindOf(body)) },
  }) as const;

/** One of two tags. */
const either = <Body>(
  no: string,
  yes: string,
  isIt: (body: Body) => boolean | undefined,
): TagChoice<Body> => ({
  among: [no, yes],
  of: (body) => (isIt(body) === true ? yes : no),
});

const TRANSACTION_TAGS: Readonly<Record<string, string>> = {
  TRANS_STMT_BEGIN: "BEGIN",
  TRANS_STMT_START: "START TRANSACTION",
  TRANS_STMT_COMMIT: "COMMIT",
  TRANS_STMT_ROLLBACK: "ROLLBACK",
  TRANS_STMT_ROLLBACK_TO: "ROLLBACK",
  TRANS_STMT_SAVEPOINT: "SAVEPOINT",
  TRANS_STMT_RELEASE: "RELEASE",
  TRANS_STMT_PREPARE: "PREPARE TRANSACTION",
  TRANS_STMT_COMMIT_PREPARED: "COMMIT PREPARED",
  TRANS_STMT_ROLLBACK_PREPARED: "ROLLBACK PREPARED",
};

const DISCARD_TAGS: Readonly<Record<string, string>> = {
  DISCARD_ALL: "DISCARD ALL",
  DISCARD_PLANS: "DISCARD PLANS",
  DISCARD_SEQUENCES: "DISCARD SEQUENCES",
  DISCARD_TEMP: "DISCARD TEMP",
};

export const STATEMENTS = {
  SelectStmt: {
    tag: either("SELECT", "SELECT INTO", makesTable),
    family: "read",
    leaves: "nothing",
    isRepeatable: true,
  },
  InsertStmt: writes("INSERT"),
  UpdateStmt: writes("UPDATE"),
  DeleteStmt: writes("DELETE"),
  MergeStmt: writes("MERGE"),
  TruncateStmt: { tag: "TRUNCATE TABLE", family: "write", leaves: "anything", showsNothing: true },
  CopyStmt: { ...OTHER, tag: "COPY" },

  ExplainStmt: { tag: "EXPLAIN", family: "explain", leaves: "nothing", showsNothing: true },
  PrepareStmt: { ...OF_SESSION, tag: "PREPARE" },
  ExecuteStmt: { ...OTHER, ...CODE, tag: "EXECUTE" },
  DeallocateStmt: {
    ...OF_SESSION,
    ...ASIDE,
    tag: either("DEALLOCATE", "DEALLOCATE ALL", ({ name }: Trees.DeallocateStmt) => name === undefined),
  },
  DeclareCursorStmt: { ...OF_CURSOR, tag: "DECLARE CURSOR" },
  FetchStmt: { ...OF_CURSOR, tag: either("FETCH", "MOVE", ({ ismove }: Trees.FetchStmt) => ismove) },
  ClosePortalStmt: {
    ...OF_CURSOR,
    ...ASIDE,
    tag: either(
      "CLOSE CURSOR",
      "CLOSE CURSOR ALL",
      ({ portalname }: Trees.ClosePortalStmt) => portalname === undefined,
    ),
  },

  TransactionStmt: {
    ...ASIDE,
    tag: {
      among: Object.values(TRANSACTION_TAGS),
      of: ({ kind }) => TRANSACTION_TAGS[kind ?? ""] ?? UNKNOWN_TAG,
    },
    family: "transaction",
    leaves: "nothing",
  },
  ConstraintsSetStmt: { ...OF_SESSION, tag: "SET CONSTRAINTS", showsNothing: true },
  VariableSetStmt: {
    ...OF_SESSION,
    ...ASIDE,
    tag: either(
      "SET",
      "RESET",
      ({ kind }: Trees.VariableSetStmt) => kind === "VAR_RESET" || kind === "VAR_RESET_ALL",
    ),
    isRepeatable: true,
  },
  VariableShowStmt: { ...OF_SESSION, ...ASIDE, tag: "SHOW", isRepeatable: true },
  DiscardStmt: {
    ...OF_SESSION,
    ...ASIDE,
    tag: {
      among: Object.values(DISCARD_TAGS),
      of: ({ target }) => DISCARD_TAGS[target ?? ""] ?? UNKNOWN_TAG,
    },
  },
  ListenStmt: { ...OF_SESSION, tag: "LISTEN", showsNothing: true },
  UnlistenStmt: { ...OF_SESSION, ...ASIDE, tag: "UNLISTEN" },
  NotifyStmt: { ...OTHER, tag: "NOTIFY", showsNothing: true },
  LoadStmt: { ...OF_SESSION, ...CODE, tag: "LOAD", leaves: "anything" },
  LockStmt: { ...OTHER, tag: "LOCK TABLE", showsNothing: true },
  DoStmt: { ...defines("DO"), ...CODE },
  CallStmt: { ...defines("CALL"), ...CODE },

  VacuumStmt: {
    ...MAINTENANCE,
    tag: either("ANALYZE", "VACUUM", ({ is_vacuumcmd }: Trees.VacuumStmt) => is_vacuumcmd),
  },
  CheckPointStmt: { ...MAINTENANCE, tag: "CHECKPOINT" },
  RefreshMatViewStmt: { ...MAINTENANCE, tag: "REFRESH MATERIALIZED VIEW" },
  ClusterStmt: defines("CLUSTER"),
  ReindexStmt: defines("REINDEX"),
  AlterSystemStmt: defines("ALTER SYSTEM"),

  CreateStmt: defines("CREATE TABLE"),
  CreateTableAsStmt: {
    ...DEFINITION,
    tag: either(
      "CREATE TABLE AS",
      "CREATE MATERIALIZED VIEW",
      ({ objtype }: Trees.CreateTableAsStmt) => objtype === "OBJECT_MATVIEW",
    ),
  },
  AlterTableStmt: definesObject("ALTER", ({ objtype }: Trees.AlterTableStmt) => objtype),
  AlterTableMoveAllStmt: definesObject("ALTER", ({ objtype }: Trees.AlterTableMoveAllStmt) => objtype),
  ViewStmt: defines("CREATE VIEW"),
  IndexStmt: defines("CREATE INDEX"),
  CreateSeqStmt: defines("CREATE SEQUENCE"),
  AlterSeqStmt: defines("ALTER SEQUENCE"),
  CreateStatsStmt: defines("CREATE STATISTICS"),
  AlterStatsStmt: defines("ALTER STATISTICS"),
  RuleStmt: defines("CREATE RULE"),
  CreateTrigStmt: defines("CREATE TRIGGER"),
  CreateSchemaStmt: defines("CREATE SCHEMA"),

  // Statements for objects of many kinds.
  DefineStmt: definesObject("CREATE", ({ kind }: Trees.DefineStmt) => kind),
  DropStmt: definesObject("DROP", ({ removeType }: Trees.DropStmt) => removeType),
  RenameStmt: definesObject("ALTER", ({ renameType, relationType }: Trees.RenameStmt) =>
    renameType === "OBJECT_COLUMN" ? relationType : renameType,
  ),
  AlterObjectSchemaStmt: definesObject("ALTER", ({ objectType }: Trees.AlterObjectSchemaStmt) => objectType),
  AlterObjectDependsStmt: definesObject(
    "ALTER",
    ({ objectType }: Trees.AlterObjectDependsStmt) => objectType,
  ),
  AlterOwnerStmt: definesObject("ALTER", ({ objectType }: Trees.AlterOwnerStmt) => objectType),
  CommentStmt: defines("COMMENT"),
  SecLabelStmt: defines("SECURITY LABEL"),

  CreateFunctionStmt: {
    ...DEFINITION,
    tag: either(
      "CREATE FUNCTION",
      "CREATE PROCEDURE",
      ({ is_procedure }: Trees.CreateFunctionStmt) => is_procedure,
    ),
  },
  AlterFunctionStmt: definesObject("ALTER", ({ objtype }: Trees.AlterFunctionStmt) => objtype),
  CreateCastStmt: defines("CREATE CAST"),
  CreateTransformStmt: defines("CREATE TRANSFORM"),
  CreateConversionStmt: defines("CREATE CONVERSION"),
  CreatePLangStmt: defines("CREATE LANGUAGE"),
  CreateAmStmt: defines("CREATE ACCESS METHOD"),
  CreateOpClassStmt: defines("CREATE OPERATOR CLASS"),
  CreateOpFamilyStmt: defines("CREATE OPERATOR FAMILY"),
  AlterOpFamilyStmt: defines("ALTER OPERATOR FAMILY"),
  AlterOperatorStmt: defines("ALTER OPERATOR"),
  AlterCollationStmt: defines("ALTER COLLATION"),
  AlterTSDictionaryStmt: defines("ALTER TEXT SEARCH DICTIONARY"),
  AlterTSConfigurationStmt: defines("ALTER TEXT SEARCH CONFIGURATION"),

  CompositeTypeStmt: defines("CREATE TYPE"),
  CreateEnumStmt: defines("CREATE TYPE"),
  CreateRangeStmt: defines("CREATE TYPE"),
  AlterEnumStmt: defines("ALTER TYPE"),
  AlterTypeStmt: defines("ALTER TYPE"),
  CreateDomainStmt: defines("CREATE DOMAIN"),
  AlterDomainStmt: defines("ALTER DOMAIN"),

  GrantStmt: { ...DEFINITION, tag: either("REVOKE", "GRANT", ({ is_grant }: Trees.GrantStmt) => is_grant) },
  GrantRoleStmt: {
    ...DEFINITION,
    tag: either("REVOKE ROLE", "GRANT ROLE", ({ is_grant }: Trees.GrantRoleStmt) => is_grant),
  },
  AlterDefaultPrivilegesStmt: defines("ALTER DEFAULT PRIVILEGES"),
  CreatePolicyStmt: defines("CREATE POLICY"),
  AlterPolicyStmt: defines("ALTER POLICY"),
  CreateRoleStmt: defines("CREATE ROLE"),
  AlterRoleStmt: defines("ALTER ROLE"),
  AlterRoleSetStmt: defines("ALTER ROLE"),
  DropRoleStmt: defines("DROP ROLE"),
  DropOwnedStmt: defines("DROP OWNED"),
  ReassignOwnedStmt: defines("REASSIGN OWNED"),

  CreatedbStmt: defines("CREATE DATABASE"),
  AlterDatabaseStmt: defines("ALTER DATABASE"),
  AlterDatabaseRefreshCollStmt: defines("ALTER DATABASE"),
  AlterDatabaseSetStmt: defines("ALTER DATABASE"),
  DropdbStmt: defines("DROP DATABASE"),
  CreateTableSpaceStmt: defines("CREATE TABLESPACE"),
  AlterTableSpaceOptionsStmt: defines("ALTER TABLESPACE"),
  DropTableSpaceStmt: defines("DROP TABLESPACE"),

  CreateExtensionStmt: defines("CREATE EXTENSION"),
  AlterExtensionStmt: defines("ALTER EXTENSION"),
  AlterExtensionContentsStmt: defines("ALTER EXTENSION"),
  CreateFdwStmt: defines("CREATE FOREIGN DATA WRAPPER"),
  AlterFdwStmt: defines("ALTER FOREIGN DATA WRAPPER"),
  CreateForeignServerStmt: defines("CREATE SERVER"),
  AlterForeignServerStmt: defines("ALTER SERVER"),
  CreateForeignTableStmt: defines("CREATE FOREIGN TABLE"),
  ImportForeignSchemaStmt: defines("IMPORT FOREIGN SCHEMA"),
  CreateUserMappingStmt: defines("CREATE USER MAPPING"),
  AlterUserMappingStmt: defines("ALTER USER MAPPING"),
  DropUserMappingStmt: defines("DROP USER MAPPING"),
  CreateEventTrigStmt: defines("CREATE EVENT TRIGGER"),
  AlterEventTrigStmt: defines("ALTER EVENT TRIGGER"),
  CreatePublicationStmt: defines("CREATE PUBLICATION"),
  AlterPublicationStmt: defines("ALTER PUBLICATION"),
  CreateSubscriptionStmt: defines("CREATE SUBSCRIPTION"),
  AlterSubscriptionStmt: defines("ALTER SUBSCRIPTION"),
  DropSubscriptionStmt: defines("DROP SUBSCRIPTION"),
} satisfies { readonly [Name in StatementNode]: StatementFacts<BodyOf<Name>> };

/** SELECT … INTO; in a set operation the clause is in the leftmost arm. */
export function makesTable(select: Trees.SelectStmt): boolean {
  for (let arm: Trees.SelectStmt | undefined = select; arm !== undefined; arm = arm.larg)
    if (arm.intoClause !== undefined) return true;
  return false;
}

/** WITH HOLD (CURSOR_OPT_HOLD, nodes/parsenodes.h): the cursor outlives its transaction. */
export function isHeld({ options }: Trees.DeclareCursorStmt): boolean {
  return ((options ?? 0) & 0x0020) !== 0;
}

/** Undefined for statements that a later grammar may add. */
export function factsOf(type: string): StatementFacts<never> | undefined {
  return Object.hasOwn(STATEMENTS, type) ? STATEMENTS[type as StatementNode] : undefined;
}

/** The statements of which this is true. */
export function statementsWith(fact: "showsNothing" | "ignoresPath" | "runsCode"): ReadonlySet<string> {
  return new Set(Object.keys(STATEMENTS).filter((type) => factsOf(type)?.[fact] === true));
}

/** INSERT, UPDATE, DELETE and MERGE. */
export const WRITES: ReadonlySet<string> = new Set(
  Object.keys(STATEMENTS).filter((type) => factsOf(type)?.family === "write"),
);

/** The command tag of a statement (`SELECT`, `DROP TABLE`), one of `TAGS`. */
export function commandTag(type: string, body: object): string {
  const tag = factsOf(type)?.tag;
  // Each row accepts the body of its own kind of statement.
  return typeof tag === "object" ? tag.of(body as never) : (tag ?? UNKNOWN_TAG);
}

/** The tag of a statement without a row. */
export const UNKNOWN_TAG = "OTHER";

/** All command tags: a closed list. */
export const TAGS: ReadonlySet<string> = new Set(
  Object.values(STATEMENTS).flatMap(({ tag }) => (typeof tag === "string" ? [tag] : tag.among)),
);
