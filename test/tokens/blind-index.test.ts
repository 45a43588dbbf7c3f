import { createHmac, hkdfSync } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { searchProblems } from "../../proxy/app/token-searches.ts";
import { carriedBy, lastFour, lowerCase, wordsOf } from "../../proxy/tokens/blind-index.ts";
import { looksLikeToken, Sealer, type Storage, tokenShape, versionOf } from "../../proxy/tokens/sealed.ts";
import { policiesOf } from "../harness/proxy.ts";
import { keyLine, ringIn } from "../harness/token-keys.ts";

const SECRET = Buffer.alloc(32, 7);
const keys = ringIn(`${keyLine(1, 7)}; ${keyLine(2, 8)}; active 1`);
const sealer = new Sealer(keys);

const storage = (carried: Storage["carried"]): Storage => ({
  ...{ associated: "column public.people.name", form: "token", version: 1, carried },
});
const ALL = [{ from: 1, kinds: new Set(["case", "last4", "words"] as const) }];

test.each([
  ["Alice", "alice"],
  ["ÉLAN ÄÖÜ ẞ", "élan äöü ß"],
  ["ΟΔΟΣ", "οδοσ"],
  ["İI", "ii"],
  ["\u212a", "k"],
  ["𐐀Ⓐ", "𐐨ⓐ"],
])("%s in lower case is %s, letter by letter", (text, lower) => {
  expect(lowerCase(text)).toBe(lower);
});

test("lower case in lower case is the same, and each letter stays one", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const lower = lowerCase(text);
      expect(lowerCase(lower)).toBe(lower);
      expect([...lower]).toHaveLength([...text].length);
      expect([...lower]).toEqual([...text].map((one) => [...one.toLowerCase()][0]));
    }),
  );
});

test.each([
  ["Anna-Maria  O'Neil, 12b", ["anna", "maria", "o", "neil", "12b"]],
  ["anna ANNA", ["anna"]],
  ["e\u0301lan", ["élan"]],
  ["Ünï\u0308 ١٢ 東京", ["ünï\u0308".normalize("NFC"), "١٢", "東京"]],
  ["... %_", []],
])("the words of %s", (text, words) => {
  expect([...(wordsOf(text) ?? [])].sort()).toEqual([...words].sort());
});

test("a value of very many words is refused", () => {
  const text = Array.from({ length: 10_001 }, (_, index) => index).join(" ");
  expect(wordsOf(text)).toBeUndefined();
  expect(sealer.seal(text, storage(ALL))).toBeUndefined();
  expect(sealer.seal(text.slice(0, -6), storage(ALL))).toBeDefined();
});

test("a policy that would change what tokens of a key carry does not come into force", () => {
  const policyOf = (entry: string) =>
    policiesOf(`version: 1\ntoken_canary: slt1_1_AAAAAAAAAAAAAAAAAAAAAAAA\nclasses:\n  name: ${entry}\n`);
  const none = "{ mask: redact, stored: token }";
  const some = "{ mask: redact, stored: token, searches: [case] }";
  const problems = (before: string, after: string) =>
    searchProblems(policyOf(before), policyOf(after), sealer).map(({ message }) => message);
  expect(problems(none, some)).toEqual([
    'tokens of key 1 of class "name" would carry [case], and those that are there carry []',
    'tokens of key 2 of class "name" would carry [case], and those that are there carry []',
  ]);
  expect(problems(some, "{ mask: redact, stored: token, searches: { 1: [case], 2: [words] } }")).toHaveLength(
    1,
  );
  expect(problems(none, "{ mask: redact, stored: token, searches: { 1: [], 3: [case] } }")).toEqual([]);
  expect(problems(some, "{ mask: initials, stored: token, searches: { 1: [case] } }")).toEqual([]);
  expect(problems("{ mask: redact }", some)).toEqual([]);
  const byVersion = "{ mask: redact, stored: token, searches: { 1: [], 2: [case] } }";
  expect(problems(byVersion, some)).toHaveLength(1);
  // Once no column holds tokens of the first key, the policy may be simpler.
  sealer.use({ ...keys, active: 2, retired: new Set([1]) });
  expect(problems(byVersion, some)).toEqual([]);
  sealer.use(keys);
});

test("the last four characters are characters, and fewer if there are fewer", () => {
  expect(["12345", "12", "", "a😀bcd"].map(lastFour)).toEqual(["2345", "12", "", "😀bcd"]);
});

