import type { Ledger } from "../protocol/ledger.ts";
import type { Names } from "../protocol/object-names.ts";
import type { Request } from "../protocol/requests.ts";
import type { Residue } from "../sql/session-residue.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { OwnQuery } from "./pool-requests.ts";
import type { Holder, ServerConnection } from "./server-connection.ts";
import type { ClientStatement } from "./server-statements.ts";
import type { StatementBarrier } from "./statement-barrier.ts";

/** A client in front of the pool, as those see it who deal with its messages, its answers and its settings. */
export interface PoolSession extends Holder {
  /** What a statement leaves behind, as the catalog is now; its text is lent. `declared`: types of parameters, by their oids. */
  readonly residueOf: (sql: Buffer, declared: readonly number[]) => Residue;
  /** The session's own. */
  readonly ledger: Ledger<Request>;
  readonly barriers: StatementBarrier;
  /** What the client's names of prepared statements mean to it. */
  readonly statements: Names<ClientStatement>;
  /** search_path, and what the client knows of parameters. */
  readonly parameterSync: {
    readonly path: string | undefined;
    report(name: string, value: string): void;
    restore(): void;
  };
  /** The one that is held. */
  readonly connection: ServerConnection | undefined;
  /** What a statement may leave is noted when it is sent: that it fails later takes nothing of it back. */
  note(residue: Residue, connection: ServerConnection): void;
  /** The beginning of a long message has been sent: its other pieces follow as they come. */
  passRest(): void;
  /** A query of the pool's own, of which the session hears nothing. */
  ask(message: Buffer, ended: (query: OwnQuery) => void): void;
  /** The session gets this as a message of the server's, before any that is still to come. */
  tell(message: Buffer): void;
  /** DISCARD ALL, or DEALLOCATE ALL, has been done. */
  discarded(what: "all" | "statements"): void;
  /** Gives the connection back if the client's transaction is over. */
  settle(): void;
  /** Ends the session with a word. */
  fail(refusal: Refusal): void;
  /** Closes the connection that is held. */
  discard(): void;
  /** Tries again what has to wait. */
  goOnSoon(): void;
}
