import type { Refusal } from "../wire/refusal.ts";
import type { ClientStatement } from "./server-statements.ts";

interface Step {
  /** It was not done after all: what was noted when it was sent is taken back. */
  readonly undo?: () => void;
  /** It has failed, where that is not the same. */
  readonly onFailed?: () => void;
  /** Told in place of the server's error: a message that surely fails was sent. */
  readonly refusal?: Refusal;
}

/** A query of the pool's own. */
export interface OwnQuery {
  readonly kind: "own";
  /** Fields of the last row, a character a byte; undefined: NULL. */
  row: readonly (string | undefined)[];
  failed: boolean;
  readonly done: (query: OwnQuery) => void;
}

/** What the server is to answer next, or what it is told in its place. */
export type Expected =
  | OwnQuery
  /** `forgets`, here and of "execute": DEALLOCATE, in whose place an empty query was sent. */
  | (Step & { readonly kind: "query"; readonly forgets?: true })
  /** `taken`: told in place of the server's own words when it says that there is a statement of this name. */
  | (Step & {
      readonly kind: "parse";
      readonly hidden: boolean;
      readonly taken?: Refusal;
      /** It has been prepared. */
      readonly onDone?: () => void;
    })
  | (Step & {
      readonly kind: "bind" | "describe";
      /** By the client's name. */
      readonly of?: { readonly name: string; readonly statement: ClientStatement };
    })
  | (Step & { readonly kind: "execute"; readonly forgets?: true })
  | (Step & { readonly kind: "close"; readonly hidden: boolean })
  /** Nothing was sent: the client gets this in its turn. */
  | (Step & { readonly kind: "told"; readonly message: Buffer })
  | { readonly kind: "sync" };

/** In the order of what was sent. */
export class ExpectedAnswers {
  #queue: Expected[] = [];

  get head(): Expected | undefined {
    return this.#queue[0];
  }

  get isEmpty(): boolean {
    return this.#queue.length === 0;
  }

  push(expected: Expected): void {
    this.#queue.push(expected);
  }

  shift(): void {
    this.#queue.shift();
  }

  /** Nobody will answer any more. */
  clear(): void {
    this.#queue.length = 0;
  }

  /**
   * After an error in the extended protocol: takes out all that the server skips, the head included, the last one
   * first. False: the Sync that ends the skipping is still to come.
   */
  skipToSync(): boolean {
    const sync = this.#queue.findIndex(({ kind }) => kind === "sync");
    const skipped = this.#queue.splice(0, sync < 0 ? this.#queue.length : sync);
    const [head] = skipped;
    for (const each of skipped.reverse()) {
      if (each === head && "onFailed" in each) each.onFailed?.();
      else if ("undo" in each) each.undo?.();
    }
    return sync >= 0;
  }
}
