import type {
  CopyStmt,
  CreateSeqStmt,
  CreateStmt,
  CreateTableAsStmt,
  DeallocateStmt,
  DeclareCursorStmt,
  DefElem,
  ExplainStmt,
  FuncCall,
  IntoClause,
  Node,
  RangeVar,
  TransactionStmt,
  TypeName,
  VariableSetStmt,
  ViewStmt,
} from "libpg-query";
import type { Catalog } from "../catalog/catalog.ts";
import { factsOf, isHeld, type Leaves } from "../pg/statements.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { hasCodedOperators, hidesCode, mayCall, namesCodedType, ownFunction } from "./hidden-code.ts";
import { type Kept, keptBySet, keptBySetConfig } from "./kept-settings.ts";
import { withoutLongLists } from "./long-lists.ts";
import { type Body, nodeOf, stringOf } from "./parse/grammar.ts";
import { parseText } from "./parse/parse-text.ts";
import { unnamedCode } from "./unnamed-code.ts";

/**
 * The session state that a text leaves behind after its transaction, which another client on the same connection would
 * find.
 */
export interface Residue {
  readonly leaves: Leaves;
  /** Settings that it may have changed for the session, in lower case. */
  readonly sets: readonly string[];
  /** It may have reset all settings (RESET ALL). */
  readonly resets: boolean;
  /** It may have set some or all settings to their defaults (RESET, SET … TO DEFAULT). */
  readonly defaults: boolean;
  /** If undefined, it may run on a connection that another client uses next. */
  readonly refusal: Refusal | undefined;
  /** The name that DEALLOCATE drops, if the text is nothing else: then it is not refused. */
  readonly deallocates?: string;
  /** Of several statements: the names that they drop, by their places. */
  readonly deallocatesAt?: ReadonlyMap<number, string>;
  /** It may drop all prepared statements (DISCARD ALL, DEALLOCATE ALL). */
  readonly discards: boolean;
  /** It may read rows that the client sends (COPY … FROM STDIN). */
  readonly copiesIn: boolean;
  /** It may have set search_path for the transaction. */
  readonly localPath: boolean;
  /** Running it twice has the same effect as running it once: only reads, settings of the session and BEGIN. */
  readonly isRepeatable: boolean;
  /** Another text of the same shape may leave something else behind. */
  readonly byText: boolean;
}

export const UNKNOWN_RESIDUE: Residue = {
  leaves: "anything",
  sets: [],
  resets: false,
  defaults: true,
  refusal: undefined,
  discards: true,
  copiesIn: true,
  localPath: true,
  isRepeatable: false,
  byText: true,
};

/** For a text that is prepared but not run: it changes nothing, except through code that reads its constants. */
export function residueOfPreparing({ leaves }: Residue): Residue {
  return { ...NOTHING_LEFT, leaves };
}

const NOTHING_LEFT: Residue = {
  leaves: "nothing",
  sets: [],
  resets: false,
  defaults: false,
  refusal: undefined,
  discards: false,
  copiesIn: false,
  localPath: false,
  isRepeatable: true,
  byText: false,
};

/** Parsing a longer text would delay other sessions: a kilobyte takes a millisecond. */
const LONGEST = 8 * 1024;

/** Whether more about the text could be found out where no session waits for it. */
export function isLongForTurn(text: string): boolean {
  return withoutLongLists(text).length > LONGEST;
}

/**
 * A text that does not parse may use a newer server's grammar: it may leave anything behind, and so may a text longer
 * than `longest` bytes without its lists of constants.
 */
export function residueOf(text: string, catalog: Catalog, longest = LONGEST): Residue {
  const short = withoutLongLists(text);
  if (short.length > longest) return UNKNOWN_RESIDUE;
  const parsed = parseText(short);
  if (!parsed.ok) return UNKNOWN_RESIDUE;
  const survey = new Survey(catalog);
  for (const { node } of parsed.statements) survey.statement(node);
  const dropped = parsed.statements.flatMap(({ node }, place) => {
    const name = droppedBy(node);
    return name === undefined ? [] : [[place, name] as const];
  });
  const [first] = dropped;
  if (first === undefined) return survey.found();
  if (parsed.statements.length === 1) return { ...survey.found(), deallocates: first[1] };
  return { ...survey.found(), deallocatesAt: new Map(dropped) };
}

function droppedBy(node: Node): string | undefined {
  const [type, body] = nodeOf(node);
  return type === "DeallocateStmt" ? (body as DeallocateStmt).name : undefined;
}

/** What a Parse or Bind leaves behind if its parameters have these declared types: a domain's conditions are run. */
export function residueWith(residue: Residue, declared: readonly number[], catalog: Catalog): Residue {
  const runsCode = declared.some((oid) => oid !== 0 && unnamedCode(catalog).makes(oid));
  return runsCode && residue.leaves === "nothing"
    ? { ...residue, leaves: "traces", isRepeatable: false }
    : residue;
}

