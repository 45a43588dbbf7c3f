/*
 * Texts are in Latin-1, one character a byte: what is found here is ASCII, which is never a part of another character in
 * UTF-8, and bytes that are no UTF-8 stay as they are.
 *
 * Rows of COPY in text and CSV format (Postgres docs, "COPY", "File Formats"): fields are found, and those of token
 * columns replaced; all other bytes stay as they came.
 */

export interface CopyFormat {
  readonly format: "text" | "csv";
  readonly delimiter: string;
  /** What stands for NULL, in Latin-1; in CSV only without quotes. */
  readonly nullText: string;
  readonly hasHeader: boolean;
}

/** Turns a field's value, null for NULL, into another; gives the same to leave it alone. */
export type TurnField = (index: number, value: string | null) => string | null;

/** The fields of one line, without its line break. */
export function turnLine(body: string, format: CopyFormat, turn: TurnField): string {
  const isText = format.format === "text";
  const fields = isText ? textFields(body, format) : csvFields(body, format);
  const turned = fields.map((field, index) => {
    const value = isText ? readText(field, format) : readCsv(field, format);
    const other = turn(index, value);
    if (other === value) return field;
    return isText ? writeText(other, format) : writeCsv(other, format);
  });
  return turned.join(format.delimiter);
}

function textFields(body: string, { delimiter }: CopyFormat): readonly string[] {
  const fields: string[] = [];
  let start = 0;
  for (let at = 0; at < body.length; at++) {
    if (body[at] === "\\") at++;
    else if (body[at] === delimiter) {
      fields.push(body.slice(start, at));
      start = at + 1;
    }
  }
  return [...fields, body.slice(start)];
}

const ESCAPES: Readonly<Record<string, string>> = {
  b: "\b",
  f: "\f",
  n: "\n",
  r: "\r",
  t: "\t",
  v: "\v",
};
const ESCAPED: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(ESCAPES).map(([letter, character]) => [character, letter]),
);

function readText(field: string, { nullText }: CopyFormat): string | null {
  if (field === nullText) return null;
  if (!field.includes("\\")) return field;
  // Octal and hexadecimal escapes are bytes: together they may be one character.
  const bytes: Buffer[] = [];
  for (const [all, octal, hex, other] of field.matchAll(
    /\\([0-7]{1,3})|\\x([0-9a-fA-F]{1,2})|\\(.)|[^\\]+|\\$/gsu,
  )) {
    if (octal !== undefined) bytes.push(Buffer.from([Number.parseInt(octal, 8) & 0xff]));
    else if (hex !== undefined) bytes.push(Buffer.from([Number.parseInt(hex, 16)]));
    else bytes.push(Buffer.from(other === undefined ? all : (ESCAPES[other] ?? other), "latin1"));
  }
  return Buffer.concat(bytes).toString("latin1");
}

function writeText(value: string | null, { nullText, delimiter }: CopyFormat): string {
  if (value === null) return nullText;
  const written = [...value].map((one) => {
    const letter = ESCAPED[one];
    if (letter !== undefined) return `\\${letter}`;
    return one === "\\" || one === delimiter ? `\\${one}` : one;
  });
  return written.join("");
}

function csvFields(body: string, { delimiter }: CopyFormat): readonly string[] {
  const fields: string[] = [];
  let [start, isQuoted] = [0, false];
  for (let at = 0; at < body.length; at++) {
    if (body[at] === '"') isQuoted = !isQuoted;
    else if (body[at] === delimiter && !isQuoted) {
      fields.push(body.slice(start, at));
      start = at + 1;
    }
  }
  return [...fields, body.slice(start)];
}

/** Quotes may begin and end anywhere in a field; doubled inside quotes they are one. */
function readCsv(field: string, { nullText }: CopyFormat): string | null {
  if (field === nullText) return null;
  return field.replace(/"((?:[^"]|"")*)"?/g, (_, inner: string) => inner.replaceAll('""', '"'));
}

function writeCsv(value: string | null, { nullText, delimiter }: CopyFormat): string {
  if (value === null) return nullText;
  const isPlain =
    value !== nullText &&
    value !== "\\." &&
    value !== "" &&
    ![delimiter, '"', "\n", "\r"].some((one) => value.includes(one));
  return isPlain ? value : `"${value.replaceAll('"', '""')}"`;
}
