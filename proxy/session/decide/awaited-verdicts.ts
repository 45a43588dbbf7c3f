import type { Scope } from "../../sql/scope.ts";
import type { Verdict } from "../../sql/verdict.ts";
import type { SessionParts } from "../context/parts.ts";

/**
 * Verdicts on the text that a session deals with, some of which are made in another thread. A message is handed in again
 * when one has come, and may ask for several: all of them stay until it has been dealt with.
 */
export class AwaitedVerdicts {
  readonly #verdicts: SessionParts["verdicts"];
  readonly #wake: () => void;
  #text: Buffer | undefined;
  #of = new Map<Scope, Verdict | "awaited">();

  constructor(verdicts: SessionParts["verdicts"], wake: () => void) {
    this.#verdicts = verdicts;
    this.#wake = wake;
  }

  /** `text` is lent. Undefined: it is awaited, and asked for again after a `wake`. */
  verdict(text: Buffer, scope: Scope): Verdict | undefined {
    if (this.#text !== undefined) {
      const known = this.#text.equals(text) ? this.#of.get(scope) : undefined;
      if (known !== undefined) return known === "awaited" ? undefined : known;
    }
    const found = this.#verdicts.judgeInTurn(text, scope);
    if (!(found instanceof Promise)) return found;
    this.#await(text, scope, found);
    return undefined;
  }

  /** The message has been dealt with. */
  clear(): void {
    if (this.#text === undefined) return;
    this.#text = undefined;
    this.#of = new Map();
  }

  #await(text: Buffer, scope: Scope, promise: Promise<Verdict>): void {
    if (this.#text === undefined || !this.#text.equals(text)) {
      this.#text = Buffer.from(text);
      this.#of = new Map();
    }
    const of = this.#of;
    of.set(scope, "awaited");
    void promise.then((verdict) => {
      of.set(scope, verdict);
      if (of === this.#of) this.#wake();
    });
  }
}
