import { errorResponse } from "../wire/errors.ts";
import { refuseSession } from "../wire/refusal.ts";
import { type Opened, ServerConnection } from "./server-connection.ts";

/** What a connection is opened with. */
export interface Startup {
  /** Equal for startup packets that make equal sessions. */
  readonly key: string;
  readonly packet: Buffer;
}

/** Why there is no connection, as the ErrorResponse that a client is to get. */
export class NoConnection extends Error {
  override readonly name = "NoConnection";
  readonly response: Buffer;
  readonly sqlstate: string;

  constructor(response: Buffer, sqlstate: string) {
    super(`no connection to the server (${sqlstate})`);
    this.response = response;
    this.sqlstate = sqlstate;
  }
}

/** Who waits for a connection. */
export interface Asker {
  granted(connection: ServerConnection): void;
  failed(problem: NoConnection): void;
}

export interface PoolOptions {
  /** Connections at most. */
  readonly size: number;
  /** How long a client waits for one, in milliseconds. */
  readonly waitMs: number;
  /** Rejects with `NoConnection`. */
  readonly open: (startup: Startup) => Promise<Opened>;
  /** A connection had to be ended: the server broke the protocol, or the pool has a fault. */
  readonly onFault: (error: unknown) => void;
}

interface Waiting {
  readonly asker: Asker;
  readonly startup: Startup;
  readonly since: number;
  readonly limit: NodeJS.Timeout;
}

/** As PgBouncer's server_lifetime and server_idle_timeout. */
const LIFETIME_MS = 3_600_000;
const IDLE_MS = 600_000;

const MOST_GREETINGS = 100;

/** What SHOW POOLS tells. */
export interface PoolState {
  /** Clients that have a connection at the moment. */
  readonly clientsActive: number;
  readonly clientsWaiting: number;
  readonly serversActive: number;
  readonly serversIdle: number;
  /** Seconds that the first of the queue has waited. */
  readonly waitedSeconds: number;
  /** When each server connection was opened (Unix time in milliseconds); those at work first. */
  readonly servers: readonly number[];
}

