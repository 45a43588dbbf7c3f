import type {
  DeallocateStmt,
  DiscardStmt,
  ExplainStmt,
  PrepareStmt,
  SelectStmt,
  TransactionStmt,
} from "libpg-query";
import { type Relation, relationKey } from "../catalog/catalog.ts";
import { commandTag } from "./command-tags.ts";
import { type Body, nodeOf } from "./grammar.ts";
import { withoutLongLists } from "./long-lists.ts";
import { forEachNamedRelation, type NamedRelation } from "./named-relations.ts";
import { parseText } from "./parse.ts";
import type { Scope } from "./scope.ts";
import type { Statement, StatementKind } from "./verdict.ts";

/**
 * What an unrestricted role's text does, for the audit and to know when the catalog changes. Nothing here
 * decides: a text that does not parse goes to the server, which says what is wrong with it.
 */
export function survey(text: string, scope: Scope): readonly Statement[] {
  const short = withoutLongLists(text);
  if (short.length > LONGEST) return [unread(text)];
  const parsed = parseText(short);
  if (!parsed.ok) return [unread(text)];
  return parsed.statements.map(({ node }) => {
    const [type, body] = nodeOf(node);
    const isDefinition = !Object.hasOwn(KINDS, type) || definesWithin(type, body);
    const kind = isDefinition ? "definition" : (KINDS[type] ?? "other");
    const reads = relationsIn(body, scope);
    return {
      ...EMPTY,
      command: commandTag(type, body),
      kind,
      reads,
      writes: kind === "write" ? reads.slice(0, 1) : [],
      ...(isDefinition && DEFINES),
      ...namingOf(type, body),
    };
  });
}

/** What a statement does to the names of prepared statements: the audit has the text that runs under a name. */
function namingOf(type: string, body: Body): Pick<Statement, "effect"> {
  switch (type) {
    case "PrepareStmt": {
      const { name = "" } = body as PrepareStmt;
      return { effect: { kind: "prepare", name, inner: { ...EMPTY, command: "OTHER", kind: "other" } } };
    }
    case "DeallocateStmt":
      return { effect: { kind: "deallocate", name: (body as DeallocateStmt).name } };
    case "DiscardStmt": {
      const isAll = (body as DiscardStmt).target === "DISCARD_ALL";
      return { effect: { kind: "discard", target: isAll ? "all" : "other" } };
    }
    default:
      return {};
  }
}

/** A longer text is not parsed: it would hold up other sessions, and nothing hangs on it but a line of the audit log. */
const LONGEST = 32 * 1024;

const EMPTY = { reads: [], writes: [], masked: [], lookups: 0, limited: false } as const;
const DEFINES = { effect: { kind: "definition" } } as const;

/** A long INSERT is no reason to read the catalog anew; a text with one of these words may be. */
const DEFINING_WORDS =
  /\b(?:create|alter|drop|grant|revoke|comment|do|call|import|reassign|into\s+(?:temp|unlogged|table))\b/i;

/** A text that is too long to parse, or of another version's syntax. */
function unread(text: string): Statement {
  return { ...EMPTY, command: "OTHER", kind: "other", ...(DEFINING_WORDS.test(text) && DEFINES) };
}

/** Statements that leave the catalog as it is; all others are taken to change it: CALL and DO may do anything. */
const KINDS: Readonly<Record<string, StatementKind>> = {
  SelectStmt: "read",
  InsertStmt: "write",
  UpdateStmt: "write",
  DeleteStmt: "write",
  MergeStmt: "write",
  CopyStmt: "other",
  ExplainStmt: "explain",
  PrepareStmt: "session",
  ExecuteStmt: "other",
  DeallocateStmt: "session",
  DeclareCursorStmt: "cursor",
  FetchStmt: "cursor",
  ClosePortalStmt: "cursor",
  DiscardStmt: "session",
  TransactionStmt: "transaction",
  VariableSetStmt: "session",
  VariableShowStmt: "session",
  LockStmt: "other",
  ListenStmt: "session",
  UnlistenStmt: "session",
  NotifyStmt: "other",
  VacuumStmt: "other",
  CheckPointStmt: "other",
  LoadStmt: "session",
  ConstraintsSetStmt: "session",
  TruncateStmt: "write",
  RefreshMatViewStmt: "other",
};

/** Statements of a plain kind that define something all the same. */
function definesWithin(type: string, body: Body): boolean {
  switch (type) {
    case "SelectStmt":
      return makesTable(body);
    case "ExplainStmt": {
      // With ANALYZE it runs what it explains.
      const { query } = body as ExplainStmt;
      return query !== undefined && "CreateTableAsStmt" in query;
    }
    case "TransactionStmt":
      return (body as TransactionStmt).kind === "TRANS_STMT_COMMIT_PREPARED";
    default:
      return false;
  }
}

/** SELECT … INTO; in a set operation the clause stands in the leftmost arm. */
function makesTable(select: SelectStmt): boolean {
  for (let arm: SelectStmt | undefined = select; arm !== undefined; arm = arm.larg)
    if (arm.intoClause !== undefined) return true;
  return false;
}

/** Relations named anywhere, as far as the catalog knows them. */
function relationsIn(body: object, scope: Scope): readonly string[] {
  const found = new Set<string>();
  forEachNamedRelation(body, (named) => {
    const relation = relationNamed(named, scope);
    if (relation !== undefined) found.add(relationKey(relation.schema, relation.name));
  });
  return [...found];
}

/** What the catalog has under the name. */
export function relationNamed(
  { schemaname, relname }: NamedRelation,
  { catalog, searchPath }: Scope,
): Relation | undefined {
  const schema = schemaname ?? searchPath.find((each) => catalog.relations.has(relationKey(each, relname)));
  return schema === undefined ? undefined : catalog.relations.get(relationKey(schema, relname));
}
