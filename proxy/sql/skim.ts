import { UNKNOWN_TAG } from "../pg/statements.ts";
import type { NamedRelation } from "./parse/named-relations.ts";
import { NOT_PLAIN, partAt, plainEnd } from "./parse/plain-tokens.ts";
import type { Statement } from "./verdict.ts";

/** So much of a text is read, in bytes: in a very long one the tables come first, and what follows is data. */
const LONGEST = 32 * 1024;

const KINDS: ReadonlyMap<string, Statement["kind"]> = new Map([
  ["SELECT", "read"],
  ["INSERT", "write"],
  ["UPDATE", "write"],
  ["DELETE", "write"],
  ["MERGE", "write"],
]);
/** The name of a relation follows. */
const BEFORE_NAME: ReadonlySet<string> = new Set(["FROM", "JOIN", "INTO", "UPDATE", "USING"]);
/** They may come between such a word and the name. */
const BETWEEN: ReadonlySet<string> = new Set(["ONLY", "LATERAL"]);

export type Skimmed = Pick<Statement, "command" | "kind" | "reads" | "writes">;

/**
 * What a statement is and which relations it names, by the words at its beginning: for texts so long that parsing them
 * would delay other sessions. It goes on record and decides nothing. `keyOf` gives the key of a relation that exists.
 */
export function skim(text: Buffer, keyOf: (named: NamedRelation) => string | undefined): Skimmed {
  const found = new Set<string>();
  let first: string | undefined;
  let command: string | undefined;
  let target: string | undefined;
  let depth = 0;
  let isNameNext = false;
  for (const token of tokensOf(text.subarray(0, LONGEST))) {
    const word = token.toUpperCase();
    if (word === ")") depth--;
    first ??= word;
    // What WITH defines stands in brackets; the statement itself follows.
    if (depth === 0 && (first === "WITH" || first === word) && KINDS.has(word)) command ??= word;
    if (word === "(") depth++;
    if (isNameNext && !BETWEEN.has(word)) {
      const key = keyOf(namedBy(token));
      if (key !== undefined) found.add(key);
      if (depth === 0) target ??= key;
    }
    isNameNext = BEFORE_NAME.has(word) || (isNameNext && BETWEEN.has(word));
  }
  const kind = KINDS.get(command ?? "") ?? "other";
  return {
    command: command ?? UNKNOWN_TAG,
    kind,
    reads: [...found],
    writes: kind === "write" && target !== undefined ? [target] : [],
  };
}

/** Words, names with their schemas, and marks, up to the first token that Postgres's own scanner would have to read. */
function* tokensOf(bytes: Buffer): Generator<string> {
  let name = "";
  for (let at = 0; at < bytes.length; ) {
    const end = plainEnd(bytes, at, bytes.length);
    if (end === NOT_PLAIN) break;
    const part = partAt(bytes, at, bytes.length);
    const isName = part === "word" || part === "other";
    const token = isName ? bytes.toString("utf8", at, end) : "";
    at = end;
    // A name goes on over its dots.
    if (token === "." || name.endsWith(".")) {
      name += token;
      continue;
    }
    if (name !== "") yield name;
    name = token;
  }
  if (name !== "") yield name;
}

/** `schema.table`, `table`, each with or without quotes. */
function namedBy(token: string): NamedRelation {
  const parts = [...token.matchAll(/"((?:[^"]|"")+)"|[^".]+/g)].map(
    ([word, quoted]) => quoted?.replaceAll('""', '"') ?? word.toLowerCase(),
  );
  const [relname = "", schemaname] = parts.reverse();
  return { relname, ...(schemaname !== undefined && { schemaname }) };
}
