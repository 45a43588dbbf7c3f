import type { AuditKeys } from "./audit-keys.ts";
import type { Readings } from "./readings.ts";

/** In which words the log can be asked. */
export interface Vocabulary {
  /** Where the people are named whom somebody read, and where policies say that people are. */
  readonly read: readonly string[];
  readonly named: readonly string[];
  /** Of columns, as policies name them. */
  readonly classes: readonly string[];
  /** Tables that lead to the people of a name space, itself among them. */
  readonly tables: ReadonlyMap<string, readonly string[]>;
}

export async function vocabularyOf({ rows }: Readings): Promise<Vocabulary> {
  const read = await rows<{ name: string }>(
    "SELECT DISTINCT unnest(people_of) AS name FROM readings ORDER BY name",
  );
  const spaces = await rows<{ name: string; tables: readonly string[] }>(
    `SELECT one."name" AS name, list_sort(list_distinct(flatten(list(one.tables)))) AS tables
     FROM (SELECT unnest(namespaces) AS one FROM lines) GROUP BY name ORDER BY name`,
  );
  const classes = await rows<{ name: string }>(
    "SELECT DISTINCT unnest(known_classes) AS name FROM lines ORDER BY name",
  );
  return {
    read: read.map(({ name }) => name),
    named: spaces.map(({ name }) => name),
    classes: classes.map(({ name }) => name),
    tables: new Map(spaces.map(({ name, tables }) => [name, tables])),
  };
}

/** Why the log cannot be asked so: a wrong word would be answered by "nobody". */
export function misworded(
  { read, named, classes }: Vocabulary,
  namespace: string | undefined,
  needs: readonly string[],
): string | undefined {
  const known = [...new Set([...read, ...named])];
  if (namespace !== undefined && known.length > 0 && !known.includes(namespace))
    return `--table: this log knows no people of "${namespace}"; it knows ${known.join(", ")}`;
  // A policy may name a table whose people are all read under another name, as its foreign key says.
  if (namespace !== undefined && read.length > 0 && !read.includes(namespace))
    return `--table: this log names no person of "${namespace}" in this time; whoever was read is of ${read.join(", ")}`;
  if (namespace === undefined && read.length > 1)
    return `--table: missing; this log knows people of ${read.join(", ")}`;
  if (namespace === undefined && read.length === 0 && named.length !== 1)
    return named.length === 0
      ? "--table: missing, and this log does not name the table of its people"
      : `--table: missing, and nobody was read in this time; policies name people of ${named.join(", ")}`;
  const unknown = needs.find((name) => !classes.includes(name));
  if (unknown !== undefined && classes.length > 0)
    return `--needs: this log knows no class "${unknown}"; it knows ${classes.join(", ")}`;
  return undefined;
}

/** The one that the log speaks of, where it speaks of one. */
export function onlyNamespace({ read, named }: Vocabulary): string | undefined {
  return read.length === 1 ? read[0] : named[0];
}

/** Segments whose people were hashed with a key that was not given. */
export interface ForeignSegments {
  readonly segments: number;
  readonly of: number;
  readonly keys: readonly string[];
}

export async function foreignSegments(
  { rows }: Readings,
  keys: readonly AuditKeys[],
): Promise<ForeignSegments> {
  const given = new Set(keys.flatMap(({ id, peopleId }) => [id, peopleId]));
  const found = await rows<{ key: string }>("SELECT key FROM lines WHERE key IS NOT NULL");
  const foreign = found.filter(({ key }) => !given.has(key));
  return {
    segments: foreign.length,
    of: found.length,
    keys: [...new Set(foreign.map(({ key }) => key))].toSorted(),
  };
}
