import type { CopyStmt, DefElem, Node } from "libpg-query";
import { foldAscii } from "../../pg/setting-text.ts";
import type { CopyFormat } from "../../tokens/copy-rows.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { bindStatement } from "../bind/bind-statement.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { nothingAbsent } from "../bind/environment.ts";
import { applyEdits, inOrder } from "../emit/rewrite.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";
import { parseText } from "../parse/parse-text.ts";
import { Source } from "../parse/source.ts";
import { hasHeader } from "../rules/copies.ts";
import type { Scope } from "../scope.ts";
import type { Edit } from "../verdict.ts";
import { placeComputed } from "./blind-text.ts";
import { placeConstant, placeParameter, type TokenParameter } from "./given-values.ts";
import { splitRefusal } from "./matches.ts";
import { notUnderstood } from "./not-understood.ts";
import { type TokenColumn, type TokenColumns, tokenColumnsOf } from "./token-columns.ts";
import { definedNames, forbiddenDefinition, viewQuery } from "./token-definitions.ts";
import { type TokenUses, tokenUses } from "./token-uses.ts";
import { lackOf, type Seals } from "./value-readings.ts";

/** One statement of a text, as far as its rows are concerned. */
export interface TokenStatement {
  /** By the position of an output; a shorter list says nothing of the others. */
  readonly outputs: readonly (TokenColumn | undefined)[];
  /** COPY of token columns, in either direction. */
  readonly copy?: { readonly format: CopyFormat; readonly columns: readonly (TokenColumn | undefined)[] };
}

/** A text as it goes to a server that holds tokens. */
export interface TokenText {
  /** With tokens in place of values; undefined: as it is. */
  readonly sql: Buffer | undefined;
  readonly parameters: ReadonlyMap<number, TokenParameter>;
  readonly statements: readonly TokenStatement[];
  readonly refusal: Refusal | undefined;
  /** Relations that its definitions name: the catalog may not have their new shape yet. */
  readonly defines?: readonly string[];
  /** It is refused because of what the catalog lacks: another look at the server's may show it. */
  readonly isDoubt?: true;
}

export const UNTOUCHED: TokenText = {
  sql: undefined,
  parameters: new Map(),
  statements: [],
  refusal: undefined,
};

/**
 * `judged`: the rules have looked at the client's text, of which this one is made, and it holds subqueries of Sluice's
 * own. Others run what they are sent, and what cannot work on tokens has to be refused here.
 */
export type Sender = "judged" | "open";

