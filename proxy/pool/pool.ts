import { errorResponse } from "../wire/errors.ts";
import { refuseSession } from "../wire/refusal.ts";
import { type Asker, NoConnection, noneFree, type Startup } from "./asker.ts";
import { type Opened, ServerConnection } from "./server-connection.ts";
import { WaitingLine } from "./waiting-line.ts";

export interface PoolOptions {
  /** Connections at most. */
  readonly size: number;
  /** How long a client waits for one, in milliseconds. */
  readonly waitMs: number;
  /** Rejects with `NoConnection`. */
  readonly open: (startup: Startup) => Promise<Opened>;
  /** A connection had to be ended: the server broke the protocol, or the pool has a fault. */
  readonly onFault: (error: unknown) => void;
}

/** As PgBouncer's server_lifetime and server_idle_timeout. */
const LIFETIME_MS = 3_600_000;
const IDLE_MS = 600_000;
/** So long after the last client has left its connections are closed: they are in the way of DROP DATABASE. */
const DESERTED_MS = 2_000;
/**
 * A connection serves the startup packet for which it was opened for so long at least, before it gives way to another that
 * somebody waits for: each place logs in to the server that seldom, whatever mix of clients comes.
 */
export const KEPT_MS = 250;
/**
 * A server that takes no more connections (max_connections, CONNECTION LIMIT) is asked again after so long: who waits has those
 * that there are. A backend that was told to end may count for a moment.
 */
const FULL_MS = 1_000;
/** A server's farewell to a connection that has been idle for longer is read before it is lent. */
const STALE_MS = 1_000;

/** What SHOW POOLS tells. */
export interface PoolState {
  /** Clients that have a connection at the moment. */
  readonly clientsActive: number;
  readonly clientsWaiting: number;
  readonly serversActive: number;
  readonly serversIdle: number;
  /** Seconds that the first of the queue has waited. */
  readonly waitedSeconds: number;
  /** When each server connection was opened (Unix time in milliseconds); those at work first. */
  readonly servers: readonly number[];
}

/**
 * The server connections of one user of one database. Who asks first gets the first connection that fits, or the first place
 * for a new one; a connection that fits nobody who waits gives way, and one that fits only later ones does so in its turn.
 */
