import { connect, type Socket } from "node:net";
import { ScramClient } from "../../proxy/wire/scram.ts";

/** A message as the server sent it: its type as a letter. */
export interface Message {
  readonly type: string;
  readonly body: Buffer;
}

/** How much is read ahead of the test. */
const ENOUGH = 1_000_000;

/** A client that says exactly the bytes that it is told to say, right or wrong. */
export class RawClient {
  readonly socket: Socket;
  #received = Buffer.alloc(0);
  #ended = false;
  #wake: () => void = () => undefined;
  static readonly #open = new Set<RawClient>();

  /** Those that a test has left behind, too. */
  static destroyAll(): void {
    for (const { socket } of RawClient.#open) socket.destroy();
  }

  constructor(port: number) {
    RawClient.#open.add(this);
    this.socket = connect({ port, host: "127.0.0.1", noDelay: true });
    this.socket.on("data", (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      if (this.#received.length > ENOUGH) this.socket.pause();
      this.#wake();
    });
    // A reset is an end like any other.
    this.socket.on("error", () => undefined);
    for (const end of ["end", "close"]) {
      this.socket.on(end, () => {
        RawClient.#open.delete(this);
        this.#ended = true;
        this.#wake();
      });
    }
  }

  /** Past login, with the first ReadyForQuery read. */
  static async loggedIn(uri: string): Promise<RawClient> {
    const { port, username, password, pathname } = new URL(uri);
    const client = new RawClient(Number(port));
    client.say(startup({ user: username, database: pathname.slice(1) }));
    const scram = new ScramClient(password, "a-nonce-of-a-test-of-bad-input");
    await client.expect("R");
    client.say(frame("p", text("SCRAM-SHA-256"), sized(scram.first())));
    const challenge = await client.expect("R");
    client.say(frame("p", Buffer.from(await scram.final(challenge.body.subarray(4)))));
    for (let message = await client.next(); message?.type !== "Z"; message = await client.next()) {
      if (message === undefined) throw new Error("the connection ended during login");
    }
    return client;
  }

  say(...bytes: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(bytes));
  }

  /** The next message; undefined when the server has closed the connection. */
  async next(): Promise<Message | undefined> {
    for (;;) {
      const held = this.#received;
      if (held.length >= 5 && held.length > held.readInt32BE(1)) {
        const end = 1 + held.readInt32BE(1);
        this.#received = held.subarray(end);
        return { type: held.toString("latin1", 0, 1), body: held.subarray(5, end) };
      }
      if (this.#ended) return undefined;
      this.socket.resume();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  async expect(type: string): Promise<Message> {
    const message = await this.next();
    if (message?.type === type) return message;
    throw new Error(`${type} was expected, not ${message ? told(message) : "the end"}`);
  }

  /** All up to this many ReadyForQuery, or the end: types, and what errors say. */
  async until(ready: number): Promise<readonly string[]> {
    const seen: string[] = [];
    for (let left = ready; left > 0; ) {
      const message = await this.next();
      if (message === undefined) return [...seen, "end"];
      seen.push(told(message));
      if (message.type === "Z") left--;
    }
    return seen;
  }

  /** All that comes until the server closes the connection. */
  end(): Promise<readonly string[]> {
    return this.until(Number.POSITIVE_INFINITY);
  }
}

/** A message in a word: `Z I`, `E FATAL 08P01`, `D`. */
function told({ type, body }: Message): string {
  if (type === "Z") return `Z ${body.toString("latin1")}`;
  if (type !== "E") return type;
  const fields = body.toString("utf8").split("\0");
  const field = (letter: string) => fields.find((one) => one.startsWith(letter))?.slice(1);
  return `E ${field("V")} ${field("C")}`;
}

/** A message with its type and the right length. */
export function frame(type: string, ...body: readonly Buffer[]): Buffer {
  const whole = Buffer.concat(body);
  return Buffer.concat([Buffer.from(type, "latin1"), int32(whole.length + 4), whole]);
}

export function startup(parameters: Readonly<Record<string, string>>): Buffer {
  const list = Object.entries(parameters).flatMap(([name, value]) => [text(name), text(value)]);
  const body = Buffer.concat([int32(0x30000), ...list, Buffer.alloc(1)]);
  return Buffer.concat([int32(body.length + 4), body]);
}

export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

export function int32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return bytes;
}

export function int16(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeInt16BE(value);
  return bytes;
}

function sized(value: string): Buffer {
  return Buffer.concat([int32(Buffer.byteLength(value)), Buffer.from(value)]);
}

export const sync = frame("S");
export const query = (sql: string): Buffer => frame("Q", text(sql));
export const parse = (name: string, sql: string): Buffer => frame("P", text(name), text(sql), int16(0));
export const bind = (portal: string, statement: string): Buffer =>
  frame("B", text(portal), text(statement), int16(0), int16(0), int16(0));
export const describeThat = (kind: string, name: string): Buffer => frame("D", Buffer.from(kind), text(name));
export const close = (kind: string, name: string): Buffer => frame("C", Buffer.from(kind), text(name));
export const execute = (portal: string, rows = 0): Buffer => frame("E", text(portal), int32(rows));
