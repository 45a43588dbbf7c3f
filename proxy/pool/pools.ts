import { LRUCache } from "lru-cache";
import type { Catalog } from "../catalog/catalog.ts";
import { isLongForTurn, type Residue, residueOf, UNKNOWN_RESIDUE } from "../sql/session-residue.ts";
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

interface UserPool {
  readonly database: string;
  readonly user: string;
  readonly pool: Pool;
  readonly greetings: Greetings;
}

/** The pools of a process: one for each database and user, so that nothing of one user's reaches another. */
export class Pools {
  readonly #options: Omit<PoolOptions, "open">;
  readonly #pools = new Map<string, UserPool>();
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
    const place: UserPool = { database, user, pool, greetings: new Greetings(pool) };
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

/** Even to look for the lists of a longer text would delay other sessions. In bytes. */
const LONGEST = 1024 * 1024;
/** Long texts of which it is being found out what they leave behind. */
const MOST_UNDERWAY = 100;
/** Texts, or shapes of texts, at most. */
const MOST_TEXTS = 10_000;

/** Finds out what a long text leaves behind, where no session waits for it; undefined: it cannot be told now. */
export type ResidueElsewhere = (text: string, catalog: Catalog) => Promise<Residue | undefined>;

/**
 * What texts leave behind, by the catalog and the text, without its literals where nothing depends on them. A long text may
 * leave anything behind, until it has been found out elsewhere what it does: then that holds for it from then on.
 */
export class ResidueCache {
  readonly #elsewhere: ResidueElsewhere | undefined;
  readonly #underway = new Set<string>();
  readonly #known = new WeakMap<Catalog, LRUCache<string, Residue>>();
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  constructor(elsewhere?: ResidueElsewhere) {
    this.#elsewhere = elsewhere;
  }

  /** The text is lent. */
  of(sql: Buffer, catalog: Catalog): Residue {
    if (sql.length > LONGEST) return UNKNOWN_RESIDUE;
    const known = this.#of(catalog);
    const shape = shapeOf(sql)?.key;
    const byShape = shape === undefined ? undefined : known.get(shape);
    if (byShape !== undefined && !byShape.byText) return byShape;
    // No text holds a zero but in place of literals: the two kinds of keys are never the same by chance.
    const key = textKey(sql);
    const exact = known.get(key);
    if (exact !== undefined) return exact;
    const text = this.#decoded(sql);
    if (text !== undefined && this.#elsewhere !== undefined && isLongForTurn(text)) {
      void this.#findOut(text, key, catalog, this.#elsewhere);
      return UNKNOWN_RESIDUE;
    }
    const found = text === undefined ? UNKNOWN_RESIDUE : residueOf(text, catalog);
    known.set(found.byText || shape === undefined ? key : shape, found);
    return found;
  }

  async #findOut(text: string, key: string, catalog: Catalog, elsewhere: ResidueElsewhere): Promise<void> {
    if (this.#underway.has(key) || this.#underway.size >= MOST_UNDERWAY) return;
    this.#underway.add(key);
    const found = await elsewhere(text, catalog);
    this.#underway.delete(key);
    if (found !== undefined) this.#of(catalog).set(key, found);
  }

  #of(catalog: Catalog): LRUCache<string, Residue> {
    let known = this.#known.get(catalog);
    if (known === undefined) {
      known = new LRUCache({ max: MOST_TEXTS, maxSize: 32 * 1024 * 1024, sizeCalculation: weightOf });
      this.#known.set(catalog, known);
    }
    return known;
  }

  #decoded(sql: Buffer): string | undefined {
    try {
      return this.#decoder.decode(sql);
    } catch {
      return undefined;
    }
  }
}

function weightOf(_: Residue, key: string): number {
  return key.length + 100;
}
