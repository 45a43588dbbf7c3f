import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { makeAnchor } from "./anchor.ts";
import { type AuditKeys, auditKeys } from "./audit-keys.ts";
import { ChainEnds, keyFor, markLeft } from "./chain-keys.ts";
import { Chores } from "./chores.ts";
import { Committer, linesIn } from "./committer.ts";
import { codeOf } from "./error-code.ts";
import type { AuditEvent, AuditLog } from "./event.ts";
import { DEFAULTS, type FileLogOptions } from "./file-log-options.ts";
import { createFingerprint } from "./fingerprint.ts";
import { readHolds } from "./holds.ts";
import type { MovingKey } from "./moving-keys.ts";
import { ocsfText } from "./ocsf.ts";
import type { LogRecord } from "./records.ts";
import { recover } from "./recover.ts";
import { dropOld } from "./retention.ts";
import { SegmentQueue } from "./segment-queue.ts";
import { compress, listSegments } from "./segments.ts";
import { claimWriter, type WriterName } from "./writer-name.ts";

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
  return openAs(options, []);
}

/** `left`: chains that could not go on, of which the next one tells. */
async function openAs(options: FileLogOptions, left: readonly LogRecord[]): Promise<AuditLog> {
  const { folder } = options;
  const writer = await claimWriter(folder);
  try {
    return await FileLog.open(options, writer, left);
  } catch (error) {
    if (error instanceof ChainEnds) await markLeft(folder, writer.name);
    await writer.release();
    if (!(error instanceof ChainEnds)) throw error;
    const segment = (await listSegments(folder)).findLast((file) => file.writer === writer.name)?.number ?? 0;
    const record = { kind: "chain left", writer: writer.name, segment, cut: error.cut } as const;
    return openAs(options, [...left, record]);
  }
}

interface Waiter {
  readonly sequence: number;
  readonly settle: (onDisk: boolean) => void;
}

export type { FileLogOptions } from "./file-log-options.ts";

class FileLog implements AuditLog {
  readonly #options: FileLogOptions & typeof DEFAULTS;
  readonly #writer: WriterName;
  readonly #keys: AuditKeys;
  readonly #moving: MovingKey;
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
  #checkpointed = 0;
  #failing = false;
  #lostUnsaid = 0;
  #closed = false;
  #closing: Promise<void> | undefined;

  static async open(
    options: FileLogOptions,
    writer: WriterName,
    left: readonly LogRecord[],
  ): Promise<FileLog> {
    const { folder, key } = options;
    const keys = auditKeys(key);
    await publishKey(folder, keys);
    const recovered = await recover(folder, writer.name);
    const { head, next, unclosed, record } = recovered;
    const moving = await keyFor(folder, writer.name, recovered, keys);
    const { segmentBytes } = { ...DEFAULTS, ...options };
    const queue = new SegmentQueue({
      ...{ writer: writer.name, keys, moving, segmentBytes, head, next, unclosed },
    });
    const existing = unclosed && { name: unclosed.file.name, bytes: unclosed.bytes };
    const log = new FileLog(options, writer, { keys, moving }, queue, new Committer(folder, existing));
    queue.begin(log.#now());
    for (const said of [...left, ...(record === undefined ? [] : [record])]) {
      options.log.warn({ record: said }, "the audit log was left unfinished");
      queue.record(said, log.#now());
    }
    await log.flush();
    await moving.renew();
    log.#keepHouse();
    return log;
  }

  private constructor(
    options: FileLogOptions,
    writer: WriterName,
    { keys, moving }: { readonly keys: AuditKeys; readonly moving: MovingKey },
    queue: SegmentQueue,
    committer: Committer,
  ) {
    this.#options = { ...DEFAULTS, ...options } as FileLogOptions & typeof DEFAULTS;
    this.#now = options.now ?? Date.now;
    this.#writer = writer;
    this.#keys = keys;
    this.#moving = moving;
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
    // What did not get to disk is signed by the next process, which needs the key for it.
    if (this.#queue.isEmpty) this.#chores.later("key", () => this.#moving.renew());
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
    const { retentionDays: days, anchorEvery, checkpointEvery } = this.#options;
    this.#chores.every(anchorEvery, () => this.#sendAnchor());
    this.#chores.every(checkpointEvery, () => this.#chores.later("key", () => this.#checkpoint()));
    this.#sendAnchor();
    if (days === undefined) return;
    const drop = () => this.#chores.later("retention", () => this.#dropOld(days));
    this.#chores.every(RETENTION_EVERY, drop);
    drop();
  }

  async #dropOld(days: number): Promise<void> {
    const { folder } = this.#options;
    const now = this.#now();
    const { inForce: holds } = await readHolds(folder, new Map([[this.#keys.id, this.#keys.publicKey]]));
    const limits = { before: now - days * DAY, longBefore: now - 2 * days * DAY, holds };
    await dropOld(folder, limits, async (record) => {
      // At the end nothing more is written, and nothing deleted either.
      if (this.#closed) throw new Error("the log is closing");
      this.#queue.record(record(this.#keys), this.#now());
      await this.flush();
    });
  }

  /** Signs what is not signed yet, and erases the key that did. */
  async #checkpoint(): Promise<void> {
    if (this.#closed) return;
    if (this.#queue.head.sequence > this.#checkpointed && this.#queue.checkpoint(this.#now()))
      this.#checkpointed = this.#queue.head.sequence;
    if (this.#moving.isSpent) await this.#renewKey();
  }

  async #renewKey(): Promise<void> {
    while (this.#queue.durable.sequence < this.#queue.keyNamedAt) await this.flush();
    await this.#moving.renew();
  }

  #sendAnchor(): void {
    const { log, patience, anchor: sink = (anchor) => log.info({ anchor }, "audit anchor") } = this.#options;
    const head = this.#queue.durable;
    if (head.sequence === this.#anchored) return;
    const anchor = makeAnchor(this.#keys, this.#writer.name, head, this.#queue.durableTree, this.#now());
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
