import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../../log.ts";
import type { Alert } from "./watch.ts";

export interface WebhookOptions {
  readonly url: string;
  /** Signs each message, so that the receiver can tell it from one that somebody else sent. */
  readonly key: Buffer;
  readonly log: Log;
  /** Milliseconds before the first, second … new attempt; after the last one an alert is given up. */
  readonly retryAfter?: readonly number[];
  readonly timeoutMs?: number;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
}

const RETRY_AFTER = [1_000, 5_000, 30_000, 120_000, 600_000] as const;
const TIMEOUT = 5_000;
/** A receiver that is away for long loses the oldest alerts: they stand in log and audit. */
const LONGEST_QUEUE = 1_000;

/**
 * Posts alerts as JSON, one at a time and in their order. Whoever sends one waits for nothing. The header
 * `x-sluice-signature: t=TIME,v1=HEX` holds the HMAC-SHA-256 of "TIME.BODY": a receiver checks it, refuses old
 * times, and knows an alert that came twice by its id.
 */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #queue: string[] = [];
  readonly #closed = new AbortController();
  #sending: Promise<void> | undefined;

  constructor(options: WebhookOptions) {
    this.#options = options;
  }

  send(alert: Alert): void {
    if (this.#closed.signal.aborted) return;
    if (this.#queue.length >= LONGEST_QUEUE) {
      this.#queue.shift();
      this.#options.log.error("the receiver of alerts is too slow: the oldest one was dropped");
    }
    this.#queue.push(JSON.stringify({ kind: "alert", ...alert }));
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  /** Does not wait for a receiver that is away. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#sending;
  }

  async #sendAll(): Promise<void> {
    for (let body = this.#queue.shift(); body !== undefined; body = this.#queue.shift()) {
      await this.#deliver(body);
    }
  }

  async #deliver(body: string): Promise<void> {
    const { log, retryAfter = RETRY_AFTER } = this.#options;
    for (const [attempt, wait] of [0, ...retryAfter].entries()) {
      await sleep(wait, undefined, { signal: this.#closed.signal, ref: false }).catch(() => {});
      if (this.#closed.signal.aborted) return;
      const problem = await this.#post(body);
      if (problem === undefined) return;
      const last = attempt === retryAfter.length;
      log[last ? "error" : "warn"](
        { problem, attempt: attempt + 1 },
        last ? "an alert was given up" : "an alert did not arrive",
      );
    }
  }

  /** What went wrong; undefined when the receiver took it. */
  async #post(body: string): Promise<string | undefined> {
    const { url, key, timeoutMs = TIMEOUT, now = Date.now } = this.#options;
    try {
      const response = await fetch(url, {
        method: "POST",
        body,
        headers: { "content-type": "application/json", "x-sluice-signature": signatureOf(body, key, now()) },
        // Who answers with another address could have the alert sent anywhere.
        redirect: "error",
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closed.signal]),
      });
      await response.body?.cancel();
      return response.ok ? undefined : `status ${response.status}`;
    } catch (error) {
      // The address may hold a secret: only the kind of error is told.
      const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
      return cause?.code ?? (error instanceof Error ? error.name : "unknown error");
    }
  }
}

/** The value of `x-sluice-signature`. */
export function signatureOf(body: string, key: Buffer, time: number): string {
  const seconds = Math.floor(time / 1000);
  const digest = createHmac("sha256", key).update(`${seconds}.${body}`).digest("hex");
  return `t=${seconds},v1=${digest}`;
}
