import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { expect, test } from "vitest";

const ROOT = join(import.meta.dirname, "../..");
const PROXY = join(ROOT, "proxy");

/**
 * The floors of the house, the lowest first: a folder imports from floors below its own, and from nothing on its own.
 * ARCHITECTURE.md describes them.
 */
const FLOORS: readonly (readonly string[])[] = [
  ["pg", "log.ts", "version.ts"],
  ["keys", "wire", "parser"],
  ["catalog", "fleet", "protocol", "tokens"],
  ["policy"],
  ["policy-files", "sql", "orders", "settings"],
  ["analyst", "canaries", "cases", "meter", "pool", "suggest"],
  ["audit", "check"],
  ["behaviour", "metrics"],
  ["session"],
  ["admin", "embedded"],
  ["demo", "workers"],
  ["app"],
  ["commands"],
  ["main.ts"],
];

/** The rooms of proxy/session/, in the same way. */
const ROOMS: readonly (readonly string[])[] = [
  ["statement", "person", "cancel"],
  ["context"],
  ["decide", "relay", "login", "tokens"],
  ["record", "accept"],
  ["judged"],
  ["guarded", "transparent", "watched"],
  ["session.ts"],
];

/** Folders that compute and nothing else: with the same arguments they give the same. */
const PURE = ["pg", "sql", "policy", "tokens"];
/** What pure folders may import beside the repository's own files. */
const PURE_PACKAGES = new Set([
  "@noble/ciphers/aes.js",
  "@noble/ciphers/ff1.js",
  "libpg-query",
  "lru-cache",
  "yaml",
  "zod",
  "node:util",
  "node:crypto",
]);
/** node:net parses addresses, too; only these of its names are pure. */
const PURE_OF_NET = new Set(["BlockList", "isIP", "isIPv4", "isIPv6"]);
/** What reads a clock, chance or the process. */
const IMPURE =
  /\b(?:Date\.now|performance\.now|new Date\(\)|Math\.random|randomBytes|setTimeout|setInterval|process\.)/;

interface Import {
  readonly from: string;
  /** A path from proxy/, or a package. */
  readonly to: string;
  readonly isPackage: boolean;
  readonly names: readonly string[];
}

const files = readdirSync(PROXY, { recursive: true, encoding: "utf8" }).filter((path) =>
  path.endsWith(".ts"),
);
const imports = files.flatMap(importsOf);

function importsOf(file: string): readonly Import[] {
  const text = readFileSync(join(PROXY, file), "utf8");
  const found = text.matchAll(/^(?:import|export)\b([^"=();]*?)\bfrom "([^"]+)"/gm);
  return [...found].map(([, names = "", specifier = ""]) => {
    const isPackage = !specifier.startsWith(".");
    return {
      from: file,
      to: isPackage ? specifier : normalize(join(dirname(file), specifier)),
      isPackage,
      names: names
        .replaceAll(/[{}]|\btype\b/g, "")
        .split(",")
        .map((name) => name.trim())
        .filter(Boolean),
    };
  });
}

function upwards(floors: readonly (readonly string[])[], below: string): readonly string[] {
  const levels = new Map(floors.flatMap((floor, level) => floor.map((name) => [name, level] as const)));
  const placeOf = (path: string) => relative(below, path).split("/")[0] ?? "";
  const level = (path: string) => levels.get(placeOf(path)) ?? Number.NaN;
  return imports
    .filter(({ from, to, isPackage }) => !isPackage && isBelow(from, below) && isBelow(to, below))
    .filter(({ from, to }) => placeOf(from) !== placeOf(to) && !(level(to) < level(from)))
    .map(({ from, to }) => `${from} imports ${to}`);
}

function isBelow(path: string, folder: string): boolean {
  return !relative(folder, path).startsWith("..");
}

test("folders import from lower floors only", () => {
  expect(files.length).toBeGreaterThan(100);
  expect(upwards(FLOORS, "")).toEqual([]);
});

test("rooms of a session import from lower rooms only", () => {
  expect(upwards(ROOMS, "session")).toEqual([]);
});

test("no file imports itself by way of others", () => {
  const graph = new Map<string, string[]>();
  for (const { from, to, isPackage } of imports)
    if (!isPackage) graph.set(from, [...(graph.get(from) ?? []), to]);
  expect(circleIn(graph)).toBeUndefined();
  expect(
    circleIn(
      new Map([
        ["a", ["b"]],
        ["b", ["c"]],
        ["c", ["b"]],
      ]),
    ),
  ).toEqual(["b", "c", "b"]);
});

/** The first circle of a graph, as the files along it. */
function circleIn(graph: ReadonlyMap<string, readonly string[]>): readonly string[] | undefined {
  const done = new Set<string>();
  const path: string[] = [];
  const visit = (file: string): readonly string[] | undefined => {
    if (done.has(file)) return undefined;
    const before = path.indexOf(file);
    if (before >= 0) return [...path.slice(before), file];
    path.push(file);
    for (const to of graph.get(file) ?? []) {
      const circle = visit(to);
      if (circle !== undefined) return circle;
    }
    path.pop();
    done.add(file);
    return undefined;
  };
  for (const file of graph.keys()) {
    const circle = visit(file);
    if (circle !== undefined) return circle;
  }
  return undefined;
}

test.each(PURE)("%s touches no socket, clock, log or file", (folder) => {
  const own = imports.filter(({ from }) => isBelow(from, folder));
  const impure = own.filter(
    ({ to, isPackage, names }) =>
      (to === "node:net"
        ? names.some((name) => !PURE_OF_NET.has(name))
        : isPackage && !PURE_PACKAGES.has(to)) || to === "log.ts",
  );
  expect(impure.map(({ from, to }) => `${from} imports ${to}`)).toEqual([]);
  const texts = files.filter((file) => isBelow(file, folder));
  expect(texts.length).toBeGreaterThan(0);
  expect(texts.filter((file) => IMPURE.test(code(file)))).toEqual([]);
});

/** A file's text without its comments. */
function code(file: string): string {
  return readFileSync(join(PROXY, file), "utf8").replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "");
}
