import { serialize } from "pg-protocol";
import { type Frame, frameOf, MalformedMessage, ProtocolViolation } from "./frames.ts";
import { BodyReader, bytesOf, cstring, Frontend, int32, message, uint16 } from "./messages.ts";

/** Offsets are into the frame's buffer; names are keys (see `nameKey`). */
export interface Query {
  readonly sqlStart: number;
  /** Offset of the terminating zero byte. */
  readonly sqlEnd: number;
}

export interface Parse {
  readonly statement: string;
  readonly sqlStart: number;
  readonly sqlEnd: number;
  /** Offset of the count of parameter types; the types extend to the end of the frame. */
  readonly typesStart: number;
  readonly types: number;
}

export interface Bind {
  readonly portal: string;
  readonly statement: string;
  readonly parameters: number;
  /** Offset of the count of parameter format codes. */
  readonly parametersStart: number;
  /** Offset of the count of result format codes; the codes extend to the end of the frame. */
  readonly resultFormatsStart: number;
  readonly resultFormats: number;
}

/** Describe and Close. */
export interface Target {
  readonly target: "statement" | "portal";
  readonly name: string;
}

export interface Execute {
  readonly portal: string;
  /** 0 means all rows. */
  readonly maxRows: number;
}

export function decodeQuery(frame: Frame): Query {
  const body = new BodyReader(frame, "Query");
  const sqlStart = body.at;
  const sqlEnd = body.skipString();
  body.finish();
  return { sqlStart, sqlEnd };
}

/**
 * The beginning of a Query or Parse of which more is to come. `more`: so many bytes, the rest of a Parse that is no text
 * included. `statement`: of a Parse.
 */
export function decodeBegunText(frame: Frame): {
  readonly statement: string;
  readonly sqlStart: number;
  readonly more: number;
} {
  const { buffer, type, start, end } = frame;
  const body = new BodyReader(frame, type === Frontend.Parse ? "Parse" : "Query", "beginning");
  const statement = type === Frontend.Parse ? body.name() : "";
  return { statement, sqlStart: body.at, more: buffer.readInt32BE(start + 1) + 1 - (end - start) };
}

export function decodeParse(frame: Frame): Parse {
  const body = new BodyReader(frame, "Parse");
  const statement = body.name();
  const sqlStart = body.at;
  const sqlEnd = body.skipString();
  const typesStart = body.at;
  const types = body.uint16();
  body.skip(4 * types);
  body.finish();
  return { statement, sqlStart, sqlEnd, typesStart, types };
}

export function decodeBind(frame: Frame): Bind {
  const body = new BodyReader(frame, "Bind");
  const portal = body.name();
  const statement = body.name();
  const parametersStart = body.at;
  const formats = body.uint16();
  body.skip(2 * formats);
  const parameters = body.uint16();
  // A client with more than 65,535 values writes the remainder of their number, and then the counts rarely match by
  // accident.
  if (formats > 1 && formats !== parameters)
    body.fail(`bind message has ${formats} parameter formats but ${parameters} parameters`);
  for (let i = 0; i < parameters; i++) {
    const length = body.int32();
    // -1 is NULL; the server accepts no other negative length.
    if (length !== -1) body.skip(length);
  }
  const resultFormatsStart = body.at;
  const resultFormats = body.uint16();
  body.skip(2 * resultFormats);
  body.finish();
  return { portal, statement, parameters, parametersStart, resultFormatsStart, resultFormats };
}

/**
 * The names of a Bind message, which may be its first piece only; the rest begins at `parametersStart`. The server
 * keeps 63 bytes of a name, and real clients use no longer ones.
 */
export function decodeBindNames(frame: Frame): Pick<Bind, "portal" | "statement" | "parametersStart"> {
  const body = new BodyReader(frame, "Bind", "beginning");
  const portal = body.name();
  const statement = body.name();
  return { portal, statement, parametersStart: body.at };
}

/** A parameter's value, by its number from 1; undefined for NULL and if the message has no such parameter. */
export function boundParameter(
  { buffer }: Frame,
  { parameters, parametersStart }: Bind,
  number: number,
): { readonly bytes: Buffer; readonly isBinary: boolean } | undefined {
  if (number < 1 || number > parameters) return undefined;
  const formats = buffer.readUInt16BE(parametersStart);
  // One format applies to all parameters; none means text (Postgres docs, "Bind").
  const which = formats === 1 ? 0 : number - 1;
  const isBinary = which < formats && buffer.readUInt16BE(parametersStart + 2 + 2 * which) === 1;
  let at = parametersStart + 2 + 2 * formats + 2;
  for (let i = 1; ; i++) {
    const length = buffer.readInt32BE(at);
    at += 4;
    if (i === number) return length < 0 ? undefined : { bytes: buffer.subarray(at, at + length), isBinary };
    at += Math.max(length, 0);
  }
}

/** The oid of the type that a Parse message declares for a parameter; 0 if the server is to infer it. */
export function declaredType(parse: Buffer, number: number): number {
  const { types, typesStart } = decodeParse(frameOf(parse));
  return number < 1 || number > types ? 0 : parse.readUInt32BE(typesStart + 2 + 4 * (number - 1));
}

/** The oids of all types that a Parse message declares. */
export function typesDeclaredIn(parse: Buffer): readonly number[] {
  return declaredTypes(parse, decodeParse(frameOf(parse)).typesStart);
}

