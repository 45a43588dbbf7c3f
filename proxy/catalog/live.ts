import pg from "pg";
import type { Catalog } from "./catalog.ts";
import { PROBE, SEARCH_PATH, SERVER_SEARCH_PATH, UNREADABLE_COLUMNS } from "./queries.ts";
import { readCatalogIn } from "./snapshot.ts";
import { inSnapshot } from "./transaction.ts";

export interface LiveCatalogOptions {
  /** The control connection's parts; not a connection string, which would overrule the database. */
  readonly connection: Omit<pg.ClientConfig, "connectionString" | "database">;
  readonly database: string;
  readonly probeSeconds: number;
  /** Before anybody gets the first catalog of the database; what it throws is why it cannot be opened. */
  readonly admit?: (catalog: Catalog) => void;
  /** After each look at the server that succeeded; the catalog is the same object as before if nothing changed. */
  readonly onRefreshed?: (catalog: Catalog) => void;
  /** The control connection or a look failed: the last catalog stays in force, and it is tried again. */
  readonly onError?: (error: Error) => void;
}

/** What is known beside the catalog itself; all of it is dropped when the probe shows a change. */
interface Known {
  readonly catalog: Catalog;
  /** What the probe said in the same moment. */
  readonly probe: string;
  readonly unreadable: Map<string, Promise<ReadonlySet<string>>>;
  readonly searchPaths: Map<string, Promise<string | undefined>>;
}

const FIRST_RETRY_MS = 250;

/**
 * One database's catalog, kept fresh over one control connection: by a probe on a timer, and by `refresh`
 * after DDL that passed. While the server cannot be reached the last snapshot stays in force.
 */
export class LiveCatalog {
  readonly #options: LiveCatalogOptions;
  #client: pg.Client | undefined;
  #serverSearchPath: string | undefined;
  #known: Known;
  #checkedAt: number;
  /** The end of the line of those who use the connection: transactions of two must not mix. */
  #turn: Promise<unknown> = Promise.resolve();
  /** A refresh that has not begun yet: whoever asks now is served by it. */
  #waiting: Promise<Catalog> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #retryMs = FIRST_RETRY_MS;
  #closed = false;

  private constructor(options: LiveCatalogOptions, known: Known, link: Link) {
    this.#options = options;
    this.#known = known;
    this.#checkedAt = Date.now();
    this.#adopt(link);
    this.#schedule(options.probeSeconds * 1000);
  }

  /** Connects and reads the first snapshot; rejects if either fails. */
  static async open(options: LiveCatalogOptions): Promise<LiveCatalog> {
    const link = await connect(options);
    try {
      const known = await look(link.client, undefined);
      options.admit?.(known.catalog);
      options.onRefreshed?.(known.catalog);
      return new LiveCatalog(options, known, link);
    } catch (error) {
      await link.client.end().catch(() => undefined);
      throw error;
    }
  }

  get current(): Catalog {
    return this.#known.catalog;
  }

  /** Unix time in milliseconds of the last look that succeeded. */
  get checkedAt(): number {
    return this.#checkedAt;
  }

  /**
   * The catalog as of a moment after the call. Calls that come while another waits for its turn share it.
   * Rejects when the server cannot be asked: what is known is then older than the call.
   */
  refresh(): Promise<Catalog> {
    if (this.#waiting !== undefined) return this.#waiting;
    const begun = () => {
      if (this.#waiting === refreshed) this.#waiting = undefined;
    };
    const refreshed = this.#inTurn(async (client) => {
      begun();
      return this.#look(client);
    });
    refreshed.catch(begun);
    this.#waiting = refreshed;
    return refreshed;
  }

