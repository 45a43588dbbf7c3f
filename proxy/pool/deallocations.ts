import type { ClientStatement } from "./server-statements.ts";

/**
 * Portals in place of DEALLOCATE, by which psycopg gives up statements that it has not used for long (psycopg 3,
 * `prepared_max`). Each is run once, so no more of them are kept than a client may leave open.
 */
export class Deallocations {
  readonly #portals = new Map<string, string>();

  /** A portal has another statement from now on. */
  bound(portal: string, { deallocates }: ClientStatement): void {
    this.#portals.delete(portal);
    if (deallocates === undefined) return;
    this.#portals.set(portal, deallocates);
    for (const [oldest] of this.#portals) {
      if (this.#portals.size <= MOST) break;
      this.#portals.delete(oldest);
    }
  }

  /** The name that the portal's statement gives up. */
  of(portal: string): string | undefined {
    return this.#portals.size === 0 ? undefined : this.#portals.get(portal);
  }
}

const MOST = 100;
