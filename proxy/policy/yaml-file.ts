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
import type { Place } from "./policy.ts";
import { type PolicyProblem, suggest } from "./problems.ts";

export type Path = readonly PropertyKey[];

/** A file's YAML, and the result of the check of its form. */
export interface YamlFile<Content> {
  /** The content as written, valid or not. */
  readonly value: unknown;
  /** Undefined if the form has problems: see `wrong`. */
  readonly content: Content | undefined;
  /** Paths of the values that have problems. */
  readonly wrong: readonly Path[];
  /** Position of the value at a path, or of the nearest parent that exists. */
  placeOf(path: Path): Place;
  /** Position of the last key of a path. */
  placeOfKey(path: Path): Place;
}

export interface ReadYaml<Content> {
  readonly problems: readonly PolicyProblem[];
  /** Undefined if the text is empty or not YAML. */
  readonly file: YamlFile<Content> | undefined;
}

/** Reads one file's text: first as YAML, then by its form. `beginning` is the hint for an empty file. */
export function readYaml<Content>(
  name: string,
  text: string,
  form: z.ZodType<Content>,
  beginning: string,
): ReadYaml<Content> {
  const lines = new LineCounter();
  // Without a limit on aliases a few lines could expand to gigabytes; the library's default limit is kept.
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
        ? problem(at(error.pos[0]), "this key is here twice", "Keep one of the two.")
        : problem(
            at(error.pos[0]),
            `not valid YAML: ${error.message}`,
            "Check indentation, quotes and brackets.",
          ),
    );
    return { problems, file: undefined };
  }
  if (yaml.contents === null || (isScalar(yaml.contents) && yaml.contents.value === null)) {
    return { problems: [problem(at(0), "the file is empty", beginning)], file: undefined };
  }

  const problems: PolicyProblem[] = [];
  visit(yaml, {
    Pair(_, pair) {
      // JavaScript objects treat this key as something other than a name: it would vanish silently.
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
    return { problems, file: undefined };
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

  const check = form.safeParse(value);
  const findings = check.success ? [] : check.error.issues.flatMap((issue) => explain(issue, [], value));
  for (const finding of findings) {
    const place = locate(finding.path);
    problems.push(problem(at(finding.atKey ? place.key : place.value), finding.message, finding.hint));
  }

  return {
    problems,
    file: {
      value,
      content: check.success ? check.data : undefined,
      wrong: findings.map(({ path }) => path),
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
          message: `"${String(path.at(-1))}" is not possible here`,
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

/** The one branch of a union that the author meant: its outer form is right and something inside it is wrong. */
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

/** The value at a path, if every step is an own property. */
export function valueAt(value: unknown, path: Path): unknown {
  let current = value;
  for (const step of path) {
    if (typeof current !== "object" || current === null || !Object.hasOwn(current, step)) return undefined;
    current = (current as Record<PropertyKey, unknown>)[step];
  }
  return current;
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
