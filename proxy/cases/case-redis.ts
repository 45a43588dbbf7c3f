import { type CommandObserver, connectRedis, parseRedisUrl, type RedisClient } from "../fleet/redis-url.ts";
import { TextSealer } from "../fleet/sealed-texts.ts";
import { type Change, parseChange } from "./case-changes.ts";

const KEY = "sluice:cases";
const PLACE = "case";
/** About so many changes are kept; older ones are in the audit log. */
const KEPT = 20_000;
const BATCH = 1_000;
const START = "0-0";

export interface CaseRedisOptions {
  readonly url: string;
  /** The key of the counters. */
  readonly key: Buffer;
  readonly commandTimeout: number;
  readonly ca?: string;
  readonly observe?: CommandObserver;
}

/** The changes that a fleet shares: a stream, sealed, read from where one was. */
export class CaseRedis {
  readonly #client: RedisClient;
  readonly #sealer: TextSealer;
  #last = START;
  #isNew = true;

  constructor({ url, key, ...options }: CaseRedisOptions) {
    this.#sealer = new TextSealer(key);
    this.#client = connectRedis(parseRedisUrl(url), options);
    this.#client.on("error", () => {});
    // A Redis that is back may have lost its data, or is another.
    this.#client.on("ready", () => {
      this.#isNew = true;
    });
  }

  get reachable(): boolean {
    return this.#client.status === "ready";
  }

  /** What came since the last time. `whole`: it is all that Redis has. Rejects if Redis cannot be reached. */
  async refresh(): Promise<{ readonly changes: readonly Change[]; readonly whole: boolean }> {
    const whole = this.#isNew || (this.#last !== START && (await this.#client.exists(KEY)) === 0);
    if (whole) this.#last = START;
    const changes: Change[] = [];
    for (;;) {
      const read = await this.#client.xreadBuffer("COUNT", BATCH, "STREAMS", KEY, this.#last);
      const entries = entriesOf(read);
      for (const { id, sealed } of entries) {
        this.#last = id;
        const text = sealed && this.#sealer.open(sealed, PLACE);
        const change = text === undefined ? undefined : parseChange(text);
        if (change !== undefined) changes.push(change);
      }
      if (entries.length < BATCH) break;
    }
    this.#isNew = false;
    return { changes, whole };
  }

  async append(change: Change): Promise<void> {
    const sealed = this.#sealer.seal(JSON.stringify(change), PLACE);
    await this.#client.xadd(KEY, "MAXLEN", "~", KEPT, "*", "change", sealed);
  }

  close(): void {
    this.#client.disconnect();
  }
}

/** A reply of XREAD: one stream, its entries, each an id and its fields. */
function entriesOf(reply: unknown): readonly { readonly id: string; readonly sealed: Buffer | undefined }[] {
  const streams = (reply ?? []) as readonly (readonly [
    Buffer,
    readonly (readonly [Buffer, readonly Buffer[]])[],
  ])[];
  return streams.flatMap(([, entries]) =>
    entries.map(([id, fields]) => ({ id: id.toString(), sealed: fields[1] })),
  );
}
