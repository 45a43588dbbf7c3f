import { aessiv } from "@noble/ciphers/aes.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { Siv } from "../../proxy/tokens/siv.ts";

/** By hand: SLUICE_LONG=100 for a hundred times as many. */
const RUNS = 300 * Number(process.env.SLUICE_LONG ?? 1);

const bytes = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex");

test("Siv gives the values of RFC 5297, appendix A.1", () => {
  const siv = new Siv(
    bytes("fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff"),
    bytes("10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627"),
  );
  const sealed = siv.seal(bytes("11223344 55667788 99aabbcc ddee"));
  expect(sealed.toString("hex")).toBe("85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c");
  expect(siv.open(sealed)?.toString("hex")).toBe("112233445566778899aabbccddee");
});

const any = (maximum: number) => fc.uint8Array({ maxLength: maximum }).map((each) => Buffer.from(each));
const keys = fc.uint8Array({ minLength: 64, maxLength: 64 }).map((each) => Buffer.from(each));

test("Siv gives what another implementation gives, for every key, associated text and length", () => {
  fc.assert(
    fc.property(keys, any(60), any(100), (key, associated, text) => {
      const siv = new Siv(key, associated);
      const sealed = siv.seal(text);
      expect(sealed).toEqual(Buffer.from(aessiv(key, associated).encrypt(text)));
      expect(siv.open(sealed)).toEqual(text);
    }),
    { numRuns: RUNS },
  );
  const key = Buffer.alloc(64, 3);
  for (let length = 0; length <= 70; length++) {
    const text = Buffer.alloc(length, length);
    expect(new Siv(key, text).seal(text)).toEqual(Buffer.from(aessiv(key, text).encrypt(text)));
  }
});

test("Siv opens nothing that was changed in any bit, cut, or sealed with another text", () => {
  const [key, associated] = [Buffer.alloc(64, 1), Buffer.from("column a")];
  const siv = new Siv(key, associated);
  const sealed = siv.seal(Buffer.from("alice@example.com"));
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const other = Buffer.from(sealed);
    other[bit >> 3] = (other[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    expect(siv.open(other)).toBeUndefined();
  }
  for (let length = 0; length < sealed.length; length++)
    expect(siv.open(sealed.subarray(0, length))).toBeUndefined();
  expect(new Siv(key, Buffer.from("column b")).open(sealed)).toBeUndefined();
  expect(new Siv(Buffer.alloc(64, 2), associated).open(sealed)).toBeUndefined();
});
