import { LRUCache } from "lru-cache";
import { refuse } from "../wire/refusal.ts";
import { analyse, type OnLeftover } from "./analyse.ts";
import { isUnrestricted, type Scope } from "./scope.ts";
import { isShareable, shapeOf } from "./shape.ts";
import type { Verdict } from "./verdict.ts";

/** Verdicts of one scope weigh this much at most (bytes of their texts). */
const MAXIMUM_BYTES = 16 * 1024 * 1024;
const MAXIMUM_SCOPES = 500;

export interface CacheEvents {
  readonly onLookup: (hit: boolean) => void;
  /** Seconds of one analysis. */
  readonly onAnalysed: (seconds: number) => void;
  readonly onLeftover: OnLeftover;
}

/**
 * Verdicts by the statement's exact bytes and the scope. Two texts with one fingerprint can mean two things, so
 * for a guarded role nothing less than the bytes is a key. Of an unrestricted role nothing is judged: what is
 * noted of its statements hangs on no literal, and texts that differ in nothing else share it.
 */
export class VerdictCache {
  readonly #events: CacheEvents;
  readonly #scopes = new LRUCache<Scope, LRUCache<string, Verdict>>({ max: MAXIMUM_SCOPES });
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(events: CacheEvents) {
    this.#events = events;
  }

  /** `sql` is the text without its terminating zero, borrowed. The scope must be interned (`Scopes`). */
  judge(sql: Buffer, scope: Scope): Verdict {
    let verdicts = this.#scopes.get(scope);
    if (verdicts === undefined) {
      verdicts = new LRUCache({
        maxSize: MAXIMUM_BYTES,
        sizeCalculation: (verdict, key) =>
          key.length + (verdict.kind === "rewrite" ? verdict.sql.length : 0) + 200,
      });
      this.#scopes.set(scope, verdicts);
    }
    // latin1 keeps every byte as one character: the cheapest exact key.
    const key = sql.toString("latin1");
    let known = verdicts.get(key);
    // A text with a shape is ASCII, the same in latin1 and UTF-8.
    const shape = known === undefined && isUnrestricted(scope.role) ? shapeOf(key) : undefined;
    if (shape !== undefined) known = verdicts.get(shape);
    this.#events.onLookup(known !== undefined);
    if (known !== undefined) return known;
    const start = performance.now();
    const verdict = this.#analyse(sql, scope);
    this.#events.onAnalysed((performance.now() - start) / 1000);
    verdicts.set(shape !== undefined && isShareable(key) ? shape : key, verdict);
    return verdict;
  }

  #analyse(sql: Buffer, scope: Scope): Verdict {
    let text: string;
    try {
      text = this.#decoder.decode(sql);
    } catch {
      return { kind: "refuse", statements: [], refusal: refuse("22021", "the statement is not valid UTF-8") };
    }
    return analyse(text, scope, this.#events.onLeftover);
  }
}

/** Interns scopes: equal ones are the same object, so that they share their verdicts. */
export class Scopes {
  readonly #known = new LRUCache<string, Scope>({ max: MAXIMUM_SCOPES });
  readonly #ids = new WeakMap<object, number>();
  #lastId = 0;

  of(scope: Scope): Scope {
    const { policy, role, user, catalog, searchPath, unreadable } = scope;
    const key = JSON.stringify([
      this.#id(policy),
      this.#id(role),
      user,
      this.#id(catalog),
      searchPath,
      this.#id(unreadable),
    ]);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    this.#known.set(key, scope);
    return scope;
  }

  #id(object: object): number {
    const known = this.#ids.get(object);
    if (known !== undefined) return known;
    this.#ids.set(object, ++this.#lastId);
    return this.#lastId;
  }
}
