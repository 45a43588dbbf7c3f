import type {
  CopyStmt,
  DeallocateStmt,
  DiscardStmt,
  ExplainStmt,
  PrepareStmt,
  TransactionStmt,
} from "libpg-query";
import { type Relation, relationKey } from "../catalog/catalog.ts";
import { commandTag, factsOf, makesTable, UNKNOWN_TAG } from "../pg/statements.ts";
import { withoutLongLists } from "./long-lists.ts";
import { hasOwnValues } from "./own-values.ts";
import { type Body, nodeOf } from "./parse/grammar.ts";
import { forEachNamedRelation, type NamedRelation } from "./parse/named-relations.ts";
import { parseText, type RawStatement } from "./parse/parse-text.ts";
import { readsMore } from "./reads-more.ts";
import type { Scope } from "./scope.ts";
import { skim } from "./skim.ts";
import type { Statement } from "./verdict.ts";

/**
 * What the text of an unrestricted role does, for the audit and to detect catalog changes. Decides nothing: a text that
 * does not parse goes to the server, which reports the error.
 */
export function survey(text: string, scope: Scope): readonly Statement[] {
  const short = withoutLongLists(text);
  if (short.length > LONGEST) return [skimmed(Buffer.from(short), text, scope)];
  const parsed = parseText(short);
  return parsed.ok ? surveyParsed(parsed.statements, scope) : [unread(text)];
}

/**
 * The same for the bytes of a text of any length, if it is so long that even to look at all of it would delay other
 * sessions; undefined otherwise.
 */
export function surveyLong(sql: Buffer, scope: Scope): readonly Statement[] | undefined {
  return sql.length <= LONGEST_LOOKED_AT ? undefined : surveyBeginning(sql, scope);
}

/** The same for the beginning of a text. For all that is known of the rest, it may define something. */
export function surveyBeginning(sql: Buffer, scope: Scope): readonly Statement[] {
  return [{ ...EMPTY, ...skim(sql, keyIn(scope)), ...DEFINES, readsMore: true }];
}

/** Like `survey`, for a text that has been parsed, whatever its length. */
export function surveyParsed(statements: readonly RawStatement[], scope: Scope): readonly Statement[] {
  return statements.map(({ node }) => {
    const [type, body] = nodeOf(node);
    // An unknown statement may do anything.
    const usual = factsOf(type)?.family ?? "definition";
    const isDefinition = usual === "definition" || definesWithin(type, body);
    const kind = isDefinition ? "definition" : usual;
    const reads = relationsIn(body, scope);
    const more = readsMore(type, body, scope, (named) => relationNamed(named, scope) !== undefined);
    return {
      ...EMPTY,
      command: commandTag(type, body),
      kind,
      reads,
      writes: kind === "write" ? reads.slice(0, 1) : [],
      ...(isDefinition && DEFINES),
      ...namingOf(type, body),
      ...(more ? READS_MORE : hasOwnValues(type, body) && OWN_VALUES),
    };
  });
}

/** The names of statements that are not run, for the audit record of their refusal. */
export function refusedStatements(statements: readonly RawStatement[]): readonly Statement[] {
  return statements.map(({ node }) => {
    const [type, body] = nodeOf(node);
    return { ...EMPTY, command: commandTag(type, body), kind: factsOf(type)?.family ?? "other" };
  });
}

/**
 * The effect of a statement on the names of prepared statements: the audit keeps the text that runs under a name. And
 * whether the server reads rows next.
 */
function namingOf(type: string, body: Body): Pick<Statement, "effect"> {
  switch (type) {
    case "PrepareStmt": {
      const { name = "" } = body as PrepareStmt;
      return { effect: { kind: "prepare", name, inner: { ...EMPTY, command: UNKNOWN_TAG, kind: "other" } } };
    }
    case "DeallocateStmt":
      return { effect: { kind: "deallocate", name: (body as DeallocateStmt).name } };
    case "CopyStmt": {
      const { is_from, filename } = body as CopyStmt;
      return is_from === true && filename === undefined ? { effect: { kind: "copyIn" } } : {};
    }
    case "DiscardStmt": {
      const isAll = (body as DiscardStmt).target === "DISCARD_ALL";
      return { effect: { kind: "discard", target: isAll ? "all" : "other" } };
    }
    default:
      return {};
  }
}

/**
 * A longer text is not parsed: a kilobyte takes a millisecond, in which no other session is answered, and only a line of
 * the audit log depends on it.
 */
const LONGEST = 8 * 1024;
const LONGEST_LOOKED_AT = 1024 * 1024;

const EMPTY = { reads: [], writes: [], masked: [], lookups: 0, limited: false } as const;
const READS_MORE = { readsMore: true } as const;
const OWN_VALUES = { ownValues: true } as const;
const DEFINES = { effect: { kind: "definition" } } as const;

/** A long INSERT is no reason to read the catalog again; a text with one of these words may be. */
const DEFINING_WORDS =
  /\b(?:create|alter|drop|grant|revoke|comment|do|call|import|reassign|into\s+(?:temp|unlogged|table))\b/i;

/** A text that is too long to parse. `short`: without its long lists. */
function skimmed(short: Buffer, text: string, scope: Scope): Statement {
  // What is behind its beginning, or in an odd place, has not been looked at.
  return {
    ...EMPTY,
    ...skim(short, keyIn(scope)),
    ...(DEFINING_WORDS.test(text) && DEFINES),
    readsMore: true,
  };
}

function keyIn(scope: Scope): (named: NamedRelation) => string | undefined {
  return (named) => {
    const relation = relationNamed(named, scope);
    return relation && relationKey(relation.schema, relation.name);
  };
}

/** A text in another version's syntax. */
function unread(text: string): Statement {
  const defines = DEFINING_WORDS.test(text) && DEFINES;
  return { ...EMPTY, command: UNKNOWN_TAG, kind: "other", ...defines, readsMore: true };
}

/** Statements of an ordinary kind that nevertheless define something. */
function definesWithin(type: string, body: Body): boolean {
  switch (type) {
    case "SelectStmt":
      return makesTable(body);
    case "ExplainStmt": {
      // With ANALYZE it runs the statement that it explains.
      const { query } = body as ExplainStmt;
      return query !== undefined && "CreateTableAsStmt" in query;
    }
    case "TransactionStmt":
      return (body as TransactionStmt).kind === "TRANS_STMT_COMMIT_PREPARED";
    default:
      return false;
  }
}

/** Relations named anywhere in the statement, as far as the catalog knows them. */
function relationsIn(body: object, scope: Scope): readonly string[] {
  const found = new Set<string>();
  const keyOf = keyIn(scope);
  forEachNamedRelation(body, (named) => {
    const key = keyOf(named);
    if (key !== undefined) found.add(key);
  });
  return [...found];
}

/** The catalog's relation with this name. */
export function relationNamed(
  { schemaname, relname }: NamedRelation,
  { catalog, searchPath }: Scope,
): Relation | undefined {
  const schema = schemaname ?? searchPath.find((each) => catalog.relations.has(relationKey(each, relname)));
  return schema === undefined ? undefined : catalog.relations.get(relationKey(schema, relname));
}
