import { setTimeout as sleep } from "node:timers/promises";
import type { CommandObserver } from "../fleet/redis-url.ts";
import type { Log } from "../log.ts";
import { personName } from "../policy/person-name.ts";
import { type Refusal, refuse, refuseSession } from "../wire/refusal.ts";
import { MeasureFile } from "./measure-file.ts";
import { MeasureRedis } from "./measure-redis.ts";
import { type Addition, type Measure, Measures, nextOrder } from "./measures.ts";

/** A suspended user. */
export interface Suspension {
  readonly user: string;
  readonly why: string;
  readonly by: string;
  /** Unix time in milliseconds. */
  readonly at: number;
}

/** Where an order has been stored so far; the other place gets it when it can be reached. */
export interface Reached {
  readonly file: boolean;
  readonly redis: boolean;
}

export interface SuspensionsOptions {
  /** Stores orders across restarts, and shares them between processes without Redis; none if absent. */
  readonly file?: string;
  readonly redis?: {
    readonly url: string;
    readonly key: Buffer;
    readonly commandTimeout: number;
    readonly ca?: string;
    readonly observe?: CommandObserver;
  };
  readonly log: Log;
  /** How long `insist` keeps asking a Redis that does not answer, in milliseconds. */
  readonly patience?: number;
  /** Called for each order that this process learns of, wherever it was given. */
  readonly onLearned?: (measure: Measure) => void;
  readonly now?: () => number;
}

/** The longest time that a lost message can hide a suspension, in milliseconds. */
const POLL_EVERY = 400;
/** How long a start waits for Redis' answer, in milliseconds. */
const FIRST_ANSWER = 1_000;
/** Milliseconds between two attempts of `insist`. */
const AGAIN_AFTER = 50;

/** Reads the known orders and keeps up with those given elsewhere. */
export async function openSuspensions(options: SuspensionsOptions): Promise<Suspensions> {
  const suspensions = new Suspensions(options);
  await suspensions.start();
  return suspensions;
}

/**
 * Who is suspended and whose budgets are tightened: stored here, in the file and in Redis. The three are synchronised,
 * so that a suspension survives a restart of any of them, and an operator can give it through any of them.
 */
export class Suspensions {
  readonly #known = new Measures();
  readonly #file: MeasureFile | undefined;
  readonly #redis: MeasureRedis | undefined;
  readonly #log: Log;
  readonly #patience: number;
  readonly #onLearned: ((measure: Measure) => void) | undefined;
  readonly #now: () => number;
  readonly #listeners = new Set<(suspension: Suspension) => void>();
  #polling: Promise<void> | undefined;
  #again = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #lastProblem = "";

  constructor({ file, redis, log, now, onLearned, patience = 0 }: SuspensionsOptions) {
    this.#patience = patience;
    this.#onLearned = onLearned;
    this.#log = log;
    this.#now = now ?? Date.now;
    this.#file = file === undefined ? undefined : new MeasureFile(file);
    this.#redis =
      redis &&
      new MeasureRedis({
        ...redis,
        onNews: () => void this.poll(),
        onProblem: (problem) => this.#note("suspensions cannot be read from Redis", problem),
      });
  }

  async start(): Promise<void> {
    const limit = performance.now() + FIRST_ANSWER;
    while (this.#redis !== undefined && !this.#redis.reachable && performance.now() < limit) await sleep(10);
    await this.poll();
    this.#schedule();
  }

  isSuspended(user: string): Suspension | undefined {
    const measure = this.#of("suspended", user);
    return measure?.inForce ? suspensionOf(measure) : undefined;
  }

  /** The tightening in force, if any. */
  tightened(user: string): Measure | undefined {
    const measure = this.#of("tightened", user);
    return measure?.inForce && (measure.until ?? 0) > this.#now() ? measure : undefined;
  }

  /** The user's current addition to their budgets, if any. */
  granted(user: string): Measure | undefined {
    const measure = this.#of("granted", user);
    return measure !== undefined && this.#isGrant(measure) ? measure : undefined;
  }

  grants(): readonly Measure[] {
    return this.#known.all().filter((measure) => this.#isGrant(measure));
  }

  #isGrant({ kind, inForce, until = 0 }: Measure): boolean {
    return kind === "granted" && inForce && until > this.#now();
  }

