import { LRUCache } from "lru-cache";
import type { Catalog } from "../catalog/catalog.ts";
import { type Leavings, leavingsOf, UNKNOWN_LEAVINGS } from "../sql/leavings.ts";
import { shapeOf } from "../sql/shape.ts";
import { textKey } from "../sql/text-key.ts";
import { Greetings } from "./greetings.ts";
import { Pool, type PoolOptions, type PoolState } from "./pool.ts";

/** A pool and whose it is. */
export interface NamedPool extends PoolState {
  readonly database: string;
  readonly user: string;
}

const TIDY_MS = 60_000;

interface Place {
  readonly database: string;
  readonly user: string;
  readonly pool: Pool;
  readonly greetings: Greetings;
}

/** The pools of a process: one for each database and user, so that nothing of one user's reaches another. */
export class Pools {
  readonly #options: Omit<PoolOptions, "open">;
  readonly #pools = new Map<string, Place>();
  readonly #timer: NodeJS.Timeout;

  constructor(options: Omit<PoolOptions, "open">) {
    this.#options = options;
    this.#timer = setInterval(() => this.#tidy(), TIDY_MS);
    this.#timer.unref();
  }

  /** `open` is that of the first who asks: it must hang on nothing but the database and the user. */
  of(
    database: string,
    user: string,
    open: PoolOptions["open"],
  ): { readonly pool: Pool; readonly greetings: Greetings } {
    const key = JSON.stringify([database, user]);
    const known = this.#pools.get(key);
    if (known !== undefined) return known;
    const pool = new Pool({ ...this.#options, open });
    const place: Place = { database, user, pool, greetings: new Greetings(pool) };
    this.#pools.set(key, place);
    return place;
  }

  list(): readonly NamedPool[] {
    return [...this.#pools.values()].map(({ database, user, pool }) => ({ database, user, ...pool.state }));
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { pool } of this.#pools.values()) pool.close();
  }

  #tidy(): void {
    for (const [key, { pool }] of this.#pools) if (pool.tidy()) this.#pools.delete(key);
  }
}

/** Texts, or shapes of texts, at most. */
const MOST_TEXTS = 10_000;

/** What texts leave behind, by the catalog and the text, without its literals where nothing depends on them. */
export class LeavingsCache {
  readonly #known = new WeakMap<Catalog, LRUCache<string, Leavings>>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** The text is lent. */
  of(sql: Buffer, catalog: Catalog): Leavings {
    const known = this.#of(catalog);
    const shape = shapeOf(sql)?.key;
    const byShape = shape === undefined ? undefined : known.get(shape);
    if (byShape !== undefined && !byShape.byText) return byShape;
    // No text holds a zero but in place of literals: the two kinds of keys are never the same by chance.
    const key = textKey(sql);
    const exact = known.get(key);
    if (exact !== undefined) return exact;
    const found = this.#analyse(sql, catalog);
    known.set(found.byText || shape === undefined ? key : shape, found);
    return found;
  }

  #of(catalog: Catalog): LRUCache<string, Leavings> {
    let known = this.#known.get(catalog);
    if (known === undefined) {
      known = new LRUCache({ max: MOST_TEXTS, maxSize: 32 * 1024 * 1024, sizeCalculation: weightOf });
      this.#known.set(catalog, known);
    }
    return known;
  }

  #analyse(sql: Buffer, catalog: Catalog): Leavings {
    let text: string;
    try {
      text = this.#decoder.decode(sql);
    } catch {
      return UNKNOWN_LEAVINGS;
    }
    return leavingsOf(text, catalog);
  }
}

function weightOf(_: Leavings, key: string): number {
  return key.length + 100;
}
