import type { Frame } from "../../wire/frames.ts";
import { decodeBind, decodeExecute } from "../../wire/frontend-messages.ts";
import { Frontend } from "../../wire/messages.ts";

/**
 * Parse and Bind run code as well: a parameter's domain is checked, and the planner works out what is constant. Of a
 * statement that may change the session it is remembered up to its Execute, which is noticed anyway; a message in between asks
 * the server first.
 */
export class Unrun {
  #statement: string | undefined;
  #portal: string | undefined;

  /** A statement that may change the session has been parsed. */
  parsed(statement: string): void {
    this.#statement = statement;
  }

  bound(statement: string, portal: string): void {
    this.#statement = statement;
    this.#portal = portal;
  }

  /** Whether a message leaves a statement behind that has not been executed. */
  leaves(frame: Frame): boolean {
    if (this.#statement === undefined || this.#isItsOwn(frame)) return false;
    this.#statement = undefined;
    this.#portal = undefined;
    return true;
  }

  #isItsOwn(frame: Frame): boolean {
    switch (frame.type) {
      case Frontend.Bind:
        return this.#portal === undefined && decodeBind(frame).statement === this.#statement;
      case Frontend.Execute:
        return decodeExecute(frame).portal === this.#portal;
      default:
        return ASIDE.has(frame.type);
    }
  }
}

/** These run nothing. */
const ASIDE: ReadonlySet<number> = new Set([
  ...[Frontend.Describe, Frontend.Close, Frontend.Flush, Frontend.Terminate],
  ...[Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail],
]);
