import { readdir, readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { type Compiled, compilePolicies, type PolicyText, versionOf } from "../policy/compile.ts";
import type { PolicyProblem } from "../policy/problems.ts";

/** The files on disk: read once, so that the hashed content is the compiled content. */
export interface PolicyFiles {
  readonly files: readonly PolicyText[];
  readonly problems: readonly PolicyProblem[];
  /** Changes when any content changes or becomes unreadable. */
  readonly fingerprint: string;
}

/** Loads a policy file or a folder of them; every problem is returned as a value. */
export async function loadPolicies(path: string): Promise<Compiled> {
  return compileFiles(await readPolicyFiles(path));
}

/** Compiles policies from the files that were read. */
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

/** A file's text; undefined, with a problem added, if it cannot be read. */
export async function readText(file: string, problems: PolicyProblem[]): Promise<string | undefined> {
  try {
    // Replacement characters would change names silently.
    return new TextDecoder("utf-8", { fatal: true }).decode(await readFile(file));
  } catch (error) {
    problems.push(unreadable(file, error));
    return undefined;
  }
}

/** Whether a name is that of a policy file. A leading dot marks an editor's or Kubernetes's own file. */
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

/** The problem of a file or folder that could not be read. */
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
