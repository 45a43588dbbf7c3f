import { randomBytes, randomInt, timingSafeEqual } from "node:crypto";
import type { BackendKey } from "../wire/backend-messages.ts";
import { cancelKeyLength, cancelRequest, type Minor } from "../wire/startup.ts";
import { dial, type Upstream } from "../wire/upstream.ts";

/** What a client gets as its BackendKeyData, and what a CancelRequest with it does. To be revoked when its session ends. */
export interface IssuedKey extends BackendKey {
  readonly cancel: () => Promise<void>;
}

/**
 * A process number that we hand out has 31 bits: clients show it, and some keep it in a signed integer. Its
 * upper bits say which process of the fleet handed it out, so that a CancelRequest that a load balancer
 * brings elsewhere finds home. Two processes may by chance have one number: the secret tells them apart.
 */
const SESSION_BITS = 18;
const PROCESSES = 2 ** (31 - SESSION_BITS);

/** Which process of the fleet handed out a key. */
export function processOf(processId: number): number {
  return processId >>> SESSION_BITS;
}

/** A number for a process that starts, as good as unique in its fleet. */
export function randomProcess(): number {
  return randomInt(1, PROCESSES);
}

/**
 * The cancel keys of this process's sessions. A client gets a key of our own making: the server's would let
 * it cancel by itself past the proxy, and its process numbers could collide between several servers.
 */
export class CancelKeys {
  readonly process: number;
  readonly #entries = new Map<number, IssuedKey>();

  constructor(process: number = randomProcess()) {
    this.process = process;
  }

  /** `cancel` is what a CancelRequest with this key does. */
  issue(minor: Minor, cancel: () => Promise<void>): IssuedKey {
    const processId = this.#freeProcessId();
    const issued: IssuedKey = { processId, key: randomBytes(cancelKeyLength(minor)), cancel };
    this.#entries.set(processId, issued);
    return issued;
  }

  revoke(issued: IssuedKey): void {
    if (this.#entries.get(issued.processId) === issued) this.#entries.delete(issued.processId);
  }

  /** Resolves when the server has dealt with it; false when the key is none of ours. */
  async request({ processId, key }: BackendKey): Promise<boolean> {
    const entry = this.#entries.get(processId);
    if (entry === undefined || entry.key.length !== key.length) return false;
    if (!timingSafeEqual(entry.key, key)) return false;
    await entry.cancel();
    return true;
  }

  #freeProcessId(): number {
    for (;;) {
      const processId = this.process * 2 ** SESSION_BITS + randomInt(2 ** SESSION_BITS);
      if (!this.#entries.has(processId)) return processId;
    }
  }
}

/** For how long a server may take over a CancelRequest, from the first packet on. */
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