class Survey {
  readonly #catalog: Catalog;
  readonly #sets = new Set<string>();
  /** Names defined by WITH: not relations. */
  readonly #common = new Set<string>();
  #leaves: Leaves = "nothing";
  #resets = false;
  #defaults = false;
  #discards = false;
  #copiesIn = false;
  #localPath = false;
  #refusal: Refusal | undefined;
  #isRepeatable = true;
  #byText = false;

  constructor(catalog: Catalog) {
    this.#catalog = catalog;
    if (hasCodedOperators(catalog) || unnamedCode(catalog).hasCasts) this.#leave("traces");
  }

  found(): Residue {
    return {
      leaves: this.#leaves,
      sets: [...this.#sets],
      resets: this.#resets,
      defaults: this.#defaults,
      refusal: this.#refusal,
      discards: this.#discards,
      copiesIn: this.#copiesIn,
      localPath: this.#localPath,
      isRepeatable: this.#isRepeatable && this.#leaves === "nothing",
      byText: this.#byText,
    };
  }

  /**
   * A statement that the catalogue of statements does not know may leave anything behind, as may DDL, DO, CALL, VACUUM
   * and statements of later grammars.
   */
  statement(node: Node): void {
    const [type, body] = nodeOf(node);
    const facts = factsOf(type);
    if (facts?.isRepeatable !== true && !isBegin(type, body)) this.#isRepeatable = false;
    if (facts?.leaves !== "nothing") this.#leave(facts?.leaves ?? "anything");
    switch (type) {
      case "CopyStmt": {
        const { is_from, filename } = body as CopyStmt;
        if (is_from === true) this.#leave("traces");
        if (is_from === true && filename === undefined) this.#copiesIn = true;
        break;
      }
      case "DiscardStmt":
        this.#discards = true;
        break;
      case "TransactionStmt":
        this.#transaction(body);
        break;
      case "ExplainStmt": {
        const { query } = body as ExplainStmt;
        if (query !== undefined) this.statement(query);
        break;
      }
      case "DeclareCursorStmt":
        this.#cursor(body);
        break;
      case "VariableSetStmt":
        this.#set(body);
        return;
      case "DeallocateStmt":
        if ((body as DeallocateStmt).name === undefined) this.#discards = true;
        return;
      case "PrepareStmt":
      case "ExecuteStmt":
        this.#refuse(type === "PrepareStmt" ? "PREPARE" : "EXECUTE", BY_DRIVER);
        return;
      case "ListenStmt":
        this.#refuse("LISTEN", PAST_THE_POOL);
        return;
      case "LoadStmt":
        this.#refuse("LOAD", "Set session_preload_libraries for the user or the database.");
        return;
      default:
        this.#defines(type, body);
    }
    this.#look(body);
  }

  /** A temporary table would be lost when the transaction's connection is returned. */
  #defines(type: string, body: Body): void {
    switch (type) {
      case "CreateStmt": {
        const { relation, oncommit } = body as CreateStmt;
        this.#temporary(relation, oncommit);
        break;
      }
      case "CreateTableAsStmt": {
        const { into } = body as CreateTableAsStmt;
        this.#temporary(into?.rel, into?.onCommit);
        break;
      }
      case "ViewStmt":
        this.#temporary((body as ViewStmt).view, undefined);
        break;
      case "CreateSeqStmt":
        this.#temporary((body as CreateSeqStmt).sequence, undefined);
        break;
    }
  }

