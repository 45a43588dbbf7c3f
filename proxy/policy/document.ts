import type { PolicyFile, PolicyFileSchema } from "./format.ts";
import type { Places } from "./places.ts";
import type { PolicyProblem } from "./problems.ts";
import { type Path, readYaml, valueAt } from "./yaml-file.ts";

/** A policy file of the right form, or the part of it that is. */
export interface PolicyDocument extends Places {
  readonly name: string;
  readonly content: PolicyFile;
}

export interface ReadDocument {
  readonly problems: readonly PolicyProblem[];
  /** Undefined if too little of the file could be understood to check further. */
  readonly document: PolicyDocument | undefined;
}

/** Reads one file's text. */
export function readDocument(name: string, text: string, schema: PolicyFileSchema): ReadDocument {
  const { problems, file } = readYaml(name, text, schema, "Begin with: version: 1");
  if (file === undefined) return { problems, document: undefined };
  const content = file.content ?? prune(file.value, file.wrong, schema);
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
 * Removes the parts of a file that have problems, so that the rest can be checked as well: first the key of an entry
 * (`roles.agent.budget`), then the entry, then the section.
 */
function prune(value: unknown, wrong: readonly Path[], schema: PolicyFileSchema): PolicyFile | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const copy = structuredClone(value) as Record<PropertyKey, unknown>;
  let paths = wrong;
  for (const depth of [3, 2, 1]) {
    for (const path of paths) remove(copy, path.slice(0, depth));
    const version = Object.hasOwn(copy, "version") ? {} : { version: 1 };
    const check = schema.safeParse({ ...copy, ...version });
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
