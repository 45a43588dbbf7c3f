import { randomBytes } from "node:crypto";
import { publicText, type SigningKey, signingKey } from "./audit-keys.ts";

/** A private key, with the seed that it is made from. */
export interface Secret extends SigningKey {
  readonly seed: Buffer;
  /** Its public key, as records have it. */
  readonly text: string;
}

const SEED_BYTES = 32;

export function secretOf(seed: Buffer): Secret {
  const key = signingKey(seed);
  return { ...key, seed, text: publicText(key) };
}

export function randomKey(): Secret {
  return secretOf(randomBytes(SEED_BYTES));
}

/** Puts the seeds of the key in use and of the next one where a later process finds them, and erases all others. */
export type Keep = (seeds: readonly Buffer[]) => Promise<void>;

/** Who signs a record, and the public key that it names: the next record is signed with that one. */
export interface Turn {
  readonly signer: SigningKey;
  readonly nextKey: string;
}

/**
 * The key that signs a writer's chain. It signs the public key that comes after it and is then erased, so whoever takes all
 * that a host has can sign what comes, and nothing that came before. It is random: the fleet's secret does not lead to it.
 */
export class MovingKey {
  #current: Secret;
  /** Kept already: no key is named in the log before. */
  #next: Secret | undefined;
  /** Vouches for the first key of a chain. */
  #voucher: SigningKey | undefined;
  readonly #keep: Keep;
  #spent: Buffer[] = [];

  /** `voucher` is left out where `current` has been named in the chain. */
  constructor(current: Secret, voucher: SigningKey | undefined, keep: Keep) {
    this.#current = current;
    this.#voucher = voucher;
    this.#keep = keep;
  }

  /** A key has signed its last record and is still kept. */
  get isSpent(): boolean {
    return this.#spent.length > 0;
  }

  /** Whether the next record would name another key. */
  get canMove(): boolean {
    return this.#next !== undefined;
  }

  /** For the next record that is signed. Where no next key is kept yet, the same goes on. */
  turn(): Turn {
    const signer = this.#voucher ?? this.#current;
    if (this.#voucher === undefined && this.#next !== undefined) {
      this.#spent.push(this.#current.seed);
      this.#current = this.#next;
      this.#next = undefined;
    }
    this.#voucher = undefined;
    return { signer, nextKey: this.#current.text };
  }

  /** Keeps the next key and erases those that are spent. The line that names the one in use must be on disk. */
  async renew(): Promise<void> {
    const next = randomKey();
    const spent = this.#spent;
    this.#next = undefined;
    this.#spent = [];
    try {
      await this.#keep([this.#current.seed, next.seed]);
    } catch (error) {
      this.#spent = spent;
      throw error;
    }
    for (const seed of spent) seed.fill(0);
    this.#next = next;
  }
}
