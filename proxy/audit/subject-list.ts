import type { AuditKeys } from "./audit-keys.ts";

/** A line of the list: an id, or a value by which the person is found. */
export interface Listed {
  readonly value: string;
  /** When what had leaked was used, a call from a stranger say: the end of that day (Unix time in milliseconds). */
  readonly before?: number;
}

export type SubjectList =
  | {
      readonly ok: true;
      readonly people: readonly Listed[];
      /** The first line, when it was taken for names of columns. */
      readonly header: string | undefined;
    }
  | { readonly ok: false; readonly problem: string };

/** The column with the day on which what had leaked was used, and how a day is read. */
export interface CalledColumn {
  readonly column: string;
  readonly timeOf: (text: string) => number | undefined;
}

/** The text of a list: spreadsheets also write UTF-16, with a mark at its beginning. Undefined where it is neither. */
export function listText(content: Buffer): string | undefined {
  const isUtf16 = content[0] === 0xff && content[1] === 0xfe;
  const text = isUtf16 ? content.toString("utf16le") : content.toString("utf8");
  return text.includes("\0") ? undefined : text;
}

/**
 * The people of a CSV file (RFC 4180; the separator may be a semicolon or a tab): those of the named column, or of the first.
 * A first line is names of columns if a column was asked for, or if it alone has neither a digit nor an @ there.
 */
export function readSubjects(text: string, column: string | undefined, called?: CalledColumn): SubjectList {
  const lines = text.replace(/^\uFEFF/, "");
  const parsed = parseCsv(lines, separatorOf(lines));
  if (parsed.torn !== undefined)
    return { ok: false, problem: `row ${parsed.torn} has a quote that is not closed, or text behind one` };
  const rows = parsed.rows.filter((row) => row.some((cell) => cell.trim() !== ""));
  const [first, ...rest] = rows;
  if (first === undefined) return { ok: false, problem: "the list is empty" };
  const names = first.map((name) => name.trim());
  const index = column === undefined ? 0 : names.indexOf(column);
  const callIndex = called === undefined ? undefined : names.indexOf(called.column);
  const lacks = index === -1 ? column : callIndex === -1 ? called?.column : undefined;
  if (lacks !== undefined)
    return { ok: false, problem: `the list has no column "${lacks}"; it has ${names.join(", ")}` };
  const cellOf = (row: readonly string[]) => (row[index] ?? "").trim();
  const isHeader =
    column !== undefined ||
    called !== undefined ||
    (!isValue(cellOf(first)) && rest.every((row) => isValue(cellOf(row))));
  const people = new Map<string, Listed>();
  for (const [i, row] of (isHeader ? rest : rows).entries()) {
    const value = cellOf(row);
    if (/[\r\n]/.test(value))
      return { ok: false, problem: `row ${i + (isHeader ? 2 : 1)} has a value of several lines in quotes` };
    const day = callIndex === undefined ? "" : (row[callIndex] ?? "").trim();
    const before = day === "" ? undefined : called?.timeOf(day);
    if (day !== "" && before === undefined)
      return { ok: false, problem: `row ${i + 2}: "${called?.column}" is no day; write 2026-05-31` };
    const known = people.get(value)?.before;
    const earliest = known === undefined ? before : Math.min(known, before ?? known);
    if (value !== "") people.set(value, { value, ...(earliest !== undefined && { before: earliest }) });
  }
  if (people.size === 0) return { ok: false, problem: "the list is empty" };
  return { ok: true, people: [...people.values()], header: isHeader ? names[index] : undefined };
}

/** The same for all ways to write one id: UUIDs in any case, numbers with zeros before them. */
export function idOnce(id: string): string {
  return UUID.test(id) ? id.toLowerCase() : id.replace(/^0+(?=\d)/, "");
}

/** What is no id of ours, but what people are called by elsewhere; undefined for ids. */
export function kindOfValues(
  values: readonly string[],
): "email addresses" | "telephone numbers" | "names" | undefined {
  const most = (form: RegExp) => 2 * values.filter((value) => form.test(value)).length > values.length;
  if (most(/^[^@\s]+@[^@\s]+$/)) return "email addresses";
  if (most(/^(?=.*[+ ()/])\+?[\d\s()/.-]{7,}$/)) return "telephone numbers";
  return most(/^\p{L}[^\d@]*\s[^\d@]*\p{L}\.?$/u) ? "names" : undefined;
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
    for (const hash of hashesOfOne(id, namespace, keys)) hashes.set(hash, i);
  }
  return hashes;
}

/** The hashes of one person. */
export function hashesOfOne(id: string, namespace: string, keys: readonly AuditKeys[]): readonly string[] {
  // Postgres writes UUIDs in lower case, and numbers without zeros before them; text keeps them.
  const short = /^0+\d/.test(id) ? [id.replace(/^0+(?=\d)/, "")] : [];
  const forms = UUID.test(id) ? [id.toLowerCase()] : [id, ...short];
  return keys.flatMap((key) => forms.map((form) => key.hashSubject(namespace, form)));
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function isValue(text: string): boolean {
  return /[\d@]/.test(text);
}

/** What the first line has, outside of quotes: a comma, or else what spreadsheets of other countries write. */
function separatorOf(text: string): "," | ";" | "\t" {
  const [line = ""] = text
    .replaceAll(/"(?:[^"]|"")*"/g, "")
    .trimStart()
    .split(/\r|\n/, 1);
  if (line.includes(",")) return ",";
  return line.includes("\t") ? "\t" : line.includes(";") ? ";" : ",";
}

interface ParsedCsv {
  readonly rows: readonly (readonly string[])[];
  /** The first row, from 1 on, with a quote that is no CSV: what belongs to which person there is not known. */
  readonly torn: number | undefined;
}

/** Rows of cells; a quoted cell may hold separators, line ends and doubled quotes. */
function parseCsv(text: string, separator: "," | ";" | "\t"): ParsedCsv {
  const rows: string[][] = [];
  let row: string[] = [];
  let torn: number | undefined;
  const cells = new RegExp(
    `(?:"((?:[^"]|"")*)"|([^${separator}\\r\\n]*))(${separator}|\\r\\n|\\r|\\n|$)`,
    "g",
  );
  for (const [, quoted, plain = "", end] of text.matchAll(cells)) {
    if (plain.startsWith('"')) torn ??= rows.length + 1;
    row.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'));
    if (end === separator) continue;
    rows.push(row);
    row = [];
  }
  return { rows, torn };
}
