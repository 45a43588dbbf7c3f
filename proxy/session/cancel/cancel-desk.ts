import { LRUCache } from "lru-cache";
import type { BackendKey } from "../../wire/backend-messages.ts";
import type { CancelKeys } from "./cancel.ts";

/** Other processes that hand out cancel keys; false where none of them knows this one. */
export type ForwardCancel = (request: BackendKey) => Promise<boolean>;

/** Wrong keys that one address may try at once, and how many more each second. */
const WRONG_AT_ONCE = 100;
const WRONG_PER_SECOND = 10;
const ADDRESSES = 10_000;

interface Bucket {
  left: number;
  /** Unix time in milliseconds. */
  at: number;
}

export interface CancelDeskParts {
  readonly keys: CancelKeys;
  /** Tried one after the other for keys that another process has handed out: the nearest first. */
  readonly forward: readonly ForwardCancel[];
  readonly now: () => number;
}

/**
 * Handles the CancelRequests of clients. An unknown key has no effect and gets no answer, as in Postgres; an address
 * that tries many wrong keys is ignored for a while. Keys of protocol 3.0 have 32 bits: at this rate it takes years to
 * guess one.
 */
export class CancelDesk {
  readonly #parts: CancelDeskParts;
  readonly #wrong = new LRUCache<string, Bucket>({ max: ADDRESSES });

  constructor(parts: CancelDeskParts) {
    this.#parts = parts;
  }

  /**
   * Resolves when the server has handled the request, whichever process has the session; false if no process knows the
   * key.
   */
  async request(request: BackendKey, address: string): Promise<boolean> {
    const bucket = this.#bucketOf(address);
    if (bucket.left < 1) return false;
    // Charged before the key is checked: otherwise many requests at once would all find the bucket full.
    bucket.left--;
    if (!(await this.#find(request))) return false;
    bucket.left++;
    return true;
  }

  async #find(request: BackendKey): Promise<boolean> {
    const { keys, forward } = this.#parts;
    if (await keys.request(request)) return true;
    // The process number does not say which process of the fleet has the session, so each one is asked.
    for (const peers of forward) if (await peers(request)) return true;
    return false;
  }

  #bucketOf(address: string): Bucket {
    const now = this.#parts.now();
    const known = this.#wrong.get(address);
    if (known === undefined) {
      const full: Bucket = { left: WRONG_AT_ONCE, at: now };
      this.#wrong.set(address, full);
      return full;
    }
    known.left = Math.min(WRONG_AT_ONCE, known.left + ((now - known.at) / 1000) * WRONG_PER_SECOND);
    known.at = now;
    return known;
  }
}
