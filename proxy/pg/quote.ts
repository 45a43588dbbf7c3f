/** A name as SQL, always quoted. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `"schema"."name"` */
export function quoteQualified(schema: string, name: string): string {
  return `${quoteIdentifier(schema)}.${quoteIdentifier(name)}`;
}

/**
 * A string as an SQL literal that reads the same for any value of standard_conforming_strings: with a backslash it is an
 * escape string (Postgres docs, "String Constants With C-Style Escapes"). No word may stand right before it: `E` and
 * `date` would change its meaning.
 */
export function quoteLiteral(value: string): string {
  const doubled = value.replaceAll("'", "''");
  return value.includes("\\") ? `E'${doubled.replaceAll("\\", "\\\\")}'` : `'${doubled}'`;
}
