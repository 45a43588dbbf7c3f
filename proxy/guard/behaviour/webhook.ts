import { createHmac } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../../log.ts";
import type { Alert } from "./watch.ts";

export interface WebhookOptions {
  readonly url: string;
  /** Signs each message, so that the receiver can tell it from one that somebody else sent. */
  readonly key: Buffer;
  readonly log: Log;
  /** Milliseconds before the second, third … attempt; after the last one an alert is given up. */
  readonly retryAfter?: readonly number[];
  readonly timeoutMs?: number;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
}

/** A quarter of an hour; a receiver that comes back has waiting alerts within a minute. */
const RETRY_AFTER: readonly number[] = [1_000, 5_000, 30_000, ...Array<number>(14).fill(60_000)];
const TIMEOUT = 5_000;
/** For how long the end of the process waits for alerts on their way. */
const LAST_CALL = 500;
/** A receiver that is away for long loses the oldest alerts: they stand in log and audit. */
const LONGEST_QUEUE = 1_000;

interface Waiting {
  readonly body: string;
  attempts: number;
  /** Not tried before, by the monotonic clock. */
  due: number;
}

/** What became of an attempt: it was taken; the receiver is away, and no other will do better; it minds this one. */
type Outcome = { readonly is: "taken" } | { readonly is: "away" | "minded"; readonly problem: string };

/**
 * Posts alerts as JSON, one at a time and in their order, as long as the receiver takes them. Whoever sends one waits
 * for nothing. One that the receiver minds (a filter in front of it that does not like a user's name) lets the others
 * go first, so that nobody can hold up what is told of them. The header `x-sluice-signature: t=TIME,v1=HEX` holds
 * the HMAC-SHA-256 of "TIME.BODY": a receiver checks it, refuses old times, and knows an alert that came twice by its id.
 */
export class Webhook {
  readonly #options: WebhookOptions;
  readonly #queue: Waiting[] = [];
  readonly #closed = new AbortController();
  #sending: Promise<void> | undefined;
  /** Until then the receiver is taken to be away. */
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
    }
    this.#queue.push({ body: JSON.stringify({ kind: "alert", ...alert }), attempts: 0, due: 0 });
    this.#wake();
    this.#start();
  }

  /** Waits a moment for what is on its way, and not for a receiver that is away. */
  async close(): Promise<void> {
    await Promise.race([this.#sending, sleep(LAST_CALL)]);
    this.#closed.abort();
    await this.#sending;
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

  #note(waiting: Waiting, outcome: Outcome): void {
    if (this.#closed.signal.aborted) return;
    if (outcome.is === "taken") {
      this.#remove(waiting);
      return;
    }
    const { log, retryAfter = RETRY_AFTER } = this.#options;
    const wait = retryAfter[waiting.attempts];
    waiting.attempts += 1;
    const told = { problem: outcome.problem, attempt: waiting.attempts };
    if (wait === undefined) {
      log.error(told, "an alert was given up");
      this.#remove(waiting);
      return;
    }
    if (waiting.attempts === 1) log.warn(told, "an alert did not arrive");
    waiting.due = performance.now() + wait;
    if (outcome.is === "away") this.#awayUntil = waiting.due;
  }

  /** It may have been dropped meanwhile. */
  #remove(waiting: Waiting): void {
    const place = this.#queue.indexOf(waiting);
    if (place >= 0) this.#queue.splice(place, 1);
  }

  /** Until something may be tried, or there is more. */
  async #rest(): Promise<void> {
    const due = Math.max(this.#awayUntil, Math.min(...this.#queue.map((waiting) => waiting.due)));
    const woken = new AbortController();
    this.#wake = () => woken.abort();
    const signal = AbortSignal.any([woken.signal, this.#closed.signal]);
    // A timer may end a little early.
    const wait = Math.max(1, Math.ceil(due - performance.now()));
    await sleep(wait, undefined, { signal, ref: false }).catch(() => {});
  }

  async #post(body: string): Promise<Outcome> {
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
      if (response.ok) return { is: "taken" };
      return { is: minds(response.status) ? "minded" : "away", problem: `status ${response.status}` };
    } catch (error) {
      // The address may hold a secret: only the kind of error is told.
      const cause = error instanceof Error ? (error.cause as NodeJS.ErrnoException | undefined) : undefined;
      const problem = cause?.code ?? (error instanceof Error ? error.name : "unknown error");
      return { is: "away", problem };
    }
  }
}

/** Of the answers that blame the request three speak of the moment (RFC 9110, RFC 8470, RFC 6585). */
function minds(status: number): boolean {
  return status >= 400 && status < 500 && ![408, 425, 429].includes(status);
}

/** The value of `x-sluice-signature`. */
export function signatureOf(body: string, key: Buffer, time: number): string {
  const seconds = Math.floor(time / 1000);
  const digest = createHmac("sha256", key).update(`${seconds}.${body}`).digest("hex");
  return `t=${seconds},v1=${digest}`;
}
