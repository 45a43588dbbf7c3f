import { type PolicyFile, policyFileSchema } from "./format.ts";
import type { Place } from "./policy.ts";
import type { PolicyProblem } from "./problems.ts";
import { type Path, readYaml, valueAt } from "./yaml-file.ts";

/** A policy file whose form is right, or as much of it as is. */
export interface PolicyDocument {
  readonly name: string;
  readonly content: PolicyFile;
  /** Names as written in a section, those of entries with problems included: so that one problem brings no second. */
  written(section: "classes" | "tables" | "roles"): readonly string[];
  /** Whether the file says something at a path, right or wrong. */
  has(path: Path): boolean;
  /** Where the value at a path stands; the nearest that exists. */
  placeOf(path: Path): Place;
  /** Where the last key of a path stands. */
  placeOfKey(path: Path): Place;
}

export interface ReadDocument {
  readonly problems: readonly PolicyProblem[];
  /** Undefined when too little of the file could be understood to look further. */
  readonly document: PolicyDocument | undefined;
}

/** Reads one file's text. */
export function readDocument(name: string, text: string): ReadDocument {
  const { problems, file } = readYaml(name, text, policyFileSchema, "Begin with: version: 1");
  if (file === undefined) return { problems, document: undefined };
  const content = file.content ?? prune(file.value, file.wrong);
  if (content === undefined) return { problems, document: undefined };
  return {
    problems,
    document: {
      name,
      content,
      written: (section) => keysAt(file.value, section),
      has: (path) => valueAt(file.value, path) !== undefined,
      placeOf: file.placeOf,
      placeOfKey: file.placeOfKey,
    },
  };
}

function keysAt(value: unknown, section: string): readonly string[] {
  const entries = valueAt(value, [section]);
  return typeof entries === "object" && entries !== null ? Object.keys(entries) : [];
}

/**
 * What is left of a file when the parts with problems are taken out, so that the rest can be checked as
 * well: first the key of an entry (`roles.agent.budget`), then the entry, then the section.
 */
function prune(value: unknown, wrong: readonly Path[]): PolicyFile | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const copy = structuredClone(value) as Record<PropertyKey, unknown>;
  let paths = wrong;
  for (const depth of [3, 2, 1]) {
    for (const path of paths) remove(copy, path.slice(0, depth));
    const version = Object.hasOwn(copy, "version") ? {} : { version: 1 };
    const check = policyFileSchema.safeParse({ ...copy, ...version });
    if (check.success) return check.data;
    paths = check.error.issues.map((issue) => issue.path);
  }
  return undefined;
}

function remove(value: unknown, path: Path): void {
  const parent = valueAt(value, path.slice(0, -1));
  const last = path.at(-1);
  if (typeof parent === "object" && parent !== null && last !== undefined)
    Reflect.deleteProperty(parent, last);
}
