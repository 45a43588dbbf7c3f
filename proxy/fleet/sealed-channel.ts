import { Cluster } from "ioredis";
import { type ConnectOptions, connectRedis, parseRedisUrl, type RedisClient } from "./redis-url.ts";
import { TextSealer } from "./sealed-texts.ts";

export interface SealedChannelOptions extends ConnectOptions {
  readonly url: string;
  /** The key of the counters. */
  readonly key: Buffer;
}

/**
 * Messages among the processes of a fleet, through their Redis. They are sealed: a reader of Redis learns no name and
 * no key, and a writer cannot forge an order.
 */
export class SealedChannel {
  readonly #client: RedisClient;
  readonly #listener: RedisClient;
  readonly #sealer: TextSealer;
  readonly #place: string;

  /** `place` says what the messages are for. `receive` gets the JSON value of each message on `channels`. */
  constructor(
    options: SealedChannelOptions,
    place: string,
    channels: readonly string[],
    receive: (message: unknown) => Promise<void>,
  ) {
    this.#sealer = new TextSealer(options.key);
    this.#place = place;
    const address = parseRedisUrl(options.url);
    this.#client = connectRedis(address, options);
    // A connection that listens cannot send other commands (Redis docs, "Redis Pub/Sub").
    this.#listener = this.#client instanceof Cluster ? this.#client : connectRedis(address, options);
    // The counter store reports an unreachable Redis.
    for (const client of new Set([this.#client, this.#listener])) client.on("error", () => {});
    this.#listener.on("messageBuffer", (_: Buffer, sealed: Buffer) => {
      const text = this.#sealer.open(sealed, place);
      if (text !== undefined) void receive(JSON.parse(text));
    });
    this.#listener.on("ready", () => {
      this.#listener.subscribe(...channels).catch(() => {});
    });
  }

  get reachable(): boolean {
    return this.#client.status === "ready";
  }

  /** How many received the message; undefined if unknown. Rejects if Redis cannot be reached. */
  async publish(channel: string, message: object): Promise<number | undefined> {
    const heard = await this.#client.publish(
      channel,
      this.#sealer.seal(JSON.stringify(message), this.#place),
    );
    // A cluster node counts only its own listeners.
    return this.#client instanceof Cluster ? undefined : heard;
  }

  close(): void {
    this.#listener.disconnect();
    this.#client.disconnect();
  }
}
