import type { AuditKeys } from "./keys.ts";

export type SubjectList =
  | {
      readonly ok: true;
      readonly ids: readonly string[];
      /** The first line, when it was taken for names of columns. */
      readonly header: string | undefined;
    }
  | { readonly ok: false; readonly problem: string };

/**
 * The people of a CSV file (RFC 4180): those of the named column, or of the first. A first line is names of
 * columns if a column was asked for, or if it is the only one whose value is no number and no UUID.
 */
export function readSubjects(text: string, column: string | undefined): SubjectList {
  const rows = parseCsv(text.replace(/^\uFEFF/, "")).filter((row) => row.some((cell) => cell.trim() !== ""));
  const [first, ...rest] = rows;
  if (first === undefined) return { ok: false, problem: "the list is empty" };
  const names = first.map((name) => name.trim());
  const index = column === undefined ? 0 : names.indexOf(column);
  if (index === -1)
    return { ok: false, problem: `the list has no column "${column}"; it has ${names.join(", ")}` };
  const idOf = (row: readonly string[]) => (row[index] ?? "").trim();
  const isHeader =
    column !== undefined || (!isId(idOf(first)) && rest.length > 0 && rest.every((row) => isId(idOf(row))));
  const ids = new Set((isHeader ? rest : rows).map(idOf).filter((id) => id !== ""));
  if (ids.size === 0) return { ok: false, problem: "the list names nobody" };
  return { ok: true, ids: [...ids], header: isHeader ? names[index] : undefined };
}

/**
 * The hashes under which people may stand in the log, and which of them is whose: one for each key, and one
 * for each way in which Postgres may have written the id.
 */
export function hashesOf(
  ids: readonly string[],
  namespace: string,
  keys: readonly AuditKeys[],
): ReadonlyMap<string, number> {
  const hashes = new Map<string, number>();
  for (const [i, id] of ids.entries()) {
    // Postgres writes UUIDs in lower case.
    const forms = UUID.test(id) ? [id.toLowerCase()] : [id];
    for (const key of keys) for (const form of forms) hashes.set(key.hashSubject(namespace, form), i);
  }
  return hashes;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function isId(text: string): boolean {
  return /^\d+$/.test(text) || UUID.test(text);
}

/** Rows of cells; a quoted cell may hold commas, line ends and doubled quotes. */
function parseCsv(text: string): readonly (readonly string[])[] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain = "", end] of text.matchAll(
    /(?:"((?:[^"]|"")*)"|([^,\r\n]*))(,|\r\n|\r|\n|$)/g,
  )) {
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}
