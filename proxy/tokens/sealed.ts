import { hkdfSync } from "node:crypto";
import { aessiv } from "@noble/ciphers/aes.js";
import type { TokenKeys } from "../keys/token-keys.ts";

/*
 * Sealed values: AES-SIV (RFC 5297) with AES-256. It is deterministic, so that equal values of one column have equal
 * tokens and the server can compare, join and index them; and it is authenticated, so that a token is known as one of
 * this column, or is none. docs/decisions/038-tokens-at-rest.md says what that reveals.
 */

/** Begins each token. A value that begins so is not taken as cleartext. */
export const TOKEN_MARK = "slt1_";

/** `slt1_`, the version of the key, `_`, and the synthetic IV and ciphertext as base64url. */
const TOKEN = /^slt1_([1-9][0-9]{0,3})_([A-Za-z0-9_-]{22,})$/;

const SIV_BYTES = 16;
/** Two keys of AES-256: one authenticates, one encrypts. */
const KEY_BYTES = 64;

/** Whether a value looks like a token, of whatever column and key. */
export function looksLikeToken(text: string): boolean {
  return text.startsWith(TOKEN_MARK);
}

/** The longest token of a text of so many bytes of UTF-8. */
export function tokenLength(bytes: number): number {
  return TOKEN_MARK.length + "9999_".length + Math.ceil(((SIV_BYTES + bytes) * 4) / 3);
}

/** Turns values into tokens and back. */
export class Sealer {
  readonly #active: number;
  readonly #keys: ReadonlyMap<number, Buffer>;

  constructor({ active, secrets }: TokenKeys) {
    this.#active = active;
    this.#keys = new Map(
      [...secrets].map(([version, secret]) => [
        version,
        Buffer.from(hkdfSync("sha256", secret, "", "sluice sealed tokens 1", KEY_BYTES)),
      ]),
    );
  }

  /** The version under which values are written. */
  get active(): number {
    return this.#active;
  }

  /** `associated` names the column, or the class of several columns that can be joined. */
  seal(text: string, associated: string): string {
    const key = this.#keys.get(this.#active);
    if (key === undefined) throw new Error("the active key is not in the ring");
    const sealed = aessiv(key, Buffer.from(associated)).encrypt(Buffer.from(text));
    return `${TOKEN_MARK}${this.#active}_${Buffer.from(sealed).toString("base64url")}`;
  }

  /** The value; undefined if this is no token of this column under a key of the ring. */
  open(token: string, associated: string): string | undefined {
    const [, version, body] = TOKEN.exec(token) ?? [];
    if (version === undefined || body === undefined) return undefined;
    const key = this.#keys.get(Number(version));
    if (key === undefined) return undefined;
    const sealed = Buffer.from(body, "base64url");
    // Another spelling of the same bytes would be another value to the server.
    if (sealed.toString("base64url") !== body) return undefined;
    try {
      return Buffer.from(aessiv(key, Buffer.from(associated)).decrypt(sealed)).toString("utf8");
    } catch {
      return undefined;
    }
  }
}
