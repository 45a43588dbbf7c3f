import { aessiv } from "@noble/ciphers/aes.js";
import { FF1 } from "@noble/ciphers/ff1.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseTokenRing } from "../../proxy/keys/token-keys.ts";
import { canaryProblem, canaryToken } from "../../proxy/tokens/canary.ts";
import {
  looksLikeToken,
  type Sealer,
  type Storage,
  type TokenForm,
  tokenLength,
} from "../../proxy/tokens/sealed.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/** By hand: SLUICE_LONG=100 for a hundred times as many. */
const RUNS = 100 * Number(process.env.SLUICE_LONG ?? 1);

const key = (byte: number) => Buffer.alloc(32, byte).toString("hex");

const sealer = sealerOf(keyLine(1));

const stored = (form: TokenForm, associated = "a"): Storage => ({ associated, form, version: 1 });
const [A, B] = [stored("token"), stored("token", "b")];

function seal(by: Sealer, text: string, storage: Storage): string {
  const token = by.seal(text, storage);
  if (token === undefined) throw new Error(`"${text}" has no such form`);
  return token;
}

const anyText = fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme", maxLength: 300 }));

const NIST_KEY = "2B7E151628AED2A6ABF7158809CF4F3CEF4359D8D580AA4F7F036D6F04FC6A94";

// https://csrc.nist.gov/CSRC/media/Projects/Cryptographic-Standards-and-Guidelines/documents/examples/FF1samples.pdf
test.each([
  [16, 10, "", "0123456789", "2433477484"],
  [16, 10, "39383736353433323130", "0123456789", "6124200773"],
  [16, 36, "3737373770717273373737", "0123456789abcdefghi", "a9tv40mll9kdu509eum"],
  [24, 10, "", "0123456789", "2830668132"],
  [24, 10, "39383736353433323130", "0123456789", "2496655549"],
  [24, 36, "3737373770717273373737", "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"],
  [32, 10, "", "0123456789", "6657667009"],
  [32, 10, "39383736353433323130", "0123456789", "1001623463"],
  [32, 36, "3737373770717273373737", "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"],
])(
  "FF1 with a key of %d bytes and radix %d gives the standard's sample",
  (bytes, radix, tweak, text, other) => {
    const cipher = FF1(radix, Buffer.from(NIST_KEY, "hex").subarray(0, bytes), Buffer.from(tweak, "hex"));
    const digits = (of: string) => [...of].map((one) => Number.parseInt(one, radix));
    expect(cipher.encrypt(digits(text))).toEqual(digits(other));
    expect(cipher.decrypt(digits(other))).toEqual(digits(text));
  },
);

const numbers = fc
  .array(fc.constantFrom(..."0123456789", " ", "-", "(", ")", "."), { minLength: 6, maxLength: 70 })
  .map((parts) => parts.join(""))
  .filter((text) => /^(?:\D*\d){6,64}\D*$/.test(text));

test("a number keeps its length, what stands between its digits, and the country's code of a telephone number", () => {
  fc.assert(
    fc.property(numbers, fc.constantFrom("+49", "+1", "+353", "+7", ""), (text, country) => {
      for (const form of ["digits", "phone"] as const) {
        const token = seal(sealer, country + text, stored(form));
        expect(sealer.open(token, stored(form))).toBe(country + text);
        expect(token.replace(/\d/g, "0")).toBe((country + text).replace(/\d/g, "0"));
        if (form === "phone") expect(token.startsWith(country)).toBe(true);
      }
    }),
    { numRuns: RUNS },
  );
  expect(seal(sealer, "123456", stored("digits"))).not.toBe(seal(sealer, "123456", stored("digits", "b")));
});

test.each([
  "",
  "12345",
  "1 2 3 4 5",
  "12345a",
  "+49 12345",
  "1".repeat(65),
  "１２３４５６",
  "123456\n",
  "+4 9 301234567",
  "+0123456789",
])("%j has too few digits, too many, or other characters, and no token in the format of a number", (text) => {
  expect(sealer.seal(text, stored("phone"))).toBeUndefined();
  expect(sealer.open(text, stored("phone"))).toBeUndefined();
});

test("a token in the form of an address is a valid one that nobody can have, and comes back", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const token = seal(sealer, text, stored("email"));
      expect(sealer.open(token, stored("email"))).toBe(text);
      expect(sealer.open(token, stored("email", "b"))).toBeUndefined();
      expect(sealer.open(`${token} `, stored("email"))).toBeUndefined();
      expect(token).toMatch(/^slt1-1-[a-z2-7]{1,48}@(?:[a-z2-7]{1,48}\.)*token\.invalid$/);
      expect(token.length).toBeLessThanOrEqual(tokenLength(Buffer.byteLength(text), "email"));
    }),
    { numRuns: RUNS },
  );
  const token = seal(sealer, "alice@example.com", stored("email"));
  expect(sealer.open(token.replace(".token", ""), stored("email"))).toBeUndefined();
  expect(sealer.open(token.toUpperCase(), stored("email"))).toBeUndefined();
  expect(looksLikeToken(token)).toBe(true);
});

