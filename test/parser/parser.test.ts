import { describe, expect, test } from "vitest";
import {
  fingerprint,
  normalize,
  parse,
  SyntaxProblem,
  scan,
  TextTooDeep,
  treeText,
} from "../../proxy/parser/parser.ts";
import { parseText } from "../../proxy/sql/parse/parse-text.ts";

/** What a guarded role may send, and no stack can hold. */
const TOO_DEEP = {
  "a long chain": `SELECT ${"1+".repeat(80_000)}1`,
  "many unions": `SELECT 1${" UNION SELECT 1".repeat(15_000)}`,
};

test.each(Object.entries(TOO_DEEP))(
  "%s, sent again and again, ends no other statement",
  async (_, text) => {
    for (let i = 0; i < 20; i++) {
      expect(() => treeText(text)).toThrow(TextTooDeep);
      // The next message of any session is read after what was begun here has been done.
      await Promise.resolve();
      await new Promise(setImmediate);
      expect(parse("SELECT a FROM b").stmts).toHaveLength(1);
    }
  },
  60_000,
);

test("until the next parser is there a statement is refused, and may be sent again", async () => {
  expect(parseText(TOO_DEEP["many unions"])).toMatchObject({ ok: false, refusal: { sqlstate: "54001" } });
  expect(parseText("SELECT 1")).toMatchObject({ ok: false, refusal: { sqlstate: "58000" } });
  await new Promise(setImmediate);
  expect(parseText("SELECT 1")).toMatchObject({ ok: true });
});

describe("the position of a mistake is in characters, from 1", () => {
  test.each([
    ["SELECT 'äöü', 1 FROM FROM", 22],
    ["SELECT a b c d", 12],
    ["SELECT 1 FROM", 14],
    ["SELECT 'abc", 8],
  ])("%s", (text, position) => {
    expect(() => parse(text)).toThrow(expect.objectContaining({ position, constructor: SyntaxProblem }));
  });
});

test("texts of any characters come back as they are", () => {
  const text = `SELECT 'ä\\"{}😀', "x""y" FROM t -- ${"é".repeat(500)}`;
  expect(normalize(text)).toBe(text.replace(/'ä.*?'/, "$1"));
  expect(scan("SELECT 'ä😀'").tokens.map((token) => token.text)).toEqual(["SELECT", "'ä😀'"]);
  expect(() => scan("SELECT 'abc")).toThrow(SyntaxProblem);
  expect(fingerprint("SELECT 'ä'")).toBe(fingerprint("select  'b'"));
  expect(() => fingerprint("SELECT 'abc")).toThrow(SyntaxProblem);
});