test("a token carries a part for each kind, in one order, keyed by the kind and the column", () => {
  const token = sealer.seal("Anna Berg", storage(ALL)) ?? "";
  const [sealed, lower, last, words] = token.split(".");
  expect(sealed).toBe(sealer.seal("Anna Berg", storage([])));
  const blind = Buffer.from(hkdfSync("sha256", SECRET, "", "sluice blind indexes 1", 32));
  const hash = (kind: string, text: string) => {
    const key = Buffer.from(hkdfSync("sha256", blind, "", `${kind} of column public.people.name`, 32));
    return createHmac("sha256", key).update(text).digest().subarray(0, 12).toString("base64url");
  };
  expect([lower, last]).toEqual([hash("case", "anna berg"), hash("last4", "Berg")]);
  expect(words).toBe([hash("words", "anna"), hash("words", "berg")].sort().join(":"));
  const other = sealer.seal("Anna Berg", { ...storage(ALL), associated: "column public.people.other" });
  for (const part of token.split(/[.:]/)) expect(other).not.toContain(part);
  expect(sealer.seal("..", storage([{ from: 1, kinds: new Set(["words"]) }]))).toMatch(/^[^.]+\.\.\.$/);
  expect(sealer.seal("..", storage([{ from: 1, kinds: new Set(["last4"]) }]))).toMatch(
    /^[^.]+\.\.[\w-]{16}$/,
  );
});

test("a token with parts is a token: it is known, and opened, whatever the parts are", () => {
  fc.assert(
    fc.property(
      fc.string({ unit: "grapheme", maxLength: 40 }),
      fc.subarray(["case", "last4", "words"] as const),
      (text, kinds) => {
        const stored = storage([{ from: 1, kinds: new Set(kinds) }]);
        const token = sealer.seal(text, stored) ?? "";
        expect(looksLikeToken(token) && versionOf(token) === 1).toBe(true);
        expect(token).not.toMatch(/[,;|'"\\]/);
        expect(token).toMatch(new RegExp(tokenShape(1, stored.carried)));
        expect(sealer.open(token, storage([]))).toBe(text);
        expect(sealer.isAsWritten(token, stored)).toBe(true);
        if (kinds.length > 0) expect(sealer.isAsWritten(token, storage([]))).toBe(false);
      },
    ),
  );
  for (const wrong of [
    ".x",
    ".AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAA.AAAAAAAAAAAAAAAA.",
    ".a,b",
    ":",
    ".AAAAAAAAAAAAAAAA:",
  ])
    expect(sealer.open(`${sealer.seal("x", storage([]))}${wrong}`, storage([]))).toBeUndefined();
});

test("what tokens carry is said by the version of the key from which on they do", () => {
  const carried = [
    { from: 2, kinds: new Set(["case"] as const) },
    { from: 5, kinds: new Set(["words"] as const) },
  ];
  expect([1, 2, 4, 5, 9].map((version) => [...carriedBy(carried, version)])).toEqual([
    [],
    ["case"],
    ["case"],
    ["words"],
    ["words"],
  ]);
  expect(sealer.seal("x", storage(carried))).not.toContain(".");
  sealer.use({ ...keys, active: 2 });
  expect(sealer.seal("x", storage(carried))).toContain(".");
  expect(sealer.carriesEverywhere("case", storage(carried))).toBe(false);
  sealer.use({ ...keys, active: 2, retired: new Set([1]) });
  expect(sealer.carriesEverywhere("case", storage(carried))).toBe(true);
  sealer.use(keys);
});

test.each([
  ["{ mask: redact, searches: [case] }", /has searches without stored: token/],
  ["{ mask: redact, stored: email, searches: [case] }", /has searches without stored: token/],
  ["{ mask: redact, stored: phone, searches: [last4] }", /has searches without stored: token/],
  ["{ mask: redact, stored: token, searches: [prefix] }", /searches/],
  ["{ mask: redact, stored: token, searches: case }", /searches/],
  ["{ mask: redact, stored: token, searches: { new: [case] } }", /"new" is not possible here/],
])("%s is an error of the policy", (entry, problem) => {
  expect(() =>
    policiesOf(`version: 1\ntoken_canary: slt1_1_AAAAAAAAAAAAAAAAAAAAAAAA\nclasses:\n  name: ${entry}\n`),
  ).toThrow(problem);
});