/** The oids of the parameters' types, 0 for those that the server is to infer; their count is at `at`. */
export function declaredTypes(buffer: Buffer, at: number): readonly number[] {
  const count = buffer.readUInt16BE(at);
  if (count === 0) return NONE;
  return Array.from({ length: count }, (_, i) => buffer.readUInt32BE(at + 2 + 4 * i));
}

const NONE: readonly number[] = [];

export function decodeDescribe(frame: Frame): Target {
  return decodeTarget(frame, "Describe");
}

export function decodeClose(frame: Frame): Target {
  return decodeTarget(frame, "Close");
}

function decodeTarget(frame: Frame, what: string): Target {
  const body = new BodyReader(frame, what);
  const code = body.byte();
  const name = body.name();
  body.finish();
  switch (code) {
    case 0x53: // S
      return { target: "statement", name };
    case 0x50: // P
      return { target: "portal", name };
    default:
      return body.fail(`invalid ${what.toUpperCase()} message subtype ${code}`);
  }
}

export function decodeExecute(frame: Frame): Execute {
  const body = new BodyReader(frame, "Execute");
  const portal = body.name();
  const maxRows = body.int32();
  body.finish();
  // exec_execute_message of tcop/postgres.c: zero and negative values mean all rows.
  return { portal, maxRows: Math.max(maxRows, 0) };
}

/** Sync, Flush, Terminate, CopyDone: their body must be empty. */
export function decodeEmpty(frame: Frame, what: string): void {
  new BodyReader(frame, what).finish();
}

/** The password in plain text, or its MD5 digest. */
export function decodePassword(frame: Frame): string {
  const body = new BodyReader(frame, "Password");
  const password = body.utf8();
  body.finish();
  return password;
}

export function decodeSaslInitialResponse(frame: Frame): { mechanism: string; data: Buffer } {
  const body = new BodyReader(frame, "SASLInitialResponse");
  const mechanism = body.latin1();
  const length = body.int32();
  // -1 means that the client waits for a challenge first; SCRAM clients never do that.
  if (length !== body.left) throw new ProtocolViolation("invalid SASLInitialResponse message");
  return { mechanism, data: body.bytes(length) };
}

export function decodeSaslResponse(frame: Frame): Buffer {
  const body = new BodyReader(frame, "SASLResponse");
  return body.bytes(body.left);
}

/** A simple query; `sql` is without its terminating zero. */
export function queryMessage(sql: Buffer): Buffer {
  return message(Frontend.Query, sql, ZERO);
}

/** `statement` is a key, not text: see `nameKey`. The server infers the types of all parameters. */
export function parseMessage(statement: string, sql: Buffer): Buffer {
  return message(Frontend.Parse, cstring(statement, "latin1"), sql, ZERO, uint16(0));
}

/** Bind without parameters, with all results as text. Both names are keys. */
export function bindMessage(portal: string, statement: string): Buffer {
  const none = uint16(0);
  return message(Frontend.Bind, cstring(portal, "latin1"), cstring(statement, "latin1"), none, none, none);
}

export function describeMessage(target: Target): Buffer {
  return message(Frontend.Describe, targetCode(target), cstring(target.name, "latin1"));
}

export function closeMessage(target: Target): Buffer {
  return message(Frontend.Close, targetCode(target), cstring(target.name, "latin1"));
}

export function executeMessage(portal: string, maxRows: number): Buffer {
  return message(Frontend.Execute, cstring(portal, "latin1"), int32(maxRows));
}

export const syncMessage: Buffer = serialize.sync();
export const flushMessage: Buffer = serialize.flush();
export const terminateMessage: Buffer = serialize.end();

export function passwordMessage(password: string): Buffer {
  return serialize.password(password);
}

export function saslInitialResponse(mechanism: string, response: string): Buffer {
  return serialize.sendSASLInitialResponseMessage(mechanism, response);
}

export function saslResponse(response: string): Buffer {
  return serialize.sendSCRAMClientFinalMessage(response);
}

export function copyFailMessage(reason: string): Buffer {
  return serialize.copyFail(reason);
}

/** The client's Parse with another text; its name and parameter types stay the same. */
export function withSql(frame: Frame, parse: Parse, sql: Buffer): Buffer {
  const { buffer, start, end } = frame;
  const name = buffer.subarray(start + 5, parse.sqlStart);
  const types = buffer.subarray(parse.typesStart, end);
  return message(Frontend.Parse, name, sql, ZERO, types);
}

/**
 * The client's Bind for a statement that returns `extra` more fields at the end, all of type text.
 *
 * No code means text for every field, and a single code applies to every field. Text has the same bytes in both
 * formats, so those messages can be used unchanged. More codes are needed only if there is a code for each field.
 */
export function withResultFormats(frame: Frame, bind: Bind, extra: number): Buffer {
  if (bind.resultFormats < 2 || extra === 0) return bytesOf(frame);
  // A target list has at most 1664 entries (MaxTupleAttributeNumber), so the count of a valid message cannot overflow.
  if (bind.resultFormats > 1664) throw new MalformedMessage("Bind", "too many result format codes");
  const { buffer, start, end } = frame;
  return message(
    Frontend.Bind,
    buffer.subarray(start + 5, bind.resultFormatsStart),
    uint16(bind.resultFormats + extra),
    buffer.subarray(bind.resultFormatsStart + 2, end),
    Buffer.alloc(2 * extra),
  );
}

const ZERO = Buffer.alloc(1);

function targetCode({ target }: Target): Buffer {
  return Buffer.from(target === "statement" ? "S" : "P");
}
