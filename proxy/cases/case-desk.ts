import type { Log } from "../log.ts";
import { LineFile } from "../orders/line-file.ts";
import { type AlertChange, type Change, type MadeChange, type Outcome, parseChange } from "./case-changes.ts";
import { CaseRedis, type CaseRedisOptions } from "./case-redis.ts";
import {
  type Case,
  casesOf,
  type Held,
  keptCases,
  keptChanges,
  MOST_ALERTS,
  MOST_CASES,
  MOST_CHANGES,
  withAlert,
} from "./cases.ts";

export interface CaseDeskOptions {
  /** Keeps the changes across restarts, and shares them between the processes of a machine. */
  readonly file: string;
  /** Shares them with the fleet. */
  readonly redis?: CaseRedisOptions;
  /** The stretches of time that a legal hold keeps, as of now. Rejects: nothing is left out. */
  readonly held: () => Promise<readonly Held[]>;
  readonly log: Log;
  readonly newId: () => string;
  readonly now: () => number;
  /** Told of each change that was made here: of an alert only when it opened a case. */
  readonly onChange: (change: Change, of: Case) => void;
}

/** What an operator says of a case. */
export type Said =
  | { readonly kind: "owner" | "answer" | "comment"; readonly text: string }
  | { readonly kind: "closed"; readonly text: string; readonly outcome: Outcome };

export type Changed =
  | { readonly ok: true; readonly kept: boolean }
  | { readonly ok: false; readonly problem: string };

/** What could not be stored is tried again after so many milliseconds. */
const POLL_EVERY = 5_000;
/** What is kept no longer leaves the file once a day (milliseconds). */
const TIDY_EVERY = 86_400_000;
/** Redis keeps some more: what is written there displaces nothing newer. */
const MOST_SHARED = 15_000;

/** The cases, as known here, in the file and in Redis; all three come to know the same changes. */
export class CaseDesk {
  readonly #options: CaseDeskOptions;
  readonly #file: LineFile;
  readonly #redis: CaseRedis | undefined;
  readonly #known = new Map<string, Change>();
  readonly #inFile = new Set<string>();
  readonly #inRedis = new Set<string>();
  #cases: readonly Case[] | undefined;
  #exchanging: Promise<void> | undefined;
  #isAgain = false;
  #problem = "";
  #held: readonly Held[] = [];
  #generation = 0;
  #tidyAt = 0;
  #isFull = false;
  readonly #timer: NodeJS.Timeout;

  constructor(options: CaseDeskOptions) {
    this.#options = options;
    this.#file = new LineFile(options.file);
    this.#redis = options.redis && new CaseRedis(options.redis);
    this.#timer = setInterval(() => void this.poll(), POLL_EVERY).unref();
  }

  /** The newest first, as far as this process knows. */
  list(): readonly Case[] {
    if (this.#cases === undefined) {
      this.#cases = keptCases(casesOf(this.#known.values()), this.#options.now(), this.#held);
    }
    return this.#cases;
  }

  /** The case to which this alert belongs. */
  find(alert: string): Case | undefined {
    return this.list().find(({ id, alerts }) => id === alert || alerts.some((one) => one.id === alert));
  }

  /** Puts an alert to its user's open case, or opens one. */
  gather(alert: Omit<AlertChange, "kind">): void {
    const last = this.list().find(({ about }) => about === alert.about);
    const open = last?.closedAt === undefined ? last : undefined;
    if (open !== undefined && open.alerts.length >= MOST_ALERTS) return;
    if (open === undefined && this.#hasNoRoom()) return;
    // A case has the id of its first alert, and closing it answers those before: of one millisecond the ids would decide.
    const after = last === undefined ? 0 : (last.closedAt ?? last.openedAt) + 1;
    const change: AlertChange = { kind: "alert", ...alert, time: Math.max(alert.time, after) };
    this.#learn(change);
    const of = this.find(change.id);
    if (open === undefined && of !== undefined) this.#options.onChange(change, of);
    void this.poll();
  }

  /** Names of people can be made up by an application's clients, and nobody fills a disk with them. */
  #hasNoRoom(): boolean {
    const isFull = this.list().filter(({ closedAt }) => closedAt === undefined).length >= MOST_CASES;
    if (isFull && !this.#isFull)
      this.#options.log.error(
        { cases: MOST_CASES },
        "so many cases are open that alerts open no other; the audit log has these alerts",
      );
    this.#isFull = isFull;
    return isFull;
  }

