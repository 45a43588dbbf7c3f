import type pg from "pg";
import type { Catalog } from "./catalog.ts";
import { ControlConnection, type ControlConnectionOptions } from "./control-connection.ts";
import { glance, type Known, look } from "./look.ts";
import { GLANCE_MS, Pace } from "./pace.ts";
import { SEARCH_PATH, UNREADABLE_COLUMNS } from "./queries.ts";
import { inSnapshot } from "./transaction.ts";

export interface LiveCatalogOptions extends ControlConnectionOptions {
  /**
   * How often the whole catalog is probed. While someone watches, user-defined objects are also checked every second.
   */
  readonly probeSeconds: number;
  /** Whether the timer keeps probing while the database is not in use; it does if absent. */
  readonly unused?: "probed" | "at rest";
  /** Called before the first catalog of the database is handed out; if it throws, opening fails with that error. */
  readonly admit?: (catalog: Catalog) => void;
  /** Called after each successful look at the server; the catalog is the same object as before if nothing changed. */
  readonly onRefreshed?: (catalog: Catalog) => void;
  /** Called when the control connection or a look failed: the last catalog stays in force, and the look is retried. */
  readonly onError?: (error: Error) => void;
}

/** The shortest time between two looks that callers request because they doubt the catalog. */
const DOUBT_MS = 1_000;
/** A session that waits for a look continues with the known catalog after this time. */
const PATIENCE_MS = 2_000;

const FIRST_RETRY_MS = 250;

/**
 * One database's catalog, kept up to date over one control connection: by a probe on a timer, by a cheaper glance each
 * second while someone watches, by a look soon after DDL has passed, and by `lookAgain` when a caller doubts it. While
 * the server cannot be reached, or the database is not in use, the last snapshot stays in force.
 */
export class LiveCatalog {
  readonly #options: LiveCatalogOptions;
  readonly #control: ControlConnection;
  readonly #pace: Pace;
  #known: Known;
  #checkedAt: number;
  /** Time of last use, by `performance.now()`. */
  #usedAt = performance.now();
  /** How often DDL has passed, or the database may have been replaced. */
  #changes = 0;
  /** Those of them that a finished look has seen. */
  #changesSeen = 0;
  /** The server was asked and did not answer in time. */
  #isSilent = false;
  /** A refresh that has not begun yet, shared by all callers who ask now. */
  #waiting: Promise<Catalog> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #watchers = 0;
  /** `performance.now()` of the last look that a caller's doubt started. */
  #doubtedAt = Number.NEGATIVE_INFINITY;
  #doubt: Promise<void> | undefined;
  /** A running glance, shared by all callers who want one now. */
  #glancing: { readonly done: Promise<void>; readonly changes: number } | undefined;
  #retryMs = FIRST_RETRY_MS;
  #closed = false;

  private constructor(options: LiveCatalogOptions, known: Known, control: ControlConnection) {
    this.#options = options;
    this.#known = known;
    this.#checkedAt = Date.now();
    this.#control = control;
    this.#pace = new Pace(options.probeSeconds);
    control.onConnected = () => {
      // It may now be another server, with its own transaction ids.
      this.#known.snapshot = "";
    };
    control.onLost = (error) => this.#lost(error);
    this.#schedule(this.#nextMs);
  }

  /** Connects and reads the first snapshot; rejects if either fails. */
  static async open(options: LiveCatalogOptions): Promise<LiveCatalog> {
    const control = new ControlConnection(options);
    try {
      const known = await control.run((client) => look(client, undefined));
      options.admit?.(known.catalog);
      options.onRefreshed?.(known.catalog);
      return new LiveCatalog(options, known, control);
    } catch (error) {
      await control.close();
      throw error;
    }
  }

  get current(): Catalog {
    return this.#known.catalog;
  }

  /** Unix time in milliseconds of the last successful look. */
  get checkedAt(): number {
    return this.#checkedAt;
  }

