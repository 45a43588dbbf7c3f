import type { Log } from "../log.ts";
import { codeOf } from "./error-code.ts";
import { type AuditLog, aroundLog } from "./event.ts";

/** Another place that lines go to once they are on disk. */
export interface Sink {
  readonly name: "stdout" | "redis" | "syslog" | "otlp" | "kafka";
  /** Resolves when all of them were taken, in their order. Rejects when they were not; then they come again. */
  write(lines: readonly string[]): Promise<void>;
  close(): void;
}

export interface SinkBufferOptions {
  readonly log: Log;
  /** Told of lines that this sink will never get; the files have them. */
  readonly onDropped: (sink: Sink["name"], lines: number) => void;
  /** Told of each write that failed; its lines come again. */
  readonly onFailed?: (sink: Sink["name"]) => void;
  /** Characters that may wait for the sink. */
  readonly maxPending?: number;
  /** Milliseconds after which a write that failed is tried again. */
  readonly retryAfter?: number;
}

const MAX_PENDING = 16 * 1024 * 1024;
const RETRY_AFTER = 1_000;
/** Lines that are handed over at a time. */
const BATCH = 500;
/** Brokers that fail in turn, each in its own way, do not fill the log. */
const MOST_REASONS = 10;
/** For how long the end waits for a sink. */
const LAST_PATIENCE = 2_000;

/**
 * What waits for one sink, up to a bound: past it new lines are dropped and counted, for the files have them.
 * A sink gets each line at least once, in order, while the process lives.
 */
export class SinkBuffer {
  readonly #sink: Sink;
  readonly #options: SinkBufferOptions;
  readonly #maxPending: number;
  #lines: string[] = [];
  #pending = 0;
  #writing: Promise<void> | undefined;
  #retry: NodeJS.Timeout | undefined;
  #failing = false;
  /** What the log was told since it last worked: each reason once. */
  readonly #told = new Set<string>();
  #closed = false;
  #waiters: (() => void)[] = [];

  constructor(sink: Sink, options: SinkBufferOptions) {
    this.#sink = sink;
    this.#options = options;
    this.#maxPending = options.maxPending ?? MAX_PENDING;
  }

  offer(lines: readonly string[]): void {
    let dropped = 0;
    for (const line of lines) {
      if (this.#closed || this.#pending + line.length > this.#maxPending) dropped += 1;
      else {
        this.#lines.push(line);
        this.#pending += line.length;
      }
    }
    if (dropped > 0) this.#options.onDropped(this.#sink.name, dropped);
    this.#next();
  }

  /** Resolves when less than half of the room is taken, or after so many milliseconds. */
  async room(within: number): Promise<void> {
    if (this.#hasRoom) return;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#waiters.push(resolve);
      timer = setTimeout(resolve, within);
    });
    clearTimeout(timer);
  }

  async close(): Promise<void> {
    const limit = performance.now() + LAST_PATIENCE;
    while (this.#lines.length > 0 && !this.#failing && performance.now() < limit) {
      this.#next();
      await Promise.race([this.#writing, after(limit - performance.now())]);
    }
    this.#closed = true;
    clearTimeout(this.#retry);
    if (this.#lines.length > 0) this.#options.onDropped(this.#sink.name, this.#lines.length);
    for (const resolve of this.#waiters.splice(0)) resolve();
    this.#sink.close();
  }

  get #hasRoom(): boolean {
    return this.#pending < this.#maxPending / 2 || this.#closed;
  }

  #next(): void {
    if (this.#writing !== undefined || this.#retry !== undefined || this.#lines.length === 0 || this.#closed)
      return;
    const batch = this.#lines.slice(0, BATCH);
    this.#writing = this.#sink.write(batch).then(
      () => this.#taken(batch),
      (error: unknown) => this.#failed(error),
    );
  }

  #taken(batch: readonly string[]): void {
    this.#writing = undefined;
    this.#lines.splice(0, batch.length);
    for (const line of batch) this.#pending -= line.length;
    if (this.#failing) this.#options.log.info({ sink: this.#sink.name }, "the audit sink takes events again");
    this.#failing = false;
    this.#told.clear();
    if (this.#hasRoom) for (const resolve of this.#waiters.splice(0)) resolve();
    this.#next();
  }

  #failed(error: unknown): void {
    this.#writing = undefined;
    const { log, retryAfter, onFailed } = this.#options;
    const problem = codeOf(error);
    onFailed?.(this.#sink.name);
    if (!this.#told.has(problem) && this.#told.size < MOST_REASONS) {
      this.#told.add(problem);
      log.error({ sink: this.#sink.name, problem }, "an audit sink takes nothing; events wait");
    }
    this.#failing = true;
    this.#retry = setTimeout(() => {
      this.#retry = undefined;
      this.#next();
    }, retryAfter ?? RETRY_AFTER);
    this.#retry.unref();
  }
}

/**
 * The log, which waits for room in its sinks as well, and no longer than `wait` milliseconds: that is all a slow
 * sink can cost a statement.
 */
export function withBackPressure(audit: AuditLog, sinks: readonly SinkBuffer[], wait: number): AuditLog {
  if (sinks.length === 0) return audit;
  return aroundLog(audit, {
    async durable() {
      const [onDisk] = await Promise.all([audit.durable(), ...sinks.map((sink) => sink.room(wait))]);
      return onDisk;
    },
    async close() {
      await audit.close();
      await Promise.all(sinks.map((sink) => sink.close()));
    },
  });
}

function after(milliseconds: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, Math.max(0, milliseconds)).unref();
  });
}
