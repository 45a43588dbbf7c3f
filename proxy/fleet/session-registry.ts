import { randomUUID } from "node:crypto";
import { z } from "zod";
import type { Log } from "../log.ts";
import { type CommandObserver, connectRedis, parseRedisUrl, type RedisClient } from "./redis-url.ts";
import { TextSealer } from "./sealed-texts.ts";

/** An open session, as operators see it. */
export interface SessionInfo {
  readonly id: string;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly address: string;
  readonly application: string;
  /** Unix time in milliseconds. */
  readonly since: number;
}

/** A statement that a session runs now, as operators see it. */
export interface RunningInfo {
  readonly session: string;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  /** Without literals. */
  readonly statement: string;
  /** Milliseconds since the client sent it. */
  readonly duration: number;
}

export interface RegistryOptions {
  readonly url: string;
  /** The key of the counters. */
  readonly key: Buffer;
  readonly commandTimeout: number;
  readonly ca?: string;
  readonly observe?: CommandObserver;
  readonly log: Log;
}

const sessionsSchema = z.array(
  z.object({
    id: z.string(),
    user: z.string(),
    role: z.string(),
    database: z.string(),
    address: z.string(),
    application: z.string(),
    since: z.number(),
  }),
);

const INSTANCES = "sluice:instances";
const PLACE = "sessions";
const TELL_EVERY = 2_000;
/** An instance that has not reported for this many milliseconds is gone, and its sessions with it. */
const EXPIRES_AFTER = 10_000;

function keyOf(instance: string): string {
  return `sluice:sessions:${instance}`;
}

function connect({ url, ...options }: RegistryOptions): RedisClient {
  return connectRedis(parseRedisUrl(url), options);
}

/** The sessions that are connected here. */
export interface OpenSessions {
  list(): readonly SessionInfo[];
  /** While this number stays the same, so does the list. */
  readonly changes: number;
}

/** Reports to the fleet every two seconds who is connected here. Returns a function that stops it. */
export function registerSessions(options: RegistryOptions, sessions: OpenSessions): () => Promise<void> {
  const client = connect(options);
  const sealer = new TextSealer(options.key);
  const instance = randomUUID();
  // The counter store reports an unreachable Redis.
  client.on("error", () => {});
  let told: number | undefined;
  const tell = async () => {
    if (client.status !== "ready") return;
    const { changes } = sessions;
    // The list of thousands of idle sessions is long: it is not rebuilt if nothing has changed.
    if (told !== changes || (await client.pexpire(keyOf(instance), EXPIRES_AFTER)) === 0) {
      const sealed = sealer.seal(JSON.stringify(sessions.list()), PLACE);
      await client.set(keyOf(instance), sealed, "PX", EXPIRES_AFTER);
      told = changes;
    }
    await client.sadd(INSTANCES, instance);
  };
  const tellAndGoOn = () =>
    void tell().catch((error: Error) => options.log.debug({ problem: error.message }, "sessions not told"));
  client.on("ready", () => {
    // A Redis that is back may hold an older list.
    told = undefined;
    tellAndGoOn();
  });
  const timer = setInterval(tellAndGoOn, TELL_EVERY);
  timer.unref();
  return async () => {
    clearInterval(timer);
    if (client.status === "ready")
      await Promise.allSettled([client.del(keyOf(instance)), client.srem(INSTANCES, instance)]);
    client.disconnect();
  };
}

/** All sessions of the fleet, oldest first. Rejects if Redis cannot be reached. */
export async function readSessions(options: RegistryOptions): Promise<readonly SessionInfo[]> {
  const client = connect(options);
  const sealer = new TextSealer(options.key);
  try {
    await new Promise((resolve, reject) => client.once("ready", resolve).once("error", reject));
    const sessions: SessionInfo[] = [];
    for (const instance of await client.smembers(INSTANCES)) {
      const sealed = await client.getBuffer(keyOf(instance));
      if (sealed === null) await client.srem(INSTANCES, instance);
      else sessions.push(...parse(sealer.open(sealed, PLACE)));
    }
    return sessions.sort((a, b) => a.since - b.since);
  } finally {
    client.disconnect();
  }
}

/** Empty if the text was sealed with another key. */
function parse(text: string | undefined): readonly SessionInfo[] {
  return text === undefined ? [] : sessionsSchema.parse(JSON.parse(text));
}
