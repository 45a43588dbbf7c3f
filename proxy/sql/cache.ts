import { LRUCache } from "lru-cache";
import type { Catalog } from "../catalog/catalog.ts";
import { placeholders } from "../policy/expressions.ts";
import type { Policy, Role } from "../policy/policy.ts";
import { refuse } from "../wire/refusal.ts";
import { analyse, type OnLeftover } from "./analyse.ts";
import { Constants } from "./constants.ts";
import { conditionsOf } from "./role-keys.ts";
import type { Scope } from "./scope.ts";
import { isShareable, keyWithLiterals, type Shape, shapeOf } from "./shape.ts";
import { fitsShape, instantiate, type Template } from "./template.ts";
import type { Verdict } from "./verdict.ts";

/** All verdicts together weigh this much at most (bytes). */
const MAXIMUM_BYTES = 64 * 1024 * 1024;
/** Of one policy and catalog; more than users of a fleet are at work at one time. */
const MAXIMUM_SCOPES = 20_000;

/** What a verdict's objects weigh beside its texts, as measured: 2.3 kB in all for 300 bytes of key and edits. */
const OBJECTS = 2_000;

export interface CacheEvents {
  readonly onLookup: (hit: boolean) => void;
  /** Seconds of one analysis. */
  readonly onAnalysed: (seconds: number) => void;
  readonly onLeftover: OnLeftover;
}

/** What is known of a text, or of a shape: "byText" where the verdict hangs on what is put aside. */
type Known = Template | "byText";

/**
 * Verdicts by the scope and the statement's bytes, less the literals where the verdict hangs on none. Two texts with
 * one fingerprint can mean two things; two texts of one shape differ in constants alone, and whether the analysis
 * looks at one is seen while it runs.
 */
export class VerdictCache {
  readonly #events: CacheEvents;
  readonly #known = new LRUCache<string, Known>({ maxSize: MAXIMUM_BYTES, sizeCalculation: weightOf });
  /** What a scope's keys begin with. */
  readonly #prefixes = new WeakMap<Scope, string>();
  #scopes = 0;
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(events: CacheEvents) {
    this.#events = events;
  }

  /** `sql` is the text without its terminating zero, borrowed. The scope must be interned (`Scopes`). */
  judge(sql: Buffer, scope: Scope): Verdict {
    const known = this.#known;
    const prefix = this.#prefixOf(scope);
    const shape = shapeOf(sql);
    const found = shape === undefined ? "byText" : known.get(prefix + shape.key);
    const template = found === "byText" ? this.#ofText(sql, prefix, shape) : found;
    this.#events.onLookup(template !== undefined);
    if (template !== undefined) return instantiate(template, sql, shape?.literals ?? []);
    const start = performance.now();
    const verdict = this.#judgeAnew(sql, scope, shape, found === undefined);
    this.#events.onAnalysed((performance.now() - start) / 1000);
    return verdict;
  }

  /** What is known of the text itself, less its comments if that is enough. */
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

  /** `isNew`: nothing is known yet of texts of this shape. */
  #judgeAnew(sql: Buffer, scope: Scope, shape: Shape | undefined, isNew: boolean): Verdict {
    const constants = isNew && shape !== undefined && shape.literals.length > 0 ? new Constants() : undefined;
    const verdict = this.#analyse(sql, scope, constants);
    if (isOfTheMoment(verdict)) return verdict;
    const prefix = this.#prefixOf(scope);
    const shared =
      shape && fitsShape(verdict, shape.literals) ? { verdict, literals: shape.literals } : undefined;
    if (shape !== undefined && constants !== undefined) {
      const isShared = shared && !constants.seen && isShareable(sql.toString("utf8"));
      this.#known.set(prefix + shape.key, isShared ? shared : "byText");
      if (isShared) return verdict;
    }
    if (shape?.isMixed && shared !== undefined) {
      this.#known.set(prefix + keyWithLiterals(sql, shape), shared);
    } else {
      this.#known.set(prefix + textKey(sql), { verdict, literals: [] });
    }
    return verdict;
  }

  #analyse(sql: Buffer, scope: Scope, constants?: Constants): Verdict {
    let text: string;
    try {
      text = this.#decoder.decode(sql);
    } catch {
      return { kind: "refuse", statements: [], refusal: refuse("22021", "the statement is not valid UTF-8") };
    }
    return analyse(text, scope, this.#events.onLeftover, constants);
  }
}

/** latin1 keeps every byte as one character: the cheapest exact key. */
function textKey(sql: Buffer): string {
  return sql.toString("latin1");
}

/** There was no parser just then: remembered, it would refuse the statement to everybody from then on. */
function isOfTheMoment(verdict: Verdict): boolean {
  return verdict.kind === "refuse" && verdict.refusal.sqlstate === "58000";
}

function weightOf(known: Known, key: string): number {
  const rewritten = known !== "byText" && known.verdict.kind === "rewrite" ? known.verdict.sql.length : 0;
  return key.length + rewritten + (known === "byText" ? 200 : OBJECTS);
}

/**
 * Interns scopes: equal ones are the same object, so that they share their verdicts. Users of a role whose policy
 * never says `:user` are all the same to it. The scopes of a catalog, or of a policy, that nobody uses any more go
 * with it: a snapshot of a large database weighs megabytes, and each DDL statement makes a new one.
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
    // No LRUCache: one of this size takes 300 kB before it holds anything.
    const scopes = byPolicy.get(policy) ?? new Map<string, Scope>();
    byPolicy.set(policy, scopes);
    return scopes;
  }

  #columns(unreadable: ReadonlySet<string>): string {
    let text = this.#unreadable.get(unreadable);
    if (text === undefined) {
      // A name may hold any character, a comma too.
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

/** Whether what the role sees hangs on who asks. */
function isPersonal(role: Role): boolean {
  return conditionsOf(role).some(({ sql }) => placeholders(sql).length > 0);
}
