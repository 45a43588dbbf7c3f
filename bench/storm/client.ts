import { connect, type Socket } from "node:net";
import { parse, serialize } from "pg-protocol";
import type {
  BackendKeyDataMessage,
  BackendMessage,
  CommandCompleteMessage,
  CopyDataMessage,
  DatabaseError,
  DataRowMessage,
  ReadyForQueryMessage,
} from "pg-protocol/dist/messages.js";
import { DATABASE } from "../world.ts";
import { CANARY } from "./world.ts";

/** What came back until the next ReadyForQuery, or until the connection was lost. */
export interface Answer {
  readonly rows: (readonly (string | null)[])[];
  readonly tags: string[];
  /** Lines of COPY TO. */
  copied: string;
  error: { readonly code: string; readonly text: string } | undefined;
}

/** The session is over; what had arrived of the answer was received all the same. */
export class Lost extends Error {
  /** The SQLSTATE of the last word; "none" where the connection broke without one; or the error of the network. */
  readonly code: string;
  readonly partial: Answer;

  constructor(code: string, partial: Answer) {
    super(`the session was lost: ${code}`);
    this.code = code;
    this.partial = partial;
  }
}

/** An answer takes no longer: a client that waits for more hangs. */
const LONGEST = 30_000;

const HOST = "127.0.0.1";

/** A client of its own make, so that it sees each byte, and shares no code with what it tests. */
export class StormClient {
  readonly #socket: Socket;
  readonly #port: number;
  readonly #seesAll: boolean;
  #key: { readonly process: number; readonly secret: number } | undefined;
  #answer: Answer = emptyAnswer();
  #pending: { resolve(answer: Answer): void; reject(error: Lost): void; timer: NodeJS.Timeout } | undefined;
  #lastWord = "none";
  #tail = Buffer.alloc(0);
  /** How the last ReadyForQuery described the session: I, T or E. */
  status = "I";
  /** Protected values that reached a client who may not see them: the bytes around the first. */
  leak: string | undefined;

  private constructor(socket: Socket, port: number, user: string) {
    this.#socket = socket;
    this.#port = port;
    this.#seesAll = user.startsWith("app");
    socket.on("data", (chunk: Buffer) => this.#search(chunk));
    void parse(socket, (message) => this.#take(message));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      if (this.#lastWord === "none") this.#lastWord = error.code ?? "error";
    });
    socket.on("close", () =>
      this.#settle((pending) => pending.reject(new Lost(this.#lastWord, this.#answer))),
    );
  }

  /** Rejects with `Lost`. */
  static async open(port: number, user: string, application: string): Promise<StormClient> {
    const socket = connect({ port, host: HOST, noDelay: true });
    const client = new StormClient(socket, port, user);
    const database = DATABASE;
    await client.ask(serialize.startup({ user, database, application_name: application }));
    return client;
  }

  /** Sends messages that end with one which ReadyForQuery answers. */
  ask(messages: Buffer): Promise<Answer> {
    this.#answer = emptyAnswer();
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#lastWord = "hangs";
        this.#socket.destroy();
      }, LONGEST);
      this.#pending = { resolve, reject, timer };
      if (this.#socket.destroyed) this.#settle(() => reject(new Lost(this.#lastWord, this.#answer)));
      else this.#socket.write(messages);
    });
  }

  query(sql: string): Promise<Answer> {
    return this.ask(serialize.query(sql));
  }

  /** As libpq's PQcancel, to any proxy of the fleet. Resolves when the other end has closed it. */
  async cancel(port = this.#port): Promise<void> {
    if (this.#key === undefined) return;
    const socket = connect({ port, host: HOST });
    socket.on("error", () => {});
    socket.write(serialize.cancel(this.#key.process, this.#key.secret));
    socket.resume();
    // `once` would reject where nobody listens.
    await new Promise((resolve) => socket.once("close", resolve));
  }

  get isLost(): boolean {
    return this.#socket.destroyed;
  }

  leave(): void {
    this.#socket.end(serialize.end());
  }

  /** As a client whose machine goes off. */
  vanish(): void {
    this.#socket.destroy();
  }

  #search(chunk: Buffer): void {
    if (this.#seesAll) return;
    const bytes = Buffer.concat([this.#tail, chunk]);
    const at = bytes.indexOf(CANARY);
    if (at >= 0) this.leak ??= bytes.subarray(Math.max(0, at - 60), at + 60).toString("latin1");
    this.#tail = Buffer.from(bytes.subarray(1 - CANARY.length));
  }

  #take(message: BackendMessage): void {
    const answer = this.#answer;
    switch (message.name) {
      case "dataRow":
        answer.rows.push((message as unknown as DataRowMessage).fields as (string | null)[]);
        return;
      case "copyData":
        answer.copied += (message as unknown as CopyDataMessage).chunk.toString("latin1");
        return;
      case "commandComplete":
        answer.tags.push((message as unknown as CommandCompleteMessage).text);
        return;
      case "error": {
        const { code = "", message: text, severity } = message as unknown as DatabaseError;
        answer.error ??= { code, text };
        if (severity === "FATAL" || severity === "PANIC") this.#lastWord = code;
        return;
      }
      case "backendKeyData": {
        const { processID, secretKey } = message as unknown as BackendKeyDataMessage;
        this.#key = { process: processID, secret: secretKey };
        return;
      }
      case "readyForQuery":
        this.status = (message as unknown as ReadyForQueryMessage).status;
        this.#settle((pending) => pending.resolve(this.#answer));
        return;
      default:
        return;
    }
  }

  #settle(how: (pending: { resolve(answer: Answer): void; reject(error: Lost): void }) => void): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    this.#pending = undefined;
    clearTimeout(pending.timer);
    how(pending);
  }
}

function emptyAnswer(): Answer {
  return { rows: [], tags: [], copied: "", error: undefined };
}
