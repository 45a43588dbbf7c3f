import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log.ts";
import { type AnchorSink, makeAnchor } from "./anchor.ts";
import { Chores } from "./chores.ts";
import { Committer, linesIn } from "./committer.ts";
import type { AuditEvent, AuditLog } from "./event.ts";
import { createFingerprint } from "./fingerprint.ts";
import { type AuditKeys, auditKeys } from "./keys.ts";
import { ocsfText } from "./ocsf.ts";
import { codeOf } from "./problem.ts";
import { recover } from "./recover.ts";
import { dropOld } from "./retention.ts";
import { SegmentQueue } from "./segment-queue.ts";
import { compress } from "./segments.ts";
import { claimWriter, type WriterName } from "./writer-name.ts";

export interface FileLogOptions {
  readonly folder: string;
  /** The audit key (keys.ts): people are hashed and segments signed with keys made from it. */
  readonly key: Buffer;
  readonly log: Log;
  /** Told how many events will never be on disk. */
  readonly onLost: (events: number) => void;
  /** Whether rows may be released when their event cannot be written. "closed" if left out. */
  readonly onLoss?: "closed" | "open";
  /** Told of the chain's end from time to time; by default the operational log is. */
  readonly anchor?: AnchorSink;
  /** Given the lines that have got to disk, in their order. It must not throw. */
  readonly onDurable?: (lines: readonly string[]) => void;
  /** Days for which closed segments are kept; for ever if left out. */
  readonly retentionDays?: number;
  /** Unix time in milliseconds. */
  readonly now?: () => number;
  /** How many bytes may wait for a disk that takes nothing; beyond it new events are lost. */
  readonly maxPending?: number;
  /** A longer segment is closed and a new one begun. */
  readonly segmentBytes?: number;
  /** Milliseconds that an event may wait for others to share its way to disk, when nobody waits for it. */
  readonly commitDelay?: number;
  /** Milliseconds after which a disk that does not answer counts as one that takes nothing. */
  readonly patience?: number;
  /** Milliseconds between anchors. */
  readonly anchorEvery?: number;
}

const DEFAULTS = {
  onLoss: "closed" as "closed" | "open",
  maxPending: 64 * 1024 * 1024,
  segmentBytes: 64 * 1024 * 1024,
  commitDelay: 50,
  patience: 5_000,
  anchorEvery: 10_000,
};
const RETRY_AFTER = 1_000;
const DAY = 86_400_000;
/** setInterval's own limit, 2^31 - 1 ms, is far above. */
const RETENTION_EVERY = DAY / 4;

/**
 * Opens the log: a chain of segments in the folder, one writer a process. Rejects when the folder cannot be
 * written, so that a proxy does not start without its record.
 */
export async function openFileLog(options: FileLogOptions): Promise<AuditLog> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  const writer = await claimWriter(options.folder);
  try {
    return await FileLog.open(options, writer);
  } catch (error) {
    await writer.release();
    throw error;
  }
}

interface Waiter {
  readonly sequence: number;
  readonly settle: (onDisk: boolean) => void;
}

class FileLog implements AuditLog {
  readonly #options: FileLogOptions & typeof DEFAULTS;
  readonly #writer: WriterName;
  readonly #keys: AuditKeys;
  readonly #now: () => number;
  readonly #queue: SegmentQueue;
  readonly #committer: Committer;
  readonly #chores: Chores;
  readonly #fingerprint = createFingerprint();
  /** Who waits for `durable`, in the order of their sequences. */
  #waiters: Waiter[] = [];
  #committing: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #gathering: NodeJS.Immediate | undefined;
  #retry: NodeJS.Timeout | undefined;
  #anchored = 0;
  #failing = false;
  #lostUnsaid = 0;
  #closed = false;
  #closing: Promise<void> | undefined;

