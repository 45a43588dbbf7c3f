import { expect, test } from "vitest";
import { storedText } from "../../proxy/sql/stored-text.ts";

test("comments and long spaces are removed wherever they are, and the statement stays", () => {
  const junk = `/* ${"x".repeat(5_000)} */${" ".repeat(5_000)}`;
  const dashes = `-- ${"y".repeat(400)}\n`;
  const stored = storedText(
    `${junk} SELECT ${dashes} id FROM t${" ".repeat(900)}WHERE name = 'secret' ${junk}${dashes}`,
  );
  expect(stored).toBe("SELECT id FROM t WHERE name = $1");
});

test("a text without an end is cut", () => {
  const columns = (count: number) => Array.from({ length: count }, (_, i) => `c${i}`).join(", ");
  for (const count of [5_000, 50_000]) {
    const stored = storedText(`SELECT ${columns(count)} FROM t`);
    expect(stored.length).toBeLessThan(17_000);
    expect(stored).toMatch(/ … \d+ (?:characters|bytes) more$/);
  }
});
