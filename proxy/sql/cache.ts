import { LRUCache } from "lru-cache";
import type { Catalog } from "../catalog/catalog.ts";
import type { Policy, Role } from "../policy/policy.ts";
import { placeholders } from "../policy/policy-sql.ts";
import { conditionsOf } from "../policy/rules/all.ts";
import { refuse } from "../wire/refusal.ts";
import { analyse, type OnLeftover, type OnStage } from "./analyse.ts";
import { Allowance } from "./bind/effort.ts";
import { Constants } from "./parse/constants.ts";
import { isUnrestricted, type Scope } from "./scope.ts";
import { isShareable, keyWithLiterals, type Shape, shapeOf } from "./shape.ts";
import type { StageName } from "./stages.ts";
import { surveyLong } from "./survey.ts";
import { textKey } from "./text-key.ts";
import type { Statement, Verdict } from "./verdict.ts";
import { fitsShape, instantiate, type Template } from "./verdict-template.ts";

/** The maximum total weight of all verdicts, in bytes. */
const MAXIMUM_BYTES = 64 * 1024 * 1024;
/** For one policy and catalog; more than the number of a fleet's users who are active at one time. */
const MAXIMUM_SCOPES = 20_000;

/**
 * The longest text that is analysed in this thread, in bytes: it takes some ten milliseconds at most. Longer texts are
 * analysed elsewhere, if possible.
 */
const LONGEST_OF_TURN = 8 * 1024;

/**
 * The weight of a verdict's objects in addition to its texts, as measured: 2.3 kB in all for 300 bytes of key and
 * edits.
 */
const OBJECTS = 2_000;

export interface CacheEvents {
  readonly onLookup: (hit: boolean) => void;
  /** Called when an analysis begins. The returned functions are called at each stage and at the end. */
  readonly onAnalysis: () => { readonly stage: OnStage; readonly end: () => void };
  /** Called when a text is refused, whether newly analysed or from the cache. */
  readonly onRefusal: (stage: StageName) => void;
  readonly onLeftover: OnLeftover;
}

/** A verdict made by another thread. */
export interface Analysed {
  readonly verdict: Verdict;
  /** The text as the audit log keeps it; undefined if there was no analysis. */
  readonly stored?: string;
  /** Texts of the same shape have the same verdict. */
  readonly isShared: boolean;
  /** As passed to `OnLeftover`. */
  readonly leftovers: readonly string[];
  /** False if there was no analysis and the next attempt may succeed. */
  readonly isLasting: boolean;
}

/** Analyses long texts without blocking the event loop. */
export interface Elsewhere {
  /** Never rejects. */
  analyse(text: string, scope: Scope): Promise<Analysed>;
}

/** What is known about a text or a shape. "byText": the verdict depends on the literals. */
type CacheEntry = Template | "byText";

/**
 * Verdicts, keyed by the scope and the statement's bytes; without its literals if the verdict depends on none of them.
 * Two texts with one fingerprint can mean different things. Two texts of one shape differ only in constants, and the
 * analysis records whether it looks at any.
 */
export class VerdictCache {
  readonly #events: CacheEvents;
  readonly #elsewhere: Elsewhere | undefined;
  /** Analyses that are running elsewhere, by scope and text. */
  readonly #underway = new Map<string, Promise<Verdict>>();
  /** Texts as the audit log keeps them, by the statements found elsewhere. */
  readonly #stored = new WeakMap<readonly Statement[], string>();
  readonly #known = new LRUCache<string, CacheEntry>({ maxSize: MAXIMUM_BYTES, sizeCalculation: weightOf });
  /** The key prefix of each scope. */
  readonly #prefixes = new WeakMap<Scope, string>();
  #scopes = 0;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** `elsewhere`, if given, analyses long texts. */
  constructor(events: CacheEvents, elsewhere?: Elsewhere) {
    this.#events = events;
    this.#elsewhere = elsewhere;
  }

  /** `sql` is the text without its terminating zero, borrowed. The scope must be interned (`Scopes`). */
  judge(sql: Buffer, scope: Scope): Verdict {
    const isOpen = scope.role.watch !== true && isUnrestricted(scope.role);
    const statements = isOpen ? surveyLong(sql, scope) : undefined;
    if (statements !== undefined) return { kind: "pass", statements };
    return this.#find(sql, scope) ?? this.#judgeAnew(sql, scope, Allowance.full());
  }

