import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { z } from "zod";
import { type PolicyProblem, Problems } from "../policy/problems.ts";
import { OF_REFUSALS, type TestFileContent, testFileSchema } from "../policy/test-format.ts";
import { type Path, readYaml, type YamlFile } from "../policy/yaml-file.ts";
import { readText, unreadable } from "./load.ts";

/** A file of expectations of the right form. */
export interface TestFile extends Pick<YamlFile<TestFileContent>, "placeOf" | "placeOfKey"> {
  readonly name: string;
  readonly text: string;
  readonly content: TestFileContent;
}

export interface ReadTests {
  /** The path of the policy that they test. */
  readonly policy: string;
  readonly files: readonly TestFile[];
  readonly problems: readonly PolicyProblem[];
}

const TEST_FILE = /_test\.ya?ml$/;

/**
 * Reads the tests of a policy: all of a folder, or for one policy file the test file next to it (`support_test.yaml`
 * for `support.yaml`). A single file of tests tests the policy of its folder.
 */
export async function readTests(path: string): Promise<ReadTests> {
  const problems: PolicyProblem[] = [];
  const { policy, names } = await find(path, problems);
  const files: TestFile[] = [];
  for (const name of names) {
    const text = await readText(name, problems);
    if (text === undefined) continue;
    const { problems: wrong, file } = readYaml(name, text, testFileSchema, "Begin with: tests:");
    problems.push(...wrong);
    if (file?.content === undefined) continue;
    const test = { name, text, ...asMapping(file.content, file) };
    problems.push(...contradictions(test));
    files.push(test);
  }
  return { policy, files, problems };
}

/** Treats a plain list as if it were under `tests:`. */
function asMapping(
  content: z.infer<typeof testFileSchema>,
  { placeOf, placeOfKey }: Pick<TestFile, "placeOf" | "placeOfKey">,
): Omit<TestFile, "name" | "text"> {
  if (!Array.isArray(content)) return { content, placeOf, placeOfKey };
  const within = (path: Path) => (path[0] === "tests" ? path.slice(1) : []);
  return {
    content: { tests: content },
    placeOf: (path) => placeOf(within(path)),
    placeOfKey: (path) => placeOfKey(within(path)),
  };
}

async function find(path: string, problems: PolicyProblem[]) {
  try {
    if ((await stat(path)).isDirectory()) {
      const names = (await readdir(path)).filter((name) => TEST_FILE.test(name) && !name.startsWith("."));
      if (names.length === 0) problems.push(noTests(path, "a file whose name ends in _test.yaml"));
      return { policy: path, names: names.sort().map((name) => join(path, name)) };
    }
    if (TEST_FILE.test(path)) return { policy: dirname(path), names: [path] };
    const stem = basename(path).replace(/\.ya?ml$/, "");
    const there = await readdir(dirname(path));
    const names = [`${stem}_test.yaml`, `${stem}_test.yml`].filter((name) => there.includes(name));
    if (names.length === 0) problems.push(noTests(path, `${stem}_test.yaml`));
    return { policy: path, names: names.map((name) => join(dirname(path), name)) };
  } catch (error) {
    problems.push(unreadable(path, error));
    return { policy: path, names: [] };
  }
}

function noTests(path: string, wanted: string): PolicyProblem {
  return {
    severity: "error",
    place: { file: path, line: 1, column: 1 },
    message: "nothing here tests the policy",
    hint: `Put ${wanted} beside it.`,
  };
}

/** Problems that the schema does not find: nothing may look tested that is not. */
function contradictions({ content, placeOf, placeOfKey }: TestFile): readonly PolicyProblem[] {
  const problems = new Problems();
  const seen = new Map<string, number>();
  content.tests.forEach(({ name, expect }, i) => {
    const path = ["tests", i];
    if (name !== undefined) {
      const earlier = seen.get(name);
      if (earlier !== undefined) {
        const { line } = placeOf(["tests", earlier, "name"]);
        const message = `another expectation is named "${name}"`;
        problems.error(placeOf([...path, "name"]), message, `It is in line ${line}.`);
      }
      seen.set(name, i);
    }
    if (typeof expect === "string") return;
    const keys = Object.keys(expect);
    const refusing = keys.find((key) => OF_REFUSALS.has(key));
    const other = keys.find((key) => !OF_REFUSALS.has(key));
    if (keys.length === 0) {
      problems.error(placeOf([...path, "expect"]), "nothing is expected", "Write allowed if that is all.");
    } else if (refusing !== undefined && other !== undefined) {
      const message = `"${other}" cannot be combined with "${refusing}"`;
      const hint = "A statement that is refused reads, masks and counts nothing.";
      problems.error(placeOfKey([...path, "expect", other]), message, hint);
    }
  });
  return problems.list;
}
