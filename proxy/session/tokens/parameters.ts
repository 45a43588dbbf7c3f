import { isUtf8 } from "node:buffer";
import { arrayText, arrayValues } from "../../pg/array-text.ts";
import type { DocumentColumn, ValueColumn } from "../../sql/tokens/documents.ts";
import { joinedTexts, parameterTexts, type TokenParameter } from "../../sql/tokens/given-values.ts";
import { type DocumentUse, sealDocument, tokenGiven } from "../../sql/tokens/sealed-documents.ts";
import type { TokenColumn } from "../../sql/tokens/token-columns.ts";
import { notOfForm } from "../../sql/tokens/value-readings.ts";
import { hexText, rawBytes } from "../../tokens/byte-values.ts";
import { looksLikeToken, type Sealer } from "../../tokens/sealed.ts";
import type { Frame } from "../../wire/frames.ts";
import type { Bind } from "../../wire/frontend-messages.ts";
import { int32, message } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { JSONB_VERSION } from "./shown-documents.ts";

/* Parameters on their way to the server: values of token columns become tokens. */

export type Parameters = ReadonlyMap<number, TokenParameter>;

/**
 * The message with tokens in place of values, or why it cannot be sent. `doubt`: why values that are not in ASCII cannot
 * be read at the moment.
 */
export function sealBind(
  { buffer, type, start, end }: Frame,
  { parameters: count, parametersStart, resultFormatsStart }: Bind,
  parameters: Parameters,
  sealer: Sealer,
  doubt: Refusal | undefined,
): Buffer | Refusal {
  const formats = buffer.readUInt16BE(parametersStart);
  const isBinary = (index: number): boolean => {
    const which = formats === 1 ? 0 : index;
    return which < formats && buffer.readUInt16BE(parametersStart + 2 + 2 * which) === 1;
  };
  let at = parametersStart + 2 + 2 * formats + 2;
  const parts = [buffer.subarray(start + 5, at)];
  for (let index = 0; index < count; index++) {
    const length = buffer.readInt32BE(at);
    const to = at + 4 + Math.max(length, 0);
    const parameter = parameters.get(index + 1);
    if (parameter === undefined || length < 0) parts.push(buffer.subarray(at, to));
    else {
      if (doubt !== undefined && !/^[\0-\x7f]*$/.test(buffer.toString("latin1", at + 4, to))) return doubt;
      const sealed = sealValue(buffer.subarray(at + 4, to), parameter, isBinary(index), sealer);
      if ("sqlstate" in sealed) return sealed;
      parts.push(int32(sealed.length), sealed);
    }
    at = to;
  }
  parts.push(buffer.subarray(resultFormatsStart, end));
  return message(type, ...parts);
}

function sealValue(
  bytes: Buffer,
  parameter: TokenParameter,
  isBinary: boolean,
  sealer: Sealer,
): Buffer | Refusal {
  const [{ column, isSearch }] = parameter.readings;
  if (column.form === "document")
    return sealedDocument(bytes, column, sealer, isSearch ? "searched" : "stored");
  if (parameter.form === "value") {
    const texts = textsFor(asText(bytes, column, isBinary), parameter, sealer);
    return "sqlstate" in texts ? texts : asSent(joinedTexts(texts), column, isBinary);
  }
  const values = isBinary ? binaryTexts(bytes) : isWellFormed(bytes) ? textsOf(bytes) : undefined;
  if (values === undefined)
    return refuse("42501", `values for ${column.name} must be an array of one dimension`, {
      hint: "Send the values as one list of texts.",
    });
  const made: (string | null)[] = [];
  for (const value of values) {
    const texts = value === null ? [null] : textsFor(asText(value, column, isBinary), parameter, sealer);
    if ("sqlstate" in texts) return texts;
    made.push(...texts);
  }
  return isBinary
    ? binaryArray(
        bytes,
        made.map((token) => (token === null ? null : asSent(token, column, isBinary))),
      )
    : Buffer.from(arrayText(made));
}

/** A text has the same bytes in both formats; bytes have not. */
function asText(bytes: Buffer, { form }: ValueColumn, isBinary: boolean): Buffer {
  return form === "bytes" && isBinary ? Buffer.from(hexText(bytes)) : bytes;
}

function asSent(token: string, { form }: ValueColumn, isBinary: boolean): Buffer {
  return form === "bytes" && isBinary ? rawBytes(token) : Buffer.from(token);
}

/** What one value becomes. What the server would not take as a text is not hidden in one. */
function textsFor(bytes: Buffer, parameter: TokenParameter, sealer: Sealer): readonly string[] | Refusal {
  return isWellFormed(bytes) ? parameterTexts(bytes.toString("utf8"), parameter, sealer) : NOT_UTF8;
}

/** The token of a value that is stored. */
function sealedText(bytes: Buffer, column: ValueColumn, sealer: Sealer): string | Refusal {
  if (!isWellFormed(bytes)) return NOT_UTF8;
  const value = bytes.toString("utf8");
  return looksLikeToken(value) ? tokenGiven(column) : (sealer.seal(value, column) ?? notOfForm(column));
}