  /** Like `judge`, without making other sessions wait for long: returns a promise if the verdict is made elsewhere. */
  judgeInTurn(sql: Buffer, scope: Scope): Verdict | Promise<Verdict> {
    const elsewhere = this.#elsewhere;
    if (elsewhere === undefined) return this.judge(sql, scope);
    const found = this.#find(sql, scope);
    if (found !== undefined) return found;
    if (sql.length <= LONGEST_OF_TURN) {
      const allowance = Allowance.ofTurn();
      const verdict = this.#judgeAnew(sql, scope, allowance);
      if (!allowance.isUsedUp) return verdict;
    }
    const key = this.#prefixOf(scope) + textKey(sql);
    const underway = this.#underway.get(key);
    if (underway !== undefined) return underway;
    const verdict = this.#judgeElsewhere(Buffer.from(sql), scope, elsewhere);
    if (!(verdict instanceof Promise)) return verdict;
    this.#underway.set(key, verdict);
    return verdict.finally(() => this.#underway.delete(key));
  }

  /** The text as the audit log keeps it, if it is known for these statements. */
  storedText(statements: readonly Statement[]): string | undefined {
    return this.#stored.get(statements);
  }

  #find(sql: Buffer, scope: Scope): Verdict | undefined {
    const prefix = this.#prefixOf(scope);
    const shape = shapeOf(sql);
    const found = shape === undefined ? "byText" : this.#known.get(prefix + shape.key);
    const template = found === "byText" ? this.#ofText(sql, prefix, shape) : found;
    this.#events.onLookup(template !== undefined);
    return template && this.#told(instantiate(template, sql, shape?.literals ?? []));
  }

  /** Looks up the text itself, without its comments if that is enough. */
  #ofText(sql: Buffer, prefix: string, shape: Shape | undefined): Template | undefined {
    const shared = shape?.isMixed ? this.#known.get(prefix + keyWithLiterals(sql, shape)) : undefined;
    const found = shared ?? this.#known.get(prefix + textKey(sql));
    return found === "byText" ? undefined : found;
  }

  #prefixOf(scope: Scope): string {
    let prefix = this.#prefixes.get(scope);
    if (prefix === undefined) {
      prefix = `${this.#scopes++} `;
      this.#prefixes.set(scope, prefix);
    }
    return prefix;
  }

  #told(verdict: Verdict): Verdict {
    if (verdict.kind === "refuse" && verdict.stage !== undefined) this.#events.onRefusal(verdict.stage);
    return verdict;
  }

  /** A verdict that would need a larger allowance is not remembered. */
  #judgeAnew(sql: Buffer, scope: Scope, allowance: Allowance): Verdict {
    const shape = shapeOf(sql);
    const isNew = shape !== undefined && this.#isNew(shape, scope);
    const constants = isNew && shape.literals.length > 0 ? new Constants() : undefined;
    const { stage, end } = this.#events.onAnalysis();
    const text = this.#decoded(sql);
    const verdict =
      text === undefined
        ? NO_UTF8
        : analyse(text, scope, this.#events.onLeftover, constants, stage, allowance);
    end();
    if (allowance.isUsedUp && allowance.isOfTurn) return verdict;
    const mayShare = () => constants !== undefined && !constants.seen && isShareable(sql.toString("utf8"));
    this.#remember(sql, scope, shape, verdict, constants === undefined ? undefined : mayShare);
    return this.#told(verdict);
  }

  #judgeElsewhere(sql: Buffer, scope: Scope, elsewhere: Elsewhere): Verdict | Promise<Verdict> {
    const text = this.#decoded(sql);
    if (text === undefined) return this.#told(NO_UTF8);
    const { end } = this.#events.onAnalysis();
    return elsewhere.analyse(text, scope).then(({ verdict, stored, isShared, isLasting, leftovers }) => {
      for (const name of leftovers) this.#events.onLeftover(name);
      if (!isLasting) return verdict;
      end();
      if (stored !== undefined) this.#stored.set(verdict.statements, stored);
      const shape = shapeOf(sql);
      const isNew = shape !== undefined && this.#isNew(shape, scope);
      this.#remember(sql, scope, shape, verdict, isNew ? () => isShared : undefined);
      return this.#told(verdict);
    });
  }

  /** Whether nothing is known yet about texts of this shape. */
  #isNew(shape: Shape, scope: Scope): boolean {
    return !this.#known.has(this.#prefixOf(scope) + shape.key);
  }

  /** `mayShare`: whether other texts of the shape have the same verdict; absent if that is already known. */
  #remember(
    sql: Buffer,
    scope: Scope,
    shape: Shape | undefined,
    verdict: Verdict,
    mayShare: (() => boolean) | undefined,
  ): void {
    if (isOfTheMoment(verdict)) return;
    const prefix = this.#prefixOf(scope);
    const shared =
      shape && fitsShape(verdict, shape.literals) ? { verdict, literals: shape.literals } : undefined;
    if (shape !== undefined && mayShare !== undefined) {
      const isShared = shared && mayShare();
      this.#known.set(prefix + shape.key, isShared ? shared : "byText");
      if (isShared) return;
    }
    if (shape?.isMixed && shared !== undefined) {
      this.#known.set(prefix + keyWithLiterals(sql, shape), shared);
    } else {
      this.#known.set(prefix + textKey(sql), { verdict, literals: [] });
    }
  }

  #decoded(sql: Buffer): string | undefined {
    try {
      return this.#decoder.decode(sql);
    } catch {
      return undefined;
    }
  }
}

