import type { Scope } from "../../sql/scope.ts";
import type { Verdict } from "../../sql/verdict.ts";

/** A text and what was decided about it. */
export interface Judged {
  /** As the client sent it. */
  readonly text: Buffer;
  /** So many bytes of a long text follow that have not been gathered. */
  readonly more?: number;
  readonly verdict: Verdict;
  readonly scope: Scope;
  /** What the policy would say, where it only observes. */
  readonly would?: Would | undefined;
  /** The person a guarded application asks for, and the role that holds for them on record. */
  readonly person?: string | undefined;
  readonly role?: string;
}

/** What a policy that only observes would say, by the role that would hold: perhaps that of the person. */
export interface Would {
  readonly verdict: Verdict;
  readonly role: string;
}

/**
 * The same, kept under a name, possibly for days. An idle session must not keep the catalog in memory with which it
 * once prepared a statement, so this holds the scope only weakly; whatever judges by the scope now keeps it alive.
 */
export class Kept {
  readonly text: Buffer;
  readonly verdict: Verdict;
  readonly would: Would | undefined;
  readonly #scope: WeakRef<Scope>;

  constructor({ text, verdict, scope, would }: Judged) {
    this.text = text;
    this.would = would;
    this.verdict = verdict;
    this.#scope = weakly(scope);
  }

  /** Undefined when it is no longer used for judging. */
  get scope(): Scope | undefined {
    return this.#scope.deref();
  }

  get judged(): Judged | undefined {
    const { text, verdict, scope, would } = this;
    return scope && { text, verdict, scope, would };
  }
}

const references = new WeakMap<Scope, WeakRef<Scope>>();

/** One reference serves all who hold the scope. */
export function weakly(scope: Scope): WeakRef<Scope> {
  let reference = references.get(scope);
  if (reference === undefined) {
    reference = new WeakRef(scope);
    references.set(scope, reference);
  }
  return reference;
}