  /** An operator's word on a case; resolves when it is stored. */
  async change(id: string, by: string, said: Said): Promise<Changed> {
    await this.poll();
    const of = this.find(id);
    if (of === undefined) return { ok: false, problem: "there is no such case" };
    if (of.history.length >= MOST_CHANGES)
      return { ok: false, problem: "this case is full; close it, and the next alert opens another" };
    if (of.closedAt !== undefined && said.kind !== "comment")
      return { ok: false, problem: "this case is closed; it can be commented on" };
    const { newId, now, onChange } = this.#options;
    // Whoever closes a case in the millisecond of its alert closes it after that.
    const time = Math.max(now(), (of.history.at(-1)?.time ?? 0) + 1, (of.alerts.at(-1)?.time ?? 0) + 1);
    const change: MadeChange = { id: newId(), time, by, case: of.id, ...said };
    this.#learn(change);
    onChange(change, this.find(id) ?? of);
    await this.poll();
    return { ok: true, kept: this.#inFile.has(change.id) || this.#inRedis.has(change.id) };
  }

  /** Exchanges with the file and Redis what one knows and the other does not. Never rejects; runs one at a time. */
  async poll(): Promise<void> {
    if (this.#exchanging !== undefined) {
      this.#isAgain = true;
      await this.#exchanging;
      if (!this.#isAgain) return;
    }
    this.#isAgain = false;
    this.#exchanging ??= this.#exchange().finally(() => {
      this.#exchanging = undefined;
    });
    await this.#exchanging;
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.poll();
    this.#redis?.close();
  }

  async #exchange(): Promise<void> {
    try {
      await this.#read();
      if (this.#options.now() >= this.#tidyAt) await this.#tidy();
      await this.#write();
      this.#problem = "";
    } catch (error) {
      const problem = error instanceof Error ? error.message : "unknown";
      if (problem !== this.#problem)
        this.#options.log.warn({ problem }, "cases cannot be stored; this process keeps them");
      this.#problem = problem;
    }
  }

  async #read(): Promise<void> {
    const lines = await this.#file.refresh();
    if (this.#file.generation !== this.#generation) {
      this.#inFile.clear();
      // Another process has tidied: what it left out is not to be written again.
      this.#tidyAt = 0;
    }
    this.#generation = this.#file.generation;
    for (const line of lines) {
      const change = parseChange(line);
      if (change === undefined) continue;
      this.#inFile.add(change.id);
      this.#learn(change);
    }
    if (this.#redis?.reachable !== true) return;
    const { changes, whole } = await this.#redis.refresh();
    if (whole) {
      this.#inRedis.clear();
      // Redis may have what was left out of the file.
      this.#tidyAt = 0;
    }
    for (const change of changes) {
      this.#inRedis.add(change.id);
      this.#learn(change);
    }
  }

  /** Forgets what is kept no longer, here and in the file; all processes do so by the same rule. */
  async #tidy(): Promise<void> {
    const { now, held, log } = this.#options;
    const time = now();
    this.#tidyAt = time + TIDY_EVERY;
    try {
      this.#held = await held();
    } catch (error) {
      const problem = error instanceof Error ? error.message : "unknown";
      log.warn({ problem }, "legal holds cannot be read: no case is left out");
      return;
    }
    const kept = keptChanges([...this.#known.values()], time, this.#held);
    const over = new Set([...this.#inFile].filter((id) => !kept.has(id)));
    if (kept.size < this.#known.size) {
      this.#known.clear();
      for (const [id, change] of kept) this.#known.set(id, change);
      this.#cases = undefined;
    }
    if (over.size === 0) return;
    // A line that another process has just written is not known here, and stays.
    const wanted = (line: string) => {
      const change = parseChange(line);
      return change !== undefined && !over.has(change.id);
    };
    if (await this.#file.rewrite(wanted)) for (const id of over) this.#inFile.delete(id);
  }

  /** The file first: it holds what Redis may lose. */
  async #write(): Promise<void> {
    const missing = [...this.#known.values()].filter(({ id }) => !this.#inFile.has(id));
    await this.#file.append(missing.map((change) => JSON.stringify(change)));
    for (const { id } of missing) this.#inFile.add(id);
    if (this.#redis?.reachable !== true) return;
    const shared = [...this.#known.values()].toSorted((a, b) => a.time - b.time).slice(-MOST_SHARED);
    for (const change of shared) {
      if (this.#inRedis.has(change.id)) continue;
      await this.#redis.append(change);
      this.#inRedis.add(change.id);
    }
  }

  #learn(change: Change): void {
    if (this.#known.has(change.id)) return;
    this.#known.set(change.id, change);
    this.#cases = this.#cases && change.kind === "alert" ? withAlert(this.#cases, change) : undefined;
  }
}
