import { createHmac, randomBytes } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { KeyedHash } from "../proxy/keys/keyed-hash.ts";

// RFC 4231, test cases 1 and 2.
test.each([
  ["0b".repeat(20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"],
  [
    "4a656665",
    "what do ya want for nothing?",
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  ],
])("key %s, %s", (key, text, digest) => {
  expect(new KeyedHash(Buffer.from(key, "hex")).bytes(text, 32).toString("hex")).toBe(digest);
});

test("any texts, one after the other, have the digests that crypto gives", () => {
  const key = randomBytes(32);
  const keyed = new KeyedHash(key);
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.string({ unit: "binary", minLength: 200, maxLength: 2_000 }),
  );
  fc.assert(
    fc.property(text, (given) => {
      const digest = createHmac("sha256", key).update(given).digest();
      expect(keyed.bytes(given, 32)).toEqual(digest);
      expect(keyed.base64url(given, 16)).toBe(digest.toString("base64url", 0, 16));
    }),
    { numRuns: 1_000 },
  );
});

test("a key that is longer than a block is refused", () => {
  expect(() => new KeyedHash(Buffer.alloc(65))).toThrow(RangeError);
});