  /**
   * The catalog as of some moment after the call. Calls made while another one is queued share its result. Rejects if
   * the server cannot be asked: the known catalog is then older than the call.
   */
  refresh(): Promise<Catalog> {
    if (this.#waiting !== undefined) return this.#waiting;
    const begun = () => {
      if (this.#waiting === refreshed) this.#waiting = undefined;
    };
    const refreshed = this.#control.run(async (client) => {
      begun();
      return this.#look(client);
    });
    refreshed.catch(begun);
    this.#waiting = refreshed;
    return refreshed;
  }

  /** Keeps the catalog's connection open until the returned function is called. */
  use(): () => void {
    const leave = this.#control.keep();
    this.#usedAt = performance.now();
    if (this.#timer === undefined) this.#schedule(this.#nextMs);
    return () => {
      leave();
      this.#usedAt = performance.now();
    };
  }

  /** Keeps the catalog at most about a second old until the returned function is called. */
  watch(): () => void {
    const leave = this.use();
    let isWatching = true;
    this.#watchers++;
    if (this.#watchers === 1) this.#schedule(this.#nextMs);
    return () => {
      if (isWatching) this.#watchers--;
      isWatching = false;
      leave();
    };
  }

  get isUsed(): boolean {
    return this.#control.isKept;
  }

  /** When its last use ended, by `performance.now()`; undefined while it is in use. */
  get unusedSince(): number | undefined {
    return this.#control.isKept || this.#control.isOpen ? undefined : this.#usedAt;
  }

  /** Schedules a look soon, because DDL has passed. */
  changed(): void {
    const isKnown = this.#isChanged;
    this.#changes++;
    if (!isKnown) this.#schedule(this.#nextMs);
  }

  /**
   * Looks at the server, unless that was just done: for callers who begin to watch. If the server cannot be reached,
   * the catalog stays as it is.
   */
  async recent(): Promise<void> {
    if (!this.#isChanged && Date.now() - this.#checkedAt < GLANCE_MS) return;
    const glanced = this.#shareGlance();
    // If the server hangs, only one login waits for it.
    if (this.#isSilent) return;
    await within(PATIENCE_MS, glanced);
    this.#isSilent = this.#glancing?.done === glanced;
  }

  /**
   * Looks again because the catalog seems out of date. Undefined if another caller requested that less than a second
   * ago, it is done, and no DDL has passed since: the catalog is then as fresh as possible. If the server cannot be
   * reached, the catalog stays as it is.
   */
  lookAgain(): Promise<void> | undefined {
    const now = performance.now();
    if (now - this.#doubtedAt < DOUBT_MS && !this.#isChanged) return this.#doubt;
    this.#doubtedAt = now;
    // A running glance may have begun before the change that the caller suspects.
    const glanced = this.#control.run((client) => this.#glance(client)).catch(ignore);
    const doubt = within(PATIENCE_MS, glanced);
    this.#doubt = doubt;
    void doubt.then(() => {
      this.#doubt = undefined;
    });
    return doubt;
  }

  /**
   * Columns (`schema.table.column`) of the database's own relations that this user may not SELECT; all columns for a
   * user whom the server does not know.
   */
  unreadableBy(user: string): Promise<ReadonlySet<string>> {
    return remembered(this.#known.unreadable, user, async () => {
      const rows = await this.#rows<[schema: string, relation: string, column: string]>(
        UNREADABLE_COLUMNS.text,
        [user],
      );
      return new Set(rows.map((names) => names.join(".")));
    });
  }

  /** The search_path setting with which this user's sessions start, as SHOW would show it; undefined if unknown. */
  searchPathOf(user: string): Promise<string | undefined> {
    return remembered(this.#known.searchPaths, user, async () => {
      const rows = await this.#rows<[setting: string | null]>(SEARCH_PATH.text, [
        user,
        this.#control.serverSearchPath ?? null,
      ]);
      return rows[0]?.[0] ?? undefined;
    });
  }

