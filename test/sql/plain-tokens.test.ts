import fc from "fast-check";
import { loadModule, scanSync } from "libpg-query";
import { beforeAll, expect, test } from "vitest";
import { parseText, scanTokens } from "../../proxy/sql/parse/parse-text.ts";
import { plainTokens } from "../../proxy/sql/parse/plain-tokens.ts";
import { readCorpus } from "./corpus.ts";

beforeAll(loadModule);

/** As Postgres's own scanner reports them; undefined if it rejects the text. */
function scanned(text: string) {
  try {
    return scanSync(text)
      .tokens.filter(({ tokenName }) => tokenName !== "SQL_COMMENT" && tokenName !== "C_COMMENT")
      .map(({ start, end, text: token }) => ({ start, end, text: token }));
  } catch {
    return undefined;
  }
}

/** Pieces that affect each other: what one of them means depends on its neighbours. */
const PIECES = [
  ..."abeEnNxXuU_19 \t\n\r'\"$&.,:;()[]<>=!+-*/%|#~@^`?\\{}é\u00a0".split(""),
  ..."'a' 'a''b' \"a\" \"a\"\"b\" a1 $1 $a$ $$ 1.5 1e5 0x1f 1_000 .5 1.. -- /* */ :: := => <= <> != || |/ uescape U& E' $1a".split(
    " ",
  ),
];

test("plain texts have the tokens that Postgres's own scanner gives; others have none", () => {
  const text = fc.array(fc.constantFrom(...PIECES), { maxLength: 12 }).map((parts) => parts.join(""));
  let plain = 0;
  fc.assert(
    fc.property(text, (sql) => {
      const tokens = plainTokens(sql);
      if (tokens === undefined) return;
      plain++;
      // A blank text has no tokens; the scanner then returns undefined.
      expect(tokens).toEqual(scanned(sql) ?? []);
    }),
    { numRuns: 5_000 },
  );
  expect(plain).toBeGreaterThan(250);
});

test("dollars, rare strings and rare operators are left to Postgres's scanner", () => {
  for (const sql of [
    "a /*b",
    "a /* /* b */",
    "'a' -- b\n'c'",
    "E'a' --\r\v'c'",
    String.raw`E'a\'`,
    String.raw`E'a\\\'`,
    "xE'a'",
    "N'a'",
    'U&"a"',
    "$$a$$",
    "a$1",
    "1e5",
    "'a'\n'b'",
    "a @> b",
    "a =-1",
    "1é",
    "'a",
    '"a',
  ])
    expect(plainTokens(sql)).toBeUndefined();
});

test("control characters in literals disturb neither way of reading", () => {
  expect(scanTokens("SELECT '\u0001' , a").map(({ start }) => start)).toEqual([0, 7, 11, 13]);
  expect(scanTokens("SELECT E'\u0001\u000b', /* \u0002 */ é").map(({ start }) => start)).toEqual([
    0, 7, 12, 22,
  ]);
});

for (const name of ["clients", "regress"] as const) {
  const corpus = await readCorpus(name);
  test.skipIf(corpus === undefined)(`the plain statements of ${name} have Postgres's tokens`, () => {
    for (const { sql } of corpus ?? []) {
      const tokens = parseText(sql).ok ? plainTokens(sql) : undefined;
      if (tokens !== undefined) expect(tokens, sql).toEqual(scanned(sql));
    }
  });
}
