import { type FSWatcher, watch as watchDirectory } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import {
  compileFiles,
  describeProblem,
  type PolicyProblem,
  type PolicySet,
  readPolicyFiles,
} from "./load.ts";

export interface WatchHandlers {
  /** The policy in force until the first change. */
  readonly initial: PolicySet;
  onLoaded(policies: PolicySet): void;
  /** The policy in force stays. */
  onRejected(problems: readonly PolicyProblem[]): void;
  /** What speaks against a policy that is right in itself: what it names may be missing in the database. */
  readonly check?: (policies: PolicySet) => Promise<readonly PolicyProblem[]>;
}

export interface PolicyWatch {
  readonly current: PolicySet;
  /** Loads now, and tells a handler also when nothing has changed (SIGHUP, the admin's RELOAD). Never rejects. */
  reload(): Promise<void>;
  close(): void;
}

/** Time and the file system's events, so that tests can be exact. */
export interface WatchEnvironment {
  /** Calls back once; returns how to call it off. */
  after(milliseconds: number, run: () => void): () => void;
  /** Calls back at each event in a directory; undefined when it cannot be watched now. */
  watch(directory: string, changed: () => void): (() => void) | undefined;
}

/** A save makes several events, and several files may be saved together. */
const DEBOUNCE = 200;
/** Network file systems send no events at all. */
const POLL = 30_000;

/**
 * Keeps the policy of a file or folder in force as it is on disk. It watches the directory, never the file: a
 * watch on a file follows the inode, and is blind after an editor's rename or the first swap of a Kubernetes
 * ConfigMap.
 */
export function watchPolicies(
  path: string,
  handlers: WatchHandlers,
  environment: WatchEnvironment = systemEnvironment,
): PolicyWatch {
  return new Watch(path, handlers, environment);
}

class Watch implements PolicyWatch {
  readonly #path: string;
  readonly #handlers: WatchHandlers;
  readonly #environment: WatchEnvironment;
  #current: PolicySet;
  #closed = false;
  /** Of what was loaded or rejected last. */
  #fingerprint: string | undefined;
  /** It was rejected by `check`, with these problems: what it names may be made without a change of the files. */
  #unfit: string | undefined;
  /** Loads happen one after another, so that an older one never overtakes. */
  #queue: Promise<void> = Promise.resolve();
  #watched: { readonly identity: string; readonly close: () => void } | undefined;
  #cancelDebounce: (() => void) | undefined;
  #cancelPoll: (() => void) | undefined;

  constructor(path: string, handlers: WatchHandlers, environment: WatchEnvironment) {
    this.#path = path;
    this.#handlers = handlers;
    this.#environment = environment;
    this.#current = handlers.initial;
    this.#poll();
  }

  get current(): PolicySet {
    return this.#current;
  }

  reload(): Promise<void> {
    return this.#enqueue("always");
  }

  close(): void {
    this.#closed = true;
    this.#cancelDebounce?.();
    this.#cancelPoll?.();
    this.#watched?.close();
    this.#watched = undefined;
  }

  #poll(): void {
    if (this.#closed) return;
    this.#queue = this.#queue.then(() => this.#rewatch());
    void this.#enqueue("when changed");
    this.#cancelPoll = this.#environment.after(POLL, () => this.#poll());
  }

  /** Follows the path to the directory that it means now: it may have been replaced, or be there at last. */
  async #rewatch(): Promise<void> {
    const found = await directoryOf(this.#path);
    if (this.#closed || (found !== undefined && found.identity === this.#watched?.identity)) return;
    this.#watched?.close();
    this.#watched = undefined;
    if (found === undefined) return;
    const close = this.#environment.watch(found.directory, () => this.#changed());
    if (close !== undefined) this.#watched = { identity: found.identity, close };
  }

  #changed(): void {
    if (this.#closed) return;
    this.#cancelDebounce?.();
    this.#cancelDebounce = this.#environment.after(DEBOUNCE, () => void this.#enqueue("when changed"));
  }

  #enqueue(tell: "always" | "when changed"): Promise<void> {
    this.#queue = this.#queue.then(() => this.#load(tell));
    return this.#queue;
  }

  async #load(tell: "always" | "when changed"): Promise<void> {
    if (this.#closed) return;
    const read = await readPolicyFiles(this.#path);
    if (this.#closed) return;
    const known = this.#fingerprint;
    this.#fingerprint = read.fingerprint;
    const isKnown = read.fingerprint === known;
    if (tell === "when changed" && isKnown && this.#unfit === undefined) return;
    const compiled = compileFiles(read);
    if (!compiled.ok) {
      this.#unfit = undefined;
      return this.#handlers.onRejected(compiled.problems);
    }
    // The first look after the start finds what is in force already.
    if (tell === "when changed" && known === undefined && compiled.policies.version === this.#current.version)
      return;
    await this.#take(compiled.policies, tell === "always" || !isKnown);
  }

  /** Puts a policy into force unless something speaks against it; what did so before is told when `anew`. */
  async #take(policies: PolicySet, anew: boolean): Promise<void> {
    const problems = (await this.#handlers.check?.(policies)) ?? [];
    if (this.#closed) return;
    const before = this.#unfit;
    this.#unfit = problems.length > 0 ? problems.map(describeProblem).join("\n") : undefined;
    if (this.#unfit !== undefined) {
      if (anew || this.#unfit !== before) this.#handlers.onRejected(problems);
      return;
    }
    this.#current = policies;
    this.#handlers.onLoaded(policies);
  }
}

async function directoryOf(path: string): Promise<{ directory: string; identity: string } | undefined> {
  try {
    const directory = (await stat(path)).isDirectory() ? path : dirname(path);
    const { dev, ino } = await stat(directory);
    return { directory, identity: `${dev}:${ino}` };
  } catch {
    // Not there now. Loading says so; the next poll looks again.
    return undefined;
  }
}

const systemEnvironment: WatchEnvironment = {
  after(milliseconds, run) {
    const timer = setTimeout(run, milliseconds);
    // A watch keeps no process alive.
    timer.unref();
    return () => clearTimeout(timer);
  },
  watch(directory, changed) {
    let watcher: FSWatcher;
    try {
      watcher = watchDirectory(directory, { persistent: false }, changed);
    } catch {
      // No such directory any more, or no watches left (ENOSPC): the poll has to do.
      return undefined;
    }
    watcher.on("error", () => watcher.close());
    return () => watcher.close();
  },
};
