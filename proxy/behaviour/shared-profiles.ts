import { LRUCache } from "lru-cache";
import type { Log } from "../log.ts";
import { peersOf, type Summary, summaryOf } from "./peers.ts";
import { mergeInto, type Profile } from "./profile.ts";
import type { ProfileStore } from "./profile-store.ts";
import { emptyProfile, type KeptProfile } from "./profile-text.ts";
import type { Peers } from "./rules.ts";

export interface ProfileName {
  readonly database: string;
  readonly role: string;
  readonly user: string;
}

/** The summary of a user that the fleet stores for the other users of the role. */
export interface KeptSummary extends Summary {
  /** The last day on which the user read. */
  readonly day: number;
  readonly networks: readonly string[];
}

/** `kept` is undefined if there is nothing readable. */
export interface Stored {
  readonly version: number;
  readonly kept: KeptProfile | undefined;
}

/** Stores profiles beyond the life of the process. Its promises reject if it cannot be reached. */
export interface ProfileBackend {
  readonly reachable: boolean;
  /** Undefined if the stored version is still `version` (0: nothing is stored). */
  read(name: ProfileName, version: number): Promise<Stored | undefined>;
  /** The new version; undefined if another proxy has written since `version`. */
  write(
    name: ProfileName,
    version: number,
    kept: KeptProfile,
    summary: KeptSummary,
  ): Promise<number | undefined>;
  summaries(database: string, role: string, today: number): Promise<readonly KeptSummary[]>;
  claim(name: ProfileName, what: string): Promise<boolean>;
  close(): void | Promise<void>;
}

export interface SharedProfilesOptions {
  readonly backend: ProfileBackend;
  /** Unique to this process. */
  readonly writer: string;
  readonly log: Log;
  /** Milliseconds between exchanges; 0: only when `exchange` is called. */
  readonly every?: number;
  readonly now?: () => number;
  /** How old the data on peers may be, in milliseconds. */
  readonly peersEvery?: number;
}

interface ProfileEntry {
  readonly name: ProfileName;
  kept: KeptProfile;
  version: number;
  /** When it was last compared with the fleet's version. */
  seen: number;
  /** Changes made here and not written yet, so that they can be applied again on top of other proxies' writes. */
  readonly pending: ((profile: Profile) => unknown)[];
  /** The write that got no answer: its number, and how much of `pending` it contained. */
  unsure: { readonly number: number; readonly held: number } | undefined;
}

/** Versions increase within a lineage; a proxy that starts over, because nothing is stored, begins a new one. */
export const LINEAGE = 1_000_000;

const EXCHANGE_EVERY = 2_000;
const PEERS_EVERY = 60_000;
/** About 200 kB each for the busiest users, and 30 kB for most. */
const USERS_KEPT = 5_000;
/** Statements that wait for an unreachable backend; beyond this the oldest are only in this process' own profile. */
const PENDING_KEPT = 2_000;
const ATTEMPTS = 5;

/**
 * The rules' data on users, as seen by the whole fleet. This process works on its own copy, which is at most as old as
 * the last exchange, and writes what it has seen a moment later; no caller waits for either.
 */
export class SharedProfiles implements ProfileStore {
  readonly #backend: ProfileBackend;
  readonly #writer: string;
  readonly #log: Log;
  readonly #now: () => number;
  readonly #every: number;
  readonly #peersEvery: number;
  readonly #entries: LRUCache<string, ProfileEntry>;
  readonly #dirty = new Map<string, ProfileEntry>();
  readonly #peers = new Map<string, { readonly at: number; readonly day: number; readonly peers: Peers }>();
  readonly #timer: NodeJS.Timeout | undefined;
  /** One exchange with the backend at a time: an answer then always refers to the entry as it was when asked. */
  #turn: Promise<unknown> = Promise.resolve();
  #number = 0;
  #lastProblem = "";

  constructor({
    backend,
    writer,
    log,
    every = EXCHANGE_EVERY,
    now = Date.now,
    peersEvery = PEERS_EVERY,
  }: SharedProfilesOptions) {
    this.#backend = backend;
    this.#writer = writer;
    this.#log = log;
    this.#now = now;
    this.#every = every;
    this.#peersEvery = peersEvery;
    this.#entries = new LRUCache({ max: USERS_KEPT });
    if (every > 0) {
      this.#timer = setInterval(() => void this.exchange(), every);
      this.#timer.unref();
    }
  }

