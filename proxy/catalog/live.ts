import pg from "pg";
import type { Catalog } from "./catalog.ts";
import { glance, type Known, look } from "./look.ts";
import { SEARCH_PATH, SERVER_SEARCH_PATH, UNREADABLE_COLUMNS } from "./queries.ts";
import { inSnapshot } from "./transaction.ts";

export interface LiveCatalogOptions {
  /** The control connection's parts; not a connection string, which would overrule the database. */
  readonly connection: Omit<pg.ClientConfig, "connectionString" | "database">;
  readonly database: string;
  /** How often all of it is looked at; what users have made is glanced at each second while somebody watches. */
  readonly probeSeconds: number;
  /** Before anybody gets the first catalog of the database; what it throws is why it cannot be opened. */
  readonly admit?: (catalog: Catalog) => void;
  /** After each look at the server that succeeded; the catalog is the same object as before if nothing changed. */
  readonly onRefreshed?: (catalog: Catalog) => void;
  /** The control connection or a look failed: the last catalog stays in force, and it is tried again. */
  readonly onError?: (error: Error) => void;
}

/**
 * How long DDL that goes past the proxy may stay unseen while somebody reads by the catalog: a table that has got a new
 * column or another name, a view that shows something else. A second is promised, and reading the catalog is part
 * of it.
 */
const GLANCE_MS = 700;
/** Glances at a very large catalog take at most a twentieth of the time, reading it anew half. */
const PAUSE_AFTER_GLANCE = 20;
const PAUSE_AFTER_READ = 1;
/** How long a glance takes is the least of so many: one that met a busy moment says nothing of the catalog. */
const GLANCES_TIMED = 5;
/** Who doubts what is known may have it looked at so often. */
const DOUBT_MS = 1_000;
/** A session that wants the catalog looked at goes on with what is known when that takes longer. */
const PATIENCE_MS = 2_000;

const FIRST_RETRY_MS = 250;

/**
 * One database's catalog, kept fresh over one control connection: by a probe on a timer, by a cheaper glance each
 * second while somebody watches, by `refresh` after DDL that passed, and by `lookAgain` when somebody doubts it. While
 * the server cannot be reached the last snapshot stays in force.
 */
export class LiveCatalog {
  readonly #options: LiveCatalogOptions;
  #client: pg.Client | undefined;
  #serverSearchPath: string | undefined;
  #known: Known;
  #checkedAt: number;
  /** The end of the line of those who use the connection: transactions of two must not mix. */
  #turn: Promise<unknown> = Promise.resolve();
  /** It was asked and has not answered in time. */
  #isSilent = false;
  /** A refresh that has not begun yet: whoever asks now is served by it. */
  #waiting: Promise<Catalog> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #watchers = 0;
  /** `performance.now()` of the last full look, and of the last one that somebody's doubt began. */
  #probedAt = performance.now();
  #doubtedAt = Number.NEGATIVE_INFINITY;
  #doubt: Promise<void> | undefined;
  /** A glance that goes on: whoever wants one now shares it. */
  #glancing: Promise<void> | undefined;
  /** For how long nothing is looked at by the timer, after a look that was dear. */
  #pauseMs = 0;
  /** How long the last glances took, in milliseconds. */
  #glances: readonly number[] = [];
  #retryMs = FIRST_RETRY_MS;
  #closed = false;

  private constructor(options: LiveCatalogOptions, known: Known, link: Link) {
    this.#options = options;
    this.#known = known;
    this.#checkedAt = Date.now();
    this.#adopt(link);
    this.#schedule(this.#usualMs);
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

  /** Keeps the catalog no older than about a second, until what it gives is called. */
  watch(): () => void {
    let isWatching = true;
    this.#watchers++;
    if (this.#watchers === 1) this.#schedule(this.#usualMs);
    return () => {
      if (isWatching) this.#watchers--;
      isWatching = false;
    };
  }

  /** Looks, unless that has just been done: for who begins to watch. What cannot be reached stays as it was. */
  async recent(): Promise<void> {
    if (Date.now() - this.#checkedAt < GLANCE_MS) return;
    const glanced = this.#shareGlance();
    // For a server that stands still only one login waits.
    if (this.#isSilent) return;
    await within(PATIENCE_MS, glanced);
    this.#isSilent = this.#glancing === glanced;
  }

  /**
   * Looks again because what is known seems to be out of date. Undefined when somebody had that done less than a
   * second ago: then it is as fresh as may be. What cannot be reached stays as it was.
   */
  lookAgain(): Promise<void> | undefined {
    const now = performance.now();
    if (now - this.#doubtedAt < DOUBT_MS) return this.#doubt;
    this.#doubtedAt = now;
    // A glance that goes on may have begun before what is doubted was changed.
    const glanced = this.#inTurn((client) => this.#glance(client)).catch(ignore);
    const doubt = within(PATIENCE_MS, glanced);
    this.#doubt = doubt;
    void doubt.then(() => {
      this.#doubt = undefined;
    });
    return doubt;
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
    this.#probedAt = performance.now();
    return this.#looked();
  }

  /** A short look, and a full one if it shows anything new. */
  async #glance(client: pg.Client): Promise<void> {
    const start = performance.now();
    const isSame = await glance(client, this.#known);
    const glanced = performance.now();
    if (isSame) this.#looked();
    else await this.#look(client);
    this.#glances = [...this.#glances, glanced - start].slice(-GLANCES_TIMED);
    const usual = this.#glances.length < GLANCES_TIMED ? 0 : Math.min(...this.#glances);
    this.#pauseMs = isSame ? usual * PAUSE_AFTER_GLANCE : (performance.now() - glanced) * PAUSE_AFTER_READ;
  }

  #shareGlance(): Promise<void> {
    this.#glancing ??= this.#inTurn((client) => this.#glance(client))
      .catch(ignore)
      .finally(() => {
        this.#glancing = undefined;
        this.#isSilent = false;
      });
    return this.#glancing;
  }

  #looked(): Catalog {
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
    // It may be another server by now, that counts its transactions by itself.
    this.#known.snapshot = "";
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

  /** Until the timer's next look. */
  get #usualMs(): number {
    const full = this.#options.probeSeconds * 1000;
    return this.#watchers === 0 ? full : Math.min(full, Math.max(GLANCE_MS, this.#pauseMs));
  }

  /** A look by the timer; after a failure the next one comes sooner, and then later and later. */
  async #tick(): Promise<void> {
    try {
      const isDue = performance.now() - this.#probedAt >= this.#options.probeSeconds * 1000;
      if (isDue || this.#watchers === 0) await this.refresh();
      else await this.#inTurn((client) => this.#glance(client));
      this.#retryMs = FIRST_RETRY_MS;
      this.#schedule(this.#usualMs);
    } catch (error) {
      if (!this.#closed) this.#options.onError?.(error instanceof Error ? error : new Error(String(error)));
      this.#schedule(Math.min(this.#retryMs, Math.max(this.#usualMs, FIRST_RETRY_MS)));
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

/** Asks once for each key; a failure is not remembered. */
function remembered<T>(known: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const asked = ask();
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}

function ignore(): void {}

/** Resolves when the work is done, or when it has taken too long to be waited for. */
function within(milliseconds: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    void work.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
