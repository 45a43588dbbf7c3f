import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

const PROXY = join(import.meta.dirname, "../../proxy");

/** A name that means something else in each of many files says nothing in any. */
const MOST = 7;

test("no type's name is declared in more than a few files", () => {
  const counts = new Map<string, number>();
  for (const path of readdirSync(PROXY, { recursive: true, encoding: "utf8" })) {
    if (!path.endsWith(".ts")) continue;
    const text = readFileSync(join(PROXY, path), "utf8");
    for (const [, name = ""] of text.matchAll(/^(?:export )?(?:abstract )?(?:interface|type|class) (\w+)/gm))
      counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  expect(counts.size).toBeGreaterThan(500);
  expect([...counts].filter(([, count]) => count > MOST)).toEqual([]);
});