  /** False while Redis cannot be reached: there may be orders that this process does not know. */
  get knowsFleet(): boolean {
    return this.#redis === undefined || this.#redisKnows !== undefined;
  }

  /**
   * Asks a slow Redis until it answers or `patience` ends; returns whether it answered. Does not wait for a Redis that
   * refuses connections.
   */
  async insist(): Promise<boolean> {
    const limit = performance.now() + this.#patience;
    while (!this.knowsFleet && !this.#redis?.isRefused && performance.now() < limit) {
      await sleep(AGAIN_AFTER);
      await this.poll();
    }
    return this.knowsFleet;
  }

  list(): readonly Suspension[] {
    return this.#known.all().filter(isSuspension).map(suspensionOf);
  }

  /**
   * Calls back for each user who is suspended from now on, wherever that was ordered. Returns a function that stops it.
   */
  onSuspended(callback: (suspension: Suspension) => void): () => void {
    this.#listeners.add(callback);
    return () => this.#listeners.delete(callback);
  }

  /** In force here as soon as it returns its promise; resolves when it is stored. */
  suspend(user: string, why: string, by: string): Promise<Reached> {
    return this.#order({ user, kind: "suspended", inForce: true, why, by, at: this.#now() });
  }

  resume(user: string, why: string, by: string): Promise<Reached> {
    return this.#order({ user, kind: "suspended", inForce: false, why, by, at: this.#now() });
  }

  /** Reduces budgets until a time. */
  tighten(user: string, why: string, by: string, until: number): Promise<Reached> {
    return this.#order({ user, kind: "tightened", inForce: true, why, by, at: this.#now(), until });
  }

  relax(user: string, by: string): Promise<Reached> {
    return this.#order({ user, kind: "tightened", inForce: false, why: "", by, at: this.#now() });
  }

  /** Allows more people until a time, replacing an earlier grant. */
  grant(user: string, more: Addition, why: string, by: string, until: number): Promise<Reached> {
    return this.#order({ user, kind: "granted", inForce: true, why, by, at: this.#now(), until, more });
  }

  revoke(user: string, why: string, by: string): Promise<Reached> {
    return this.#order({ user, kind: "granted", inForce: false, why, by, at: this.#now() });
  }

  /** Synchronises with the file and Redis. Never rejects; runs one at a time. */
  async poll(): Promise<void> {
    if (this.#polling !== undefined) {
      this.#again = true;
      return this.#polling;
    }
    this.#polling = this.#exchange();
    await this.#polling;
    this.#polling = undefined;
    if (this.#again && !this.#closed) {
      this.#again = false;
      await this.poll();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#polling;
    this.#redis?.close();
  }

  /** A name that was given in another form, with an accent by itself say, is that of the same user. */
  #of(kind: Measure["kind"], user: string): Measure | undefined {
    const name = personName(user) ?? user;
    return this.#known.get(kind, user) ?? (name === user ? undefined : this.#known.get(kind, name));
  }

