import cluster, { type Worker } from "node:cluster";
import { setTimeout as sleep } from "node:timers/promises";
import type { Log } from "../log.ts";
import type { Numbers } from "../metrics/metrics.ts";
import type { PolicyText } from "../policy/compile.ts";
import { SeatCount, SharedSeats } from "../session/accept/connection-limits.ts";
import type { Address, Addresses, Settings } from "../settings/settings.ts";
import { Backoff } from "./backoff.ts";
import { Handovers } from "./handovers.ts";
import { type Channel, Link, type Questions, type Report, type Whole } from "./link.ts";
import { expositionOf, legacyOf, ownNumbers, sumUp } from "./summary.ts";

/** Tells a worker that it is one, and which. */
export const WORKER_NUMBER = "SLUICE_WORKER_NUMBER";

/** A worker that does not answer in time is represented by its last report. In milliseconds. */
const REPORT_MS = 2_000;
/** How old that last report can be when the worker dies, in milliseconds. */
const REPORT_EVERY_MS = 5_000;
const CANCEL_MS = 15_000;
const ADMIN_AGAIN_MS = 1_000;
/** Milliseconds that a worker may need beyond its own time limits. */
const END_GRACE_MS = 15_000;

/** The slot of a worker, and the process in it now. */
interface WorkerSlot {
  readonly number: number;
  readonly backoff: Backoff;
  worker: Worker | undefined;
  link: Link | undefined;
  seats: SharedSeats | undefined;
  startedAt: number;
  /** Undefined until it accepts clients. */
  serving: Questions["serving"]["ask"] | undefined;
  last: Report | undefined;
}

export type PrimarySettings = Pick<
  Settings,
  "admin" | "workers" | "maxClients" | "maxClientsPerUser" | "drainDelay" | "drainTimeout"
>;

export interface PrimaryProcess {
  /** Fulfilled when all workers accept clients; with a status if one could not start. */
  readonly started: Promise<
    { readonly addresses: Addresses; readonly admin: Address } | { readonly status: number }
  >;
  reload(): void;
  /** Lets the workers drain; resolves when all have ended. */
  end(): Promise<void>;
}

/**
 * Starts worker processes and restarts them if they end. Accepts the connections (node:cluster's round-robin policy, so
 * that each worker gets equally many) and holds the shared state: connection limits, metrics, readiness.
 */
export function startWorkers(settings: PrimarySettings, log: Log): PrimaryProcess {
  return new First(settings, log);
}