  #temporary(relation: RangeVar | undefined, onCommit: string | undefined): void {
    if (onCommit === "ONCOMMIT_DROP") return;
    if (relation?.relpersistence !== "t" && !isTemporarySchema(relation?.schemaname ?? "")) return;
    this.#refuse(
      "a temporary relation",
      "Create a table with ON COMMIT DROP, and use it in one transaction.",
    );
  }

  #transaction({ kind }: TransactionStmt): void {
    if (kind === "TRANS_STMT_COMMIT_PREPARED" || kind === "TRANS_STMT_PREPARE") this.#leave("traces");
  }

  #cursor(declaration: DeclareCursorStmt): void {
    if (isHeld(declaration)) {
      this.#refuse("a cursor WITH HOLD", "Leave WITH HOLD out, and read the cursor in its transaction.");
    }
  }

  #set(statement: VariableSetStmt): void {
    const { kind, name, args } = statement;
    this.#byText = true;
    if (kind === "VAR_RESET_ALL") {
      this.#resets = true;
      this.#defaults = true;
      return;
    }
    if (kind === "VAR_SET_MULTI") {
      if (name === "SESSION CHARACTERISTICS") {
        for (const each of (args ?? []).map((node) => (nodeOf(node)[1] as DefElem).defname)) {
          if (each !== undefined) this.#sets.add(`default_${each}`);
        }
      }
      return;
    }
    this.#keep(keptBySet(statement));
  }

  #keep(kept: Kept): void {
    switch (kept.kind) {
      case "nothing":
        break;
      case "local path":
        this.#localPath = true;
        break;
      case "set":
        this.#sets.add(kept.name);
        if (kept.toDefault) this.#defaults = true;
        break;
      case "refused":
        this.#refuse(kept.what, kept.hint);
    }
  }

  /**
   * Visits all nodes below, whatever they are: nodes that are not understood here are covered by the decision on the
   * statement's kind.
   */
  #look(value: unknown): void {
    if (value === null || typeof value !== "object") return;
    if (Array.isArray(value)) {
      for (const each of value) this.#look(each);
      return;
    }
    const { ctename, relname, names, typemod } = value as { ctename?: string } & RangeVar & TypeName;
    if (ctename !== undefined) this.#common.add(ctename);
    if (relname !== undefined) this.#relation(value as RangeVar);
    if (names !== undefined && typemod !== undefined && namesCodedType(value as TypeName, this.#catalog)) {
      this.#leave("traces");
    }
    // WITH comes last in the tree, but defines names that are used before it.
    const { withClause } = value as { withClause?: object };
    this.#look(withClause);
    for (const [key, child] of Object.entries(value)) {
      if (key !== "withClause") this.#lookInto(key, child);
    }
  }

  #lookInto(key: string, child: unknown): void {
    switch (key) {
      case "FuncCall":
        this.#call(child as FuncCall);
        break;
      case "ColumnRef":
      case "A_Indirection":
        if (mayCall(child as object, this.#catalog)) this.#leave("anything");
        break;
      case "InsertStmt":
      case "UpdateStmt":
      case "DeleteStmt":
      case "MergeStmt":
        this.#leave("traces");
        break;
      case "ExecuteStmt":
        this.#refuse("EXECUTE", BY_DRIVER);
        break;
      case "intoClause": {
        const { rel, onCommit } = child as IntoClause;
        this.#leave("anything");
        this.#temporary(rel, onCommit);
        break;
      }
    }
    this.#look(child);
  }

  #relation(relation: RangeVar): void {
    const found = hidesCode(relation, this.#catalog);
    const isCommon = relation.schemaname === undefined && this.#common.has(relation.relname ?? "");
    if (found === "yes" || (found === "unknown" && !isCommon)) this.#leave("traces");
  }

  #call(call: FuncCall): void {
    const name = ownFunction(call, this.#catalog);
    const [written] = (call.funcname ?? []).slice(-1).map(stringOf);
    const named = this.#catalog.functionsByName.get(written ?? "") ?? [];
    // A volatile function may have effects, like pg_notify().
    if (named.some(({ volatility }) => volatility === "volatile")) this.#isRepeatable = false;
    // DISCARD does not close connections that dblink opens.
    if (written?.startsWith("dblink_connect"))
      this.#refuse(`${written}()`, "Give dblink() its connection string.");
    else if (name === undefined) this.#leave("anything");
    else if (OF_SEQUENCES.has(name)) this.#leave("traces");
    else if (name === "set_config") {
      this.#byText = true;
      this.#keep(keptBySetConfig(call));
    } else if (name === "setseed") this.#refuse("setseed()", PAST_THE_POOL);
    else if (ADVISORY_LOCK.test(name)) {
      this.#refuse(`${name}()`, `Use ${name.replace("advisory_", "advisory_xact_")}() inside a transaction.`);
    }
  }

  #leave(leaves: Leaves): void {
    if (this.#leaves !== "anything") this.#leaves = leaves;
  }

  #refuse(what: string, hint: string): void {
    this.#refusal ??= refuse("42501", `${what} is not possible with --pool transaction`, {
      detail: "The next transaction may run on another connection to the server.",
      hint,
    });
  }
}

function isBegin(type: string, body: Body): boolean {
  const { kind } = body as TransactionStmt;
  return type === "TransactionStmt" && (kind === "TRANS_STMT_BEGIN" || kind === "TRANS_STMT_START");
}

const BY_DRIVER = "Let the driver prepare: what it prepares by the protocol is carried over.";
const PAST_THE_POOL = "Connect past the pool for this.";

/** DISCARD SEQUENCES removes what they leave behind. */
const OF_SEQUENCES = new Set(["nextval", "setval"]);

/** Locks of the session. Releasing one is always possible. */
const ADVISORY_LOCK = /^pg_(?:try_)?advisory_lock(?:_shared)?$/;

function isTemporarySchema(schema: string): boolean {
  return /^pg_temp(?:_\d+)?$/.test(schema);
}
