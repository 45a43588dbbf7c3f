import { randomBytes } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { Result } from "ioredis";
import { warnOfEviction } from "../fleet/redis-eviction.ts";
import { type CommandObserver, connectRedis, parseRedisUrl, type RedisClient } from "../fleet/redis-url.ts";
import { KeyedHash } from "../keys/keyed-hash.ts";
import type { Log } from "../log.ts";
import { lacksBytes, type Spans, spansOf } from "./budget-windows.ts";
import { type Answer, grantOf, readAnswer } from "./charge-answer.ts";
import { CHARGE, MEASURES, PERSON_BYTES, SCOPE_KEYS } from "./charge-script.ts";
import { costOf, unitsOf } from "./costs.ts";
import type { Account, Batch, CounterStore, Grant, OnUsed, WindowUse } from "./meter.ts";
import { scopeParts } from "./scopes.ts";
import { hasJumped, Witness } from "./shared-clock.ts";

declare module "ioredis" {
  interface RedisCommander<Context> {
    sluiceCharge(...args: (string | number | Buffer)[]): Result<unknown, Context>;
  }
}

export interface RedisStoreOptions {
  /** `redis://`, `rediss://`, `redis+cluster://`, `redis+sentinel://`: see `parseRedisUrl`. */
  readonly url: string;
  /** The key that users and people are hashed under: the same for all proxies of a fleet. */
  readonly key: Buffer;
  readonly log: Log;
  /** Milliseconds to wait for an answer. */
  readonly commandTimeout?: number;
  /** For `rediss://`: authorities (PEM) for the server's certificate in place of the well-known ones. */
  readonly ca?: string;
  readonly observe?: CommandObserver;
  /** Called at every change of `ready`. */
  readonly onReady?: (ready: boolean) => void;
  readonly onUsed?: OnUsed;
  /** Called when Redis has lost the counts of a database. */
  readonly onLost?: (database: string) => void;
  /** The counting script; `CHARGE` if absent. Only the simulation passes another, with its own clock. */
  readonly script?: string;
  /** Unix time in milliseconds. The default does not step when the machine's clock is set. */
  readonly now?: () => number;
}

/** Counters that all proxies of a fleet share. Throws if the URL is malformed; connects in the background. */
export function createRedisStore(options: RedisStoreOptions): CounterStore {
  return new RedisStore(options);
}

const DEFAULT_TIMEOUT = 500;
const PROBE_EVERY = 250;
/** Keeps one step of the script, during which Redis serves no other client, well below one or two milliseconds. */
const ROWS_PER_TRIP = 500;

/** Place of the fraction's key among those of a scope. */
const FRACTION = SCOPE_KEYS.indexOf("fraction");

const UNREACHABLE: Grant = { kind: "unreachable" };

/** The probe counts one person, so that it needs all that a charge needs: memory, rights, a primary. */
const PROBE_ACCOUNT: Account = {
  database: "",
  user: "",
  windows: [{ name: "1s", seconds: 1, what: "people", limit: 1, rule: "" }],
};
const NO_ROWS: Batch = { rows: 0, people: [], namespaces: [], unknownPerRow: 0 };
const PROBE_BATCH: Batch = { rows: 1, people: ["probe"], namespaces: ["sluice"], unknownPerRow: 0 };

class RedisStore implements CounterStore {
  readonly #client: RedisClient;
  readonly #keyed: KeyedHash;
  readonly #log: Log;
  readonly #onReady: (ready: boolean) => void;
  readonly #now: () => number;
  readonly #keysOf = new WeakMap<Account, readonly string[]>();
  readonly #witness = new Witness();
  readonly #onUsed: OnUsed | undefined;
  readonly #onLost: ((database: string) => void) | undefined;
  #ready = false;
  #closed = false;
  #probing = false;
  #nextProbe: NodeJS.Timeout | undefined;
  #lastProblem = "";

