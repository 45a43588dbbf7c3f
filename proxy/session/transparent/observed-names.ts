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
  readonly #statements = new Names<NamedStatement>();
  readonly #portals = new Names<NamedStatement>();

  statement(name: string): NamedStatement | undefined {
    return this.#statements.get(name);
  }

  portal(name: string): NamedStatement | undefined {
    return this.#portals.get(name);
  }

  parsed(name: string, kept: Kept): void {
    this.#statements.set(name, { kept, index: 0 });
  }

  bound(portal: string, statement: string): void {
    const named = this.#statements.get(statement);
    if (named === undefined) this.#portals.delete(portal);
    else this.#portals.set(portal, named);
  }

  closed({ target, name }: Target): void {
    (target === "statement" ? this.#statements : this.#portals).delete(name);
  }

  /** SQL gives names to statements, too, and takes them away. */
  completed(effect: Effect | undefined, { judged, index }: Observed): void {
    switch (effect?.kind) {
      case "prepare":
        this.#statements.set(nameKey(effect.name), { kept: new Kept(judged), index });
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

  /** Portals end with their transaction. */
  transactionEnded(): void {
    this.#portals.clear(() => false);
  }
}

/** DEALLOCATE ALL knows only statements with a name (DropAllPreparedStatements of commands/prepare.c). */
function isUnnamed(_named: NamedStatement, name: string): boolean {
  return name === "";
}