export function tokenText(
  text: string,
  scope: Pick<Scope, "policy" | "catalog" | "searchPath">,
  sender: Sender,
  seals: Seals,
  defined: ReadonlySet<string> = NOTHING,
): TokenText {
  const columns = tokenColumnsOf(scope);
  if (columns === undefined || (defined.size === 0 && !mayTouch(text, columns))) return UNTOUCHED;
  const parsed = parseText(text);
  // The server finds the fault of its grammar by itself. A text that is too long or too deep to be read is refused, and one
  // that a newer server may understand.
  if (!parsed.ok) {
    const isFault = parsed.refusal.sqlstate === "42601" && scope.catalog.serverVersion < NEWER_GRAMMAR;
    return isFault ? UNTOUCHED : refused(parsed.refusal);
  }
  const source = new Source(text);
  const environment = { catalog: scope.catalog, searchPath: scope.searchPath, absent: nothingAbsent };
  const statements: TokenStatement[] = [];
  const parameters = new Map<number, TokenParameter>();
  const edits: Edit[] = [];
  const defines: string[] = [];
  for (const { node } of parsed.statements) {
    const forbidden = sender === "open" ? forbiddenDefinition(node, scope, columns) : undefined;
    if (forbidden !== undefined) return refused(forbidden);
    const bound = bindStatement(viewQuery(node) ?? node, environment);
    if (!bound.ok) return refused(notUnderstood(bound.message));
    const { statement } = bound;
    const uses = tokenUses(statement, columns);
    const doubt =
      sender === "open"
        ? (doubtAbout(statement, uses, scope.catalog, columns) ??
          writesToDefined(statement, new Set([...defined, ...defines])))
        : undefined;
    if (doubt !== undefined) return "isDoubt" in doubt ? { ...UNTOUCHED, ...doubt } : refused(doubt);
    defines.push(...definedNames(node));
    const split = splitRefusal(statement, columns, uses.matched, seals);
    if (split !== undefined) return refused(split);
    for (const [number, parameter] of uses.parameters) {
      const placed = placeParameter(source, parameter, seals);
      if ("sqlstate" in placed) return refused(placed);
      edits.push(...placed.edits);
      parameters.set(number, placed.parameter);
    }
    for (const constant of uses.constants) {
      const edit = placeConstant(source, constant, seals);
      if ("sqlstate" in edit) return refused(edit);
      edits.push(edit);
    }
    for (const computed of uses.computed) {
      const edit = lackOf(computed.kind, computed.token, seals) ?? placeComputed(source, computed);
      if ("sqlstate" in edit) return refused(edit);
      edits.push(edit);
    }
    const made = statementOf(node, uses);
    if ("sqlstate" in made) return refused(made);
    statements.push(made);
  }
  const sql = edits.length === 0 ? undefined : applyEdits(source, inOrder(edits)).sql;
  return { sql, parameters, statements, refusal: undefined, ...(defines.length > 0 && { defines }) };
}

const NOTHING: ReadonlySet<string> = new Set();

/** The parser's grammar is that of Postgres 18. */
const NEWER_GRAMMAR = 190_000;

/** What a relation is that has just been defined, the catalog does not show: its columns may hold tokens, or be views of such. */
function writesToDefined({ queries }: BoundStatement, defined: ReadonlySet<string>): Refusal | undefined {
  if (defined.size === 0) return undefined;
  for (const { write } of queries) {
    const source = write?.target.source;
    if (source?.kind !== "table" && source?.kind !== "unknown table") continue;
    const { relname = "", schemaname } = source.name;
    const isTemporary = source.kind === "unknown table" && schemaname?.startsWith("pg_temp") === true;
    if (!isTemporary && (source.kind === "unknown table" || defined.has(relname)))
      return refuse("42501", `${relname} has just been defined, and Sluice does not know yet what it holds`, {
        hint: "Tables with tokens, and what is made of them, are written once the transaction that defines them is over.",
      });
  }
  return undefined;
}

function refused(refusal: Refusal): TokenText {
  return { ...UNTOUCHED, refusal };
}

/**
 * A name is written as it is, but for its case; only U&"…" can hide one. Postgres folds ASCII alone in UTF-8, and other
 * letters as well in databases of single-byte encodings.
 */
export function mayTouch(text: string, { relationNames }: TokenColumns): boolean {
  const folded = foldAscii(text);
  if (folded.includes('u&"')) return true;
  let lower: string | undefined;
  for (const name of relationNames) {
    const written = name.replaceAll('"', '""');
    if (folded.includes(foldAscii(written))) return true;
    if (isAscii(written)) continue;
    lower ??= text.toLowerCase();
    if (lower.includes(written.toLowerCase())) return true;
  }
  return false;
}

/** Names that are written in one way in every encoding. */
export function isAscii(text: string): boolean {
  return !/[^\0-\x7f]/.test(text);
}

/** Why a text may not run that nobody else has judged. */
function doubtAbout(
  statement: BoundStatement,
  { refusal }: Pick<TokenUses, "refusal">,
  catalog: Scope["catalog"],
  columns: TokenColumns,
): Refusal | Lack | undefined {
  // The places of values depend on the columns: with others than the server has, the wrong ones would be turned.
  // A table that the catalog does not have may be a temporary one.
  const problem = statement.problems.find(({ sqlstate }) => sqlstate !== "42P01");
  const unknown = problem && lack(problem.sqlstate === "42703" ? "42703" : "42601", problem.message);
  return doubtfulName(statement, catalog, columns) ?? unknown ?? refusal;
}

