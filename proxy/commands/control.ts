import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { ClientConfig } from "pg";
import { dial, type Upstream } from "../wire/upstream.ts";

/**
 * The control connection as pg wants it. It is dialled as the sessions are, so that `sslmode` means the
 * same for both: pg's own idea of it differs from libpq's (it has no `prefer`, and `require` verifies).
 */
export function controlConnection(target: Upstream): ClientConfig {
  return {
    host: target.host,
    port: target.port,
    user: target.user,
    password: target.password() ?? "",
    ssl: false,
    // What pg calls to get its socket; other runtimes' sockets come in the same way. The declaration wants a
    // Socket, of which pg uses what is below.
    stream: () => new Dialled(target) as unknown as Socket,
  } as ClientConfig;
}

/** A stream that pg can tell to connect, over the socket that `dial` makes. */
class Dialled extends Duplex {
  readonly #target: Upstream;
  #socket: Socket | undefined;

  constructor(target: Upstream) {
    super();
    this.#target = target;
  }

  connect(): this {
    dial(this.#target).then(
      (socket) => this.#adopt(socket),
      (error: Error) => this.destroy(error),
    );
    return this;
  }

  /** Set by `dial` already. */
  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    this.#socket?.ref();
    return this;
  }

  unref(): this {
    this.#socket?.unref();
    return this;
  }

  override _read(): void {
    this.#socket?.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#socket) this.#socket.write(chunk, encoding, done);
    else done(new Error("not connected"));
  }

  override _final(done: () => void): void {
    if (this.#socket) this.#socket.end(done);
    else done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#socket?.destroy();
    done(error);
  }

  #adopt(socket: Socket): void {
    // Given up while it was being dialled.
    if (this.destroyed) {
      socket.destroy();
      return;
    }
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      if (!this.push(chunk)) socket.pause();
    });
    socket.on("end", () => this.push(null));
    socket.on("error", (error) => this.destroy(error));
    socket.on("close", () => this.destroy());
    this.emit("connect");
  }
}
