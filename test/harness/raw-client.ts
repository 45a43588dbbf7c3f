import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { decodeError, type ErrorFields } from "../../proxy/wire/errors.ts";
import { FrameReader } from "../../proxy/wire/frames.ts";
import { queryMessage, saslInitialResponse, saslResponse } from "../../proxy/wire/frontend-messages.ts";
import { Backend, bytesOf, cstring, Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { SCRAM_SHA_256, ScramClient } from "../../proxy/wire/scram.ts";
import { startupMessage } from "../../proxy/wire/startup.ts";
import { passwordOf } from "./support-schema.ts";

/** A client that speaks the protocol byte by byte. */
export class RawClient {
  readonly socket: Socket;
  readonly #reader = new FrameReader(1 << 24, () => false);
  readonly #closed: Promise<unknown>;
  #wake: () => void = () => {};
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      this.#reader.push(chunk);
      this.#wake();
    });
    // Not events.once, which rejects at the error that a closed connection may end with.
    this.#closed = new Promise((resolve) => socket.once("close", resolve));
    socket.once("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = connect({ host: "127.0.0.1", port });
    await once(socket, "connect");
    return new RawClient(socket);
  }

  send(...parts: readonly Buffer[]): this {
    this.socket.write(Buffer.concat(parts));
    return this;
  }

  /** The next message; undefined when the connection was closed instead. */
  async message(): Promise<Message | undefined> {
    while (!this.#reader.next()) {
      if (this.#ended) return undefined;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const bytes = Buffer.from(bytesOf(this.#reader));
    return { type: String.fromCharCode(this.#reader.type), bytes };
  }

  /** Messages up to the first of this type, that one last. */
  async until(type: string): Promise<readonly Message[]> {
    const seen: Message[] = [];
    for (let next = await this.message(); next; next = await this.message()) {
      seen.push(next);
      if (next.type === type) return seen;
    }
    const errors = seen.flatMap(({ type: code, bytes }) => (code === "E" ? [bytes.toString("utf8", 5)] : []));
    throw new Error(
      `closed after ${seen.map(({ type: code }) => code).join("")} without ${type}: ${errors.join(" ").replaceAll("\0", " ")}`,
    );
  }

  /** The error with which the proxy ends the connection, which it must close then. */
  async farewell(): Promise<ErrorFields> {
    await this.until(String.fromCharCode(Backend.ErrorResponse));
    const fields = decodeError(this.#reader);
    await this.closed();
    return fields;
  }

  async closed(): Promise<void> {
    await this.#closed;
  }
}

export interface Message {
  readonly type: string;
  readonly bytes: Buffer;
}

/** A client that sends messages of its own making and reads what comes, one after the other. */
export class Raw {
  readonly #client: RawClient;
  /** What BackendKeyData holds: the process and the key. */
  readonly key: Buffer;

  private constructor(client: RawClient, key: Buffer) {
    this.#client = client;
    this.key = key;
  }

  /** The server must trust, or ask for SCRAM: what follows login is under test here. */
  static async logIn(port: number, user: string, database: string): Promise<Raw> {
    const client = await RawClient.connect(port);
    client.send(
      startupMessage(
        new Map([
          ["user", user],
          ["database", database],
        ]),
      ),
    );
    const [first] = await client.until("R");
    // AuthenticationSASL is 10, AuthenticationOk 0.
    if (first?.bytes.readInt32BE(5) === 10) await proveBy(passwordOf(user), client);
    const greeting = await client.until("Z");
    const key = greeting.find(({ type }) => type === "K")?.bytes.subarray(5);
    return new Raw(client, key ?? Buffer.alloc(0));
  }

  send(...messages: readonly Buffer[]): this {
    this.#client.send(...messages);
    return this;
  }

  /** Sends them, and gives all that comes up to ReadyForQuery. */
  ask(...messages: readonly Buffer[]): Promise<readonly Message[]> {
    return this.send(...messages).until("Z");
  }

  next(): Promise<Message | undefined> {
    return this.#client.message();
  }

  /** All messages up to the first of this type. */
  until(type: string): Promise<readonly Message[]> {
    return this.#client.until(type);
  }

  /** What comes up to ReadyForQuery, each message in a few characters. */
  async answer(): Promise<string> {
    return shortOf(await this.until("Z"));
  }

  get socket() {
    return this.#client.socket;
  }

  closed(): Promise<void> {
    return this.#client.closed();
  }
}

async function proveBy(password: string, client: RawClient): Promise<void> {
  const exchange = new ScramClient(password, "nonce-of-a-test");
  client.send(saslInitialResponse(SCRAM_SHA_256, exchange.first()));
  const challenge = (await client.until("R")).at(-1)?.bytes.subarray(9) ?? Buffer.alloc(0);
  client.send(saslResponse(await exchange.final(challenge)));
}

export function query(sql: string): Buffer {
  return queryMessage(Buffer.from(sql));
}

/** A Bind of the unnamed portal: parameters as text, results as text. */
export function bindTexts(statement: string, values: readonly string[]): Buffer {
  const given = values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]);
  const head = [cstring(""), cstring(statement), uint16(0), uint16(values.length)];
  return message(Frontend.Bind, ...head, ...given, uint16(0));
}

/** A FunctionCall message with arguments as texts (Postgres docs, "Message Formats"). */
export function functionCall(oid: number, ...values: readonly string[]): Buffer {
  const given = values.flatMap((value) => [int32(Buffer.byteLength(value)), Buffer.from(value)]);
  return message(
    Frontend.FunctionCall,
    ...[int32(oid), uint16(1), uint16(0), uint16(values.length), ...given, uint16(0)],
  );
}

/** `T(id,email) D D C(SELECT 2) Z(I)`: rows that are alike are counted, errors show their SQLSTATE. */
export function shortOf(messages: readonly Message[]): string {
  const words = messages.map(({ type, bytes }) => {
    switch (type) {
      case "T":
        return `T(${namesOf(bytes).join(",")})`;
      case "D":
        return `D(${valuesOf(bytes).join(",")})`;
      case "C":
        return `C(${bytes.toString("utf8", 5, bytes.length - 1)})`;
      case "Z":
        return `Z(${bytes.toString("latin1", 5)})`;
      case "E":
        return `E(${fieldOf(bytes, "C")})`;
      case "N":
        return `N(${fieldOf(bytes, "C")})`;
      default:
        return type;
    }
  });
  const rows = words.filter((word) => word.startsWith("D("));
  if (rows.length <= 3) return words.join(" ");
  const first = words.findIndex((word) => word.startsWith("D("));
  return [
    ...words.slice(0, first),
    `D×${rows.length}`,
    ...words.slice(first).filter((word) => !word.startsWith("D(")),
  ].join(" ");
}

/** How many rows an answer has. */
export function rowsIn(answer: readonly Message[]): number {
  return answer.filter(({ type }) => type === "D").length;
}

/** The SQLSTATE of the first error in an answer. */
export function codeIn(answer: readonly Message[]): string | undefined {
  const error = answer.find(({ type }) => type === "E");
  return error && fieldOf(error.bytes, "C");
}

/** A field of an ErrorResponse or NoticeResponse. */
export function fieldOf(bytes: Buffer, code: string): string | undefined {
  const fields = bytes.toString("utf8", 5).split("\0");
  return fields.find((field) => field.startsWith(code))?.slice(1);
}

function namesOf(bytes: Buffer): readonly string[] {
  const names: string[] = [];
  let at = 7;
  for (let i = bytes.readUInt16BE(5); i > 0; i--) {
    const zero = bytes.indexOf(0, at);
    names.push(bytes.toString("utf8", at, zero));
    at = zero + 1 + 18;
  }
  return names;
}

export function valuesOf(bytes: Buffer): readonly string[] {
  const values: string[] = [];
  let at = 7;
  for (let i = bytes.readUInt16BE(5); i > 0; i--) {
    const length = bytes.readInt32BE(at);
    values.push(length < 0 ? "NULL" : bytes.toString("utf8", at + 4, at + 4 + length));
    at += 4 + Math.max(length, 0);
  }
  return values;
}
