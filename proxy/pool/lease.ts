import type { Asker, Startup } from "./asker.ts";
import type { Pool } from "./pool.ts";
import type { Holder, ServerConnection } from "./server-connection.ts";

/** A server that says nothing for so long, although it was told to stop or asked what takes no time, is not there. */
const SILENT_MS = 4_000;

/** A connection out of the pool: asked for, held and given back. */
export class Lease {
  connection: ServerConnection | undefined;
  /** A connection has been asked for, and has not come yet. */
  isWaiting = false;
  /** It is kept for a message that waits to be sent. */
  isReserved = false;
  /** What comes late, of a cancel request or of a pipeline, must hit a query of the pool's own. */
  mustFence = false;
  readonly #pool: Pool;
  readonly #startup: Startup;
  readonly #holder: Holder & Asker;
  /** When the server was last asked for what takes no time, by `performance.now()`. */
  #askedAt = Number.POSITIVE_INFINITY;
  #flows = true;

  constructor(pool: Pool, startup: Startup, holder: Holder & Asker) {
    this.#pool = pool;
    this.#startup = startup;
    this.#holder = holder;
    pool.join(holder);
  }

  /** Asks for a connection, unless there is one or it is being waited for. Gives one that is had at once. */
  ask(): ServerConnection | undefined {
    if (this.connection !== undefined || this.isWaiting) return undefined;
    this.isWaiting = true;
    return this.#pool.take(this.#holder, this.#startup);
  }

  hold(connection: ServerConnection): void {
    this.isWaiting = false;
    this.isReserved = true;
    this.mustFence = false;
    this.connection = connection;
    this.answerIsDue();
    connection.lend(this.#holder);
    connection.flow(this.#flows);
  }

  /** The server has been asked for what takes no time. */
  answerIsDue(): void {
    this.#askedAt = performance.now();
  }

  noAnswerIsDue(): void {
    this.#askedAt = Number.POSITIVE_INFINITY;
  }

  flow(wanted: boolean): void {
    this.#flows = wanted;
    this.connection?.flow(wanted);
  }

  giveBack(): void {
    const { connection } = this;
    this.connection = undefined;
    if (connection === undefined) return;
    connection.lastHolder = this.#holder;
    connection.giveUp();
    this.#pool.release(connection);
  }

  /** Closes the connection that is held: a transaction that is open is rolled back by that. */
  discard(): void {
    const { connection } = this;
    this.connection = undefined;
    if (connection !== undefined) this.#pool.discard(connection);
  }

  /** As `discard`, of a client that will not wait any more: it may wait for the server. */
  abandon(): void {
    const { connection } = this;
    const isLate = performance.now() - this.#askedAt >= SILENT_MS;
    if (connection !== undefined && isLate && connection.heardAt < this.#askedAt)
      this.#pool.suspect(connection);
    this.discard();
  }

  /** Nothing is asked for any more. */
  end(): void {
    this.isWaiting = false;
    this.#pool.forget(this.#holder);
    this.#pool.leave(this.#holder);
  }
}
