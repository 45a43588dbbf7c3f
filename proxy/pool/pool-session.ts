import type { Names } from "../protocol/names.ts";
import type { Leavings } from "../sql/leavings.ts";
import type { Outbox } from "../wire/outbox.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { OwnQuery, PoolLedger } from "./expected.ts";
import type { Gate } from "./gate.ts";
import type { Holder, ServerConnection } from "./server-connection.ts";
import type { ClientStatement } from "./server-statements.ts";

/** A client in front of the pool, as those see it who deal with its messages, its answers and its settings. */
export interface PoolSession extends Holder {
  /** What a statement's text leaves behind, as the catalog is now; the text is lent. */
  readonly leavingsOf: (sql: Buffer) => Leavings;
  readonly ledger: PoolLedger;
  readonly gate: Gate;
  readonly toClient: Outbox;
  /** What the client's names of prepared statements mean to it. */
  readonly statements: Names<ClientStatement>;
  /** search_path, and what the client knows of parameters. */
  readonly carrying: {
    readonly path: string | undefined;
    report(name: string, value: string): void;
    restore(): void;
  };
  /** The one that is held. */
  readonly connection: ServerConnection | undefined;
  /** What a statement may leave is noted when it is sent: that it fails later takes nothing of it back. */
  note(leavings: Leavings, connection: ServerConnection): void;
  /** The beginning of a long message has been sent: its other pieces follow as they come. */
  passRest(): void;
  /** A query of the pool's own, of which the client hears nothing. */
  ask(message: Buffer, done: (query: OwnQuery) => void): void;
  /** Tells what needs no answer of the server's, once it is its turn. */
  tellAll(): void;
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
