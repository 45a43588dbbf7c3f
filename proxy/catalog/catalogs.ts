import { LiveCatalog, type LiveCatalogOptions } from "./live.ts";
import { Queue } from "./queue.ts";

export interface CatalogsOptions
  extends Omit<LiveCatalogOptions, "database" | "onError" | "unused" | "opening"> {
  /** Databases that are probed even while they are not in use; all databases if absent. */
  readonly isAlwaysProbed?: (database: string) => boolean;
  /** Called when the catalog of a long-unused database is dropped. */
  readonly onForgotten?: (database: string) => void;
  /** For databases on a server other than that of `connection`. */
  readonly connectionOf?: (database: string) => LiveCatalogOptions["connection"] | undefined;
  readonly onError?: (error: Error, database: string) => void;
}

/** How long the catalog of an unused database is kept. */
const KEPT_MS = 600_000;

/**
 * So many connections to one server are opened at a time, each with the look that it is opened for. Each look takes this
 * thread's time, and of 200 that begin together all come too late.
 */
const OPENING = 4;

/** The catalogs of one server's databases, each opened on first use. */
export class Catalogs {
  readonly #options: CatalogsOptions;
  readonly #open = new Map<string, Promise<LiveCatalog>>();
  /** By the servers' addresses. */
  readonly #queues = new Map<string, Queue>();
  /** Catalogs that have been read. */
  readonly #read = new Map<string, LiveCatalog>();

  constructor(options: CatalogsOptions) {
    this.#options = options;
  }

  /** The catalog of a database. Rejects if the database cannot be read; the next call tries again. */
  of(database: string): Promise<LiveCatalog> {
    const known = this.#open.get(database);
    if (known !== undefined) return known;
    this.#sweep();
    const { connectionOf, onError, isAlwaysProbed, ...options } = this.#options;
    const connection = connectionOf?.(database) ?? options.connection;
    const opened = LiveCatalog.open({
      ...options,
      connection,
      opening: this.#queueOf(connection),
      database,
      unused: (isAlwaysProbed?.(database) ?? true) ? "probed" : "at rest",
      onError: (error) => onError?.(error, database),
    });
    this.#open.set(database, opened);
    opened.then(
      (live) => this.#read.set(database, live),
      () => this.#open.delete(database),
    );
    return opened;
  }

  /** Whether the database is in use. */
  isUsed(database: string): boolean {
    return this.#read.get(database)?.isUsed ?? false;
  }

  #queueOf({ host, port }: LiveCatalogOptions["connection"]): Queue {
    const server = `${host}:${port}`;
    const known = this.#queues.get(server);
    if (known !== undefined) return known;
    const queue = new Queue(OPENING);
    this.#queues.set(server, queue);
    return queue;
  }

  async close(): Promise<void> {
    const all = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    this.#read.clear();
    await Promise.all(all.map((one) => (one.status === "fulfilled" ? one.value.close() : undefined)));
  }

  /** Closes catalogs that have been unused for long: clients name databases, and so decide how many there are. */
  #sweep(): void {
    const { isAlwaysProbed, onForgotten } = this.#options;
    const now = performance.now();
    for (const [database, live] of this.#read) {
      if ((isAlwaysProbed?.(database) ?? true) || now - (live.unusedSince ?? now) < KEPT_MS) continue;
      this.#read.delete(database);
      this.#open.delete(database);
      onForgotten?.(database);
    }
  }
}
