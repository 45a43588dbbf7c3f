import { expect, test } from "vitest";
import { withoutLongLists } from "../../proxy/sql/long-lists.ts";
import { storedText } from "../../proxy/sql/stored-text.ts";

const many = (each: (i: number) => string, between = ", ") =>
  Array.from({ length: 3_000 }, (_, i) => each(i)).join(between);

test.each([
  [
    "rows of constants",
    `insert into t (a, b) values ${many((i) => `(${i}, 'it''s', null, -1.5, $1)`)} returning a`,
    "insert into t (a, b) values (0) returning a",
  ],
  [
    "a list of IN",
    `select * from t where a in (${many(String)}) and b = 'x'`,
    "select * from t where a in (0) and b = 'x'",
  ],
  [
    "an array",
    `select * from t where a = any(array[${many(String)}]::int[])`,
    "select * from t where a = any(array[0]::int[])",
  ],
  ["comments between", `select 1 in (1 /* , */, 2${many((i) => `, ${i} -- no\n`, "")})`, "select 1 in (1)"],
])("%s are cut down to one constant", (_, text, short) => {
  expect(withoutLongLists(text)).toBe(short);
});

test.each([
  ["what calls a function", `insert into t values ${many((i) => `(${i}, now())`)}`],
  [
    "what casts to a type, which has code of its own",
    `insert into t values ${many((i) => `('${i}'::mood)`)}`,
  ],
  ["arguments of a function", `select set_config('role', 'x', ${many((i) => `'${i}'`)})`],
  ["what another scanner would read otherwise", `insert into t values ${many((i) => `(U&'${i}')`)}`],
  ["a subquery", `select * from t where a in (select b from u where c = ${many(String, " or c = ")})`],
])("%s stays", (_, text) => {
  expect(withoutLongLists(text)).toBe(text);
});

test("the text after a row of constants is checked", () => {
  const rows = many((i) => `(${i})`);
  const text = `insert into t values ${rows}, (set_config('role', 'x', false)), ${rows}; listen x`;
  expect(withoutLongLists(text)).toContain("set_config('role', 'x', false)");
  expect(withoutLongLists(text)).toContain("; listen x");
});

test("a short text stays unchanged", () => {
  expect(withoutLongLists("select 1 in (1, 2, 3)")).toBe("select 1 in (1, 2, 3)");
});

test("a long text whose lists stay is on record with its beginning, and without its literals", () => {
  const stored = storedText(
    `insert into t values ${many((i) => `('secret ${i}', now(), ${i}, E'secret', 1.5)`)}`,
  );
  expect(stored).toMatch(/^insert into t values \(\$1, now\(\), \$2, \$3, \$4\), \(\$5,/);
  expect(stored).toMatch(/ … \d+ bytes more$/);
  expect(stored).not.toContain("secret");
  expect(stored.length).toBeLessThan(20_000);
});
