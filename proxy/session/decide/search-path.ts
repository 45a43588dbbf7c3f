import type { Catalog } from "../../catalog/catalog.ts";
import { splitNames } from "../../pg/setting-text.ts";
import type { Effect } from "../../sql/verdict.ts";
import type { TransactionStatus } from "../../wire/messages.ts";

/**
 * The schemas in which the server looks for a name, in order. Those that do not exist are passed over, as the
 * server does; pg_catalog comes first whether it is named or not (Postgres docs, "search_path").
 */
export function effectiveSchemas(setting: string, user: string, catalog: Catalog): readonly string[] {
  // What the server has taken for a value it can read.
  return (splitNames(setting) ?? [])
    .map((schema) => (schema === "$user" ? user : schema))
    .filter((schema) => schema !== "pg_catalog" && catalog.schemas.has(schema));
}

/**
 * A session's search_path, as far as it is known. Statements that change it are noticed, and the server is asked for
 * the result, because the end of a transaction, a savepoint or an error may undo the change.
 */
export class SearchPath {
  #setting: string;
  #known: boolean;
  /** Moved since the last time that no transaction was open. */
  #moved = false;
  /** The last pipeline with a statement that may have moved it. */
  #pipeline = -1;
  /** What the server told last by ParameterStatus, as it does before ReadyForQuery (Postgres 18); undefined: it does not. */
  #reported: string | undefined;

  constructor(reported: string | undefined) {
    this.#setting = reported ?? '"$user", public';
    this.#reported = reported;
    this.#known = reported !== undefined;
  }

  get setting(): string {
    return this.#setting;
  }

  /** False: the server must be asked before names are resolved again. */
  get known(): boolean {
    return this.#known;
  }

  /** It has been moved in a transaction that, as far as is known, has not ended. */
  get hasMoved(): boolean {
    return this.#moved;
  }

  /** A statement with this effect has been sent in this pipeline. */
  sent(effect: Effect | undefined, pipeline: number): void {
    if (effect === undefined) return;
    const moves = movesPath(effect);
    if (!moves && !(effect.kind === "transaction" && this.#moved)) return;
    this.#moved = true;
    this.#known = false;
    this.#pipeline = pipeline;
  }

  /** The server refused something: if that was in a transaction, what it did is taken back. */
  failed(): void {
    if (this.#moved) this.#known = false;
  }

  /** ReadyForQuery of this pipeline. */
  ready(status: TransactionStatus, pipeline: number): void {
    if (this.#pipeline > pipeline) return;
    if (status === "I" && this.#moved) {
      this.#moved = false;
      this.#known = false;
    }
    if (this.#reported === undefined) return;
    // The answer to a question asked within a transaction may have been undone since, and the server does not report
    // that.
    this.#setting = this.#reported;
    this.#known = true;
  }

  /** A ParameterStatus. */
  report(setting: string): void {
    this.#setting = setting;
    this.#reported = setting;
  }

  /** What the server said when asked. */
  answer(setting: string): void {
    this.#setting = setting;
    this.#known = true;
  }
}

function movesPath(effect: Effect): boolean {
  switch (effect.kind) {
    case "set":
      return effect.parameter === "search_path" || effect.parameter === "all";
    case "discard":
      return effect.target === "all";
    default:
      return false;
  }
}