test("the cipher gives the values of RFC 5297, appendix A.1", () => {
  const bytes = (hex: string) => Buffer.from(hex.replaceAll(" ", ""), "hex");
  const cipher = aessiv(
    bytes("fffefdfc fbfaf9f8 f7f6f5f4 f3f2f1f0 f0f1f2f3 f4f5f6f7 f8f9fafb fcfdfeff"),
    bytes("10111213 14151617 18191a1b 1c1d1e1f 20212223 24252627"),
  );
  const sealed = cipher.encrypt(bytes("11223344 55667788 99aabbcc ddee"));
  expect(Buffer.from(sealed).toString("hex")).toBe(
    "85632d07c6e8f37f950acd320a2ecc9340c02b9690c4dc04daef7f6afe5c",
  );
});

test("every text comes back from its token, which is the same each time and no longer than was said", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const token = seal(sealer, text, A);
      expect(sealer.open(token, A)).toBe(text);
      expect(seal(sealer, text, A)).toBe(token);
      expect(token.length).toBeLessThanOrEqual(tokenLength(Buffer.byteLength(text)));
      expect(token).toMatch(/^slt1_1_[A-Za-z0-9_-]+$/);
    }),
    { numRuns: RUNS },
  );
});

test("different texts have different tokens, and a text has another one in each column", () => {
  fc.assert(
    fc.property(anyText, anyText, (one, other) => {
      fc.pre(one !== other);
      expect(seal(sealer, one, A)).not.toBe(seal(sealer, other, A));
      expect(seal(sealer, one, A)).not.toBe(seal(sealer, one, B));
    }),
    { numRuns: RUNS },
  );
});

test("a token of another column, a changed one and a spelling of the same bytes are not turned back", () => {
  const token = seal(sealer, "alice@example.com", A);
  expect(sealer.open(token, B)).toBeUndefined();
  for (let at = 0; at < token.length; at++) {
    const changed = `${token.slice(0, at)}${token[at] === "A" ? "B" : "A"}${token.slice(at + 1)}`;
    expect(sealer.open(changed, A)).toBeUndefined();
  }
  expect(sealer.open(`${token}=`, A)).toBeUndefined();
  expect(sealer.open("alice@example.com", A)).toBeUndefined();
  expect(looksLikeToken(token)).toBe(true);
});

test("tokens of an older key are read, and the active one writes", () => {
  const old = seal(sealer, "alice", A);
  const both = sealerOf(keyLine(1), keyLine(2));
  expect(both.open(old, A)).toBe("alice");
  expect(seal(both, "alice", A)).toMatch(/^slt1_2_/);
  const learning = sealerOf(`${keyLine(1)}; ${keyLine(2)}; active 1`);
  expect(seal(learning, "alice", A)).toBe(old);
  expect(sealerOf(keyLine(2)).open(old, A)).toBeUndefined();
});

test("a canary tells the right key ring from another one", () => {
  const canary = canaryToken(sealer);
  expect(canaryProblem(sealer, canary)).toBeUndefined();
  expect(canaryProblem(sealerOf(keyLine(1, 9)), canary)).toContain("another one");
  expect(canaryProblem(sealerOf(keyLine(2, 1)), canary)).toContain("no key");
  expect(canaryProblem(sealer, "slt1_1_x")).toBeDefined();
  expect(canaryProblem(sealer, "alice")).toBe("it is no token");
});

test.each([
  ["", "there is no key"],
  ["1", 'a line must be "version key"'],
  [`0 ${key(1)}`, 'a line must be "version key"'],
  [`1 ${key(1)} more`, 'a line must be "version key"'],
  [`1 ${key(1)}\n1 ${key(2)}`, "two keys of version 1"],
  [`1 ${key(1)}\nactive 2`, "no key of the active version 2"],
  [`1 ${key(1)}\nactive 1\nactive 1`, "two active versions"],
  ["1 short", "at least 32 are needed"],
  ["# only a comment", "there is no key"],
])("a key ring %j is refused, without a part of it in the message", (text, problem) => {
  const read = parseTokenRing(text);
  if (read.ok) throw new Error("the ring was taken");
  expect(read.problem).toContain(problem);
  expect(read.problem).not.toContain(key(1));
});

test.runIf(process.env.SLUICE_LONG !== undefined)("how long a value takes", () => {
  const began = performance.now();
  for (let i = 0; i < 10_000; i++) sealer.open(seal(sealer, `alice${i}@example.com`, A), A);
  console.log(`${((performance.now() - began) / 20).toFixed(1)} µs a value`);
});
