import { foldAscii } from "../pg/setting-text.ts";
import { type Frame, ProtocolViolation } from "./frames.ts";
import { Backend, BodyReader, cstring, int32, message } from "./messages.ts";

/** A packet that a client may send before login. */
export type StartupPacket =
  | { readonly kind: "ssl" }
  | { readonly kind: "gss" }
  | { readonly kind: "cancel"; readonly processId: number; readonly key: Buffer }
  | Startup;

export interface Startup {
  readonly kind: "startup";
  /** The minor version of protocol 3. */
  readonly minor: number;
  /**
   * In the given order, including `user`. Setting names are in lower case, because the server ignores their case;
   * protocol options (`_pq_.…`) are not included.
   */
  readonly parameters: ReadonlyMap<string, string>;
  /** Names of protocol options: none is known so far. */
  readonly options: readonly string[];
}

// libpq/pqcomm.h
const CANCEL_REQUEST = (1234 << 16) | 5678;
const SSL_REQUEST = (1234 << 16) | 5679;
const GSSENC_REQUEST = (1234 << 16) | 5680;
const PROTOCOL_3 = 3 << 16;

/** Newest first. Protocol 3.1 was never released; 3.2 came with Postgres 18. */
const SPOKEN = [2, 0] as const;
export type Minor = (typeof SPOKEN)[number];

/** Parameters that the server compares by their exact name; all others are settings. */
const OWN = new Set(["user", "database", "replication", "options"]);
/** NAMEDATALEN - 1. The server truncates longer names, and would then log in a user whom the policy did not check. */
const NAME_BYTES = 63;

const NO_KEY = Buffer.alloc(0);
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads a packet of `FrameReader.nextStartup`. */
export function decodeStartup(frame: Frame): StartupPacket {
  const body = new BodyReader(frame, "startup");
  const code = body.int32();
  switch (code) {
    case SSL_REQUEST:
      body.finish();
      return { kind: "ssl" };
    case GSSENC_REQUEST:
      body.finish();
      return { kind: "gss" };
    case CANCEL_REQUEST:
      return decodeCancel(body);
    default:
      return decodeParameters(body, code);
  }
}

/**
 * The key has 4 bytes in protocol 3.0, up to 256 in 3.2 (Postgres docs, "CancelRequest"). One of another length is nobody's: as
 * a wrong one it gets no answer (ProcessCancelRequestPacket of tcop/backend_startup.c).
 */
function decodeCancel(body: BodyReader): StartupPacket {
  const processId = body.left < 4 ? 0 : body.int32();
  const key = body.bytes(body.left);
  return { kind: "cancel", processId, key: key.length > 256 ? NO_KEY : Buffer.from(key) };
}

function decodeParameters(body: BodyReader, version: number): Startup {
  const major = version >>> 16;
  const minor = version & 0xffff;
  if (major !== 3) {
    const message = `unsupported frontend protocol ${major}.${minor}: server supports 3.0 to 3.${SPOKEN[0]}`;
    throw new ProtocolViolation(message, "0A000");
  }
  const parameters = new Map<string, string>();
  const options: string[] = [];
  for (let name = text(body); name !== ""; name = text(body)) {
    const value = text(body);
    if (name.startsWith("_pq_.")) options.push(name);
    else addParameter(parameters, name, value);
  }
  if (body.left !== 0) {
    throw new ProtocolViolation("invalid startup packet layout: expected terminator as last byte");
  }
  checkNames(parameters);
  return { kind: "startup", minor, parameters, options };
}

/** Refuses names that another reader could take for another user; no guessing. */
function addParameter(parameters: Map<string, string>, name: string, value: string): void {
  const key = OWN.has(name) ? name : foldAscii(name);
  if (key !== name && OWN.has(key)) {
    throw new ProtocolViolation(`unrecognized startup parameter "${name}"`, "22023");
  }
  if (OWN.has(key) && parameters.has(key)) {
    throw new ProtocolViolation(`startup parameter "${key}" given twice`);
  }
  // If a setting is given several times the last one counts, as in the server.
  parameters.delete(key);
  parameters.set(key, value);
}

function checkNames(parameters: ReadonlyMap<string, string>): void {
  if (!parameters.get("user")) {
    throw new ProtocolViolation("no PostgreSQL user name specified in startup packet", "28000");
  }
  for (const name of ["user", "database"]) {
    if (Buffer.byteLength(parameters.get(name) ?? "") > NAME_BYTES) {
      throw new ProtocolViolation(`${name} name longer than ${NAME_BYTES} bytes`, "28000");
    }
  }
}

function text(body: BodyReader): string {
  const raw = body.latin1();
  try {
    return strictUtf8.decode(Buffer.from(raw, "latin1"));
  } catch {
    throw new ProtocolViolation("startup packet is not UTF-8", "22021");
  }
}

/** Whether the client asks for a replication connection: anything but a clear no counts as yes. */
export function asksReplication({ parameters }: Startup): boolean {
  const value = parameters.get("replication");
  return value !== undefined && !["false", "off", "no", "0", "f", "n"].includes(value.toLowerCase());
}

/** A StartupMessage of protocol 3.0, which upstream servers of every version understand. */
export function startupMessage(parameters: Iterable<readonly [string, string]>): Buffer {
  const strings = [...parameters].flatMap(([name, value]) => [cstring(name), cstring(value)]);
  return packet(int32(PROTOCOL_3), ...strings, Buffer.alloc(1));
}

export const sslRequest: Buffer = packet(int32(SSL_REQUEST));

export function cancelRequest(processId: number, key: Buffer): Buffer {
  return packet(int32(CANCEL_REQUEST), int32(processId), key);
}

function packet(...parts: readonly Buffer[]): Buffer {
  const length = parts.reduce((sum, part) => sum + part.length, 4);
  return Buffer.concat([int32(length), ...parts]);
}

/** The version that both sides use from now on, and the reply to send first if the client asked for another. */
export function negotiate(startup: Startup): { readonly minor: Minor; readonly reply: Buffer | undefined } {
  const minor = SPOKEN.find((spoken) => spoken <= startup.minor) ?? 0;
  if (minor === startup.minor && startup.options.length === 0) return { minor, reply: undefined };
  return { minor, reply: negotiateProtocolVersion(minor, startup.options) };
}

/**
 * The documentation calls the first number the newest minor version. On the wire it is the whole version with its major
 * part (SendNegotiateProtocolVersion of tcop/backend_startup.c; libpq reads it in the same way).
 */
export function negotiateProtocolVersion(minor: Minor, options: readonly string[]): Buffer {
  const names = options.map((name) => cstring(name));
  return message(Backend.NegotiateProtocolVersion, int32(PROTOCOL_3 | minor), int32(names.length), ...names);
}

export function decodeNegotiateProtocolVersion(frame: Frame): {
  readonly minor: number;
  readonly options: readonly string[];
} {
  const body = new BodyReader(frame, "NegotiateProtocolVersion");
  const version = body.int32();
  const count = body.int32();
  if (version >>> 16 !== 3 || count < 0 || count > body.left) {
    throw new ProtocolViolation("invalid NegotiateProtocolVersion message");
  }
  const options = Array.from({ length: count }, () => body.utf8());
  body.finish();
  return { minor: version & 0xffff, options };
}

/** The length in bytes of the secret in BackendKeyData, as Postgres 18 chooses it for each version. */
export function cancelKeyLength(minor: Minor): number {
  return minor >= 2 ? 32 : 4;
}
