import type pg from "pg";
import type { Catalog } from "./catalog.ts";
import { ControlConnection, type ControlConnectionOptions } from "./control-connection.ts";
import { glance, type Known, look } from "./look.ts";
import { GLANCE_MS, Pace } from "./pace.ts";
import { SEARCH_PATH, UNREADABLE_COLUMNS } from "./queries.ts";
import { inSnapshot } from "./transaction.ts";

export interface LiveCatalogOptions extends ControlConnectionOptions {
  /** How often all of it is looked at; what users have made is glanced at each second while somebody watches. */
  readonly probeSeconds: number;
  /** Whether the timer goes on looking while nobody uses the database; it does if this is left out. */
  readonly unused?: "probed" | "at rest";
  /** Before anybody gets the first catalog of the database; what it throws is why it cannot be opened. */
  readonly admit?: (catalog: Catalog) => void;
  /** After each look at the server that succeeded; the catalog is the same object as before if nothing changed. */
  readonly onRefreshed?: (catalog: Catalog) => void;
  /** The control connection or a look failed: the last catalog stays in force, and it is tried again. */
  readonly onError?: (error: Error) => void;
}

/** Who doubts what is known may have it looked at so often. */
const DOUBT_MS = 1_000;
/** A session that wants the catalog looked at goes on with what is known when that takes longer. */
const PATIENCE_MS = 2_000;

const FIRST_RETRY_MS = 250;

/**
 * One database's catalog, kept fresh over one control connection: by a probe on a timer, by a cheaper glance each
 * second while somebody watches, by a look soon after DDL that passed, and by `lookAgain` when somebody doubts it. While
 * the server cannot be reached the last snapshot stays in force, and so it does while nobody uses the database.
 */
export class LiveCatalog {
  readonly #options: LiveCatalogOptions;
  readonly #control: ControlConnection;
  readonly #pace: Pace;
  #known: Known;
  #checkedAt: number;
  /** When somebody used it last, by `performance.now()`. */
  #usedAt = performance.now();
  /** DDL has passed, or the database may be another one by now, and nobody has looked since. */
  #isChanged = false;
  /** It was asked and has not answered in time. */
  #isSilent = false;
  /** A refresh that has not begun yet: whoever asks now is served by it. */
  #waiting: Promise<Catalog> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #watchers = 0;
  /** `performance.now()` of the last look that somebody's doubt began. */
  #doubtedAt = Number.NEGATIVE_INFINITY;
  #doubt: Promise<void> | undefined;
  /** A glance that goes on: whoever wants one now shares it. */
  #glancing: Promise<void> | undefined;
  #retryMs = FIRST_RETRY_MS;
  #closed = false;

