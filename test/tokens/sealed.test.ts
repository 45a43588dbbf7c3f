import { aessiv } from "@noble/ciphers/aes.js";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseTokenKeys, type TokenKeys } from "../../proxy/keys/token-keys.ts";
import { canaryProblem, canaryToken } from "../../proxy/tokens/canary.ts";
import { looksLikeToken, Sealer, tokenLength } from "../../proxy/tokens/sealed.ts";

/** By hand: SLUICE_LONG=100 for a hundred times as many. */
const RUNS = 100 * Number(process.env.SLUICE_LONG ?? 1);

const key = (byte: number) => Buffer.alloc(32, byte).toString("hex");

function ring(text: string): TokenKeys {
  const loaded = parseTokenKeys(text);
  if (!loaded.ok) throw new Error(loaded.problem);
  return loaded.keys;
}

const sealer = new Sealer(ring(`1 ${key(1)}`));

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

const anyText = fc.oneof(fc.string({ unit: "binary" }), fc.string({ unit: "grapheme", maxLength: 300 }));

test("every text comes back from its token, which is the same each time and no longer than was said", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      const token = sealer.seal(text, "column:public.customers.email");
      expect(sealer.open(token, "column:public.customers.email")).toBe(text);
      expect(sealer.seal(text, "column:public.customers.email")).toBe(token);
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
      expect(sealer.seal(one, "a")).not.toBe(sealer.seal(other, "a"));
      expect(sealer.seal(one, "a")).not.toBe(sealer.seal(one, "b"));
    }),
    { numRuns: RUNS },
  );
});

test("a token of another column, a changed one and a spelling of the same bytes are not turned back", () => {
  const token = sealer.seal("alice@example.com", "a");
  expect(sealer.open(token, "b")).toBeUndefined();
  for (let at = 0; at < token.length; at++) {
    const changed = `${token.slice(0, at)}${token[at] === "A" ? "B" : "A"}${token.slice(at + 1)}`;
    expect(sealer.open(changed, "a")).toBeUndefined();
  }
  expect(sealer.open(`${token}=`, "a")).toBeUndefined();
  expect(sealer.open("alice@example.com", "a")).toBeUndefined();
  expect(looksLikeToken(token)).toBe(true);
});

test("tokens of an older key are read, and the active one writes", () => {
  const old = sealer.seal("alice", "a");
  const both = new Sealer(ring(`1 ${key(1)}\n2 ${key(2)}`));
  expect(both.open(old, "a")).toBe("alice");
  expect(both.seal("alice", "a")).toMatch(/^slt1_2_/);
  const learning = new Sealer(ring(`1 ${key(1)}; 2 ${key(2)}; active 1`));
  expect(learning.seal("alice", "a")).toBe(old);
  expect(new Sealer(ring(`2 ${key(2)}`)).open(old, "a")).toBeUndefined();
});

test("a canary tells the right key ring from another one", () => {
  const canary = canaryToken(sealer);
  expect(canaryProblem(sealer, canary)).toBeUndefined();
  expect(canaryProblem(new Sealer(ring(`1 ${key(9)}`)), canary)).toContain("another one");
  expect(canaryProblem(new Sealer(ring(`2 ${key(1)}`)), canary)).toContain("no key");
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
  const loaded = parseTokenKeys(text);
  if (loaded.ok) throw new Error("the ring was taken");
  expect(loaded.problem).toContain(problem);
  expect(loaded.problem).not.toContain(key(1));
});

test.runIf(process.env.SLUICE_LONG !== undefined)("how long a value takes", () => {
  const began = performance.now();
  for (let i = 0; i < 10_000; i++) sealer.open(sealer.seal(`alice${i}@example.com`, "a"), "a");
  console.log(`${((performance.now() - began) / 20).toFixed(1)} µs a value`);
});
