import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from "node:crypto";

const NONCE = 12;
const TAG = 16;

/**
 * Encrypts texts that Redis stores but must not reveal: user names, reasons, addresses. AES-256-GCM (NIST SP 800-38D)
 * under a key derived from the fleet's key, so that access to Redis is not enough to write one either.
 */
export class TextSealer {
  readonly #encryption: Buffer;
  readonly #names: Buffer;

  /** `key`: the key of the counters, the same for all proxies of a fleet. */
  constructor(key: Buffer) {
    const derive = (purpose: string) => Buffer.from(hkdfSync("sha256", key, "", `sluice ${purpose} 1`, 32));
    this.#encryption = derive("sealed texts");
    this.#names = derive("sealed names");
  }

  /** Encrypts a text. `place` says what it is for; opening it for another place fails. */
  seal(text: string, place: string): Buffer {
    // Random nonces of 96 bits are safe for 2^32 texts (SP 800-38D, 8.3); a fleet writes one per second.
    const nonce = randomBytes(NONCE);
    const cipher = createCipheriv("aes-256-gcm", this.#encryption, nonce).setAAD(Buffer.from(place));
    return Buffer.concat([nonce, cipher.update(text, "utf8"), cipher.final(), cipher.getAuthTag()]);
  }

  /** Undefined if the text was not sealed with this key for this place. */
  open(sealed: Buffer, place: string): string | undefined {
    if (sealed.length < NONCE + TAG) return undefined;
    const decipher = createDecipheriv("aes-256-gcm", this.#encryption, sealed.subarray(0, NONCE), {
      authTagLength: TAG,
    });
    decipher.setAAD(Buffer.from(place)).setAuthTag(sealed.subarray(-TAG));
    try {
      const text = Buffer.concat([decipher.update(sealed.subarray(NONCE, -TAG)), decipher.final()]);
      return text.toString("utf8");
    } catch {
      return undefined;
    }
  }

  /** A short name for these parts that does not reveal them. */
  nameOf(...parts: readonly string[]): string {
    return createHmac("sha256", this.#names).update(parts.join("\0")).digest("base64url").slice(0, 22);
  }
}