  /**
   * Columns (`schema.table.column`) of the database's own relations that this user may not SELECT; all of
   * them for a user whom the server does not know.
   */
  unreadableBy(user: string): Promise<ReadonlySet<string>> {
    return remembered(this.#known.unreadable, user, async () => {
      const rows = await this.#rows<[schema: string, relation: string, column: string]>(
        UNREADABLE_COLUMNS.text,
        [user],
      );
      return new Set(rows.map((names) => names.join(".")));
    });
  }

  /** The search_path setting with which this user's sessions start, as SHOW would show it, where it is known. */
  searchPathOf(user: string): Promise<string | undefined> {
    return remembered(this.#known.searchPaths, user, async () => {
      const rows = await this.#rows<[setting: string | null]>(SEARCH_PATH.text, [
        user,
        this.#serverSearchPath ?? null,
      ]);
      return rows[0]?.[0] ?? undefined;
    });
  }

  /** Asks the control connection for something else, which is given up after `milliseconds`. */
  ask<Row extends unknown[]>(text: string, milliseconds: number): Promise<readonly Row[]> {
    return this.#inTurn((client) =>
      inSnapshot(client, async () => {
        await client.query(`SET LOCAL statement_timeout = ${Math.floor(milliseconds)}`);
        return (await client.query<Row>({ text, rowMode: "array" })).rows;
      }),
    );
  }

  /** Whoever still waits for an answer gets an error. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    if (this.#client !== undefined) this.#drop(this.#client);
    await this.#turn;
  }

  #rows<Row extends unknown[]>(text: string, values: unknown[]): Promise<readonly Row[]> {
    return this.#inTurn((client) =>
      inSnapshot(client, async () => (await client.query<Row>({ text, values, rowMode: "array" })).rows),
    );
  }

  async #look(client: pg.Client): Promise<Catalog> {
    this.#known = await look(client, this.#known);
    this.#checkedAt = Date.now();
    this.#options.onRefreshed?.(this.#known.catalog);
    return this.#known.catalog;
  }

  /** Runs `work` when all earlier work is done, on a connection that is there. */
  #inTurn<T>(work: (client: pg.Client) => Promise<T>): Promise<T> {
    const result = this.#turn.then(async () => {
      if (this.#closed) throw new Error("the catalog is closed");
      const client = this.#client ?? (await this.#reconnect());
      try {
        return await work(client);
      } catch (error) {
        // A connection that failed in an unknown way (a time-out, say) is not used again.
        if (!(error instanceof pg.DatabaseError) || error.severity === "FATAL") this.#drop(client);
        throw error;
      }
    });
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #reconnect(): Promise<pg.Client> {
    const client = this.#adopt(await connect(this.#options));
    if (!this.#closed) return client;
    this.#drop(client);
    throw new Error("the catalog is closed");
  }

  #adopt({ client, serverSearchPath }: Link): pg.Client {
    this.#client = client;
    this.#serverSearchPath = serverSearchPath;
    client.on("error", (error) => {
      this.#drop(client);
      if (this.#closed) return;
      this.#options.onError?.(error);
      this.#schedule(this.#retryMs);
    });
    return client;
  }

  #drop(client: pg.Client): void {
    if (this.#client === client) this.#client = undefined;
    client.end().catch(() => undefined);
  }

  #schedule(milliseconds: number): void {
    clearTimeout(this.#timer);
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.#tick(), milliseconds).unref();
  }

  /** A look by the timer; after a failure the next one comes sooner, and then later and later. */
  async #tick(): Promise<void> {
    const usual = this.#options.probeSeconds * 1000;
    try {
      await this.refresh();
      this.#retryMs = FIRST_RETRY_MS;
      this.#schedule(usual);
    } catch (error) {
      if (!this.#closed) this.#options.onError?.(error instanceof Error ? error : new Error(String(error)));
      this.#schedule(Math.min(this.#retryMs, Math.max(usual, FIRST_RETRY_MS)));
      this.#retryMs *= 2;
    }
  }
}

interface Link {
  readonly client: pg.Client;
  readonly serverSearchPath: string | undefined;
}

/** A server that does not answer must not hold up sessions for ever. */
const LIMITS: LiveCatalogOptions["connection"] = {
  application_name: "sluice catalog",
  connectionTimeoutMillis: 10_000,
  query_timeout: 60_000,
  keepAlive: true,
};

async function connect({ connection, database }: LiveCatalogOptions): Promise<Link> {
  const client = new pg.Client({ ...LIMITS, ...connection, database });
  // Until somebody else listens: an error without a listener would end the process.
  client.on("error", () => undefined);
  await client.connect();
  try {
    const { rows } = await client.query<[string]>({ text: SERVER_SEARCH_PATH.text, rowMode: "array" });
    return { client, serverSearchPath: rows[0]?.[0] };
  } catch (error) {
    await client.end().catch(() => undefined);
    throw error;
  }
}

/**
 * Asks the probe and, if it says anything new, reads the catalog in the same snapshot: a change that comes
 * later shows at the next probe. An unchanged catalog stays the same object, so verdicts made with it last.
 */
async function look(client: pg.Client, known: Known | undefined): Promise<Known> {
  return inSnapshot(client, async () => {
    const { rows } = await client.query<[string]>({ text: PROBE.text, rowMode: "array" });
    const probe = rows[0]?.[0] ?? "";
    if (known !== undefined && known.probe === probe) return known;
    const read = await readCatalogIn(client);
    const catalog = known?.catalog.version === read.version ? known.catalog : read;
    return { catalog, probe, unreadable: new Map(), searchPaths: new Map() };
  });
}

/** Asks once for each key; a failure is not remembered. */
function remembered<T>(known: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const asked = ask();
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}
