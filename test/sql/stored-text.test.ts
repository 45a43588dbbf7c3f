import { expect, test } from "vitest";
import { fingerprint } from "../../proxy/parser/parser.ts";
import { storedText } from "../../proxy/sql/stored-text.ts";

test("what tools write into comments is kept", () => {
  const text = "SELECT id FROM t /*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/";
  expect(storedText(text)).toBe(text);
});

test("long comments are left out, wherever they stand, and the statement stays", () => {
  const junk = `/* ${"x".repeat(5_000)} */`;
  const dashes = `-- ${"y".repeat(400)}\n`;
  const stored = storedText(`${junk} SELECT ${dashes} id FROM t WHERE name = 'secret' ${junk}${dashes}`);
  expect(stored.length).toBeLessThan(300);
  expect(stored).toMatch(/^ \/\* 50\d\d bytes of comments left out \*\/ SELECT \/\* \d+ bytes/);
  expect(stored).not.toMatch(/secret|xxx|yyy/);
  expect(fingerprint(stored)).toBe(fingerprint("SELECT id FROM t WHERE name = $1"));
});

test("a text without an end is cut", () => {
  const stored = storedText(`SELECT ${Array.from({ length: 20_000 }, (_, i) => `c${i}`).join(", ")} FROM t`);
  expect(stored.length).toBeLessThan(17_000);
  expect(stored).toMatch(/ … \d+ characters more$/);
});
