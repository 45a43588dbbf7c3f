import { FF1 } from "@noble/ciphers/ff1.js";

/*
 * Tokens that keep the format of numbers: FF1 of NIST SP 800-38G Revision 1 with AES-256, over decimal digits. All other
 * characters stay where they are. Nothing tells a token from a value: both are numbers of the same form.
 */

/** The standard refuses domains of less than a million values. */
const LEAST_DIGITS = 6;
/** Longer than any number of a person. */
const MOST_DIGITS = 64;

/** Digits, and what people write between them. */
const FORM = /^[0-9 ()./+-]*$/;

/** Country calling codes (ITU-T E.164) of one and of two digits; all others have three. */
const COUNTRY = /^\+(?:[17]|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[2-9][0-9]{2})/;

/**
 * Of a phone number: its country's code stays. Undefined behind a `+` without one: the token would have another beginning,
 * which could be taken for a code.
 */
export function countryPrefix(text: string): string | undefined {
  return text.startsWith("+") ? COUNTRY.exec(text)?.[0] : "";
}

export type Direction = "encrypt" | "decrypt";

/** FF1 for one key and column; a value that is no such number gives undefined. */
export class Digits {
  readonly #cipher: ReturnType<typeof FF1>;

  constructor(key: Uint8Array, associated: string) {
    this.#cipher = FF1(10, key, Buffer.from(associated));
  }

  /** `kept`: so many characters at its start stay. */
  turn(text: string, kept: number, direction: Direction): string | undefined {
    if (!FORM.test(text)) return undefined;
    const rest = text.slice(kept);
    const digits = [...rest].filter((one) => one >= "0" && one <= "9").map(Number);
    if (digits.length < LEAST_DIGITS || digits.length > MOST_DIGITS) return undefined;
    const turned = this.#cipher[direction](digits);
    let next = 0;
    return text.slice(0, kept) + rest.replace(/[0-9]/g, () => String(turned[next++]));
  }
}
