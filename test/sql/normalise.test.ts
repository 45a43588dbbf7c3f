import { beforeAll, expect, test } from "vitest";
import { loadParser, normalise } from "../../proxy/sql/parse.ts";

beforeAll(() => loadParser());

test("literals are put aside", () => {
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
  "",
])("nothing is kept of a text that does not parse: %s", (text) => {
  expect(normalise(text)).toBe("");
});