  async #order({ user: given, ...rest }: Omit<Measure, "order">): Promise<Reached> {
    const isKnown = this.#known.get(rest.kind, given) !== undefined;
    const order = { ...rest, user: isKnown ? given : (personName(given) ?? given) };
    // A measure from elsewhere that we have not read yet must not outrank this one.
    const measure = { ...order, order: nextOrder(this.#known.get(order.kind, order.user), order.inForce) };
    this.#learn(measure);
    await this.poll();
    if (this.#known.get(order.kind, order.user)?.inForce !== order.inForce) return this.#order(order);
    await this.poll();
    // The file has the order already: processes that read it do not wait for Redis.
    await this.insist();
    if (this.#known.get(order.kind, order.user)?.inForce !== order.inForce) return this.#order(order);
    return {
      file:
        this.#file !== undefined && this.#file.known.get(order.kind, order.user)?.inForce === order.inForce,
      redis: this.#redisKnows?.get(order.kind, order.user)?.inForce === order.inForce,
    };
  }

  #redisKnows: Measures | undefined;

  async #exchange(): Promise<void> {
    await this.#readFile();
    await this.#exchangeWithRedis();
    await this.#writeFile();
  }

  async #readFile(): Promise<void> {
    try {
      const strange = (await this.#file?.refresh()) ?? 0;
      if (strange > 0)
        this.#log.error({ lines: strange }, "the file of suspensions holds lines that are none");
    } catch (error) {
      this.#note("the file of suspensions cannot be read", codeOf(error));
    }
    for (const measure of this.#file?.known.newerThan(this.#known) ?? []) this.#learn(measure);
  }

  async #writeFile(): Promise<void> {
    if (this.#file === undefined) return;
    try {
      await this.#file.append([...this.#known.newerThan(this.#file.known)]);
    } catch (error) {
      this.#note("the file of suspensions cannot be written", codeOf(error));
    }
  }

  async #exchangeWithRedis(): Promise<void> {
    if (this.#redis === undefined || !this.#redis.reachable) {
      this.#redisKnows = undefined;
      return;
    }
    try {
      const there = await this.#redis.read();
      for (const measure of there.newerThan(this.#known)) this.#learn(measure);
      // Includes what a Redis that lost its data no longer has.
      for (const measure of this.#known.newerThan(there)) {
        await this.#redis.put(measure);
        there.learn(measure);
      }
      this.#redisKnows = there;
      this.#lastProblem = "";
    } catch (error) {
      this.#redisKnows = undefined;
      this.#note("suspensions cannot be read from Redis", error instanceof Error ? error.message : "unknown");
    }
  }

  #learn(measure: Measure): void {
    const before = this.#known.get(measure.kind, measure.user);
    if (!this.#known.learn(measure)) return;
    this.#onLearned?.(measure);
    if (!isSuspension(measure) || before?.inForce) return;
    this.#log.warn({ user: measure.user, by: measure.by, why: measure.why }, "user suspended");
    for (const listener of this.#listeners) listener(suspensionOf(measure));
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => void this.poll().then(() => this.#schedule()), POLL_EVERY);
    this.#timer.unref();
  }

  #note(what: string, problem: string): void {
    if (this.#closed || this.#lastProblem === what) return;
    this.#lastProblem = what;
    this.#log.warn({ problem }, what);
  }
}

function isSuspension({ kind, inForce }: Measure): boolean {
  return kind === "suspended" && inForce;
}

function suspensionOf({ user, why, by, at }: Measure): Suspension {
  return { user, why, by, at };
}

function codeOf(error: unknown): string {
  return (error as NodeJS.ErrnoException).code ?? "unknown error";
}

/** The refusal for a suspended user who logs in. The reason may not be meant for the user, so it is not included. */
export function refuseLogin(suspension: Suspension): Refusal {
  return refuseSession("28000", `user "${suspension.user}" is suspended`, {
    detail: `Since ${new Date(suspension.at).toISOString()}.`,
    hint: 'Ask the operator of this proxy; "sluice resume" lets the user log in again.',
  });
}

/** The refusal for a suspended person behind an application: the application's session continues for others. */
export function refuseStatement({ user, at }: Suspension): Refusal {
  return refuse("42501", `"${user}" is suspended`, {
    detail: `Since ${new Date(at).toISOString()}.`,
    hint: 'Ask the operator of this proxy; "sluice resume" lifts it.',
    rule: "suspended",
  });
}

/** The error that ends a suspended user's open sessions. */
export function endSession(suspension: Suspension): Refusal {
  return refuseSession("57P01", `terminating connection: user "${suspension.user}" is suspended`, {
    hint: "Ask the operator of this proxy.",
    ends: "suspended",
  });
}