  static async open(options: FileLogOptions, writer: WriterName): Promise<FileLog> {
    const keys = auditKeys(options.key);
    await publishKey(options.folder, keys);
    const { head, next, unclosed, record } = await recover(options.folder, writer.name);
    const { segmentBytes } = { ...DEFAULTS, ...options };
    const queue = new SegmentQueue({ writer: writer.name, keys, segmentBytes, head, next, unclosed });
    const existing = unclosed && { name: unclosed.file.name, bytes: unclosed.bytes };
    const log = new FileLog(options, writer, keys, queue, new Committer(options.folder, existing));
    queue.begin(log.#now());
    if (record !== undefined) {
      options.log.warn({ record }, "the audit log was left unfinished");
      queue.record(record, log.#now());
    }
    await log.flush();
    log.#keepHouse();
    return log;
  }

  private constructor(
    options: FileLogOptions,
    writer: WriterName,
    keys: AuditKeys,
    queue: SegmentQueue,
    committer: Committer,
  ) {
    this.#options = { ...DEFAULTS, ...options } as FileLogOptions & typeof DEFAULTS;
    this.#now = options.now ?? Date.now;
    this.#writer = writer;
    this.#keys = keys;
    this.#queue = queue;
    this.#committer = committer;
    this.#chores = new Chores(options.log);
  }

  write(event: AuditEvent): void {
    if (this.#closed || this.#queue.bytes > this.#options.maxPending) {
      this.#lostUnsaid += 1;
      this.#options.onLost(1);
      return;
    }
    const now = this.#now();
    this.#sayLosses(now);
    this.#queue.event(ocsfText(event, this.#fingerprint), now);
    if (this.#committing === undefined && this.#retry === undefined) this.#soon();
  }

  get ready(): boolean {
    return !this.#failing && this.#lostUnsaid === 0 && !this.#closed;
  }

  get accepts(): boolean {
    return this.ready || this.#options.onLoss === "open";
  }

  get waitsSince(): number | undefined {
    return this.#queue.waitsSince;
  }

  durable(): Promise<boolean> {
    const open = this.#options.onLoss === "open";
    if (!this.ready) return Promise.resolve(open);
    const { sequence } = this.#queue.head;
    if (this.#queue.durable.sequence >= sequence) return Promise.resolve(true);
    const waiting = new Promise<boolean>((resolve) => {
      this.#waiters.push({ sequence, settle: (onDisk) => resolve(onDisk || open) });
    });
    // All sessions that were read from in this turn of the event loop share the way to disk.
    this.#gathering ??= setImmediate(() => this.#kick());
    return waiting;
  }

  hashSubject(namespace: string, value: string): string {
    return this.#keys.hashSubject(namespace, value);
  }

  /** Rejects when the disk does not take what was written; it is tried again later. */
  async flush(): Promise<void> {
    const { sequence } = this.#queue.head;
    while (this.#queue.durable.sequence < sequence) await this.#commit();
  }

  close(): Promise<void> {
    this.#closing ??= this.#end();
    return this.#closing;
  }

  async #end(): Promise<void> {
    // What retention has begun is to be said while the log still takes it.
    await this.#chores.idle();
    this.#chores.stop();
    this.#sayLosses(this.#now());
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#retry);
    this.#queue.end(this.#now());
    try {
      await this.flush();
    } catch (error) {
      const events = this.#queue.events;
      this.#options.log.error({ problem: codeOf(error), events }, "audit events are lost");
      if (events > 0) this.#options.onLost(events);
    }
    await this.#committer.close();
    await this.#chores.idle();
    this.#sendAnchor();
    await this.#chores.idle();
    await this.#writer.release();
  }

  #sayLosses(now: number): void {
    if (this.#lostUnsaid === 0 || this.#closed || this.#queue.bytes > this.#options.maxPending) return;
    this.#queue.record({ kind: "events lost", events: this.#lostUnsaid }, now);
    this.#lostUnsaid = 0;
  }

  #soon(): void {
    if (!this.#closed) this.#timer ??= setTimeout(() => this.#kick(), this.#options.commitDelay);
  }

  #kick(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#gathering = undefined;
    if (this.#retry === undefined) this.#commit().catch(() => {});
  }

  /** One batch at a time; what is written while it is under way goes with the next. */
  #commit(): Promise<void> {
    this.#committing ??= this.#commitNext().then(
      () => this.#settle(undefined),
      (error: unknown) => {
        this.#settle(error);
        throw error;
      },
    );
    return this.#committing;
  }

  async #commitNext(): Promise<void> {
    const batch = this.#queue.take();
    if (batch === undefined) return;
    const impatient = setTimeout(() => this.#fail("no answer"), this.#options.patience);
    try {
      await this.#committer.commit(batch);
    } finally {
      clearTimeout(impatient);
    }
    const { onDurable } = this.#options;
    // Afterwards the memory of the lines is the next batch's.
    const lines = onDurable === undefined ? [] : linesIn(batch);
    this.#queue.done();
    onDurable?.(lines);
    if (batch.closes) this.#compress(batch.name);
  }

  #compress(name: string): void {
    const { folder } = this.#options;
    this.#chores.later("compress", () => compress(folder, { path: join(folder, name) }));
  }

  #settle(error: unknown): void {
    this.#committing = undefined;
    if (error !== undefined) {
      this.#fail(codeOf(error));
      if (this.#closed || this.#retry !== undefined) return;
      this.#retry = setTimeout(() => {
        this.#retry = undefined;
        this.#kick();
      }, RETRY_AFTER);
      this.#retry.unref();
      return;
    }
    const { sequence } = this.#queue.durable;
    const ready = this.#waiters.findIndex((waiter) => waiter.sequence > sequence);
    const done = this.#waiters.splice(0, ready === -1 ? this.#waiters.length : ready);
    for (const waiter of done) waiter.settle(true);
    if (this.#queue.isEmpty) this.#recovered();
    else if (this.#waiters.length > 0 || this.#failing) this.#kick();
    else this.#soon();
  }

  #fail(problem: string): void {
    if (!this.#failing) this.#options.log.error({ problem }, "the audit log cannot be written; events wait");
    this.#failing = true;
    for (const waiter of this.#waiters.splice(0)) waiter.settle(false);
  }

  #recovered(): void {
    if (this.#failing) this.#options.log.info("the audit log takes events again");
    this.#failing = false;
    this.#sayLosses(this.#now());
    if (!this.#queue.isEmpty) this.#kick();
  }

  #keepHouse(): void {
    const { retentionDays: days, anchorEvery } = this.#options;
    this.#chores.every(anchorEvery, () => this.#sendAnchor());
    this.#sendAnchor();
    if (days === undefined) return;
    const drop = () => this.#chores.later("retention", () => this.#dropOld(days));
    this.#chores.every(RETENTION_EVERY, drop);
    drop();
  }

  async #dropOld(days: number): Promise<void> {
    const { folder } = this.#options;
    const now = this.#now();
    await dropOld(folder, now - days * DAY, now - 2 * days * DAY, async (record) => {
      // At the end nothing more is written, and nothing deleted either.
      if (this.#closed) throw new Error("the log is closing");
      this.#queue.record(record(this.#keys), this.#now());
      await this.flush();
    });
  }

  #sendAnchor(): void {
    const { log, patience, anchor: sink = (anchor) => log.info({ anchor }, "audit anchor") } = this.#options;
    const head = this.#queue.durable;
    if (head.sequence === this.#anchored) return;
    const anchor = makeAnchor(this.#keys, this.#writer.name, head, this.#now());
    if (this.#chores.anchor(sink, anchor, patience)) this.#anchored = head.sequence;
  }
}

/** The key that signatures are checked with stands beside them; who trusts no file of the folder keeps a copy. */
async function publishKey(folder: string, keys: AuditKeys): Promise<void> {
  const pem = keys.publicKey.export({ format: "pem", type: "spki" });
  try {
    await writeFile(join(folder, `audit-key-${keys.id}.pem`), pem, { mode: 0o600, flag: "wx" });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
}
