import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

/** Modules that start a server or another program. */
const STARTERS = [
  "test/harness/postgres.ts",
  "test/harness/redis.ts",
  "test/harness/redis-process.ts",
  "test/harness/browser.ts",
  "test/harness/debian.ts",
  "test/harness/program.ts",
  "test/harness/programs.ts",
  "test/harness/processes.ts",
  "proxy/embedded/postgres.ts",
];

/** The repository's test files that need no server: nothing that they import starts one. Paths relative to its root. */
export function serverlessTests(root: string): readonly string[] {
  const starters = new Set(STARTERS.map((path) => join(root, path)));
  const known = new Map<string, boolean>();
  const starts = (file: string): boolean => {
    if (starters.has(file)) return true;
    const before = known.get(file);
    if (before !== undefined) return before;
    known.set(file, false);
    const text = readFileSync(file, "utf8");
    const found =
      /\bnode:(?:child_process|worker_threads|cluster)\b/.test(text) || importedBy(file, text).some(starts);
    known.set(file, found);
    return found;
  };
  return readdirSync(join(root, "test"), { recursive: true, encoding: "utf8" })
    .filter((path) => path.endsWith(".test.ts"))
    .map((path) => join("test", path))
    .filter((path) => !starts(join(root, path)));
}

function importedBy(file: string, text: string): readonly string[] {
  const specifiers = text.matchAll(/\b(?:from|import)\s*\(?\s*"(\.[^"]+)"/g);
  return [...specifiers]
    .map(([, path = ""]) => resolve(dirname(file), path))
    .filter((path) => existsSync(path));
}
