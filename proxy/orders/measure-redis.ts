import type { Result } from "ioredis";
import { Cluster } from "ioredis";
import { type CommandObserver, connectRedis, parseRedisUrl, type RedisClient } from "../fleet/redis-url.ts";
import { TextSealer } from "../fleet/sealed-texts.ts";
import { type Measure, Measures, parseMeasure } from "./measures.ts";

declare module "ioredis" {
  interface RedisCommander<Context> {
    sluiceMeasure(...args: (string | number | Buffer)[]): Result<unknown, Context>;
  }
}

const KEY = "sluice:measures";
const CHANNEL = "sluice:measures";
const PLACE = "measure";

/** Writes a measure unless there is a newer one, and notifies the fleet. */
const PUT = `
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old and tonumber(string.match(old, '^(%d+):')) >= tonumber(ARGV[2]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ':' .. ARGV[3])
redis.call('PUBLISH', '${CHANNEL}', '')
return 1
`;

export interface MeasureRedisOptions {
  readonly url: string;
  /** The key of the counters. */
  readonly key: Buffer;
  readonly commandTimeout: number;
  readonly ca?: string;
  readonly observe?: CommandObserver;
  /** Called when a proxy wrote a measure, or may have written one while we were not listening. */
  readonly onNews: () => void;
  readonly onProblem: (problem: string) => void;
}

/**
 * The measures that a fleet shares. A message says only that something has changed; the measures are read from the
 * hash. So a lost message costs time, and a forged one does nothing.
 */
export class MeasureRedis {
  readonly #client: RedisClient;
  readonly #listener: RedisClient;
  readonly #sealer: TextSealer;
  #isRefused = false;

  constructor({ url, key, onNews, onProblem, ...options }: MeasureRedisOptions) {
    const address = parseRedisUrl(url);
    this.#sealer = new TextSealer(key);
    this.#client = connectRedis(address, options);
    this.#client.defineCommand("sluiceMeasure", { numberOfKeys: 1, lua: PUT });
    // A connection that listens cannot send other commands (Redis docs, "Redis Pub/Sub").
    this.#listener = this.#client instanceof Cluster ? this.#client : connectRedis(address, options);
    for (const client of new Set([this.#client, this.#listener])) {
      client.on("error", (error: Error) => onProblem(error.message));
    }
    this.#client.on("ready", () => {
      this.#isRefused = false;
    });
    this.#client.on("error", ({ code }: NodeJS.ErrnoException) => {
      this.#isRefused = code === "ECONNREFUSED";
    });
    this.#listener.on("message", onNews);
    this.#listener.on("ready", () => {
      this.#listener.subscribe(CHANNEL).then(onNews, (error: Error) => onProblem(error.message));
    });
  }

  get reachable(): boolean {
    return this.#client.status === "ready";
  }

  /** The connection was refused: Redis is not just slow. */
  get isRefused(): boolean {
    return this.#isRefused;
  }

  /** Reads all measures. Rejects if Redis cannot be reached. */
  async read(): Promise<Measures> {
    const measures = new Measures();
    const fields = await this.#client.hgetallBuffer(KEY);
    for (const value of Object.values(fields)) {
      const text = this.#sealer.open(value.subarray(value.indexOf(":") + 1), PLACE);
      const measure = text === undefined ? undefined : parseMeasure(text);
      if (measure !== undefined) measures.learn(measure);
    }
    return measures;
  }

  async put(measure: Measure): Promise<void> {
    const name = this.#sealer.nameOf("measure", measure.kind, measure.user);
    await this.#client.sluiceMeasure(
      KEY,
      name,
      measure.order,
      this.#sealer.seal(JSON.stringify(measure), PLACE),
    );
  }

  close(): void {
    this.#listener.disconnect();
    this.#client.disconnect();
  }
}
