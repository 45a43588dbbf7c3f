import { isUtf8 } from "node:buffer";
import { LRUCache } from "lru-cache";
import type { Log } from "../../log.ts";
import type { Policy } from "../../policy/policy.ts";
import type { Scope } from "../../sql/scope.ts";
import type { TokenReading } from "../../sql/tokens/given-values.ts";
import { type NameUse, nameUses } from "../../sql/tokens/name-uses.ts";
import { tokenColumnsOf } from "../../sql/tokens/token-columns.ts";
import { isAscii, type Sender, type TokenText, tokenText, UNTOUCHED } from "../../sql/tokens/token-text.ts";
import type { Sealer } from "../../tokens/sealed.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Reported } from "../context/reported.ts";
import { NOT_UTF8 } from "./parameters.ts";

/** By what a session's statements are judged at the moment. */
export interface Standing {
  readonly treatment: "transparent" | "watched" | "guarded";
  scope(): Scope | undefined;
}

export interface TokenParts {
  readonly sealer: Sealer;
  readonly policy: () => Policy;
  readonly parameters: Reported;
  /** Of a line of COPY data, in bytes. */
  readonly longestLine: number;
  /** Looks at the catalog once more, because something has been defined. */
  readonly lookAgain: () => Promise<void> | undefined;
  /** The same, because it seems to lack something; undefined if that has just been done. */
  readonly doubt: () => Promise<void> | undefined;
  readonly log: Log;
}

/** A text that was sent. */
export interface Sent {
  text: TokenText;
  /** The text itself, for what was prepared: its meaning may change. Undefined if it is too long to be kept. */
  readonly source?: Buffer | undefined;
  /** The scope that it was analysed in. */
  scope?: number;
  /** What its statements do with names. */
  readonly uses: readonly (NameUse | undefined)[];
  /** Bytes of the text, and of what the server gets for it, when it was sent. */
  readonly weight: number;
  /** It may execute something, and does not say what. */
  readonly isUnclear: boolean;
  /** Running it may change how the server reads texts. */
  readonly isMover: boolean;
}

/** Analyses a session's texts as they go to a server that holds tokens. */
export class Texts {
  readonly #standing: Standing;
  readonly #parts: TokenParts;
  /** The last text, which is asked about before it is sent. */
  #last: { readonly key: string; readonly scope: Scope; readonly found: TokenText } | undefined;

  constructor(standing: Standing, parts: TokenParts) {
    this.#standing = standing;
    this.#parts = parts;
  }

  /** `defined`: relations whose new shape the catalog does not have. */
  analyse(bytes: Buffer, defined: ReadonlySet<string>): TokenText {
    const scope = this.#standing.scope();
    if (scope === undefined) return refused(AGAIN);
    const columns = tokenColumnsOf(scope);
    if (columns === undefined) return UNTOUCHED;
    const found = this.#find(bytes, scope, defined);
    if (found === UNTOUCHED) {
      // A name of other letters has other bytes in another encoding.
      const mayHide = !this.isReadable && [...columns.relationNames].some((name) => !isAscii(name));
      return mayHide && !isPlain(bytes) ? refused(UNREADABLE) : found;
    }
    if (found.refusal !== undefined) return found;
    if (!this.isReadable) return refused(UNREADABLE);
    return isUtf8(bytes) ? found : refused(NOT_UTF8);
  }

  /**
   * Whether a text would be refused for what the catalog lacks. Another session may have made it just now, as applications
   * do that migrate over one connection and write over the next.
   */
  lacks(bytes: Buffer, defined: ReadonlySet<string>): boolean {
    return bytes.length <= LONGEST_KEPT && this.analyse(bytes, defined).isDoubt === true;
  }