const NO_UTF8: Verdict = {
  kind: "refuse",
  statements: [],
  refusal: refuse("22021", "the statement is not valid UTF-8"),
  stage: "parse",
};

/**
 * No parser was available at that moment: if remembered, the verdict would refuse the statement to everyone from then
 * on.
 */
function isOfTheMoment(verdict: Verdict): boolean {
  return verdict.kind === "refuse" && verdict.refusal.sqlstate === "58000";
}

function weightOf(known: CacheEntry, key: string): number {
  const rewritten = known !== "byText" && known.verdict.kind === "rewrite" ? known.verdict.sql.length : 0;
  return key.length + rewritten + (known === "byText" ? 200 : OBJECTS);
}

/**
 * Interns scopes: equal scopes become the same object, so that they share their verdicts. All users of a role whose
 * policy never uses `:user` have the same scope. The scopes of a catalog or policy that is no longer in use are freed
 * with it: a snapshot of a large database takes megabytes, and each DDL statement creates a new one.
 */
export class Scopes {
  readonly #unreadable = new WeakMap<ReadonlySet<string>, string>();
  readonly #known = new WeakMap<Catalog, WeakMap<Policy, Map<string, Scope>>>();
  readonly #ids = new WeakMap<object, number>();
  #lastId = 0;

  of(asked: Scope): Scope {
    const scope = isPersonal(asked.role) ? asked : { ...asked, user: undefined };
    const { role, user, searchPath, unreadable } = scope;
    const known = this.#of(scope);
    const key = JSON.stringify([this.#id(role), user, searchPath, this.#columns(unreadable)]);
    const same = known.get(key);
    if (same !== undefined) return same;
    const [oldest] = known.size >= MAXIMUM_SCOPES ? known.keys() : [];
    if (oldest !== undefined) known.delete(oldest);
    known.set(key, scope);
    return scope;
  }

  #of({ catalog, policy }: Scope): Map<string, Scope> {
    const byPolicy = this.#known.get(catalog) ?? new WeakMap<Policy, Map<string, Scope>>();
    this.#known.set(catalog, byPolicy);
    // Not an LRUCache: one of this size takes 300 kB even when empty.
    const scopes = byPolicy.get(policy) ?? new Map<string, Scope>();
    byPolicy.set(policy, scopes);
    return scopes;
  }

  #columns(unreadable: ReadonlySet<string>): string {
    let text = this.#unreadable.get(unreadable);
    if (text === undefined) {
      // A name may contain any character, including a comma.
      text = JSON.stringify([...unreadable].sort());
      this.#unreadable.set(unreadable, text);
    }
    return text;
  }

  #id(object: object): number {
    const known = this.#ids.get(object);
    if (known !== undefined) return known;
    this.#ids.set(object, ++this.#lastId);
    return this.#lastId;
  }
}

/** Whether what the role sees depends on the user. */
function isPersonal(role: Role): boolean {
  return conditionsOf(role).some(({ sql }) => placeholders(sql).length > 0);
}