export class Pool {
  readonly #options: PoolOptions;
  /** The one used last comes last. */
  readonly #idle: ServerConnection[] = [];
  readonly #held = new Set<ServerConnection>();
  readonly #line = new WaitingLine();
  /** By the key of their startup packets: how many are being opened, or looked at before they are lent. */
  readonly #coming = new Map<string, number>();
  #comingCount = 0;
  /** The server takes no more until then; when a connection was last closed. By `performance.now()`. */
  #fullUntil = 0;
  #closedAt = Number.NEGATIVE_INFINITY;
  readonly #clients = new Set<object>();
  /** The settings with which the server begins sessions; undefined until it was asked. */
  #defaults: string | undefined;
  #deserted: NodeJS.Timeout | undefined;
  #again: NodeJS.Timeout | undefined;
  #isServing = false;
  #mustServe = false;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** A client that may ask; until it leaves the connections stay. */
  join(client: object): void {
    this.#clients.add(client);
    clearTimeout(this.#deserted);
  }

  leave(client: object): void {
    if (!this.#clients.delete(client) || this.#clients.size > 0) return;
    clearTimeout(this.#deserted);
    this.#deserted = setTimeout(() => this.#closeIdle(), DESERTED_MS).unref();
  }

  /** A connection at once, or undefined: the asker will be told, perhaps before this returns. */
  take(asker: Asker, { key, packet }: Startup): ServerConnection | undefined {
    if (this.#line.size === 0) {
      const connection = this.#fitting(asker, key);
      if (connection !== undefined) return connection;
    }
    const { waitMs } = this.#options;
    const limit = setTimeout(() => this.#overdue(asker), waitMs);
    this.#line.add({ asker, startup: { key, packet }, since: performance.now(), limit });
    this.#serve();
    return undefined;
  }

  /** Whether one of this kind, or of another that may give way, would be had without waiting for a client. */
  get isFree(): boolean {
    return this.#line.size === 0 && (this.#idle.length > 0 || this.#hasRoom);
  }

  /** No connection is open, nor being opened. */
  get isEmpty(): boolean {
    return this.#open === 0;
  }

  /** Does not wait any more. */
  forget(asker: Asker): void {
    this.#line.remove(asker);
  }

  /** No transaction is open on it, and nobody holds it. */
  release(connection: ServerConnection): void {
    if (!this.#held.delete(connection)) return;
    const isOld = performance.now() - connection.since > LIFETIME_MS;
    if (connection.isUnwanted) {
      connection.isRetired = true;
      this.#leaveHost(connection);
    }
    if (this.#isClosed || isOld || connection.isRetired || connection.hasHungUp) {
      connection.close();
    } else {
      connection.idleSince = performance.now();
      this.#idle.push(connection);
    }
    this.#serve();
  }

  /** It is to be closed, whatever its state. */
  discard(connection: ServerConnection): void {
    connection.close();
  }

  /** The server on this connection has not answered for long: the others that it has are not waited for in turn. */
  suspect({ opened }: ServerConnection): void {
    opened.suspect();
    for (const other of this.#idle.filter((each) => each.opened.at === opened.at)) other.close();
  }

  /**
   * The settings with which the server begins sessions, as it says now. True: those that are open began with others, and serve
   * nobody else (ALTER ROLE … SET, ALTER DATABASE … SET).
   */
  beginsWith(defaults: string): boolean {
    const before = this.#defaults;
    this.#defaults = defaults;
    if (before === undefined || before === defaults) return false;
    for (const each of this.#held) each.isRetired = true;
    this.#closeIdle();
    return true;
  }

  get state(): PoolState {
    const since = this.#line.first?.since;
    return {
      clientsActive: this.#held.size,
      clientsWaiting: this.#line.size,
      serversActive: this.#held.size,
      serversIdle: this.#idle.length,
      servers: [...this.#held, ...this.#idle].map((each) => performance.timeOrigin + each.since),
      waitedSeconds: since === undefined ? 0 : (performance.now() - since) / 1000,
    };
  }

  /** Closes what has been idle for long; true: nothing is left, and nobody may ask. */
  tidy(): boolean {
    const now = performance.now();
    for (const connection of this.#idle.filter(({ idleSince }) => now - idleSince > IDLE_MS))
      connection.close();
    return this.#open === 0 && this.#line.size === 0 && this.#clients.size === 0;
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#deserted);
    clearTimeout(this.#again);
    this.#closeIdle();
  }

  get #open(): number {
    return this.#idle.length + this.#held.size + this.#comingCount;
  }

  get #hasRoom(): boolean {
    return this.#open < this.#options.size && performance.now() >= this.#fullUntil;
  }

  #closeIdle(): void {
    for (const connection of [...this.#idle]) connection.close();
  }

  /** Its server is not any more what is wanted: nor are the others that go there. */
  #leaveHost({ opened }: ServerConnection): void {
    opened.leaveHost();
    for (const each of this.#held) if (each.opened.at === opened.at) each.isRetired = true;
    for (const each of this.#idle.filter((one) => one.opened.at === opened.at)) each.close();
  }

  /** Serves all for whom there is something, in the order in which they came. */
  #serve(): void {
    // A grant may give back, or ask, before it returns.
    this.#mustServe = true;
    if (this.#isServing) return;
    this.#isServing = true;
    try {
      while (this.#mustServe && !this.#isClosed) {
        this.#mustServe = false;
        this.#serveAll();
      }
    } finally {
      this.#isServing = false;
    }
  }

  #serveAll(): void {
    clearTimeout(this.#again);
    const spoken = new Map<string, number>();
    for (const waiting of this.#line) {
      if (this.#idle.length === 0 && !this.#hasRoom) break;
      const { asker, startup } = waiting;
      const { key } = startup;
      const connection = this.#fitting(asker, key);
      if (connection !== undefined) {
        this.#line.remove(asker);
        asker.granted(connection);
        continue;
      }
      // One that comes is for the first who waits for its kind, and no further one is opened for them.
      const before = spoken.get(key) ?? 0;
      spoken.set(key, before + 1);
      if (before < (this.#coming.get(key) ?? 0)) continue;
      if (this.#hasRoom || this.#makeRoom(key, waiting.since)) void this.#connect(startup);
    }
    const untilRoom = this.#fullUntil - performance.now();
    if (this.#line.size > 0 && (this.#idle.length > 0 || untilRoom > 0)) {
      const wait = untilRoom > 0 ? Math.min(untilRoom, this.#untilOld()) : this.#untilOld();
      this.#again = setTimeout(() => this.#serve(), wait).unref();
    }
  }

  /** An idle connection for this startup packet: the asker's own last one if that is free, else the one used last. */
  #fitting(asker: Asker, key: string): ServerConnection | undefined {
    let found = -1;
    for (let at = this.#idle.length - 1; at >= 0; at--) {
      const connection = this.#idle[at];
      if (connection?.startup !== key) continue;
      if (found < 0) found = at;
      if (connection.lastHolder === (asker as object)) {
        found = at;
        break;
      }
    }
    const connection = this.#idle[found];
    if (connection === undefined) return undefined;
    this.#idle.splice(found, 1);
    if (!connection.isAlive || performance.now() - connection.idleSince > STALE_MS) {
      this.#look(connection);
      return undefined;
    }
    this.#held.add(connection);
    return connection;
  }

  /** Lets the event loop read what the server may have said of it, and lends it after that. */
  #look(connection: ServerConnection): void {
    const { startup } = connection;
    this.#comes(startup);
    const looked = () => {
      this.#came(startup);
      if (connection.isAlive) {
        this.#held.add(connection);
        this.release(connection);
      } else {
        connection.close();
        this.#serve();
      }
    };
    // The first one may come before sockets are read the next time.
    setImmediate(() => setImmediate(looked));
  }

  /**
   * Closes an idle connection for another kind: one that nobody who waits can use, the one used longest ago; else one that only
   * later ones can use, for whoever has no connection of their kind in sight, or has waited for it.
   */
  #makeRoom(key: string, since: number): boolean {
    const now = performance.now();
    const old = this.#idle.filter((each) => now - each.since >= KEPT_MS);
    const isOverlooked = now - since >= KEPT_MS || !this.#has(key);
    const found = old.find((each) => !this.#line.has(each.startup)) ?? (isOverlooked ? old[0] : undefined);
    found?.close();
    return found !== undefined;
  }

  #has(key: string): boolean {
    if (this.#coming.has(key)) return true;
    for (const { startup } of this.#held) if (startup === key) return true;
    return false;
  }

  /** Milliseconds until an idle connection may give way. */
  #untilOld(): number {
    const now = performance.now();
    const ages = this.#idle.map(({ since }) => KEPT_MS - (now - since));
    return Math.max(1, Math.min(KEPT_MS, ...ages.filter((left) => left > 0)));
  }

  async #connect(startup: Startup): Promise<void> {
    this.#comes(startup.key);
    try {
      const opened = await this.#options.open(startup);
      this.#came(startup.key);
      const connection = new ServerConnection(
        startup.key,
        opened,
        (closed) => this.#closed(closed),
        this.#options.onFault,
      );
      this.#held.add(connection);
      this.release(connection);
    } catch (error) {
      this.#came(startup.key);
      const problem = error instanceof NoConnection ? error : BROKEN;
      if (problem.sqlstate === TOO_MANY && this.#mayWait) {
        this.#fullUntil = performance.now() + FULL_MS;
        this.#serve();
      } else this.#fail(startup, problem);
    }
  }

  /** There is, or will soon be, a connection to wait for. */
  get #mayWait(): boolean {
    return this.#open > 0 || performance.now() - this.#closedAt < FULL_MS;
  }

  #comes(key: string): void {
    this.#comingCount++;
    this.#coming.set(key, (this.#coming.get(key) ?? 0) + 1);
  }

  #came(key: string): void {
    const left = (this.#coming.get(key) ?? 1) - 1;
    this.#comingCount--;
    if (left > 0) this.#coming.set(key, left);
    else this.#coming.delete(key);
  }

  /** The one for whom it was opened is told; the next ones try again. */
  #fail({ key }: Startup, problem: NoConnection): void {
    this.#fullUntil = 0;
    const first = this.#line.firstOf(key);
    if (first !== undefined) {
      this.#line.remove(first.asker);
      first.asker.failed(problem);
    }
    this.#serve();
  }

  #overdue(asker: Asker): void {
    if (!this.#line.remove(asker)) return;
    asker.failed(noneFree(`within ${this.#options.waitMs / 1000} seconds`));
  }

  #closed(connection: ServerConnection): void {
    const at = this.#idle.indexOf(connection);
    if (at >= 0) this.#idle.splice(at, 1);
    this.#held.delete(connection);
    this.#closedAt = performance.now();
    this.#serve();
  }
}

/** too_many_connections */
const TOO_MANY = "53300";

const BROKEN = new NoConnection(
  errorResponse(refuseSession("08006", "the proxy cannot log in to the database server")),
  "08006",
);
