import { LiveCatalog, type LiveCatalogOptions } from "./live.ts";

export interface CatalogsOptions extends Omit<LiveCatalogOptions, "database" | "onError"> {
  /** Of databases that are on another server than `connection`'s. */
  readonly connectionOf?: (database: string) => LiveCatalogOptions["connection"] | undefined;
  readonly onError?: (error: Error, database: string) => void;
}

/** The catalogs of one server's databases, each opened when first asked for. */
export class Catalogs {
  readonly #options: CatalogsOptions;
  readonly #open = new Map<string, Promise<LiveCatalog>>();

  constructor(options: CatalogsOptions) {
    this.#options = options;
  }

  /** Rejects when the database cannot be read; the next call tries again. */
  of(database: string): Promise<LiveCatalog> {
    const known = this.#open.get(database);
    if (known !== undefined) return known;
    const { connectionOf, onError, ...options } = this.#options;
    const opened = LiveCatalog.open({
      ...options,
      connection: connectionOf?.(database) ?? options.connection,
      database,
      onError: (error) => onError?.(error, database),
    });
    this.#open.set(database, opened);
    opened.catch(() => this.#open.delete(database));
    return opened;
  }

  async close(): Promise<void> {
    const all = await Promise.allSettled(this.#open.values());
    this.#open.clear();
    await Promise.all(all.map((one) => (one.status === "fulfilled" ? one.value.close() : undefined)));
  }
}
