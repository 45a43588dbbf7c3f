import type { PersonSource } from "../../policy/policy.ts";
import type { Ledger } from "../../protocol/ledger.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { TransactionStatus } from "../../wire/messages.ts";
import { settingsOf } from "../person/person.ts";
import type { Judging } from "./judging.ts";

/** What the server says of the session: it alone knows what functions, triggers and parameters have changed. */
export interface Surroundings {
  readonly searchPath: string;
  /** Whose rights hold: another than the session's user after SET ROLE. */
  readonly currentUser: string;
  /** Relations of the session's temporary schema. */
  readonly temporary: ReadonlySet<string>;
  /** Those of them that are views: their rows come from elsewhere. */
  readonly temporaryViews: ReadonlySet<string>;
  /** The settings that may name a person; "" for one that is not set. */
  readonly settings: ReadonlyMap<string, string>;
}

/**
 * Whether what the server last reported about the session is still true. Statements that may change it are noticed when
 * they are sent; after the end of a transaction, a savepoint or an error, which may undo a change, the server is asked
 * again.
 */
export class Certainty {
  readonly #ledger: Pick<Ledger, "isEnding">;
  readonly #judging: Pick<Judging, "account">;
  #known: Surroundings | undefined;
  /** Something may have changed since the last time that no transaction was open. */
  #moved = false;

  constructor(ledger: Pick<Ledger, "isEnding">, judging: Pick<Judging, "account">) {
    this.#ledger = ledger;
    this.#judging = judging;
  }

  /**
   * Undefined: the server must be asked before a statement may be assumed to show the rows of any person. What is set
   * without BEGIN holds until the next Sync or the end of the query, which undoes SET LOCAL, and after an error undoes
   * all of it (Postgres docs, 53.2.4 "Pipelining"). The policy may have come to name people by other settings since.
   */
  get known(): Surroundings | undefined {
    const known = this.#moved && this.#ledger.isEnding ? undefined : this.#known;
    const needed = settingsOf(this.#judging.account.peopleBehind ?? NO_SOURCES);
    return needed.every((name) => known?.settings.has(name)) ? known : undefined;
  }

  sent(statements: readonly Statement[]): void {
    for (const { touch, effect } of statements) {
      if (touch?.session === true) this.doubt();
      else if (effect?.kind === "transaction" && this.#moved) this.#known = undefined;
    }
  }

  /** Anything may be different. */
  doubt(): void {
    this.#known = undefined;
    this.#moved = true;
  }

  failed(): void {
    if (this.#moved) this.#known = undefined;
  }

  /** `isSettled`: nothing has been sent behind what this answers; else that may be what has moved something. */
  ready(status: TransactionStatus, isSettled: boolean): void {
    if (status !== "I" || !this.#moved) return;
    if (isSettled) this.#moved = false;
    this.#known = undefined;
  }

  answered(surroundings: Surroundings): void {
    this.#known = surroundings;
  }
}

const NO_SOURCES: readonly PersonSource[] = [];
