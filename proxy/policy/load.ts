import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { type Compiled, compilePolicies, type PolicyText, versionOf } from "./compile.ts";
import type { PolicyProblem } from "./problems.ts";

export {
  type AdminRight,
  type Compiled,
  compilePolicies,
  type PolicySet,
  type PolicyText,
} from "./compile.ts";
export { describeProblem, type PolicyProblem } from "./problems.ts";

/** What lies on disk: read once, so that what is hashed is what is compiled. */
export interface PolicyFiles {
  readonly files: readonly PolicyText[];
  readonly problems: readonly PolicyProblem[];
  /** Differs when any content differs, or becomes unreadable. */
  readonly fingerprint: string;
}

/** Loads a policy file or a folder of them; a problem is a value, whatever it is. */
export async function loadPolicies(path: string): Promise<Compiled> {
  return compileFiles(await readPolicyFiles(path));
}

/** Makes policies of what was read. */
export function compileFiles(read: PolicyFiles): Compiled {
  const compiled = compilePolicies(read.files);
  if (read.problems.length === 0) return compiled;
  return { ok: false, problems: compiled.ok ? read.problems : [...read.problems, ...compiled.problems] };
}

/** Reads a file, or the `*.yaml` and `*.yml` of a folder without the `*_test.yaml`. */
export async function readPolicyFiles(path: string): Promise<PolicyFiles> {
  const problems: PolicyProblem[] = [];
  const files: PolicyText[] = [];
  for (const file of await listFiles(path, problems)) {
    const text = await readText(file, problems);
    if (text !== undefined) files.push({ name: file, text });
  }
  const fingerprint = `${versionOf(files)} ${problems.map(({ place, message }) => `${place.file} ${message}`).join("\n")}`;
  return { files, problems, fingerprint };
}

/** A file's text; undefined when it has none, which is then among the problems. */
export async function readText(file: string, problems: PolicyProblem[]): Promise<string | undefined> {
  try {
    // Replacement characters would change names without a word.
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (error) {
    problems.push(unreadable(file, error));
    return undefined;
  }
}

/** Names of policy files. A dot at the beginning is an editor's or Kubernetes's own. */
export function isPolicyFile(name: string): boolean {
  return /\.ya?ml$/.test(name) && !/_test\.ya?ml$/.test(name) && !name.startsWith(".");
}

async function listFiles(path: string, problems: PolicyProblem[]): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = (await readdir(path)).filter(isPolicyFile).sort();
    if (names.length === 0) {
      problems.push({
        severity: "error",
        place: { file: path, line: 1, column: 1 },
        message: "no policy in this folder",
        hint: `Put a .yaml file into it, or point --policy at one (files ending in _test.yaml are tests).`,
      });
    }
    return names.map((name) => join(path, name));
  } catch (error) {
    problems.push(unreadable(path, error));
    return [];
  }
}

/** What is wrong with a file or folder that could not be read. */
export function unreadable(path: string, error: unknown): PolicyProblem {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const place = { file: path, line: 1, column: 1 };
  switch (code) {
    case "ENOENT":
      return {
        severity: "error",
        place,
        message: "there is no such file or folder",
        hint: "Check the path (--policy).",
      };
    case "EACCES":
    case "EPERM":
      return {
        severity: "error",
        place,
        message: "may not be read",
        hint: "Give the proxy's user the right to read it.",
      };
    case "ERR_ENCODING_INVALID_ENCODED_DATA":
      return { severity: "error", place, message: "is not UTF-8", hint: "Save the file as UTF-8." };
    default:
      return { severity: "error", place, message: `cannot be read (${code || basename(path)})`, hint: "" };
  }
}