  constructor(options: RedisStoreOptions) {
    this.#keyed = new KeyedHash(options.key);
    this.#log = options.log;
    this.#onReady = options.onReady ?? (() => {});
    this.#now = options.now ?? (() => Math.floor(performance.timeOrigin + performance.now()));
    this.#onUsed = options.onUsed;
    this.#onLost = options.onLost;
    this.#client = connectRedis(parseRedisUrl(options.url), {
      commandTimeout: options.commandTimeout ?? DEFAULT_TIMEOUT,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
      ...(options.observe === undefined ? {} : { observe: options.observe }),
    });
    // defineCommand sends EVALSHA, and EVAL if the server has lost the script.
    this.#client.defineCommand("sluiceCharge", { lua: options.script ?? CHARGE });
    this.#client.on("ready", () => {
      this.#probe();
      void warnOfEviction(this.#client, this.#log);
    });
    this.#client.on("close", () => {
      // If Redis rejects each connection, its own message is logged, once.
      if (this.#ready || this.#lastProblem === "") this.#away(new Error("connection lost"));
    });
    this.#client.on("error", (error: Error) => this.#away(error));
  }

  get ready(): boolean {
    return this.#ready;
  }

  async charge(account: Account, batch: Batch): Promise<Grant> {
    // While Redis is unreachable or stalls, no one waits for it; the probe finds out when it is back.
    if (!this.#ready) return UNREACHABLE;
    try {
      return await this.#charge(account, batch);
    } catch (error) {
      this.#away(error);
      return UNREACHABLE;
    }
  }

  async usage(account: Account): Promise<readonly WindowUse[] | undefined> {
    if (!this.#ready) return undefined;
    try {
      const spans = spansOf(account.windows);
      const { uses } = await this.#ask(account, spans, NO_ROWS, 0, 0);
      const fractions = await this.#client.mget(this.#fractionKeys(account, spans));
      return uses.map((use, i) => {
        const fraction = Number(fractions[spans.windows[i]?.scope ?? 0] ?? 0);
        return use.window.what === "people" && fraction > 0 ? { ...use, fraction } : use;
      });
    } catch (error) {
      this.#away(error);
      return undefined;
    }
  }

  async close(): Promise<void> {
    // ioredis would wait two seconds for a connection that is closed already to close, and the program with it.
    if (this.#closed) return;
    this.#closed = true;
    this.#setReady(false);
    clearTimeout(this.#nextProbe);
    this.#client.disconnect();
  }

  /** Sends portions one after the other: the second only if all of the first was granted. */
  async #charge(account: Account, batch: Batch): Promise<Grant> {
    const spans = spansOf(account.windows);
    if (lacksBytes(spans, batch)) return UNREACHABLE;
    let last: Grant = { kind: "all" };
    const atOnce = Math.max(1, Math.floor(ROWS_PER_TRIP / costOf(batch)));
    for (let from = 0; from < batch.rows; from += atOnce) {
      const rows = Math.min(atOnce, batch.rows - from);
      const answer = await this.#ask(account, spans, batch, from, rows);
      this.#onUsed?.(account, answer.uses);
      last = grantOf(answer, rows);
      if (last.kind === "part") return { ...last, rows: from + last.rows };
    }
    return last;
  }

  async #ask(account: Account, spans: Spans, batch: Batch, from: number, rows: number): Promise<Answer> {
    const keys = this.#keys(account, spans, batch.receipt && `${batch.receipt} ${from}`);
    const at = this.#now();
    const reply = await this.#client.sluiceCharge(
      keys.length,
      ...keys,
      at,
      this.#witness.latest(account.database, at),
      ...this.#arguments(spans, batch, from, rows),
    );
    const answer = readAnswer(reply, spans, this.#now());
    this.#witness.told(account.database, answer.now, at);
    if (account !== PROBE_ACCOUNT) this.#tellOf(answer, account);
    return answer;
  }

  /** Those of an account are hashed once. */
  #keys(account: Account, spans: Spans, receipt: string | undefined): readonly string[] {
    let keys = this.#keysOf.get(account);
    if (keys === undefined) {
      keys = this.#makeKeys(account, spans);
      this.#keysOf.set(account, keys);
    }
    return receipt === undefined ? keys : [...keys, `${this.#tag(account)}:receipt ${receipt}`];
  }

  /**
   * One hash tag per database puts the keys of all its scopes in one slot of a Redis Cluster, so that one script can
   * count in all of them at once. A cluster thus distributes databases, not users.
   */
  #makeKeys(account: Account, { scopes }: Spans): readonly string[] {
    const tag = this.#tag(account);
    const ofScopes = scopes.flatMap(({ scope, of }) => {
      const name = this.#hash(...scopeParts(account, scope, of)).toString("base64url");
      return SCOPE_KEYS.map((kind) => `${tag}:${name}:${kind}`);
    });
    return [`${tag}:clock`, ...ofScopes];
  }

  /** One key per scope. */
  #fractionKeys(account: Account, spans: Spans): string[] {
    const keys = this.#keys(account, spans, undefined);
    return spans.scopes.map((_, scope) => keys[1 + scope * SCOPE_KEYS.length + FRACTION] ?? "");
  }

  #tag({ database }: Account): string {
    return `sluice:{${this.#hash("database", database).toString("base64url")}}`;
  }

  /** Few and long: each argument of a command costs the client and Redis as much as ten numbers in one. */
  #arguments(spans: Spans, batch: Batch, from: number, rows: number): (string | Buffer)[] {
    const unknown = spans.countsPeople ? batch.unknownPerRow * costOf(batch) : 0;
    const counts = batch.counts ?? "rows";
    const bytes = spans.countsBytes ? batch.bytes?.slice(from, from + rows) : undefined;
    const units = spans.countsPeople ? batch.units?.slice(from, from + rows) : undefined;
    const prefix =
      unknown > 0 || units !== undefined ? Buffer.concat([randomBytes(9), Buffer.from(":")]) : "";
    const costs = `${counts === "rows" ? 1 : 0} ${counts === "lookups" ? 1 : 0} ${counts === "changes" ? (batch.amount ?? 1) : 0}`;
    const given = `${bytes === undefined ? 0 : 1} ${units === undefined ? 0 : 1}`;
    let numbers = `${rows} ${unknown} ${costs} ${given} ${textOf(spans)}`;
    if (bytes !== undefined) numbers += ` ${bytes.join(" ")}`;
    if (units !== undefined) numbers += ` ${units.join(" ")}`;
    const people: Person[] = spans.countsPeople ? [...this.#people(batch, from, rows)] : [];
    if (batch.reveals !== undefined) {
      people.push(...this.#revealed(spans, batch.reveals, from, rows));
      people.sort((a, b) => a.row - b.row);
    }
    if (people.length === 0) return [prefix, numbers];
    for (const { row, scope } of people) numbers += ` ${row} ${scope}`;
    return [prefix, numbers, Buffer.concat(people.map(({ hash }) => hash))];
  }

  /**
   * Each person (each of their units) once, with the first row that contains them: later rows with them cost nothing.
   */
  *#people(batch: Batch, from: number, rows: number): Generator<Person> {
    const width = batch.namespaces.length;
    const seen = new Set<string>();
    for (let i = from * width; i < (from + rows) * width; i++) {
      const identity = batch.people[i];
      if (identity === undefined || identity === "") continue;
      const person = `person\0${batch.namespaces[i % width] ?? ""}\0${identity}`;
      if (seen.has(person)) continue;
      seen.add(person);
      const row = Math.floor(i / width) - from;
      for (const unit of unitsOf(batch)) yield { row, scope: 0, hash: this.#hash(person, ...unit) };
    }
  }

  /** The same for reveals of classes that some window counts. */
  *#revealed(
    spans: Spans,
    reveals: NonNullable<Batch["reveals"]>,
    from: number,
    rows: number,
  ): Generator<Person> {
    const seen = new Set<string>();
    for (const { row, of, namespace, identity } of reveals) {
      const scope = 1 + spans.scopes.findIndex((each) => each.of === of);
      if (row < from || row >= from + rows || scope === 0) continue;
      if (identity === undefined) {
        yield { row: row - from, scope, hash: randomBytes(PERSON_BYTES) };
        continue;
      }
      const person = `person\0${namespace}\0${identity}`;
      if (seen.has(`${scope} ${person}`)) continue;
      seen.add(`${scope} ${person}`);
      yield { row: row - from, scope, hash: this.#hash(person) };
    }
  }

  #hash(...parts: readonly string[]): Buffer {
    return this.#keyed.bytes(parts.join("\0"), PERSON_BYTES);
  }

  #tellOf({ jumped, beganAnew }: Answer, { database }: Account): void {
    if (beganAnew) {
      this.#log.error({ database }, "Redis has lost its counters: all budgets start again");
      this.#onLost?.(database);
    }
    if (hasJumped(jumped)) {
      const milliseconds = jumped;
      this.#log.warn(
        { database, milliseconds },
        "the clock of Redis has jumped: the counters do not follow it",
      );
    }
  }

  #away(cause: unknown): void {
    this.#note(cause);
    this.#setReady(false);
    if (this.#nextProbe === undefined) this.#probe();
  }

  #note(cause: unknown): void {
    // Only the text: ioredis attaches the command with its arguments, which may include a password, to its errors.
    const problem = describe(cause);
    if (this.#closed || problem === this.#lastProblem) return;
    this.#lastProblem = problem;
    this.#log.warn({ problem }, "the counter store cannot be reached");
  }

  /** Probes one at a time until one succeeds. */
  #probe(): void {
    this.#nextProbe = undefined;
    if (this.#closed || this.#probing || this.#ready || this.#client.status !== "ready") return;
    this.#probing = true;
    this.#charge(PROBE_ACCOUNT, PROBE_BATCH).then(
      () => {
        this.#probing = false;
        if (!this.#closed) this.#setReady(true);
      },
      (error) => {
        this.#probing = false;
        this.#note(error);
        if (this.#closed) return;
        this.#nextProbe = setTimeout(() => this.#probe(), PROBE_EVERY);
        this.#nextProbe.unref();
      },
    );
  }

  #setReady(ready: boolean): void {
    if (this.#ready === ready) return;
    this.#ready = ready;
    if (ready) {
      this.#lastProblem = "";
      this.#log.info("the counter store is reached");
    }
    this.#onReady(ready);
  }
}

/** As `CHARGE` takes people. `scope`: see there. */
interface Person {
  readonly row: number;
  readonly scope: number;
  readonly hash: Buffer;
}

const texts = new WeakMap<Spans, string>();

/** Scopes and windows as `CHARGE` takes them. */
function textOf(spans: Spans): string {
  let text = texts.get(spans);
  if (text === undefined) {
    const windows = spans.windows.map(({ scope, span, slice, window: { what, limit } }) =>
      [scope + 1, MEASURES[what], span, limit, slice].join(" "),
    );
    const keeps = spans.scopes.map(({ keep, of }) => `${keep} ${of === undefined ? 0 : 1}`);
    text = [spans.scopes.length, spans.windows.length, ...keeps, ...windows].join(" ");
    texts.set(spans, text);
  }
  return text;
}

/** Refused connections to a name with several addresses arrive as an AggregateError without a text. */
function describe(cause: unknown): string {
  if (!(cause instanceof Error)) return "unknown error";
  return cause.message || (cause as NodeJS.ErrnoException).code || cause.name;
}
