import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from "yaml";
import type { z } from "zod";
import { type PolicyFile, policyFileSchema } from "./format.ts";
import type { Place } from "./policy.ts";
import { type PolicyProblem, suggest } from "./problems.ts";

export type Path = readonly PropertyKey[];

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

/** Reads one file's text: YAML first, then its form. */
export function readDocument(name: string, text: string): ReadDocument {
  const lines = new LineCounter();
  // Without a limit on aliases a few lines expand to gigabytes; the library's own default is kept.
  const yaml = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { file: name, line: Math.max(1, line), column: Math.max(1, col) };
  };
  const problem = (place: Place, message: string, hint: string): PolicyProblem => ({
    severity: "error",
    place,
    message,
    hint,
  });

  if (yaml.errors.length > 0) {
    const problems = yaml.errors.map((error) =>
      error.code === "DUPLICATE_KEY"
        ? problem(at(error.pos[0]), "this key stands here twice", "Keep one of the two.")
        : problem(
            at(error.pos[0]),
            `not valid YAML: ${error.message}`,
            "Check indentation, quotes and brackets.",
          ),
    );
    return { problems, document: undefined };
  }
  if (yaml.contents === null || (isScalar(yaml.contents) && yaml.contents.value === null)) {
    return { problems: [problem(at(0), "the file is empty", "Begin with: version: 1")], document: undefined };
  }

  const problems: PolicyProblem[] = [];
  visit(yaml, {
    Pair(_, pair) {
      // Objects treat this key as something else than a name: it would vanish without a word.
      if (isScalar(pair.key) && pair.key.value === "__proto__") {
        problems.push(
          problem(at(pair.key.range?.[0] ?? 0), '"__proto__" cannot be a name', "Take another name."),
        );
      }
    },
  });

  let value: unknown;
  try {
    value = yaml.toJS();
  } catch (error) {
    const message = error instanceof Error ? error.message : "unreadable";
    problems.push(problem(at(0), `not valid YAML: ${message}`, "Use fewer aliases."));
    return { problems, document: undefined };
  }

  const root = yaml.contents as Node;
  const resolve = (node: unknown): unknown => (isAlias(node) ? node.resolve(yaml) : node);
  const locate = (path: Path): { value: number; key: number } => {
    let node: unknown = resolve(root);
    let found = { value: root.range?.[0] ?? 0, key: root.range?.[0] ?? 0 };
    for (const step of path) {
      const next = child(node, step);
      if (next === undefined) break;
      found = { value: offsetOf(next.value) ?? next.key ?? found.value, key: next.key ?? found.key };
      node = resolve(next.value);
    }
    return found;
  };

  const check = policyFileSchema.safeParse(value);
  const findings = check.success ? [] : check.error.issues.flatMap((issue) => explain(issue, [], value));
  for (const finding of findings) {
    const place = locate(finding.path);
    problems.push(problem(at(finding.atKey ? place.key : place.value), finding.message, finding.hint));
  }

  const content = check.success ? check.data : prune(value, findings);
  if (content === undefined) return { problems, document: undefined };
  return {
    problems,
    document: {
      name,
      content,
      written: (section) => keysAt(value, section),
      has: (path) => valueAt(value, path) !== undefined,
      placeOf: (path) => at(locate(path).value),
      placeOfKey: (path) => at(locate(path).key),
    },
  };
}

interface Finding {
  readonly path: Path;
  readonly atKey: boolean;
  readonly message: string;
  readonly hint: string;
}

type Issue = z.core.$ZodIssue;

/** A validator's issue in words; the validator's own text is the hint (see format.ts). */
function explain(issue: Issue, parents: Path, document: unknown): readonly Finding[] {
  const path = [...parents, ...issue.path];
  switch (issue.code) {
    case "unrecognized_keys": {
      const known = /^Keys here: (.*)\.$/.exec(issue.message)?.[1]?.split(", ") ?? [];
      return issue.keys.map((key) => ({
        path: [...path, key],
        atKey: true,
        message: `unknown key "${key}"`,
        hint: suggest(key, known, issue.message),
      }));
    }
    case "invalid_key":
      return [
        {
          path,
          atKey: true,
          message: `"${String(path.at(-1))}" cannot stand here`,
          hint: issue.issues[0]?.message ?? "",
        },
      ];
    case "invalid_union": {
      const branch = closestBranch(issue.errors);
      if (branch !== undefined) return branch.flatMap((inner) => explain(inner, path, document));
      return [unfit(path, document, issue.message)];
    }
    case "invalid_value": {
      const given = valueAt(document, path);
      const words = issue.values.filter((known) => typeof known === "string");
      const hint = typeof given === "string" ? suggest(given, words, issue.message) : issue.message;
      return [unfit(path, document, hint)];
    }
    default:
      return [unfit(path, document, issue.message)];
  }
}

/** The one branch of a union that the writer meant: the value's shape is right and something inside is not. */
function closestBranch(branches: readonly (readonly Issue[])[]): readonly Issue[] | undefined {
  const inside = branches.filter((issues) => issues.every((issue) => issue.path.length > 0));
  if (inside.length === 1) return inside[0];
  if (inside.length > 1) return undefined;
  const keys = branches.filter((issues) =>
    issues.every((issue) => issue.path.length > 0 || issue.code === "unrecognized_keys"),
  );
  return keys.length === 1 ? keys[0] : undefined;
}

function unfit(path: Path, document: unknown, hint: string): Finding {
  const given = valueAt(document, path);
  const last = path.at(-1);
  const key =
    last === undefined
      ? "the file"
      : typeof last === "number"
        ? `an entry of ${named(path.at(-2))}`
        : named(last);
  if (given === undefined) return { path, atKey: false, message: `${key} is missing`, hint };
  return { path, atKey: false, message: `${key} cannot be ${shown(given)}`, hint };
}

function named(key: PropertyKey | undefined): string {
  return `"${String(key)}"`;
}

function shown(value: unknown): string {
  if (value === null) return "empty";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "a mapping";
  const text = String(value);
  return text === "" ? "an empty text" : `"${text.length > 60 ? `${text.slice(0, 57)}…` : text}"`;
}

function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<PropertyKey, unknown>)[step];
  }
  return current;
}

function keysAt(value: unknown, section: string): readonly string[] {
  const entries = valueAt(value, [section]);
  return typeof entries === "object" && entries !== null ? Object.keys(entries) : [];
}

/**
 * What is left of a file when the parts with problems are taken out, so that the rest can be checked as
 * well: first the key of an entry (`roles.agent.budget`), then the entry, then the section.
 */
function prune(value: unknown, findings: readonly Finding[]): PolicyFile | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const copy = structuredClone(value) as Record<PropertyKey, unknown>;
  let paths = findings.map((finding) => finding.path);
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

function child(node: unknown, step: PropertyKey): { key: number | undefined; value: unknown } | undefined {
  if (isMap(node)) {
    const pair = node.items.find(
      (item: Pair) => isScalar(item.key) && String(item.key.value) === String(step),
    );
    return pair === undefined ? undefined : { key: offsetOf(pair.key), value: pair.value };
  }
  if (isSeq(node) && typeof step === "number") {
    const item = node.items[step];
    return item === undefined ? undefined : { key: offsetOf(item), value: item };
  }
  return undefined;
}

function offsetOf(node: unknown): number | undefined {
  return isScalar(node) || isMap(node) || isSeq(node) || isAlias(node) ? node.range?.[0] : undefined;
}