  async update<T>(database: string, user: string, role: string, change: (profile: Profile) => T): Promise<T> {
    const entry = this.#entryOf({ database, role, user });
    if (this.#now() - entry.seen >= this.#every) await this.#inTurn(() => this.#refresh(entry));
    entry.pending.push(change);
    if (entry.pending.length > PENDING_KEPT && entry.unsure === undefined) entry.pending.shift();
    this.#dirty.set(keyOf(entry.name), entry);
    return change(entry.kept.profile);
  }

  knows(database: string, user: string, role: string, test: (profile: Profile) => boolean): boolean {
    const entry = this.#entries.get(keyOf({ database, role, user }));
    return entry !== undefined && this.#now() - entry.seen < this.#every && test(entry.kept.profile);
  }

  async peers(database: string, role: string, today: number): Promise<Peers> {
    const key = `${database}\0${role}`;
    const known = this.#peers.get(key);
    if (known !== undefined && known.day === today && this.#now() - known.at < this.#peersEvery) {
      return known.peers;
    }
    const summaries = await this.#summariesOf(database, role, today);
    if (summaries === undefined && known !== undefined) return known.peers;
    const networks = new Map<string, number>();
    for (const { networks: names } of summaries ?? []) {
      for (const name of names) networks.set(name, (networks.get(name) ?? 0) + 1);
    }
    const peers = peersOf(summaries ?? [], networks);
    this.#peers.set(key, { at: this.#now(), day: today, peers });
    return peers;
  }

  /** While the backend is unreachable each proxy reports on its own: ten alerts are better than none. */
  async claim(database: string, user: string, what: string): Promise<boolean> {
    if (!this.#backend.reachable) return true;
    try {
      return await this.#backend.claim({ database, role: "", user }, what);
    } catch (error) {
      this.#note(error);
      return true;
    }
  }

  /** Writes what this process has seen on top of other proxies' writes. Never rejects. */
  exchange(): Promise<void> {
    return this.#inTurn(async () => {
      for (const [key, entry] of [...this.#dirty]) {
        if (!this.#backend.reachable) return;
        if (await this.#write(entry)) this.#dirty.delete(key);
      }
    });
  }

  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.exchange();
    await this.#backend.close();
  }

  #entryOf(name: ProfileName): ProfileEntry {
    const key = keyOf(name);
    // An entry that is not written yet is not forgotten, however many others came since.
    let entry = this.#entries.get(key) ?? this.#dirty.get(key);
    if (entry === undefined) {
      entry = {
        ...{ name, kept: emptyProfile(), version: 0, seen: Number.NEGATIVE_INFINITY },
        ...{ pending: [], unsure: undefined },
      };
    }
    this.#entries.set(key, entry);
    return entry;
  }

  async #refresh(entry: ProfileEntry): Promise<void> {
    if (!this.#backend.reachable) return;
    const stored = await this.#backend.read(entry.name, entry.version);
    if (stored !== undefined) this.#adopt(entry, stored);
    entry.seen = this.#now();
  }

  /** Takes over the fleet's version and applies what only this process knows on top of it. */
  #adopt(entry: ProfileEntry, { version, kept }: Stored): void {
    const { unsure } = entry;
    if (unsure !== undefined && (kept?.writers.get(this.#writer) ?? 0) >= unsure.number) {
      entry.pending.splice(0, unsure.held);
    }
    entry.unsure = undefined;
    const isOther = entry.version !== 0 && lineageOf(version) !== lineageOf(entry.version);
    entry.version = version;
    // A store that lost its data gets it again from all proxies.
    if (kept === undefined) return;
    if (isOther) {
      mergeInto(kept.profile, entry.kept.profile);
      entry.pending.length = 0;
    }
    entry.kept = kept;
    for (const change of entry.pending) change(kept.profile);
  }

  /** True if all pending changes are written. */
  async #write(entry: ProfileEntry): Promise<boolean> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (entry.unsure !== undefined) await this.#refresh(entry);
      const held = entry.pending.length;
      const number = ++this.#number;
      const { name, kept, version } = entry;
      kept.writers.delete(this.#writer);
      kept.writers.set(this.#writer, number);
      entry.unsure = { number, held };
      const written = await this.#backend.write(name, version, kept, keptSummary(kept.profile));
      if (written !== undefined) {
        entry.unsure = undefined;
        entry.version = written;
        entry.seen = this.#now();
        entry.pending.splice(0, held);
        return entry.pending.length === 0;
      }
      entry.unsure = undefined;
      await this.#refresh(entry);
    }
    return false;
  }

  async #summariesOf(
    database: string,
    role: string,
    today: number,
  ): Promise<readonly KeptSummary[] | undefined> {
    if (!this.#backend.reachable) return undefined;
    try {
      return await this.#backend.summaries(database, role, today);
    } catch (error) {
      this.#note(error);
      return undefined;
    }
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(work).then(
      () => {
        this.#lastProblem = "";
      },
      (error) => this.#note(error),
    );
    this.#turn = turn;
    return turn;
  }

  #note(error: unknown): void {
    const problem = error instanceof Error ? error.message : "unknown error";
    if (problem === this.#lastProblem) return;
    this.#lastProblem = problem;
    this.#log.warn({ problem }, "behaviour profiles cannot be shared; this process continues with its own");
  }
}

function lineageOf(version: number): number {
  return Math.floor(version / LINEAGE);
}

function keyOf({ database, role, user }: ProfileName): string {
  return [database, role, user].join("\0");
}

/** Leaves out today, which is not over and not an example yet. */
export function keptSummary(profile: Profile): KeptSummary {
  const day = profile.days.at(-1)?.day ?? 0;
  return { ...summaryOf(profile, day), day, networks: [...profile.networks.keys()] };
}
