import { type Frame, ProtocolViolation } from "./frames.ts";
import { Backend, BodyReader, cstring, int32, message, type TransactionStatus } from "./messages.ts";

export type Authentication =
  | { readonly kind: "ok" }
  | { readonly kind: "cleartext" }
  | { readonly kind: "md5"; readonly salt: Buffer }
  | { readonly kind: "sasl"; readonly mechanisms: readonly string[] }
  | { readonly kind: "saslContinue"; readonly data: Buffer }
  | { readonly kind: "saslFinal"; readonly data: Buffer }
  /** GSSAPI, SSPI and future methods, which are not supported here. */
  | { readonly kind: "other"; readonly code: number };

export interface BackendKey {
  readonly processId: number;
  /** 4 bytes in protocol 3.0, up to 256 in 3.2. */
  readonly key: Buffer;
}

export interface Notification {
  readonly processId: number;
  readonly channel: string;
  readonly payload: string;
}

export function decodeAuthentication(frame: Frame): Authentication {
  const body = new BodyReader(frame, "Authentication");
  const authentication = readAuthentication(body);
  body.finish();
  return authentication;
}

function readAuthentication(body: BodyReader): Authentication {
  const code = body.int32();
  switch (code) {
    case 0:
      return { kind: "ok" };
    case 3:
      return { kind: "cleartext" };
    case 5:
      return { kind: "md5", salt: Buffer.from(body.bytes(4)) };
    case 10: {
      const mechanisms: string[] = [];
      for (let name = body.latin1(); name !== ""; name = body.latin1()) mechanisms.push(name);
      return { kind: "sasl", mechanisms };
    }
    case 11:
      return { kind: "saslContinue", data: Buffer.from(body.bytes(body.left)) };
    case 12:
      return { kind: "saslFinal", data: Buffer.from(body.bytes(body.left)) };
    default:
      body.skip(body.left);
      return { kind: "other", code };
  }
}

export const authenticationOk: Buffer = message(Backend.Authentication, int32(0));
export const authenticationCleartext: Buffer = message(Backend.Authentication, int32(3));

/** Also used to rebuild a server's offer without the mechanisms that cannot work through a proxy. */
export function authenticationSasl(mechanisms: readonly string[]): Buffer {
  const names = mechanisms.map((mechanism) => cstring(mechanism));
  return message(Backend.Authentication, int32(10), ...names, Buffer.alloc(1));
}

export function authenticationSaslContinue(data: string): Buffer {
  return message(Backend.Authentication, int32(11), Buffer.from(data));
}

export function authenticationSaslFinal(data: string): Buffer {
  return message(Backend.Authentication, int32(12), Buffer.from(data));
}

export function decodeBackendKey(frame: Frame): BackendKey {
  const body = new BodyReader(frame, "BackendKeyData");
  const processId = body.int32();
  // Postgres docs, "BackendKeyData": the key's length follows from the message's, 4 to 256 bytes.
  if (body.left < 4 || body.left > 256) throw new ProtocolViolation("invalid BackendKeyData message");
  return { processId, key: Buffer.from(body.bytes(body.left)) };
}

export function backendKey({ processId, key }: BackendKey): Buffer {
  return message(Backend.BackendKeyData, int32(processId), key);
}

export function decodeParameterStatus(frame: Frame): { name: string; value: string } {
  const body = new BodyReader(frame, "ParameterStatus");
  const name = body.utf8();
  const value = body.utf8();
  body.finish();
  return { name, value };
}

export function parameterStatus(name: string, value: string): Buffer {
  return message(Backend.ParameterStatus, cstring(name), cstring(value));
}

export function decodeReadyForQuery(frame: Frame): TransactionStatus {
  const body = new BodyReader(frame, "ReadyForQuery");
  const status = String.fromCharCode(body.byte());
  body.finish();
  if (status === "I" || status === "T" || status === "E") return status;
  throw new ProtocolViolation("invalid ReadyForQuery message");
}

const READY: Readonly<Record<TransactionStatus, Buffer>> = {
  I: message(Backend.ReadyForQuery, Buffer.from("I")),
  T: message(Backend.ReadyForQuery, Buffer.from("T")),
  E: message(Backend.ReadyForQuery, Buffer.from("E")),
};

export function readyForQuery(status: TransactionStatus): Buffer {
  return READY[status];
}

/** The command tag: `SELECT 5`. */
export function decodeCommandComplete(frame: Frame): string {
  const body = new BodyReader(frame, "CommandComplete");
  const tag = body.utf8();
  body.finish();
  return tag;
}

/**
 * Command tags with a row count of writes (Postgres docs, "CommandComplete"); COPY's tag is the same in both
 * directions.
 */
const WRITTEN = /^(?:INSERT \d+|UPDATE|DELETE|MERGE|COPY) (\d+)$/;

/** How many rows a write has written, by its command tag; undefined if the tag has no such count. */
export function rowsWritten({ buffer, start, end }: Frame): number | undefined {
  // The type byte and length word come before the tag, a zero byte after it.
  const count = WRITTEN.exec(buffer.toString("latin1", start + 5, end - 1))?.[1];
  return count === undefined ? undefined : Number(count);
}

const MOVED = /^MOVE (\d+)$/;

/** How many rows MOVE has passed; undefined for another command's tag. */
export function rowsMoved({ buffer, start, end }: Frame): number | undefined {
  const count = MOVED.exec(buffer.toString("latin1", start + 5, end - 1))?.[1];
  return count === undefined ? undefined : Number(count);
}

const MADE = /^SELECT (\d+)$/;

/** How many rows a SELECT gave, or put into a new table (INTO, CREATE TABLE AS); undefined for another command's tag. */
export function rowsMade({ buffer, start, end }: Frame): number | undefined {
  const count = MADE.exec(buffer.toString("latin1", start + 5, end - 1))?.[1];
  return count === undefined ? undefined : Number(count);
}

export function commandComplete(tag: string): Buffer {
  return message(Backend.CommandComplete, cstring(tag));
}

export function decodeNotification(frame: Frame): Notification {
  const body = new BodyReader(frame, "NotificationResponse");
  const processId = body.int32();
  const channel = body.utf8();
  const payload = body.utf8();
  body.finish();
  return { processId, channel, payload };
}

/** ParseComplete, BindComplete, CloseComplete, NoData, PortalSuspended, EmptyQueryResponse, CopyDone. */
export function emptyMessage(type: number): Buffer {
  return message(type);
}
