import { expect, test } from "vitest";
import { normalise } from "../../proxy/sql/normalise.ts";
import { scanTokens } from "../../proxy/sql/parse/parse-text.ts";
import { readCorpus } from "./corpus.ts";

test("literals are removed", () => {
  expect(normalise("SELECT * FROM customers WHERE email = 'a@example.com' AND id > 7")).toBe(
    "SELECT * FROM customers WHERE email = $1 AND id > $2",
  );
});

test.each([
  "SELECT 'a@example.com",
  "SELECT E'a@example.com\\",
  "SELECT $$a@example.com",
  'SELECT "a@example.com',
  "SELECT U&'a@example.com\\00",
  "SELECT 1 /* a@example.com",
  "SELECT FROM WHERE 'a@example.com'",
  "selec 'a@example.com'",
  "SELECT 1 a@example.com'",
  "SELECT 'x' 'a@example.com'",
  "SELECT 4111111111111111x",
  "SELECT $4111111111111111",
  "",
])("nothing is kept of a text that does not parse: %s", (text) => {
  expect(normalise(text)).toBe("");
});

test.each([
  ["EXECUTE s('a@example.com', 4111)", "EXECUTE s($1, $2)"],
  [
    "PREPARE s AS SELECT * FROM t WHERE a = $1 AND b = 'a@example.com'",
    "PREPARE s AS SELECT * FROM t WHERE a = $1 AND b = $2",
  ],
  ["COMMENT ON TABLE t IS 'a@example.com'", "COMMENT ON TABLE t IS $1"],
  ["CREATE TABLE c AS SELECT E'a@example.com' AS é", "CREATE TABLE c AS SELECT $1 AS é"],
  ["ALTER TABLE t ALTER c SET DEFAULT $q$a@example.com$q$", "ALTER TABLE t ALTER c SET DEFAULT $1"],
  ["COPY t FROM STDIN (NULL U&'a@example.com')", "COPY t FROM STDIN (NULL $1)"],
  ["EXECUTE s(B'1', X'ff', .5, 1.5e3, 0x1f, N'a@example.com')", "EXECUTE s($1, $2, $3, $4, $5, N$6)"],
  ["SELECT 'a@example.com'AND EXISTS (SELECT 1)", "SELECT $1AND EXISTS (SELECT $2)"],
])("a literal is removed wherever it is: %s", (text, expected) => {
  expect(normalise(text)).toBe(expected);
});

test.each([
  ["/* a@example.com */ SELECT 1 -- a@example.com", "SELECT $1"],
  [
    "SELECT/* 1 */a,b -- x\nFROM t\n\tWHERE c = 'é' /* /* y */ 'z' */;",
    "SELECT a,b FROM t\n\tWHERE c = $1 ;",
  ],
  ["SELECT '--', \"/* é */\" FROM t /*é*/", 'SELECT $1, "/* é */" FROM t'],
  ["SELECT 'a'AND b /* c */", "SELECT $1AND b"],
  ["EXECUTE s('--') -- a", "EXECUTE s($1)"],
])("comments are removed: %s", (text, expected) => {
  expect(normalise(text)).toBe(expected);
});

const corpus = await readCorpus("clients");

test.skipIf(corpus === undefined)("no string of clients' statements is left", () => {
  const left = (corpus ?? []).filter(({ sql }) =>
    scanTokens(normalise(sql)).some(({ text }) => /^(?:[ebx]|u&)?'/i.test(text)),
  );
  expect(left).toEqual([]);
});

test("a text that is too deep for the parser leaves nothing of itself", () => {
  const deep = `select ${"(".repeat(20_000)}'secret'${")".repeat(20_000)}`;
  expect(normalise(deep)).toBe("");
});