/** A document in text format, or in jsonb's binary one: a byte before the text. */
function sealedDocument(
  bytes: Buffer,
  column: DocumentColumn,
  sealer: Sealer,
  use: DocumentUse,
): Buffer | Refusal {
  const start = bytes[0] === JSONB_VERSION ? 1 : 0;
  const text = bytes.subarray(start);
  if (!isWellFormed(text)) return NOT_UTF8;
  const sealed = sealDocument(text.toString("utf8"), column, sealer, use);
  return typeof sealed === "string" ? Buffer.concat([bytes.subarray(0, start), Buffer.from(sealed)]) : sealed;
}

/** A field of COPY data, as it is stored. */
export function sealedField(field: Buffer, column: TokenColumn, sealer: Sealer): Buffer | Refusal {
  if (column.form === "document") return sealedDocument(field, column, sealer, "stored");
  const sealed = sealedText(field, column, sealer);
  return typeof sealed === "string" ? Buffer.from(sealed) : sealed;
}

function isWellFormed(bytes: Buffer): boolean {
  return isUtf8(bytes) && !bytes.includes(0);
}

function textsOf(bytes: Buffer): readonly (Buffer | null)[] | undefined {
  return arrayValues(bytes.toString("utf8"))?.map((value) => (value === null ? null : Buffer.from(value)));
}

export const NOT_UTF8 = refuse("22021", 'invalid byte sequence for encoding "UTF8"', {
  hint: "Columns with tokens are written in UTF-8, without zero bytes.",
});

/** Number of dimensions, whether there are NULLs, type of the elements; then length and first subscript of each dimension. */
const ARRAY_HEADER = 12;
const DIMENSION = 8;

function binaryTexts(bytes: Buffer): readonly (Buffer | null)[] | undefined {
  if (bytes.length < ARRAY_HEADER) return undefined;
  const dimensions = bytes.readInt32BE(0);
  if (dimensions === 0) return [];
  if (dimensions !== 1 || bytes.length < ARRAY_HEADER + DIMENSION) return undefined;
  const values: (Buffer | null)[] = [];
  let at = ARRAY_HEADER + DIMENSION;
  for (let left = bytes.readInt32BE(ARRAY_HEADER); left > 0; left--) {
    if (at + 4 > bytes.length) return undefined;
    const length = bytes.readInt32BE(at);
    if (at + 4 + length > bytes.length) return undefined;
    values.push(length < 0 ? null : bytes.subarray(at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  return at === bytes.length ? values : undefined;
}

function binaryArray(original: Buffer, values: readonly (Buffer | null)[]): Buffer {
  const elements = values.flatMap((value) => (value === null ? [int32(-1)] : [int32(value.length), value]));
  if (values.length === 0) return Buffer.concat([original.subarray(0, ARRAY_HEADER)]);
  const header = Buffer.from(original.subarray(0, ARRAY_HEADER + DIMENSION));
  header.writeInt32BE(values.length, ARRAY_HEADER);
  return Buffer.concat([header, ...elements]);
}

/** The server must take them as texts as they are: unknown, text, varchar; and arrays of the last two. */
const TEXT_TYPES = { value: new Set([0, 25, 705, 1043]), array: new Set([0, 1009, 1015]) };
/** The same for bytes: unknown, bytea; and arrays of it. */
const BYTES_TYPES = { value: new Set([0, 17, 705]), array: new Set([0, 1001]) };

/** The same for documents: unknown, text, varchar, json, jsonb. */
const DOCUMENT_TYPES: ReadonlySet<number> = new Set([...TEXT_TYPES.value, 114, 3802]);

function wrongDocument(number: number, { name }: DocumentColumn): Refusal {
  return refuse("42501", `parameter $${number} is a document for ${name}, and has another type`, {
    hint: "Declare it as json, jsonb or text, or leave the type to the server.",
  });
}

/** What is wrong with the types that a Parse declares. */
export function wrongType(types: readonly number[], parameters: Parameters): Refusal | undefined {
  for (const [number, { readings, form }] of parameters) {
    const [{ column }] = readings;
    const type = types[number - 1] ?? 0;
    if (column.form === "document") {
      if (!DOCUMENT_TYPES.has(type)) return wrongDocument(number, column);
      continue;
    }
    const isBytes = column.form === "bytes";
    if (!(isBytes ? BYTES_TYPES : TEXT_TYPES)[form].has(type))
      return refuse(
        "42501",
        `parameter $${number} is a value for ${column.name}, which is stored as tokens, and must be ${isBytes ? "of bytea" : "a text"}`,
        {
          hint: `Declare it as ${isBytes ? "bytea" : "text or varchar"} (for a list, as an array of ${isBytes ? "it" : "these"}), or leave the type to the server.`,
        },
      );
  }
  return undefined;
}
