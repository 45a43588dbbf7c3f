import type { RangeVar } from "libpg-query";
import { relationKey } from "../catalog/catalog.ts";
import { nodeOf } from "./grammar.ts";
import { parseText } from "./parse.ts";
import type { Scope } from "./scope.ts";
import type { Statement, StatementKind } from "./verdict.ts";

/**
 * What an unrestricted role's text does, for the audit and to know when the catalog changes. Nothing here
 * decides: a text that does not parse goes to the server, which says what is wrong with it.
 */
export function survey(text: string, scope: Scope): readonly Statement[] {
  const parsed = parseText(text);
  if (!parsed.ok) return [{ ...EMPTY, command: "OTHER", kind: "other", effect: { kind: "definition" } }];
  return parsed.statements.map(({ node }) => {
    const [type, body] = nodeOf(node);
    const [command, kind] = COMMANDS[type] ?? ["DDL", "definition"];
    const reads = relationsIn(body, scope);
    return {
      ...EMPTY,
      command,
      kind,
      reads,
      writes: kind === "write" ? reads.slice(0, 1) : [],
      ...(kind === "definition" && { effect: { kind: "definition" } as const }),
    };
  });
}

const EMPTY = { reads: [], writes: [], masked: [], lookups: 0, limited: false } as const;

const COMMANDS: Readonly<Record<string, readonly [string, StatementKind]>> = {
  SelectStmt: ["SELECT", "read"],
  InsertStmt: ["INSERT", "write"],
  UpdateStmt: ["UPDATE", "write"],
  DeleteStmt: ["DELETE", "write"],
  MergeStmt: ["MERGE", "write"],
  CopyStmt: ["COPY", "other"],
  ExplainStmt: ["EXPLAIN", "explain"],
  PrepareStmt: ["PREPARE", "session"],
  ExecuteStmt: ["EXECUTE", "other"],
  DeallocateStmt: ["DEALLOCATE", "session"],
  DeclareCursorStmt: ["DECLARE", "cursor"],
  FetchStmt: ["FETCH", "cursor"],
  ClosePortalStmt: ["CLOSE", "cursor"],
  DiscardStmt: ["DISCARD", "session"],
  TransactionStmt: ["TRANSACTION", "transaction"],
  VariableSetStmt: ["SET", "session"],
  VariableShowStmt: ["SHOW", "session"],
  LockStmt: ["LOCK", "other"],
  ListenStmt: ["LISTEN", "session"],
  UnlistenStmt: ["UNLISTEN", "session"],
  NotifyStmt: ["NOTIFY", "other"],
  VacuumStmt: ["VACUUM", "other"],
  CheckPointStmt: ["CHECKPOINT", "other"],
  ConstraintsSetStmt: ["SET", "session"],
  TruncateStmt: ["TRUNCATE", "write"],
  RefreshMatViewStmt: ["REFRESH", "other"],
};

/** Relations named anywhere, as far as the catalog knows them. */
function relationsIn(body: object, { catalog, searchPath }: Scope): readonly string[] {
  const found = new Set<string>();
  const look = (value: unknown): void => {
    if (value === null || typeof value !== "object") return;
    const { schemaname, relname } = value as RangeVar;
    if (typeof relname === "string") {
      const schema =
        schemaname ?? searchPath.find((each) => catalog.relations.has(relationKey(each, relname)));
      if (schema !== undefined && catalog.relations.has(relationKey(schema, relname)))
        found.add(relationKey(schema, relname));
    }
    for (const child of Object.values(value)) look(child);
  };
  look(body);
  return [...found];
}
