import { personName } from "../../policy/person-name.ts";
import type { PersonSource, Policy, Role } from "../../policy/policy.ts";
import { commentValues } from "./comment-values.ts";

/** Whom a statement names, and what the signed claim holds that gives roles. */
export interface Person {
  readonly name: string;
  readonly values: readonly string[];
}

/** What may name the person behind a statement. */
export interface Evidence {
  /** The server's settings by their names; "" for one that is not set. */
  readonly settings: ReadonlyMap<string, string>;
  /** With their marks; undefined where it is not known which parts of the text are comments. */
  readonly comments: readonly string[] | undefined;
}

/**
 * The person named by the first source that has a value. Undefined: no source has one, or the value cannot be a name,
 * or it names two people. A doubtful source is never replaced by a later one.
 */
export function personBehind(sources: readonly PersonSource[], evidence: Evidence): string | undefined {
  const said = saidBehind(sources, evidence);
  return said === undefined ? undefined : personName(said);
}

/** What the first source says that says something, be it a name or a signed claim. Undefined: nothing, or nothing sure. */
export function saidBehind(sources: readonly PersonSource[], evidence: Evidence): string | undefined {
  for (const source of sources) {
    const said = saidBy(source, evidence);
    if (said !== undefined) return said === "doubt" ? undefined : said.name;
  }
  return undefined;
}

/** The settings that must be asked of the server. */
export function settingsOf(sources: readonly PersonSource[]): readonly string[] {
  let settings = settingsBehind.get(sources);
  if (settings === undefined) {
    settings = [...new Set(sources.flatMap((source) => settingOf(source) ?? []))];
    settingsBehind.set(sources, settings);
  }
  return settings;
}

/** They are asked for with each statement. */
const settingsBehind = new WeakMap<readonly PersonSource[], readonly string[]>();

type Said = { readonly name: string } | "doubt" | undefined;

function saidBy(source: PersonSource, { settings, comments }: Evidence): Said {
  if (source.kind === "comment")
    return comments === undefined ? "doubt" : saidInComments(comments, source.key);
  const value = settings.get(settingOf(source) ?? "") ?? "";
  if (value === "") return undefined;
  switch (source.kind) {
    case "setting":
      return source.path === undefined ? { name: value } : atPath(value, source.path);
    case "application_name":
      return inApplicationName(value, source.pattern);
    case "role":
      return value === "none" ? undefined : { name: value };
  }
}

function settingOf(source: PersonSource): string | undefined {
  switch (source.kind) {
    case "setting":
      return source.name;
    case "application_name":
      return "application_name";
    case "role":
      return "role";
    case "comment":
      return undefined;
  }
}

function saidInComments(comments: readonly string[], key: string): Said {
  const names = new Set(comments.flatMap((comment) => commentValues(comment, key)));
  names.delete("");
  if (names.size > 1) return "doubt";
  const [name] = names;
  return name === undefined ? undefined : { name };
}

/**
 * The server keeps ASCII alone: it writes other bytes as \xc3, before version 16 as a question mark, and cuts what is
 * longer than its names (Postgres docs, "application_name"). What it has cut or replaced may have been two names.
 */
function inApplicationName(value: string, pattern: RegExp): Said {
  const said = unescaped(value);
  const [, name] = pattern.exec(said) ?? [];
  if (name === undefined || name === "") return undefined;
  // A character of several bytes is cut as a whole.
  const isCut = Buffer.byteLength(said) >= LONGEST_SERVER_NAME - (said === value ? 0 : 3);
  return isCut || name.includes("?") ? "doubt" : { name };
}

/** NAMEDATALEN - 1 bytes. */
const LONGEST_SERVER_NAME = 63;

/** What was UTF-8, if it was. */
function unescaped(value: string): string {
  if (!value.includes("\\x")) return value;
  const bytes = value.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Buffer.from(bytes, "latin1"));
  } catch {
    return value;
  }
}

/** A text or a whole number in a JSON object; a setting that holds something else is in doubt. */
function atPath(value: string, path: readonly string[]): Said {
  let at: unknown;
  try {
    at = JSON.parse(value);
  } catch {
    return "doubt";
  }
  for (const key of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Readonly<Record<string, unknown>>)[key];
  }
  if (typeof at === "string" && at !== "") return { name: at };
  // Of numbers that JSON's reader rounds, two people would be one.
  return Number.isSafeInteger(at) ? { name: String(at) } : "doubt";
}

/**
 * Who is meant by a name: one person may have other names in applications than as a user. Undefined: nobody, as of the
 * application's own users, of whom `user` is one. On record such a person would be the application itself.
 */
export function calledIn(policy: Policy, account: Role, user: string, text: string): string | undefined {
  const called = personName(text);
  if (called === undefined) return undefined;
  const name = policy.people.get(called) ?? called;
  const isOwn = name === user || account.users.some(({ exact, text: own }) => exact && own === name);
  return isOwn ? undefined : name;
}
