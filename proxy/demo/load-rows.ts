import { once } from "node:events";
import type { Duplex } from "node:stream";
import type { Client, Submittable } from "pg";

/** The parts of pg's connection that a COPY needs; pg's type declarations omit them. */
interface CopyConnection {
  readonly stream: Duplex;
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(message: string): void;
}

const CHUNK = 1 << 16;

/**
 * Sends lines (text format, without their newline) by COPY FROM STDIN. pg itself has no COPY; it accepts any object
 * with a `submit` method as an extension.
 */
export function copyIn(client: Client, target: string, lines: Iterable<string>): Promise<void> {
  return new Promise((resolve, reject) => {
    client.query(new CopyIn(`COPY ${target} FROM STDIN`, lines, resolve, reject));
  });
}

/** One row in COPY's text format. Values are numbers and our own plain text, without tabs and backslashes. */
export function copyLine(values: readonly (string | number)[]): string {
  return values.join("\t");
}

class CopyIn implements Submittable {
  readonly #text: string;
  readonly #lines: Iterable<string>;
  readonly #resolve: () => void;
  readonly #reject: (error: unknown) => void;
  #failed = false;

  constructor(text: string, lines: Iterable<string>, resolve: () => void, reject: (error: unknown) => void) {
    this.#text = text;
    this.#lines = lines;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  submit(connection: unknown): void {
    (connection as CopyConnection).query(this.#text);
  }

  handleCopyInResponse(connection: unknown): void {
    const target = connection as CopyConnection;
    this.#send(target).catch((error: unknown) => {
      this.#reject(error);
      target.sendCopyFail("interrupted");
    });
  }

  handleCommandComplete(): void {}

  handleReadyForQuery(): void {
    if (!this.#failed) this.#resolve();
  }

  handleError(error: unknown): void {
    this.#failed = true;
    this.#reject(error);
  }

  async #send(connection: CopyConnection): Promise<void> {
    let chunk = "";
    for (const line of this.#lines) {
      chunk += `${line}\n`;
      if (chunk.length < CHUNK) continue;
      connection.sendCopyFromChunk(Buffer.from(chunk));
      chunk = "";
      if (connection.stream.writableNeedDrain) await once(connection.stream, "drain");
      if (this.#failed) return;
    }
    if (chunk) connection.sendCopyFromChunk(Buffer.from(chunk));
    connection.endCopyFrom();
  }
}
