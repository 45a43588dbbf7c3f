import { randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import type { BackendKey } from "../wire/backend-messages.ts";
import { cancelKeyLength, cancelRequest, type Minor } from "../wire/startup.ts";
import { dial, type Upstream } from "../wire/upstream.ts";

/** What a client gets as its BackendKeyData. Revoked when its session ends. */
export interface IssuedKey extends BackendKey {
  revoke(): void;
}

interface Entry {
  readonly key: Buffer;
  readonly cancel: () => Promise<void>;
}

/**
 * The cancel keys of all sessions. A client gets a key of our own making: the server's would let it cancel
 * by itself past the proxy, and its process numbers could collide between several servers.
 */
export class CancelKeys {
  readonly #entries = new Map<number, Entry>();

  /** `cancel` is what a CancelRequest with this key does. */
  issue(minor: Minor, cancel: () => Promise<void>): IssuedKey {
    const processId = this.#freeProcessId();
    const entry: Entry = { key: randomBytes(cancelKeyLength(minor)), cancel };
    this.#entries.set(processId, entry);
    return {
      processId,
      key: entry.key,
      revoke: () => {
        if (this.#entries.get(processId) === entry) this.#entries.delete(processId);
      },
    };
  }

  /**
   * Resolves when the server has dealt with it. An unknown key does nothing and says nothing, as in Postgres:
   * a stranger costs us no connection upstream and learns nothing.
   */
  async request(processId: number, key: Buffer): Promise<void> {
    const entry = this.#entries.get(processId);
    if (entry === undefined || entry.key.length !== key.length) return;
    if (timingSafeEqual(entry.key, key)) await entry.cancel();
  }

  /** Positive and of 31 bits: clients show it as a process number, some keep it in a signed integer. */
  #freeProcessId(): number {
    for (;;) {
      const processId = randomInt(1, 2 ** 31);
      if (!this.#entries.has(processId)) return processId;
    }
  }
}

/** For how long a server may take over a CancelRequest. */
const CANCEL_MS = 10_000;

/**
 * Sends a CancelRequest and waits until the server has closed the connection: from then on the signal has
 * been sent, and what the session does next cannot be hit by it (libpq's PQcancel waits for the same).
 */
export async function sendCancel(upstream: Upstream, { processId, key }: BackendKey): Promise<void> {
  const socket = await dial(upstream);
  await new Promise<void>((resolve, reject) => {
    socket.setTimeout(CANCEL_MS, () =>
      socket.destroy(new Error("the server did not answer a CancelRequest")),
    );
    let failure: Error | undefined;
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // Some servers reset the connection in place of closing it; the request has been read by then.
      if (error.code !== "ECONNRESET") failure = error;
    });
    socket.once("close", () => (failure ? reject(failure) : resolve()));
    socket.resume();
    socket.end(cancelRequest(processId, key));
  });
}
