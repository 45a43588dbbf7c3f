import { LRUCache } from "lru-cache";
import { refuse } from "../wire/refusal.ts";
import { analyse, type OnLeftover } from "./analyse.ts";
import { Constants } from "./constants.ts";
import type { Scope } from "./scope.ts";
import { isShareable, type Shape, shapeOf } from "./shape.ts";
import { fitsShape, instantiate, type Template } from "./template.ts";
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

/** What is known of a text, or of a shape: "byText" where the verdict hangs on what is put aside. */
type Known = Template | "byText";

/**
 * Verdicts by the scope and the statement's bytes, less the literals where the verdict hangs on none. Two texts with
 * one fingerprint can mean two things; two texts of one shape differ in constants alone, and whether the analysis
 * looks at one is seen while it runs.
 */
export class VerdictCache {
  readonly #events: CacheEvents;
  readonly #scopes = new LRUCache<Scope, LRUCache<string, Known>>({ max: MAXIMUM_SCOPES });
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(events: CacheEvents) {
    this.#events = events;
  }

  /** `sql` is the text without its terminating zero, borrowed. The scope must be interned (`Scopes`). */
  judge(sql: Buffer, scope: Scope): Verdict {
    let known = this.#scopes.get(scope);
    if (known === undefined) {
      known = new LRUCache({ maxSize: MAXIMUM_BYTES, sizeCalculation: weightOf });
      this.#scopes.set(scope, known);
    }
    const shape = shapeOf(sql);
    const found = shape === undefined ? "byText" : known.get(shape.key);
    if (shape !== undefined && typeof found === "object") {
      this.#events.onLookup(true);
      return instantiate(found, sql, shape.literals);
    }
    // latin1 keeps every byte as one character: the cheapest exact key.
    const key = sql.toString("latin1");
    const exact = found === "byText" ? known.get(key) : undefined;
    this.#events.onLookup(typeof exact === "object");
    if (typeof exact === "object") return exact.verdict;
    const start = performance.now();
    const verdict = this.#judgeAnew(sql, scope, known, key, found === undefined ? shape : undefined);
    this.#events.onAnalysed((performance.now() - start) / 1000);
    return verdict;
  }

  /** `shape` is given for one that came for the first time. */
  #judgeAnew(
    sql: Buffer,
    scope: Scope,
    known: LRUCache<string, Known>,
    key: string,
    shape: Shape | undefined,
  ): Verdict {
    if (shape === undefined || shape.literals.length === 0) {
      const verdict = this.#analyse(sql, scope);
      known.set(key, { verdict, literals: [] });
      return verdict;
    }
    const constants = new Constants();
    const verdict = this.#analyse(sql, scope, constants);
    if (!constants.seen && fitsShape(verdict, shape.literals) && isShareable(key)) {
      known.set(shape.key, { verdict, literals: shape.literals });
    } else {
      known.set(shape.key, "byText");
      known.set(key, { verdict, literals: [] });
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

function weightOf(known: Known, key: string): number {
  const rewritten = known !== "byText" && known.verdict.kind === "rewrite" ? known.verdict.sql.length : 0;
  return key.length + rewritten + 200;
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