/** What a statement names and the catalog does not have. */
type Lack = Required<Pick<TokenText, "isDoubt">> & { readonly refusal: Refusal };

function lack(sqlstate: Refusal["sqlstate"], message: string): Lack {
  return { refusal: refuse(sqlstate, message, { hint: LAST_LOOK }), isDoubt: true };
}

const LAST_LOOK =
  "Sluice knows the tables and columns of its last look at the catalog: send it again if they are new.";

/**
 * A name without a schema that may mean a table with tokens or another one: the session's search_path is not known to
 * be what the server has.
 */
function doubtfulName(
  { queries }: BoundStatement,
  { relationsByName }: Scope["catalog"],
  columns: TokenColumns,
): Refusal | Lack | undefined {
  for (const { relations } of queries)
    for (const { source } of relations) {
      if (source.kind !== "table" && source.kind !== "unknown table") continue;
      const { schemaname, relname = "" } = source.name;
      if (columns.isLacking(relname))
        return lack(
          "42501",
          `${relname} is closed: the policy stores columns of it as tokens that are not there`,
        );
      if (schemaname !== undefined) continue;
      const others = (relationsByName.get(relname) ?? []).filter(
        (relation) => source.kind === "unknown table" || relation !== source.relation,
      );
      const isOwn = source.kind === "table" && columns.has(source.relation);
      if (others.length > 0 && (isOwn || others.some((relation) => columns.has(relation))))
        return refuse("42501", `${relname} may mean a table with tokens or another one`, {
          hint: "Write the schema before the name.",
        });
    }
  return undefined;
}

function statementOf(
  node: Node,
  { outputs, copied }: Pick<TokenUses, "outputs" | "copied">,
): TokenStatement | Refusal {
  const [type, body] = nodeOf(node);
  if (type !== "CopyStmt") return { outputs };
  const copy = body as CopyStmt;
  const columns = copy.is_from === true ? copied : outputs;
  if (columns.every((column) => column === undefined)) return { outputs: [] };
  if (copy.filename !== undefined || copy.is_program === true)
    return copy.is_from === true
      ? refuse("42501", "COPY from a file of the server's cannot be turned into tokens", {
          hint: "Use COPY … FROM STDIN (psql: \\copy).",
        })
      : { outputs: [] };
  const format = formatOf(copy.options ?? []);
  return format === undefined
    ? refuse(
        "42501",
        "COPY of columns with tokens is known in text and CSV format, with the usual quotes and encoding",
        {
          hint: "Use COPY … WITH (FORMAT csv), with DELIMITER, NULL and HEADER if needed.",
        },
      )
    : { outputs: [], copy: { format, columns } };
}

/** Undefined for a format that is not known. */
function formatOf(options: readonly Node[]): CopyFormat | undefined {
  const given = new Map<string, string>();
  for (const option of options) {
    const { defname = "", arg } = nodeOf(option)[1] as DefElem;
    if (!KNOWN_OPTIONS.has(defname)) return undefined;
    given.set(defname, arg === undefined ? "" : stringOf(arg));
  }
  const format = given.get("format") ?? "text";
  if (format !== "text" && format !== "csv") return undefined;
  return {
    format,
    delimiter: given.get("delimiter") ?? (format === "csv" ? "," : "\t"),
    nullText: Buffer.from(given.get("null") ?? (format === "csv" ? "" : "\\N")).toString("latin1"),
    hasHeader: hasHeader(options) || given.get("header")?.toLowerCase() === "match",
  };
}

const KNOWN_OPTIONS: ReadonlySet<string> = new Set(["format", "delimiter", "null", "header", "freeze"]);
