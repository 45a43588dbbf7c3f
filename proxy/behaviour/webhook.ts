import { createHmac } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../log.ts";
import type { Alert } from "./alert.ts";
import { type AlertFormat, messageOf } from "./alert-formats.ts";

export interface WebhookOptions {
  readonly url: string;
  /** Signs each message, so that the receiver can tell it from a forged one. Messages are not signed if absent. */
  readonly key?: Buffer;
  /** "json" if left out. */
  readonly format?: AlertFormat;
  /** The service's key in PagerDuty. */
  readonly routingKey?: string;
  readonly log: Log;
  /** Told what came of each attempt; "lost": the alert is not tried again. */
  readonly onDelivery?: (outcome: "taken" | "failed" | "lost") => void;
  /** Milliseconds before the second, third … attempt; after the last one the alert is dropped. */
  readonly retryAfter?: readonly number[];
  readonly timeoutMs?: number;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
}

/** A quarter of an hour; a receiver that comes back gets waiting alerts within a minute. */
const RETRY_AFTER: readonly number[] = [1_000, 5_000, 30_000, ...Array<number>(14).fill(60_000)];
const TIMEOUT = 5_000;
/** How long the end of the process waits for alerts being sent, in milliseconds. */
const LAST_CALL = 500;
/** A receiver that is unreachable for long misses the oldest alerts: they are still in the log and the audit log. */
const LONGEST_QUEUE = 1_000;

interface Delivery {
  readonly body: string;
  attempts: number;
  /** The earliest time of the next attempt, by the monotonic clock. */
  due: number;
}

/** The result of an attempt: accepted; the receiver is unavailable, also for other alerts; or it rejects this one. */
type Outcome = { readonly is: "taken" } | { readonly is: "away" | "minded"; readonly problem: string };

/**
 * Posts alerts as JSON, one at a time and in order, as long as the receiver accepts them. Senders do not wait. An alert
 * that the receiver rejects (a filter in front of it may object to a user's name) lets the others go first, so that no
 * user can hold up the alerts about them. The header `x-sluice-signature: t=TIME,v1=HEX` holds the HMAC-SHA-256 of
 * "TIME.BODY": a receiver checks it, refuses old times, and recognises a repeated alert by its id.
 */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #queue: Delivery[] = [];
  readonly #closed = new AbortController();
  #sending: Promise<void> | undefined;
  /** The receiver is considered unavailable until then. */
  #awayUntil = 0;
  #wake = () => {};

  constructor(options: WebhookOptions) {
    this.#options = options;
  }

  send(alert: Alert): void {
    if (this.#closed.signal.aborted) return;
    if (this.#queue.length >= LONGEST_QUEUE) {
      this.#queue.shift();
      this.#options.log.error("the receiver of alerts is too slow: the oldest one was dropped");
      this.#options.onDelivery?.("lost");
    }
    const { format = "json", routingKey = "" } = this.#options;
    this.#queue.push({ body: messageOf(alert, format, routingKey), attempts: 0, due: 0 });
    this.#wake();
    this.#start();
  }

  /** Waits a moment for an alert being sent, but not for an unavailable receiver. */
  async close(): Promise<void> {
    await Promise.race([this.#sending, sleep(LAST_CALL)]);
    this.#closed.abort();
    await this.#sending;
    const left = this.#queue.splice(0).length;
    if (left > 0)
      this.#options.log.error(
        { alerts: left },
        "alerts that did not arrive before the end: the log has them",
      );
  }

  #start(): void {
    if (this.#queue.length === 0 || this.#closed.signal.aborted) return;
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
      this.#start();
    });
  }

  async #sendAll(): Promise<void> {
    while (this.#queue.length > 0 && !this.#closed.signal.aborted) {
      const now = performance.now();
      const next = now < this.#awayUntil ? undefined : this.#queue.find(({ due }) => due <= now);
      if (next === undefined) await this.#rest();
      else this.#note(next, await this.#post(next.body));
    }
  }

  #note(waiting: Delivery, outcome: Outcome): void {
    if (this.#closed.signal.aborted) return;
    if (outcome.is === "taken") {
      this.#remove(waiting);
      this.#options.onDelivery?.("taken");
      return;
    }
    const { log, onDelivery, retryAfter = RETRY_AFTER } = this.#options;
    onDelivery?.("failed");
    const wait = retryAfter[waiting.attempts];
    waiting.attempts += 1;
    const told = { problem: outcome.problem, attempt: waiting.attempts };
    if (wait === undefined) {
      log.error(told, "an alert was given up");
      onDelivery?.("lost");
      this.#remove(waiting);
      return;
    }
    if (waiting.attempts === 1) log.warn(told, "an alert did not arrive");
    waiting.due = performance.now() + wait;
    if (outcome.is === "away") this.#awayUntil = waiting.due;
  }

  /** It may have been dropped in the meantime. */
  #remove(waiting: Delivery): void {
    const place = this.#queue.indexOf(waiting);
    if (place >= 0) this.#queue.splice(place, 1);
  }

  /** Waits until an attempt is due or an alert is added. */
  async #rest(): Promise<void> {
    const due = Math.max(this.#awayUntil, Math.min(...this.#queue.map((waiting) => waiting.due)));
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const signal = AbortSignal.any([woken.signal, this.#closed.signal]);
    // A timer may fire slightly early.
    const wait = Math.max(1, Math.ceil(due - performance.now()));
    await sleep(wait, undefined, { signal, ref: false }).catch(() => {});
  }

  async #post(body: string): Promise<Outcome> {
    const { url, key, timeoutMs = TIMEOUT, now = Date.now } = this.#options;
    try {
      const response = await fetch(url, {
        method: "POST",
        body,
        headers: {
          "content-type": "application/json",
          ...(key !== undefined && { "x-sluice-signature": signatureOf(body, key, now()) }),
        },
        // A redirect could have the alert sent anywhere.
        redirect: "error",
        signal: AbortSignal.any([AbortSignal.timeout(timeoutMs), this.#closed.signal]),
      });
      await response.body?.cancel();
      if (response.ok) return { is: "taken" };
      return { is: minds(response.status) ? "minded" : "away", problem: `status ${response.status}` };
    } catch (error) {
      // The address may contain a secret, so only the kind of error is logged.
      const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
      const problem = cause?.code ?? (error instanceof Error ? error.name : "unknown error");
      return { is: "away", problem };
    }
  }
}

/** Three of the statuses that blame the request are temporary (RFC 9110, RFC 8470, RFC 6585). */
function minds(status: number): boolean {
  return status >= 400 && status < 500 && ![408, 425, 429].includes(status);
}

/** The value of `x-sluice-signature`. */
export function signatureOf(body: string, key: Buffer, time: number): string {
  const seconds = Math.floor(time / 1000);
  const digest = createHmac("sha256", key).update(`${seconds}.${body}`).digest("hex");
  return `t=${seconds},v1=${digest}`;
}
