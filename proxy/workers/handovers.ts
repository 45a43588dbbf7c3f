import type { ChildProcess } from "node:child_process";
import type { Worker } from "node:cluster";

/** What node:cluster hands over: an accepted connection as a libuv handle. It has no descriptor once it is closed. */
interface Connection {
  readonly fd: number;
  close(): void;
}

/**
 * node:cluster keeps a connection open until the worker that it was handed to has taken it. If that worker dies first
 * the connection is never closed, and its client waits forever. This class closes such connections with the worker.
 */
export class Handovers {
  /** At most one per worker and address stays open: the next one waits until the worker has taken the last. */
  readonly #given = new Map<Connection, Worker>();

  watch(worker: Worker): void {
    const { process } = worker;
    const { send } = process;
    process.send = (...sent: unknown[]) => {
      const [, connection] = sent;
      if (isConnection(connection)) this.#enter(connection, worker);
      return Reflect.apply(send, process, sent) as ReturnType<ChildProcess["send"]>;
    };
    worker.once("exit", () => {
      for (const [connection, taker] of this.#given) if (taker === worker) connection.close();
      this.#forgetClosed();
    });
  }

  #enter(connection: Connection, worker: Worker): void {
    this.#forgetClosed();
    this.#given.set(connection, worker);
  }

  #forgetClosed(): void {
    for (const connection of this.#given.keys()) if (connection.fd < 0) this.#given.delete(connection);
  }
}

function isConnection(handle: unknown): handle is Connection {
  return typeof handle === "object" && handle !== null && "fd" in handle && "close" in handle;
}
