/*
 * Values of bytea columns, in the texts that Postgres has for them (Postgres docs, "Binary Data Types"): `\x` and
 * hexadecimal digits, or the escape format. Here the first is used; the others are read, and written where they were read.
 */

/** A byte that no text begins with, and the mark of sealed texts behind it. */
const RAW_MARK = Buffer.from("\x01slt1_");
/** As the server writes it with bytea_output = escape. */
const ESCAPED_MARK = "\\001slt1_";

/** Begins each token of bytes. */
export const BYTES_MARK = hexText(RAW_MARK);

export function hexText(bytes: Buffer): string {
  return `\\x${bytes.toString("hex")}`;
}

/** The same for the beginning of a token under this key. */
export function bytesStart(version: number): string {
  return hexText(Buffer.concat([RAW_MARK, Buffer.from(`${version}_`)]));
}

const TOKEN = /^\\x01736c74315f(3[1-9](?:3[0-9]){0,3})5f([0-9a-f]{32,})$/;

/** The parts of a token; undefined if it is none. */
export function sealedBytesIn(
  token: string,
): { readonly version: number; readonly bytes: Buffer } | undefined {
  const [, version, body] = TOKEN.exec(token) ?? [];
  if (version === undefined || body === undefined || body.length % 2 > 0) return undefined;
  return { version: Number(Buffer.from(version, "hex").toString("latin1")), bytes: Buffer.from(body, "hex") };
}

export function bytesToken(version: number, sealed: Buffer): string {
  return `${bytesStart(version)}${sealed.toString("hex")}`;
}

/**
 * What the server's bytea_in makes of a text. Undefined for what it would refuse, and for letters beyond ASCII: which bytes
 * they are depends on the encoding of the database.
 */
export function bytesOfText(text: string): Buffer | undefined {
  if (text.startsWith("\\x")) return bytesOfHex(text.slice(2));
  if (/[^\0-\x7f]/.test(text) || text.includes("\0")) return undefined;
  let isValid = true;
  const bytes = text.replace(/\\(\\|[0-3][0-7]{2})?/g, (_, escaped?: string) => {
    isValid &&= escaped !== undefined;
    return escaped === "\\" ? escaped : String.fromCharCode(Number.parseInt(escaped ?? "0", 8));
  });
  return isValid ? Buffer.from(bytes, "latin1") : undefined;
}

/** White space may stand between two bytes, and not within one (hex_decode of adt/encode.c). */
function bytesOfHex(digits: string): Buffer | undefined {
  const parts = digits.split(/[ \n\t\r]+/).map((part) => {
    // Node stops at what is no digit.
    const bytes = Buffer.from(part, "hex");
    return 2 * bytes.length === part.length ? bytes : undefined;
  });
  return parts.every((part) => part !== undefined) ? Buffer.concat(parts) : undefined;
}

/** Whether bytes begin as a token does. */
export function looksLikeBytesToken(bytes: Buffer): boolean {
  return bytes.subarray(0, RAW_MARK.length).equals(RAW_MARK);
}

/** A token as the server gave it in a field, and how another value is written in the same form. */
export interface BytesField {
  readonly token: string;
  write(value: string): Buffer;
}

/** Undefined if the field is no token: in text format, hexadecimal or escape, or in binary format. */
export function readBytesField(field: Buffer): BytesField | undefined {
  if (looksLikeBytesToken(field)) return { token: hexText(field), write: rawBytes };
  const start = field.toString("latin1", 0, BYTES_MARK.length);
  if (start === BYTES_MARK) return { token: field.toString("latin1"), write: (value) => Buffer.from(value) };
  if (!start.startsWith(ESCAPED_MARK)) return undefined;
  const bytes = bytesOfText(field.toString("latin1"));
  return bytes && { token: hexText(bytes), write: (value) => Buffer.from(escapeText(rawBytes(value))) };
}

/** The bytes of a text in hexadecimal digits. */
export function rawBytes(text: string): Buffer {
  return Buffer.from(text.slice(2), "hex");
}

/** As the server's byteaout does with bytea_output = escape. */
function escapeText(bytes: Buffer): string {
  return bytes
    .toString("latin1")
    .replace(/[^\x20-\x7e]|\\/g, (one) =>
      one === "\\" ? "\\\\" : `\\${one.charCodeAt(0).toString(8).padStart(3, "0")}`,
    );
}
