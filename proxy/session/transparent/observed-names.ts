import { MOST_NAMED, NAME_BYTES } from "../../protocol/most-named.ts";
import { Names } from "../../protocol/object-names.ts";
import type { Effect } from "../../sql/verdict.ts";
import type { Target } from "../../wire/frontend-messages.ts";
import { nameKey } from "../../wire/messages.ts";
import { Kept } from "../statement/decision.ts";
import type { Observed } from "./observer.ts";

/** A text, and which of its statements has the name. */
export interface NamedStatement {
  readonly kept: Kept;
  readonly index: number;
}

/**
 * The prepared statements and portals of a session that is not guarded, as the server has them: which text an answer
 * belongs to does not depend on what was only asked for.
 */
export class ObservedNames {
  readonly #statements = new Names(weightOf);
  readonly #portals = new Names(weightOf);

  statement(name: string): NamedStatement | undefined {
    return this.#statements.get(name);
  }

  portal(name: string): NamedStatement | undefined {
    return this.#portals.get(name);
  }

  parsed(name: string, kept: Kept): void {
    this.#name(name, { kept, index: 0 });
  }

  bound(portal: string, statement: string): void {
    const named = this.#statements.get(statement);
    if (named === undefined || this.#isFull) this.#portals.delete(portal);
    else this.#portals.set(portal, named);
  }

  closed({ target, name }: Target): void {
    (target === "statement" ? this.#statements : this.#portals).delete(name);
  }

  /** SQL gives names to statements, too, and takes them away. */
  completed(effect: Effect | undefined, { judged, index }: Observed): void {
    switch (effect?.kind) {
      case "prepare":
        this.#name(nameKey(effect.name), { kept: new Kept(judged), index });
        break;
      case "deallocate":
        if (effect.name !== undefined) this.#statements.delete(nameKey(effect.name));
        else this.#statements.clear(isUnnamed);
        break;
      case "discard":
        if (effect.target === "all") this.#statements.clear(isUnnamed);
        break;
    }
  }

  /** What is not kept is on record without its text: nothing is refused for it. */
  #name(name: string, named: NamedStatement): void {
    this.#statements.delete(name);
    if (!this.#isFull) this.#statements.set(name, named);
  }

  get #isFull(): boolean {
    return this.#statements.weight + this.#portals.weight >= MOST_NAMED;
  }

  /** Portals end with their transaction. */
  transactionEnded(): void {
    this.#portals.clear(() => false);
  }
}

function weightOf({ kept }: NamedStatement): number {
  return NAME_BYTES + kept.text.length;
}

/** DEALLOCATE ALL knows only statements with a name (DropAllPreparedStatements of commands/prepare.c). */
function isUnnamed(_named: NamedStatement, name: string): boolean {
  return name === "";
}
