import { hash } from "node:crypto";

/** The block size of SHA-256 in bytes. */
const BLOCK = 64;
const DIGEST = 32;
/** UTF-8 takes at most this many bytes for one UTF-16 code unit. */
const BYTES_PER_UNIT = 3;

/**
 * HMAC-SHA-256 (RFC 2104) of many short texts under one key. Two calls of the plain hash with digests as strings take a
 * third of the time of crypto's Hmac, which creates an object for each text and allocates memory for each digest.
 */
export class KeyedHash {
  /** The key's inner block, followed by room for a text. */
  #inner: Buffer;
  /** The key's outer block, followed by the inner digest. */
  readonly #outer = Buffer.alloc(BLOCK + DIGEST, 0x5c);
  readonly #digest = Buffer.alloc(DIGEST);

  /** The key has at most 64 bytes. */
  constructor(key: Buffer) {
    if (key.length > BLOCK)
      throw new RangeError(`a key of ${key.length} bytes would have to be hashed first`);
    this.#inner = Buffer.alloc(BLOCK + 256, 0x36);
    for (const [i, byte] of key.entries()) {
      this.#inner[i] = byte ^ 0x36;
      this.#outer[i] = byte ^ 0x5c;
    }
  }

  /** The first `count` bytes of the digest. */
  bytes(text: string, count: number): Buffer {
    this.#hash(text);
    return Buffer.from(this.#digest.subarray(0, count));
  }

  /** The first `count` bytes of the digest, as base64url. */
  base64url(text: string, count: number): string {
    this.#hash(text);
    return this.#digest.toString("base64url", 0, count);
  }

  #hash(text: string): void {
    const room = BLOCK + text.length * BYTES_PER_UNIT;
    if (room > this.#inner.length) this.#inner = Buffer.concat([this.#inner], room);
    const end = BLOCK + this.#inner.write(text, BLOCK, "utf8");
    this.#outer.write(hash("sha256", this.#inner.subarray(0, end), "binary"), BLOCK, "latin1");
    this.#digest.write(hash("sha256", this.#outer, "binary"), "latin1");
  }
}
