import { randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import type { BackendKey } from "../../wire/backend-messages.ts";
import { cancelKeyLength, cancelRequest, type Minor } from "../../wire/startup.ts";
import { dial, type Upstream } from "../../wire/upstream.ts";

/** What a client gets as its BackendKeyData, and what a CancelRequest with it does. To be revoked when its session ends. */
export interface IssuedKey extends BackendKey {
  readonly cancel: () => Promise<void>;
}

/** Clients show a process number, and some keep it in a signed integer. */
const NUMBERS = 2 ** 31 - 1;

/**
 * The cancel keys of this process's sessions. The secret is made here: with the server's own secret, a client could
 * send a CancelRequest past the proxy. The process number is that of the session's server process, if it has one to
 * itself, because clients compare it with pg_backend_pid() and with the sender of a notification. Two servers may use
 * the same number; the secret then tells their sessions apart.
 */
export class CancelKeys {
  readonly #entries = new Map<number, readonly IssuedKey[]>();

  /** `cancel` is what a CancelRequest with this key does; `serverProcess` is undefined where the server told none. */
  issue(minor: Minor, cancel: () => Promise<void>, serverProcess?: number): IssuedKey {
    const processId = serverProcess ?? randomInt(1, NUMBERS);
    const issued: IssuedKey = { processId, key: randomBytes(cancelKeyLength(minor)), cancel };
    this.#entries.set(processId, [...(this.#entries.get(processId) ?? []), issued]);
    return issued;
  }

  revoke(issued: IssuedKey): void {
    const left = (this.#entries.get(issued.processId) ?? []).filter((each) => each !== issued);
    if (left.length > 0) this.#entries.set(issued.processId, left);
    else this.#entries.delete(issued.processId);
  }

  /** Resolves when the server has dealt with it; false when the key is none of ours. */
  async request({ processId, key }: BackendKey): Promise<boolean> {
    const entries = this.#entries.get(processId) ?? [];
    const entry = entries.find((each) => each.key.length === key.length && timingSafeEqual(each.key, key));
    if (entry === undefined) return false;
    await entry.cancel();
    return true;
  }
}

/** The longest time that a server may take to handle a CancelRequest, from connecting to closing. */
const CANCEL_MS = 5_000;

/**
 * Sends a CancelRequest and waits until the server has closed the connection: from then on the signal has
 * been sent, and what the session does next cannot be hit by it (libpq's PQcancel waits for the same).
 */
export async function sendCancel(upstream: Upstream, { processId, key }: BackendKey): Promise<void> {
  const start = performance.now();
  const connectTimeout = Math.min(upstream.connectTimeout, CANCEL_MS);
  const socket = await dial({ ...upstream, connectTimeout });
  await new Promise<void>((resolve, reject) => {
    const limit = setTimeout(
      () => socket.destroy(new Error("the server did not answer a CancelRequest")),
      CANCEL_MS - (performance.now() - start),
    );
    let failure: Error | undefined;
    socket.once("error", (error: NodeJS.ErrnoException) => {
      // Some servers reset the connection in place of closing it; the request has been read by then.
      if (error.code !== "ECONNRESET") failure = error;
    });
    socket.once("close", () => {
      clearTimeout(limit);
      if (failure) reject(failure);
      else resolve();
    });
    socket.resume();
    socket.end(cancelRequest(processId, key));
  });
}
