import { type FSWatcher, watch as watchDirectory } from "node:fs";
import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import type { PolicySet } from "../policy/compile.ts";
import { describeProblem, type PolicyProblem } from "../policy/problems.ts";
import { compileFiles, readPolicyFiles } from "./load.ts";

export interface WatchHandlers {
  /** The policy in force until the first change. */
  readonly initial: PolicySet;
  onLoaded(policies: PolicySet): void;
  /** The current policy stays in force. */
  onRejected(problems: readonly PolicyProblem[]): void;
  /** Finds problems of a valid policy: tables and columns that it names may be missing in the database. */
  readonly check?: (policies: PolicySet) => Promise<readonly PolicyProblem[]>;
}

export interface PolicyWatch {
  readonly current: PolicySet;
  /** Loads now, and calls a handler even if nothing has changed (SIGHUP, the admin's RELOAD). Never rejects. */
  reload(): Promise<void>;
  close(): void;
}

/** Time and file system events, so that tests can be exact. */
export interface WatchEnvironment {
  /** Calls back once; returns a function that cancels it. */
  after(milliseconds: number, run: () => void): () => void;
  /** Calls back at each event in a directory; undefined if it cannot be watched now. */
  watch(directory: string, changed: () => void): (() => void) | undefined;
}

/** In milliseconds. One save causes several events, and several files may be saved together. */
const DEBOUNCE = 200;
/** In milliseconds. Network file systems send no events. */
const POLL = 30_000;

/**
 * Keeps the policy in force in step with a file or folder on disk. It watches the directory and not the file: a watch
 * on a file follows the inode, and misses changes after an editor's rename or the first swap of a Kubernetes ConfigMap.
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
  /** The fingerprint of the files that were last loaded or rejected. */
  #fingerprint: string | undefined;
  /** The problems for which `check` rejected the policy: they can be fixed without a change of the files. */
  #unfit: string | undefined;
  /** Loads run one after another, so that an older one never overtakes a newer one. */
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

  /** Follows the path to its current directory, which may have been replaced or created. */
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
    // The first load after the start finds what is already in force.
    if (tell === "when changed" && known === undefined && compiled.policies.version === this.#current.version)
      return;
    await this.#take(compiled.policies, tell === "always" || !isKnown);
  }

  /** Puts a policy into force unless `check` finds problems; with `again`, the same problems are reported again. */
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
    // It does not exist now. Loading reports that; the next poll looks again.
    return undefined;
  }
}

const systemEnvironment: WatchEnvironment = {
  after(milliseconds, run) {
    const timer = setTimeout(run, milliseconds);
    // A watch must not keep the process alive.
    timer.unref();
    return () => clearTimeout(timer);
  },
  watch(directory, changed) {
    let watcher: FSWatcher;
    try {
      watcher = watchDirectory(directory, { persistent: false }, changed);
    } catch {
      // The directory is gone, or there are no watches left (ENOSPC): only the poll remains.
      return undefined;
    }
    watcher.on("error", () => watcher.close());
    return () => watcher.close();
  },
};
