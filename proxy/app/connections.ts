import type { Socket } from "node:net";
import { Connection, type ConnectionParts, type ConnectionWatcher } from "../session/accept/connection.ts";
import { refuseSession } from "../wire/refusal.ts";

/** How long sessions may take to send their last message when they are told to end, in milliseconds. */
const LAST_WORDS_MS = 3_000;

/** All open connections. */
export class Connections implements ConnectionWatcher {
  readonly #parts: ConnectionParts;
  /** For clients on this machine: a Unix socket has no TLS, and needs none. */
  readonly #localParts: ConnectionParts;
  readonly #open = new Set<Connection>();
  /** Called for each connection that is gone. */
  readonly #watchers = new Set<(gone: Connection) => void>();
  #changes = 0;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
    this.#localParts = { ...parts, tls: undefined };
  }

  get size(): number {
    return this.#open.size;
  }

  /** Increases whenever a session begins or a connection ends: while it is unchanged, so are the sessions. */
  get changes(): number {
    return this.#changes;
  }

  [Symbol.iterator](): Iterator<Connection> {
    return this.#open.values();
  }

  serve(socket: Socket, by: "tcp" | "unix"): void {
    const connection = new Connection(socket, by === "unix" ? this.#localParts : this.#parts, this);
    this.#open.add(connection);
    void connection.serve();
  }

  /**
   * Ends first the connections without an open transaction, then all, then destroys those that remain. Resolves when
   * they are gone.
   */
  async drain(drainTimeout: number): Promise<void> {
    const refusal = refuseSession("57P01", "terminating connection: the proxy is shutting down", {
      hint: "Connect again: another instance, or this one once it is back, will serve you.",
      ends: "drain",
    });
    for (const connection of this.#open) connection.drain(refusal);
    if (await this.#emptied(drainTimeout)) return;
    for (const connection of this.#open) connection.end(refusal);
    if (await this.#emptied(LAST_WORDS_MS)) return;
    for (const connection of this.#open) connection.destroy();
    await this.#emptied();
  }

  /** True when all currently open connections are gone; other code refuses new ones. */
  #emptied(within?: number): Promise<boolean> {
    const left = new Set(this.#open);
    return new Promise((resolve) => {
      const settle = (isEmpty: boolean) => {
        clearTimeout(timer);
        this.#watchers.delete(onGone);
        resolve(isEmpty);
      };
      const onGone = (gone: Connection) => {
        left.delete(gone);
        if (left.size === 0) settle(true);
      };
      const timer = within === undefined ? undefined : setTimeout(() => settle(false), within);
      this.#watchers.add(onGone);
      if (left.size === 0) settle(true);
    });
  }

  entered(): void {
    this.#changes++;
  }

  gone(connection: Connection): void {
    this.#changes++;
    this.#open.delete(connection);
    for (const watcher of this.#watchers) watcher(connection);
  }
}
