import pg from "pg";
import { SERVER_SEARCH_PATH } from "./queries.ts";
import type { Queue } from "./queue.ts";

export interface ControlConnectionOptions {
  /** The connection's fields. Not a connection string, because it would override the database. */
  readonly connection: Omit<pg.ClientConfig, "connectionString" | "database">;
  readonly database: string;
  /**
   * How long the connection stays open once no one needs it, in milliseconds; without a limit if absent. While it is open
   * the server refuses DROP DATABASE, and CREATE DATABASE with this database as the template; both first wait five
   * seconds for the connection to close (CountOtherDBBackends of storage/ipc/procarray.c).
   */
  readonly lingerMs?: number;
  /** In whose turn it is opened, and does what it is opened for. */
  readonly opening?: Queue;
}

/** A server that does not answer must not block sessions forever. */
const LIMITS: ControlConnectionOptions["connection"] = {
  application_name: "sluice catalog",
  connectionTimeoutMillis: 10_000,
  query_timeout: 60_000,
  keepAlive: true,
};

/**
 * One connection to one database: opened on demand, used by one caller at a time, closed when it is no longer needed.
 */
export class ControlConnection {
  /** Called when the connection has been opened again, possibly to another server. */
  onConnected: () => void = () => {};
  /** Called when the connection was lost while it was idle. */
  onLost: (error: Error) => void = () => {};
  readonly #options: ControlConnectionOptions;
  #client: pg.Client | undefined;
  #serverSearchPath: string | undefined;
  /** The end of the queue of users: two transactions must not mix. */
  #turn: Promise<unknown> = Promise.resolve();
  #turns = 0;
  #keepers = 0;
  #restTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ControlConnectionOptions) {
    this.#options = options;
  }

  /** The server's own search_path, as of the latest connection. */
  get serverSearchPath(): string | undefined {
    return this.#serverSearchPath;
  }

  /** Whether a caller wants it to stay open. */
  get isKept(): boolean {
    return this.#keepers > 0;
  }

  get isOpen(): boolean {
    return this.#client !== undefined;
  }

  /** Keeps the connection open, once opened, until the returned function is called. */
  keep(): () => void {
    this.#keepers++;
    clearTimeout(this.#restTimer);
    let isKeeping = true;
    return () => {
      if (!isKeeping) return;
      isKeeping = false;
      this.#keepers--;
      this.#restSoon();
    };
  }

  /** Runs `work` on an open connection after all earlier work is done. */
  run<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    this.#turns++;
    clearTimeout(this.#restTimer);
    const result = this.#turn.then(() => {
      const { opening } = this.#options;
      const inTurn = () => this.#run(work);
      return this.#client === undefined && opening !== undefined ? opening.run(inTurn) : inTurn();
    });
    const done = () => {
      this.#turns--;
      this.#restSoon();
    };
    this.#turn = result.then(done, done);
    return result;
  }

  async #run<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    if (this.#isClosed) throw new Error("the catalog is closed");
    const client = this.#client ?? (await this.#connect());
    try {
      return await work(client);
    } catch (error) {
      // A connection that failed for an unknown reason (such as a time-out) is not used again.
      if (!(error instanceof pg.DatabaseError) || error.severity === "FATAL") this.#drop(client);
      throw error;
    }
  }

  /** Calls that still wait for an answer get an error. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#restTimer);
    if (this.#client !== undefined) this.#drop(this.#client);
    await this.#turn;
  }

  #restSoon(): void {
    const { lingerMs } = this.#options;
    clearTimeout(this.#restTimer);
    if (lingerMs === undefined || this.isKept || this.#turns > 0) return;
    this.#restTimer = setTimeout(() => {
      if (this.#client !== undefined) this.#drop(this.#client);
    }, lingerMs).unref();
  }

  async #connect(): Promise<pg.Client> {
    const { connection, database } = this.#options;
    const client = new pg.Client({ ...LIMITS, ...connection, database });
    // Needed until the other listener is added: an error without a listener would end the process.
    client.on("error", () => undefined);
    await client.connect();
    try {
      const { rows } = await client.query<[string]>({ text: SERVER_SEARCH_PATH.text, rowMode: "array" });
      if (this.#isClosed) throw new Error("the catalog is closed");
      this.#serverSearchPath = rows[0]?.[0];
    } catch (error) {
      await client.end().catch(() => undefined);
      throw error;
    }
    this.#client = client;
    client.on("error", (error) => {
      const isOurs = this.#client === client;
      this.#drop(client);
      if (isOurs && !this.#isClosed) this.onLost(error);
    });
    this.onConnected();
    return client;
  }

  #drop(client: pg.Client): void {
    if (this.#client === client) this.#client = undefined;
    client.end().catch(() => undefined);
  }
}
