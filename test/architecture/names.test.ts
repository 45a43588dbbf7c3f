import { readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const PROXY = join(ROOT, "proxy");

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

/** Where one thing has a file in several folders: what a rule is at each stage, and the two kinds of session. */
const STAGES = /^(?:catalog|check|policy|policy\/(?:rules|masks)|sql|sql\/\w+|session\/(?:guarded|watched))$/;
/** Where something is shown, or asked for, under the name that it has elsewhere. */
const SURFACES = /^(?:admin\/console\/pages|commands)$/;

test("files share a name only if they are about the same thing", () => {
  const folders = new Map<string, string[]>();
  for (const path of readdirSync(PROXY, { recursive: true, encoding: "utf8" }))
    if (path.endsWith(".ts"))
      folders.set(basename(path), [...(folders.get(basename(path)) ?? []), dirname(path)]);
  const shared = [...folders].filter(([, of]) => of.length > 1);
  expect(shared.length).toBeGreaterThan(10);
  const strange = shared.filter(
    ([, of]) =>
      of.length > 2 || !(of.every((each) => STAGES.test(each)) || of.some((each) => SURFACES.test(each))),
  );
  expect(strange).toEqual([]);
});

/** What people read: code and its comments, pages, dashboards, files to copy. */
const TEXTS = ["proxy", "bench", "docs", "dashboards", "deploy", "policies", "README.md", "ARCHITECTURE.md"];
const OF_PEOPLE = /\b(?:he|his|him|himself)\b/i;

test("people are they", () => {
  const files = TEXTS.flatMap((name) =>
    name.endsWith(".md")
      ? [name]
      : readdirSync(join(ROOT, name), { recursive: true, encoding: "utf8" }).map((path) => `${name}/${path}`),
  ).filter((path) => /\.(?:ts|md|yaml|yml|json|html)$/.test(path));
  expect(files.length).toBeGreaterThan(800);
  const lines = files.flatMap((path) =>
    readFileSync(join(ROOT, path), "utf8")
      .split("\n")
      .filter((line) => OF_PEOPLE.test(line))
      .map((line) => `${path}: ${line.trim().slice(0, 120)}`),
  );
  expect(lines).toEqual([]);
});
