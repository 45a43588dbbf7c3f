import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  timingSafeEqual,
} from "node:crypto";

/*
 * AES-SIV (RFC 5297) with one associated text, of Node's own AES: two calls a value, where a cipher in JavaScript takes
 * ten times as long. What depends on the key and the associated text alone is computed once.
 */

const BLOCK = 16;
const ZERO = Buffer.alloc(BLOCK);

export class Siv {
  readonly #bits: number;
  readonly #macKey: KeyObject;
  readonly #counterKey: KeyObject;
  /** The subkeys of CMAC (RFC 4493) for a last block that is whole, and for one that is not. */
  readonly #whole: Buffer;
  readonly #part: Buffer;
  /** Of S2V, after the associated text. */
  readonly #associated: Buffer;

  /** `key`: twice that of AES. */
  constructor(key: Buffer, associated: Buffer) {
    const half = key.length / 2;
    this.#bits = half * 8;
    this.#macKey = createSecretKey(key.subarray(0, half));
    this.#counterKey = createSecretKey(key.subarray(half));
    this.#whole = doubled(this.#chained(ZERO));
    this.#part = doubled(this.#whole);
    this.#associated = xored(doubled(this.#mac(ZERO)), this.#mac(associated));
  }

  /** The synthetic IV and the ciphertext. */
  seal(text: Buffer): Buffer {
    const iv = this.#syntheticIv(text);
    const cipher = createCipheriv(`aes-${this.#bits}-ctr`, this.#counterKey, counterOf(iv));
    return Buffer.concat([iv, cipher.update(text)]);
  }

  /** Undefined if this was not sealed so. */
  open(sealed: Buffer): Buffer | undefined {
    if (sealed.length < BLOCK) return undefined;
    const iv = sealed.subarray(0, BLOCK);
    const decipher = createDecipheriv(`aes-${this.#bits}-ctr`, this.#counterKey, counterOf(iv));
    const text = decipher.update(sealed.subarray(BLOCK));
    return timingSafeEqual(iv, this.#syntheticIv(text)) ? text : undefined;
  }

  /** S2V, section 2.4. */
  #syntheticIv(text: Buffer): Buffer {
    if (text.length < BLOCK) return this.#mac(xored(doubled(this.#associated), padded(text)));
    const end = text.length - BLOCK;
    return this.#mac(Buffer.concat([text.subarray(0, end), xored(text.subarray(end), this.#associated)]));
  }

  /** CMAC (RFC 4493). */
  #mac(message: Buffer): Buffer {
    const isWhole = message.length > 0 && message.length % BLOCK === 0;
    const end = isWhole ? message.length - BLOCK : message.length - (message.length % BLOCK);
    const last = message.subarray(end);
    const made = isWhole ? xored(last, this.#whole) : xored(padded(last), this.#part);
    return this.#chained(Buffer.concat([message.subarray(0, end), made]));
  }

  /** The last block of CBC. */
  #chained(blocks: Buffer): Buffer {
    const cipher = createCipheriv(`aes-${this.#bits}-cbc`, this.#macKey, ZERO).setAutoPadding(false);
    return Buffer.from(cipher.update(blocks).subarray(-BLOCK));
  }
}

/** Multiplied by x in the field of CMAC (section 2.3). */
function doubled(block: Buffer): Buffer {
  const made = Buffer.alloc(BLOCK);
  let carry = 0;
  for (let i = BLOCK - 1; i >= 0; i--) {
    const byte = block[i] ?? 0;
    made[i] = ((byte << 1) | carry) & 0xff;
    carry = byte >> 7;
  }
  made[BLOCK - 1] = (made[BLOCK - 1] ?? 0) ^ (carry * 0x87);
  return made;
}

function xored(one: Buffer, other: Buffer): Buffer {
  const made = Buffer.alloc(BLOCK);
  for (let i = 0; i < BLOCK; i++) made[i] = (one[i] ?? 0) ^ (other[i] ?? 0);
  return made;
}

/** A one, and zeros. */
function padded(part: Buffer): Buffer {
  const made = Buffer.alloc(BLOCK);
  part.copy(made);
  made[part.length] = 0x80;
  return made;
}

/** Without two bits, so that counters of 32 and 64 bits agree (section 2.5). */
function counterOf(iv: Buffer): Buffer {
  const made = Buffer.from(iv);
  made[8] = (made[8] ?? 0) & 0x7f;
  made[12] = (made[12] ?? 0) & 0x7f;
  return made;
}