  private constructor(options: LiveCatalogOptions, known: Known, control: ControlConnection) {
    this.#options = options;
    this.#known = known;
    this.#checkedAt = Date.now();
    this.#control = control;
    this.#pace = new Pace(options.probeSeconds);
    control.onConnected = () => {
      // It may be another server by now, that counts its transactions by itself.
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

  /** Unix time in milliseconds of the last look that succeeded. */
  get checkedAt(): number {
    return this.#checkedAt;
  }

  /**
   * The catalog as of a moment after the call. Calls that come while another waits for its turn share it.
   * Rejects when the server cannot be asked: what is known is then older than the call.
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

  /** Keeps the catalog's connection open, until what it gives is called. */
  use(): () => void {
    const leave = this.#control.keep();
    this.#usedAt = performance.now();
    if (this.#timer === undefined) this.#schedule(this.#nextMs);
    return () => {
      leave();
      this.#usedAt = performance.now();
    };
  }

  /** Keeps the catalog no older than about a second, until what it gives is called. */
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

  /** Since when nobody has used it, by `performance.now()`; undefined while somebody does. */
  get unusedSince(): number | undefined {
    return this.#control.isKept || this.#control.isOpen ? undefined : this.#usedAt;
  }

  /** DDL has passed: it is looked at soon. */
  changed(): void {
    if (this.#isChanged) return;
    this.#isChanged = true;
    this.#schedule(this.#nextMs);
  }

  /** Looks, unless that has just been done: for who begins to watch. What cannot be reached stays as it was. */
  async recent(): Promise<void> {
    if (!this.#isChanged && Date.now() - this.#checkedAt < GLANCE_MS) return;
    const glanced = this.#shareGlance();
    // For a server that stands still only one login waits.
    if (this.#isSilent) return;
    await within(PATIENCE_MS, glanced);
    this.#isSilent = this.#glancing === glanced;
  }

  /**
   * Looks again because what is known seems to be out of date. Undefined when somebody had that done less than a
   * second ago: then it is as fresh as may be. What cannot be reached stays as it was.
   */
  lookAgain(): Promise<void> | undefined {
    const now = performance.now();
    if (now - this.#doubtedAt < DOUBT_MS) return this.#doubt;
    this.#doubtedAt = now;
    // A glance that goes on may have begun before what is doubted was changed.
    const glanced = this.#control.run((client) => this.#glance(client)).catch(ignore);
    const doubt = within(PATIENCE_MS, glanced);
    this.#doubt = doubt;
    void doubt.then(() => {
      this.#doubt = undefined;
    });
    return doubt;
  }

  /**
   * Columns (`schema.table.column`) of the database's own relations that this user may not SELECT; all of
   * them for a user whom the server does not know.
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

  /** The search_path setting with which this user's sessions start, as SHOW would show it, where it is known. */
  searchPathOf(user: string): Promise<string | undefined> {
    return remembered(this.#known.searchPaths, user, async () => {
      const rows = await this.#rows<[setting: string | null]>(SEARCH_PATH.text, [
        user,
        this.#control.serverSearchPath ?? null,
      ]);
      return rows[0]?.[0] ?? undefined;
    });
  }

  /** Asks the control connection for something else, which is given up after `milliseconds`. */
  ask<Row extends unknown[]>(text: string, milliseconds: number): Promise<readonly Row[]> {
    return this.#control.run((client) =>
      inSnapshot(client, async () => {
        await client.query(`SET LOCAL statement_timeout = ${Math.floor(milliseconds)}`);
        return (await client.query<Row>({ text, rowMode: "array" })).rows;
      }),
    );
  }

  /** Whoever still waits for an answer gets an error. */
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
    this.#known = await this.#see(look(client, this.#known));
    this.#pace.looked(performance.now() - start);
    return this.#looked();
  }

  /** A short look, and a full one if it shows anything new. */
  async #glance(client: pg.Client): Promise<void> {
    const start = performance.now();
    if (!(await this.#see(glance(client, this.#known)))) {
      await this.#look(client);
      return;
    }
    this.#pace.glanced(performance.now() - start);
    this.#looked();
  }

  /** What changes from here on is news again; a look that failed has seen nothing. */
  async #see<T>(looking: Promise<T>): Promise<T> {
    this.#isChanged = false;
    return looking.catch((error: unknown) => {
      this.#isChanged = true;
      throw error;
    });
  }

  #shareGlance(): Promise<void> {
    this.#glancing ??= this.#control
      .run((client) => this.#glance(client))
      .catch(ignore)
      .finally(() => {
        this.#glancing = undefined;
        this.#isSilent = false;
      });
    return this.#glancing;
  }

  #looked(): Catalog {
    this.#checkedAt = Date.now();
    this.#options.onRefreshed?.(this.#known.catalog);
    return this.#known.catalog;
  }

  #lost(error: Error): void {
    // Somebody may have dropped the database, and made it anew.
    this.#isChanged = true;
    if (!this.#isLookedAt) return;
    this.#options.onError?.(error);
    this.#schedule(this.#retryMs);
  }

  /** The timer looks: somebody uses the database, or whoever runs this wants to know of it. */
  get #isLookedAt(): boolean {
    return this.#control.isKept || this.#options.unused !== "at rest";
  }

  #schedule(milliseconds: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#closed || !this.#isLookedAt) return;
    this.#timer = setTimeout(() => void this.#tick(), milliseconds).unref();
  }

  /** Until the timer's next look, if all goes well. */
  get #nextMs(): number {
    return this.#pace.next(this.#watchers > 0, this.#isChanged);
  }

  /** A look by the timer; after a failure the next one comes sooner, and then later and later. */
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

/** Asks once for each key; a failure is not remembered. */
function remembered<T>(known: Map<string, Promise<T>>, key: string, ask: () => Promise<T>): Promise<T> {
  const before = known.get(key);
  if (before !== undefined) return before;
  const asked = ask();
  known.set(key, asked);
  asked.catch(() => known.delete(key));
  return asked;
}

function ignore(): void {}

/** Resolves when the work is done, or when it has taken too long to be waited for. */
function within(milliseconds: number, work: Promise<void>): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    void work.then(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