class First implements PrimaryProcess {
  readonly started: PrimaryProcess["started"];
  readonly #settings: PrimarySettings;
  readonly #log: Log;
  readonly #places: readonly WorkerSlot[];
  readonly #seats: SeatCount;
  readonly #own = ownNumbers();
  readonly #handovers = new Handovers();
  readonly #timer: NodeJS.Timeout;
  /** The address of --admin, and the worker that serves it. */
  #admin: Address;
  #adminPlace: WorkerSlot | undefined;
  /** The counts of workers that have ended. */
  #legacy: readonly Numbers[] = [];
  /** The policy in force: a restarted worker uses it if the policy on disk is invalid. */
  #policy: readonly PolicyText[] | null = null;
  #ending = false;
  #settleStart: (
    outcome: { readonly addresses: Addresses; readonly admin: Address } | { readonly status: number },
  ) => void = () => {};
  #isStarting = true;

  constructor(settings: PrimarySettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.#seats = new SeatCount(settings);
    this.#admin = settings.admin;
    this.started = new Promise((resolve) => {
      this.#settleStart = resolve;
    });
    cluster.schedulingPolicy = cluster.SCHED_RR;
    this.#places = Array.from({ length: settings.workers }, (_, i) => ({
      number: i + 1,
      backoff: new Backoff(),
      worker: undefined,
      link: undefined,
      seats: undefined,
      startedAt: 0,
      serving: undefined,
      last: undefined,
    }));
    this.#fillNext();
    this.#timer = setInterval(() => void this.#reports(), REPORT_EVERY_MS);
    this.#timer.unref();
  }

  reload(): void {
    void this.#reloadAll();
  }

  /** A worker that does not answer in time still reads its files, later. */
  async #reloadAll(): Promise<null> {
    await Promise.all(
      this.#places.map(async ({ link }) => link?.ask("reload", null, REPORT_MS).catch(() => null)),
    );
    return null;
  }

  async end(): Promise<void> {
    this.#ending = true;
    clearInterval(this.#timer);
    const { drainDelay, drainTimeout } = this.#settings;
    await Promise.all(
      this.#places.map(async ({ worker, link }) => {
        if (worker === undefined || worker.isDead()) return;
        const gone = new Promise<void>((resolve) => worker.once("exit", () => resolve()));
        link?.ask("end", null, REPORT_MS).catch(() => {});
        const limit = new AbortController();
        const late = sleep(drainDelay + drainTimeout + END_GRACE_MS, true, { signal: limit.signal });
        if (await Promise.race([gone.then(() => false), late.catch(() => false)])) {
          this.#log.error({ worker: worker.process.pid }, "a worker does not end and is killed");
          worker.process.kill("SIGKILL");
        }
        await gone;
        limit.abort();
      }),
    );
  }

  /** Starts the first worker alone: an error that keeps it from starting is then reported only once. */
  #fillNext(): void {
    const [first, ...others] = this.#places;
    if (first === undefined) return;
    if (first.worker === undefined) this.#fill(first);
    else for (const place of others) this.#fill(place);
  }

  #fill(place: WorkerSlot): void {
    const worker = cluster.fork({ [WORKER_NUMBER]: String(place.number) });
    this.#handovers.watch(worker);
    const seats = new SharedSeats(this.#seats);
    Object.assign(place, { worker, seats, startedAt: Date.now(), serving: undefined, last: undefined });
    // A message to a worker that has just ended cannot be sent: its exit event follows.
    worker.on("error", () => {});
    place.link = new Link(worker as Channel, {
      enter: async () => (await seats.enter()) ?? null,
      settle: async (user) => (await seats.settle(user)) ?? null,
      leave: async (user) => {
        seats.leave(user ?? undefined);
        return null;
      },
      whole: () => this.#whole(),
      reload: () => this.#reloadAll(),
      cancel: (request) => this.#forward(request, place),
      policy: async (texts) => {
        this.#policy = texts;
        return null;
      },
      inForce: async () => this.#policy,
      serving: async (serving) => {
        place.serving = serving;
        this.#log.info({ worker: place.number, pid: worker.process.pid }, "a worker serves");
        await this.#giveAdmin();
        this.#countServing();
        return null;
      },
    });
    worker.once("exit", (code, signal) => this.#gone(place, code ?? 1, signal));
  }

  #gone(place: WorkerSlot, status: number, signal: string | null): void {
    place.link?.close();
    place.seats?.leaveAll();
    const pid = place.worker?.process.pid;
    place.worker = undefined;
    place.link = undefined;
    place.serving = undefined;
    void this.#inherit(place);
    this.#countServing();
    if (this.#ending) return;
    if (this.#adminPlace === place) {
      this.#adminPlace = undefined;
      void this.#giveAdmin();
    }
    if (this.#isStarting) {
      this.#failStart(status || 1);
      return;
    }
    const wait = place.backoff.next(Date.now() - place.startedAt);
    this.#own.restarted();
    this.#log.error({ worker: pid, status, signal, waitMs: wait }, "a worker ended and is started again");
    setTimeout(() => {
      if (!this.#ending) this.#fill(place);
    }, wait);
  }

  async #inherit(place: WorkerSlot): Promise<void> {
    const { last } = place;
    place.last = undefined;
    if (last === undefined) return;
    this.#legacy = await sumUp([this.#legacy, legacyOf(last.numbers)]);
  }

  #countServing(): void {
    const serving = this.#places.flatMap((place) => place.serving ?? []);
    this.#own.workers(serving.length);
    const [first] = this.#places;
    if (!this.#isStarting || first?.serving === undefined) return;
    if (this.#places.some(({ worker }) => worker === undefined)) {
      this.#fillNext();
    } else if (serving.length === this.#places.length) {
      this.#isStarting = false;
      this.#settleStart({ addresses: first.serving.addresses, admin: this.#admin });
    }
  }

  /** Lets one worker serve --admin, and another one if that ends. */
  async #giveAdmin(): Promise<void> {
    const place = this.#places.find(({ serving }) => serving !== undefined);
    if (this.#adminPlace !== undefined || place?.link === undefined) return;
    this.#adminPlace = place;
    try {
      this.#admin = await place.link.ask("admin", this.#admin, REPORT_MS);
    } catch {
      // It has logged the reason, or has just ended.
      if (this.#adminPlace === place) this.#adminPlace = undefined;
      if (this.#isStarting) return this.#failStart(1);
      setTimeout(() => void this.#giveAdmin(), ADMIN_AGAIN_MS).unref();
    }
  }

  /** A mistake in the settings is the same for all workers: trying again would only repeat it. */
  #failStart(status: number): void {
    this.#isStarting = false;
    this.#settleStart({ status });
  }

  async #forward(request: Questions["cancel"]["ask"], from: WorkerSlot): Promise<boolean> {
    for (const place of this.#places) {
      if (place === from || place.serving === undefined) continue;
      if (await place.link?.ask("cancel", request, CANCEL_MS).catch(() => false)) return true;
    }
    return false;
  }

  /** Asks all workers; the last report of one that does not answer is kept. */
  async #reports(): Promise<void> {
    await Promise.all(
      this.#places.map(async (place) => {
        if (place.serving === undefined) return;
        const report = await place.link?.ask("report", null, REPORT_MS).catch(() => undefined);
        if (report !== undefined && place.serving !== undefined) place.last = report;
      }),
    );
  }

  /** Workers that are being restarted are not counted: the others serve the clients in the meantime. */
  async #whole(): Promise<Whole> {
    await this.#reports();
    const reports = this.#places.flatMap(({ last }) => last ?? []);
    const reasons = [...new Set(reports.flatMap((report) => report.reasons))];
    if (reports.length === 0) reasons.push("no worker serves");
    const exposition = await expositionOf([
      await this.#own.numbers(),
      this.#legacy,
      ...reports.map(({ numbers }) => numbers),
    ]);
    return { ready: reasons.length === 0, reasons, ...exposition };
  }
}