  #find(bytes: Buffer, scope: Scope, defined: ReadonlySet<string>): TokenText {
    const text = bytes.toString("utf8");
    const sender: Sender = this.#standing.treatment === "guarded" ? "judged" : "open";
    const cache = cacheOf(scope);
    const key = `${sender} ${this.#parts.sealer.generation} ${text}`;
    const last = this.#last;
    if (defined.size === 0 && last?.scope === scope && last.key === key) return last.found;
    const known = defined.size === 0 ? cache.get(key) : undefined;
    if (known !== undefined) return known;
    const found = this.#guarded(() => tokenText(text, scope, sender, this.#parts.sealer, defined));
    if (defined.size > 0 || text.length > LONGEST_KEPT) return found;
    this.#last = { key, scope, found };
    if (found !== UNTOUCHED) cache.set(key, found);
    return found;
  }

  /** Whatever goes wrong, the text does not reach the server as it is. */
  #guarded(find: () => TokenText): TokenText {
    try {
      return find();
    } catch (error) {
      if (error instanceof RangeError) return refused(TOO_DEEP);
      this.#parts.log.error({ err: error }, "a text that names a table with tokens could not be analysed");
      return refused(NOT_ANALYSED);
    }
  }

  /** For what may be prepared: it will be looked at again when it is used. */
  prepared(bytes: Buffer, text: TokenText): Sent {
    const source = bytes.length <= LONGEST_KEPT ? Buffer.from(bytes) : undefined;
    const scope = this.#standing.scope();
    const uses = nameUses(bytes.toString("utf8"));
    return {
      text,
      source,
      weight: (source?.length ?? 0) + (text.sql?.length ?? 0),
      uses: uses === "unknown" ? [] : uses,
      isUnclear: uses === "unknown",
      isMover: mayMove(bytes),
      ...(scope && { scope: this.#numberOf(scope) }),
    };
  }

  /** Looks at what was prepared by the scope of now. Why it may not run as it was prepared; undefined: it may. */
  renew(sent: Sent, defined: ReadonlySet<string>): Refusal | undefined {
    const scope = this.#standing.scope();
    if (scope === undefined) return AGAIN;
    const number = this.#numberOf(scope);
    if (sent.scope === number && defined.size === 0) return undefined;
    if (sent.scope === undefined) return undefined;
    const columns = tokenColumnsOf(scope);
    if (sent.source === undefined) return columns === undefined ? undefined : PREPARE_AGAIN;
    const text = this.analyse(sent.source, defined);
    if (text.refusal !== undefined) return text.refusal;
    if (!isSame(text, sent.text)) return PREPARE_AGAIN;
    sent.text = text;
    sent.scope = number;
    return undefined;
  }

  /** What an analysis depends on, as a number: it changes with the scope and with the keys. */
  #numberOf(scope: Scope): number {
    return numberOf(scope, this.#parts.sealer.generation);
  }

  /** Texts mean to the server what they mean here, as far as it has told. */
  get isReadable(): boolean {
    const { clientEncoding, standardStrings } = this.#parts.parameters;
    return standardStrings !== "off" && (clientEncoding === undefined || clientEncoding === "UTF8");
  }
}

/** Whether what is sent to the server is the same: constants and parameters of the same places and columns. */
function isSame(one: TokenText, other: TokenText): boolean {
  const { sql, parameters } = one;
  if (sql === undefined || other.sql === undefined) {
    if (sql !== other.sql) return false;
  } else if (!sql.equals(other.sql)) return false;
  return (
    parameters.size === other.parameters.size &&
    [...parameters].every(([number, { readings, form }]) => {
      const same = other.parameters.get(number);
      return (
        same?.form === form &&
        same.readings.length === readings.length &&
        readings.every((each, index) => isSameReading(each, same.readings[index]))
      );
    })
  );
}

function isSameReading(one: TokenReading, other: TokenReading | undefined): boolean {
  return (
    one.reading === other?.reading &&
    one.isSearch === other.isSearch &&
    one.column.associated === other.column.associated
  );
}

/** Texts and values that every encoding and every form of strings reads in the same way. */
export function isPlain(bytes: Buffer): boolean {
  return !/[^\0-[\]-\x7f]/.test(bytes.toString("latin1"));
}

const COMMENTS = /^(?:\s|\/\*(?:[^*]|\*(?!\/))*\*\/|--[^\n]*\n)*/;
const DATA =
  /^(?:select|insert|update|delete|merge|values|with|table|begin|start|explain|fetch|move|declare|close|copy)\b/i;
/** Of functions of Postgres's own: those that set something, and those that run a text. */
const SETTERS = /set_config|_to_xml|ts_stat|ts_rewrite|u&"/i;

/**
 * Whether a statement may change how texts are read: client_encoding, standard_conforming_strings. Functions of the
 * database's own are not looked into.
 */
export function mayMove(bytes: Buffer): boolean {
  const text = bytes.toString("latin1").replace(COMMENTS, "");
  return !DATA.test(text) || /;\s*\S/.test(text) || SETTERS.test(text);
}

const KEPT_TEXTS = 500;
const LONGEST_KEPT = 10_000;
const caches = new WeakMap<Scope, LRUCache<string, TokenText>>();

function cacheOf(scope: Scope): LRUCache<string, TokenText> {
  let known = caches.get(scope);
  if (known === undefined) {
    known = new LRUCache({ max: KEPT_TEXTS });
    caches.set(scope, known);
  }
  return known;
}

/** What was prepared must not keep an old catalog alive: a number stands for its scope, and for the keys. */
const numbers = new WeakMap<Scope, { readonly generation: number; readonly number: number }>();
let lastNumber = 0;

function numberOf(scope: Scope, generation: number): number {
  const known = numbers.get(scope);
  if (known?.generation === generation) return known.number;
  numbers.set(scope, { generation, number: ++lastNumber });
  return lastNumber;
}

function refused(refusal: Refusal): TokenText {
  return { ...UNTOUCHED, refusal };
}

const AGAIN = refuse("58000", "the catalog of the database is being read again", { hint: "Send it again." });

export const UNREADABLE = refuse(
  "42501",
  "columns with tokens are read and written in UTF-8 with standard strings",
  {
    hint: "SET client_encoding = 'UTF8', and standard_conforming_strings = on.",
  },
);

export const UNSURE = refuse(
  "42501",
  "what comes before in the same pipeline may change how this is read: it names columns with tokens",
  {
    hint: "Send it once the server has answered what comes before (Sync), or write it without backslashes and in ASCII.",
  },
);

export const PREPARE_AGAIN = refuse(
  "26000",
  "the prepared statement must be prepared again: the columns that are stored as tokens have changed",
  { hint: "Prepare it again." },
);

const TOO_DEEP = refuse("54001", "the statement is nested too deeply", {
  hint: "It names a table with tokens, and is looked at by the proxy: write it flatter.",
});

const NOT_ANALYSED = refuse("XX000", "this statement names a table with tokens and could not be analysed", {
  hint: "This is a fault of Sluice: please report it. Another form of the statement may work.",
});
