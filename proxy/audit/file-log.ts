import { createHmac, randomBytes } from "node:crypto";
import { type FileHandle, mkdir, open } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log.ts";
import type { AuditEvent, AuditLog } from "./event.ts";

export interface FileLogOptions {
  readonly folder: string;
  /** The key under which people are hashed. */
  readonly key: Buffer;
  readonly log: Log;
  /** Told how many events will never be on disk. */
  readonly onLost: (events: number) => void;
  /** Unix time in milliseconds: names the day's file. */
  readonly now?: () => number;
  /** How many bytes may wait for a disk that takes nothing; beyond it new events are lost. */
  readonly maxPending?: number;
}

/**
 * Opens the log: JSON lines in `<folder>/audit-YYYYMMDD.jsonl` (UTC). Rejects when the folder cannot be
 * written, so that a proxy does not start without its record.
 */
export async function openFileLog(options: FileLogOptions): Promise<AuditLog> {
  await mkdir(options.folder, { recursive: true, mode: 0o700 });
  const log = new FileLog(options);
  await log.open();
  return log;
}

const MAX_PENDING = 64 * 1024 * 1024;
const RETRY_AFTER = 1_000;
const NEWLINE = 0x0a;

/** Lines on their way to one file. */
interface Portion {
  readonly bytes: Buffer;
  readonly events: number;
  written: number;
}

class FileLog implements AuditLog {
  readonly #options: FileLogOptions;
  readonly #now: () => number;
  /** Tells the lines of one process's life apart from those of others in the same file. */
  readonly #id = randomBytes(6).toString("hex");
  #sequence = 0;
  #lines: string[] = [];
  #pendingBytes = 0;
  /** Taken from `#lines`, partly on disk: goes on in the same file, so that no line is torn. */
  #portion: Portion | undefined;
  #file: { readonly name: string; readonly handle: FileHandle } | undefined;
  #working: Promise<void> | undefined;
  #scheduled = false;
  #retry: NodeJS.Timeout | undefined;
  #failing = false;
  #closed = false;

  constructor(options: FileLogOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
  }

  async open(): Promise<void> {
    await this.#fileOfToday();
  }

  write(event: AuditEvent): void {
    if (this.#closed || this.#pendingBytes > (this.#options.maxPending ?? MAX_PENDING)) {
      this.#options.onLost(1);
      return;
    }
    // A gap in the numbers shows that a line is missing; the hash chain will stand beside them.
    this.#sequence += 1;
    const line = `${JSON.stringify({ log: this.#id, sequence: this.#sequence, ...event })}\n`;
    this.#lines.push(line);
    this.#pendingBytes += line.length;
    this.#schedule();
  }

  /** 128 bits of HMAC-SHA-256. */
  hashSubject(namespace: string, value: string): string {
    const hash = createHmac("sha256", this.#options.key).update(`${namespace}\0${value}`).digest();
    return hash.subarray(0, 16).toString("base64url");
  }

  /** Rejects when the disk does not take what was written; it is tried again later. */
  async flush(): Promise<void> {
    const upTo = this.#sequence;
    while (this.#unwritten > 0 && this.#sequence - this.#unwritten < upTo) await this.#drain();
    await this.#file?.handle.datasync();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#retry);
    try {
      await this.flush();
    } catch (error) {
      this.#options.log.error({ problem: codeOf(error), events: this.#unwritten }, "audit events are lost");
      if (this.#unwritten > 0) this.#options.onLost(this.#unwritten);
    }
    await this.#file?.handle.close().catch(() => {});
    this.#file = undefined;
  }

  get #unwritten(): number {
    return this.#lines.length + (this.#portion?.events ?? 0);
  }

  /** All events of one turn of the event loop, and all that come while a write is under way, go in one write. */
  #schedule(): void {
    if (this.#scheduled || this.#working !== undefined || this.#retry !== undefined) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#drain().catch(() => {});
    });
  }

  /** One write at a time; rejects when it fails, and sees to the next attempt. */
  #drain(): Promise<void> {
    this.#working ??= this.#writePortion().then(
      () => this.#settle(undefined),
      (error) => {
        this.#settle(error);
        throw error;
      },
    );
    return this.#working;
  }

  #settle(error: unknown): void {
    this.#working = undefined;
    if (error === undefined) {
      if (this.#failing) this.#options.log.info("the audit log takes events again");
      this.#failing = false;
      if (this.#lines.length > 0) this.#schedule();
      return;
    }
    if (!this.#failing) {
      this.#options.log.error({ problem: codeOf(error) }, "the audit log cannot be written; events wait");
    }
    this.#failing = true;
    if (this.#closed || this.#retry !== undefined) return;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#drain().catch(() => {});
    }, RETRY_AFTER);
    this.#retry.unref();
  }

  async #writePortion(): Promise<void> {
    const handle = this.#portion?.written ? this.#file?.handle : undefined;
    const file = handle ?? (await this.#fileOfToday());
    this.#portion ??= this.#takeLines();
    const portion = this.#portion;
    while (portion.written < portion.bytes.length) {
      const { bytesWritten } = await file.write(portion.bytes, portion.written);
      portion.written += bytesWritten;
    }
    this.#portion = undefined;
    this.#pendingBytes -= portion.bytes.length;
  }

  #takeLines(): Portion {
    const lines = this.#lines;
    this.#lines = [];
    const bytes = Buffer.from(lines.join(""));
    // Counted by characters so far: now by bytes.
    this.#pendingBytes = bytes.length;
    return { bytes, events: lines.length, written: 0 };
  }

  async #fileOfToday(): Promise<FileHandle> {
    const day = new Date(this.#now()).toISOString().slice(0, 10).replaceAll("-", "");
    const name = join(this.#options.folder, `audit-${day}.jsonl`);
    if (this.#file?.name === name) return this.#file.handle;
    const handle = await open(name, "a+", 0o600);
    await endTornLine(handle);
    const before = this.#file?.handle;
    this.#file = { name, handle };
    if (before !== undefined) await before.datasync().finally(() => before.close());
    return handle;
  }
}

/** A process that died in a write leaves half a line; the next must not continue it. */
async function endTornLine(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat();
  if (size === 0) return;
  const { buffer } = await handle.read(Buffer.alloc(1), 0, 1, size - 1);
  if (buffer[0] !== NEWLINE) await handle.write("\n");
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  return (error as NodeJS.ErrnoException).code ?? error.message;
}