  /** Runs another query on the control connection; the server cancels it after `milliseconds`. */
  ask<Row extends unknown[]>(text: string, milliseconds: number): Promise<readonly Row[]> {
    return this.#control.run((client) =>
      inSnapshot(client, async () => {
        await client.query(`SET LOCAL statement_timeout = ${Math.floor(milliseconds)}`);
        return (await client.query<Row>({ text, rowMode: "array" })).rows;
      }),
    );
  }

  /** Calls that still wait for an answer get an error. */
  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#control.close();
  }

  #rows<Row extends unknown[]>(text: string, values: unknown[]): Promise<readonly Row[]> {
    return this.#control.run((client) =>
      inSnapshot(client, async () => (await client.query<Row>({ text, values, rowMode: "array" })).rows),
    );
  }

  async #look(client: pg.Client): Promise<Catalog> {
    const start = performance.now();
    const changes = this.#changes;
    this.#known = await look(client, this.#known);
    this.#pace.looked(performance.now() - start);
    return this.#looked(changes);
  }

  /** A short look, and a full one if it shows a change. */
  async #glance(client: pg.Client): Promise<void> {
    const start = performance.now();
    const changes = this.#changes;
    if (!(await glance(client, this.#known))) {
      await this.#look(client);
      return;
    }
    this.#pace.glanced(performance.now() - start);
    this.#looked(changes);
  }

  /** There is a change that no finished look has seen. */
  get #isChanged(): boolean {
    return this.#changes > this.#changesSeen;
  }

  /** A glance that began before the latest change may not show it, and is not shared. */
  #shareGlance(): Promise<void> {
    if (this.#glancing?.changes === this.#changes) return this.#glancing.done;
    const done = this.#control
      .run((client) => this.#glance(client))
      .catch(ignore)
      .finally(() => {
        if (this.#glancing?.done === done) this.#glancing = undefined;
        this.#isSilent = false;
      });
    this.#glancing = { done, changes: this.#changes };
    return done;
  }

  /** After a look that has seen the first `changes`. */
  #looked(changes: number): Catalog {
    this.#changesSeen = Math.max(this.#changesSeen, changes);
    this.#checkedAt = Date.now();
    this.#options.onRefreshed?.(this.#known.catalog);
    return this.#known.catalog;
  }

  #lost(error: Error): void {
    // The database may have been dropped and created again.
    this.#changes++;
    if (!this.#isLookedAt) return;
    this.#options.onError?.(error);
    this.#schedule(this.#retryMs);
  }

  /** Whether the timer looks: the database is in use, or the operator wants it probed always. */
  get #isLookedAt(): boolean {
    return this.#control.isKept || this.#options.unused !== "at rest";
  }

  #schedule(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#closed || !this.#isLookedAt) return;
    this.#timer = setTimeout(() => void this.#tick(), milliseconds).unref();
  }

  /** Milliseconds until the timer's next look, if all goes well. */
  get #nextMs(): number {
    return this.#pace.next(this.#watchers > 0, this.#isChanged);
  }

  /** A look by the timer. After a failure the next one comes sooner, then with growing delays. */
  async #tick(): Promise<void> {
    this.#timer = undefined;
    if (!this.#isLookedAt) return;
    try {
      if (this.#pace.isDue || this.#isChanged || this.#watchers === 0) await this.refresh();
      else await this.#control.run((client) => this.#glance(client));
      this.#retryMs = FIRST_RETRY_MS;
      this.#schedule(this.#nextMs);
    } catch (error) {
      if (!this.#closed) this.#options.onError?.(error instanceof Error ? error : new Error(String(error)));
      this.#schedule(Math.min(this.#retryMs, Math.max(this.#nextMs, FIRST_RETRY_MS)));
      this.#retryMs *= 2;
    }
  }
}

/** Asks once per key; a failure is not remembered. */
function remembered<T>(known: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const asked = ask();
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}

function ignore(): void {}

/** Resolves when the work is done or the time is over. */
function within(milliseconds: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    void work.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