/** The server connections of one user of one database. Who asks first is served first. */
export class Pool {
  readonly #options: PoolOptions;
  /** The one used last comes last. */
  readonly #idle: ServerConnection[] = [];
  readonly #held = new Set<ServerConnection>();
  readonly #queue: Waiting[] = [];
  /** What servers told at log-in, by startup packet. */
  readonly #greetings = new Map<string, ReadonlyMap<string, string>>();
  #opening = 0;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** A connection at once, or undefined: the asker will be told. */
  take(asker: Asker, startup: Startup): ServerConnection | undefined {
    if (this.#queue.length === 0) {
      const connection = this.#fitting(asker, startup);
      if (connection !== undefined) return connection;
    }
    const { waitMs } = this.#options;
    const limit = setTimeout(() => this.#overdue(asker), waitMs);
    this.#queue.push({ asker, startup, since: performance.now(), limit });
    this.#serve();
    return undefined;
  }

  /** What a session that begins like this is told; undefined before the first connection of its kind. */
  greeting({ key }: Startup): ReadonlyMap<string, string> | undefined {
    return this.#greetings.get(key);
  }

  /** Does not wait any more. */
  forget(asker: Asker): void {
    const at = this.#queue.findIndex((each) => each.asker === asker);
    if (at >= 0) clearTimeout(this.#queue.splice(at, 1)[0]?.limit);
  }

  /** No transaction is open on it, and nobody holds it. */
  release(connection: ServerConnection): void {
    if (!this.#held.delete(connection)) return;
    if (this.#isClosed || performance.now() - connection.since > LIFETIME_MS) {
      connection.close();
    } else {
      connection.idleSince = performance.now();
      this.#idle.push(connection);
    }
    this.#serve();
  }

  /** It is to be closed, whatever its state. */
  discard(connection: ServerConnection): void {
    connection.close();
  }

  get state(): PoolState {
    const first = this.#queue[0];
    return {
      clientsActive: this.#held.size,
      clientsWaiting: this.#queue.length,
      serversActive: this.#held.size,
      serversIdle: this.#idle.length,
      servers: [...this.#held, ...this.#idle].map(({ since }) => performance.timeOrigin + since),
      waitedSeconds: first === undefined ? 0 : (performance.now() - first.since) / 1000,
    };
  }

  /** Closes what has been idle for long; true: nothing is left, and nobody asks. */
  tidy(): boolean {
    const now = performance.now();
    for (const connection of this.#idle.filter(({ idleSince }) => now - idleSince > IDLE_MS))
      connection.close();
    return this.#open === 0 && this.#queue.length === 0;
  }

  close(): void {
    this.#isClosed = true;
    for (const connection of [...this.#idle]) connection.close();
  }

  get #open(): number {
    return this.#idle.length + this.#held.size + this.#opening;
  }

  /** Serves the head of the queue, as long as there is something for it. */
  #serve(): void {
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const { asker, startup, limit } = first;
      const connection = this.#fitting(asker, startup);
      if (connection === undefined) break;
      clearTimeout(limit);
      this.#queue.shift();
      asker.granted(connection);
    }
    // One for each who waits, and no more than may be.
    for (const { startup } of this.#queue.slice(this.#opening)) {
      if (this.#open >= this.#options.size && !this.#evict()) break;
      void this.#connect(startup);
    }
  }

  /** An idle connection for this startup packet: the asker's own last one if that is free, else the one used last. */
  #fitting(asker: Asker, startup: Startup): ServerConnection | undefined {
    let found = -1;
    for (let at = this.#idle.length - 1; at >= 0; at--) {
      const connection = this.#idle[at];
      if (connection?.startup !== startup.key) continue;
      if (found < 0) found = at;
      if (connection.lastHolder === (asker as object)) {
        found = at;
        break;
      }
    }
    if (found < 0) return undefined;
    const [connection] = this.#idle.splice(found, 1);
    if (connection !== undefined) this.#held.add(connection);
    return connection;
  }

  /** Closes the idle connection that was used longest ago: it was opened for other settings. */
  #evict(): boolean {
    const [oldest] = this.#idle;
    oldest?.close();
    return oldest !== undefined;
  }

  async #connect(startup: Startup): Promise<void> {
    this.#opening++;
    try {
      const opened = await this.#options.open(startup);
      this.#opening--;
      this.#greetings.delete(startup.key);
      this.#greetings.set(startup.key, opened.parameters);
      // Clients choose the settings, and so how many kinds there are.
      const [oldest] = this.#greetings.keys();
      if (this.#greetings.size > MOST_GREETINGS && oldest !== undefined) this.#greetings.delete(oldest);
      const connection = new ServerConnection(
        startup.key,
        opened,
        (closed) => this.#closed(closed),
        this.#options.onFault,
      );
      this.#held.add(connection);
      this.release(connection);
    } catch (error) {
      this.#opening--;
      this.#fail(startup, error instanceof NoConnection ? error : BROKEN);
    }
  }

  /** The one for whom it was opened is told; the next ones try again. */
  #fail({ key }: Startup, problem: NoConnection): void {
    const first = this.#queue.find(({ startup }) => startup.key === key);
    if (first !== undefined) {
      this.forget(first.asker);
      first.asker.failed(problem);
    }
    this.#serve();
  }

  #overdue(asker: Asker): void {
    this.forget(asker);
    const seconds = this.#options.waitMs / 1000;
    const refusal = refuseSession("53300", `no server connection became free within ${seconds} seconds`, {
      hint: "Other transactions of this user hold all of --pool-size. End them sooner, or raise it.",
    });
    asker.failed(new NoConnection(errorResponse(refusal), refusal.sqlstate));
  }

  #closed(connection: ServerConnection): void {
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#held.delete(connection);
    if (!this.#isClosed) this.#serve();
  }
}

const BROKEN = new NoConnection(
  errorResponse(refuseSession("08006", "the proxy cannot log in to the database server")),
  "08006",
);
