/*
 * Sealed bytes in the form of an email address: a local part and labels in base32 (RFC 4648, lower case) under a domain
 * that nobody can have (RFC 2606). So what checks addresses accepts a token, and what sends mail to one fails.
 */

const DOMAIN = "token.invalid";
/** A local part has 64 characters at most, a label 63 (RFC 5321, RFC 1035). */
const PART = 48;
const ADDRESS = /^([a-z2-7]+)@((?:[a-z2-7]+\.)*)token\.invalid$/;

const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";

/** `mark` begins the local part. */
export function addressOf(mark: string, bytes: Buffer): string {
  const [first = "", ...labels] = base32(bytes).match(new RegExp(`.{1,${PART}}`, "g")) ?? [];
  return `${mark}${first}@${[...labels, DOMAIN].join(".")}`;
}

/** Undefined for what is no such address, or another spelling of one. */
export function bytesOf(mark: string, address: string): Buffer | undefined {
  if (!address.startsWith(mark)) return undefined;
  const [, first = "", labels = ""] = ADDRESS.exec(address.slice(mark.length)) ?? [];
  if (first === "") return undefined;
  const bytes = fromBase32(first + labels.replaceAll(".", ""));
  return addressOf(mark, bytes) === address ? bytes : undefined;
}

/** The longest address of so many bytes. */
export function addressLength(markLength: number, bytes: number): number {
  const letters = Math.ceil((bytes * 8) / 5);
  return markLength + letters + Math.ceil(letters / PART) + DOMAIN.length;
}

function base32(bytes: Buffer): string {
  let [text, value, bits] = ["", 0, 0];
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += ALPHABET[(value >> bits) & 31];
    }
    value &= (1 << bits) - 1;
  }
  return bits === 0 ? text : text + ALPHABET[(value << (5 - bits)) & 31];
}

function fromBase32(text: string): Buffer {
  const bytes: number[] = [];
  let [value, bits] = [0, 0];
  for (const one of text) {
    value = (value << 5) | ALPHABET.indexOf(one);
    bits += 5;
    if (bits >= 8) {
      bits -= 8;
      bytes.push((value >> bits) & 255);
    }
    value &= (1 << bits) - 1;
  }
  return Buffer.from(bytes);
}
