import { LiveCatalog, type LiveCatalogOptions } from "./live.ts";

export interface CatalogsOptions extends Omit<LiveCatalogOptions, "database" | "onError" | "unused"> {
  /** Databases that are looked at also while nobody uses them; all of them if left out. */
  readonly isAlwaysProbed?: (database: string) => boolean;
  /** The catalog of a database that nobody has used for long is not held any more. */
  readonly onForgotten?: (database: string) => void;
  /** Of databases that are on another server than `connection`'s. */
  readonly connectionOf?: (database: string) => LiveCatalogOptions["connection"] | undefined;
  readonly onError?: (error: Error, database: string) => void;
}

/** For so long the catalog of a database that nobody uses is kept for the next who asks for it. */
const KEPT_MS = 600_000;

/** The catalogs of one server's databases, each opened when first asked for. */
export class Catalogs {
  readonly #options: CatalogsOptions;
  readonly #open = new Map<string, Promise<LiveCatalog>>();
  /** Those that have been read. */
  readonly #read = new Map<string, LiveCatalog>();

  constructor(options: CatalogsOptions) {
    this.#options = options;
  }

  /** Rejects when the database cannot be read; the next call tries again. */
  of(database: string): Promise<LiveCatalog> {
    const known = this.#open.get(database);
    if (known !== undefined) return known;
    this.#sweep();
    const { connectionOf, onError, isAlwaysProbed, ...options } = this.#options;
    const opened = LiveCatalog.open({
      ...options,
      connection: connectionOf?.(database) ?? options.connection,
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

  /** Whether somebody uses this database. */
  isUsed(database: string): boolean {
    return this.#read.get(database)?.isUsed ?? false;
  }

  async close(): Promise<void> {
    const all = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    this.#read.clear();
    await Promise.all(all.map((one) => (one.status === "fulfilled" ? one.value.close() : undefined)));
  }

  /** Clients name databases, and so choose how many there are. */
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
