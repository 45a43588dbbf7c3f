import pg from "pg";
import { SERVER_SEARCH_PATH } from "./queries.ts";

export interface ControlConnectionOptions {
  /** The connection's parts; not a connection string, which would overrule the database. */
  readonly connection: Omit<pg.ClientConfig, "connectionString" | "database">;
  readonly database: string;
  /**
   * How long it stays open once nobody needs it, in milliseconds; for ever if left out. While it is open the server refuses
   * DROP DATABASE, and CREATE DATABASE with this one as its template; both wait five seconds for it to go
   * (CountOtherDBBackends of storage/ipc/procarray.c).
   */
  readonly lingerMs?: number;
}

/** A server that does not answer must not hold up sessions for ever. */
const LIMITS: ControlConnectionOptions["connection"] = {
  application_name: "sluice catalog",
  connectionTimeoutMillis: 10_000,
  query_timeout: 60_000,
  keepAlive: true,
};

/** One connection to one database: opened when it is needed, used by one at a time, closed when nobody needs it any more. */
export class ControlConnection {
  /** It was opened anew: perhaps on another server. */
  onConnected: () => void = () => {};
  /** It was lost while nobody used it. */
  onLost: (error: Error) => void = () => {};
  readonly #options: ControlConnectionOptions;
  #client: pg.Client | undefined;
  #serverSearchPath: string | undefined;
  /** The end of the line of those who use it: transactions of two must not mix. */
  #turn: Promise<unknown> = Promise.resolve();
  #turns = 0;
  #keepers = 0;
  #restTimer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: ControlConnectionOptions) {
    this.#options = options;
  }

  /** The server's own search_path, as of the last connection. */
  get serverSearchPath(): string | undefined {
    return this.#serverSearchPath;
  }

  /** Somebody wants it to stay open. */
  get isKept(): boolean {
    return this.#keepers > 0;
  }

  get isOpen(): boolean {
    return this.#client !== undefined;
  }

  /** Once it is open it stays so, until what this gives is called. */
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

  /** Runs `work` when all earlier work is done, on a connection that is there. */
  run<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    this.#turns++;
    clearTimeout(this.#restTimer);
    const result = this.#turn.then(async () => {
      if (this.#isClosed) throw new Error("the catalog is closed");
      const client = this.#client ?? (await this.#connect());
      try {
        return await work(client);
      } catch (error) {
        // A connection that failed in an unknown way (a time-out, say) is not used again.
        if (!(error instanceof pg.DatabaseError) || error.severity === "FATAL") this.#drop(client);
        throw error;
      }
    });
    const done = () => {
      this.#turns--;
      this.#restSoon();
    };
    this.#turn = result.then(done, done);
    return result;
  }

  /** Whoever still waits for an answer gets an error. */
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
    // Until somebody else listens: an error without a listener would end the process.
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
