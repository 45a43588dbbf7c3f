import { randomInt } from "node:crypto";
import type { Result } from "ioredis";
import { z } from "zod";
import { type CommandObserver, connectRedis, parseRedisUrl, type RedisClient } from "../fleet/redis-url.ts";
import { TextSealer } from "../fleet/sealed-texts.ts";
import { parseJson } from "../orders/json-text.ts";
import type { Summary } from "./peers.ts";
import { type KeptProfile, parseProfile, profileText } from "./profile-text.ts";
import {
  type KeptSummary,
  LINEAGE,
  type ProfileBackend,
  type ProfileName,
  type Stored,
} from "./shared-profiles.ts";

declare module "ioredis" {
  interface RedisCommander<Context> {
    sluiceProfileRead(...args: (string | number | Buffer)[]): Result<unknown, Context>;
    sluiceProfileReadBuffer(...args: (string | number | Buffer)[]): Result<unknown, Context>;
    sluiceProfileWrite(...args: (string | number | Buffer)[]): Result<unknown, Context>;
  }
}

/** A user who has not read for this many days is forgotten. */
const KEPT_DAYS = 45;
const KEPT_MS = KEPT_DAYS * 86_400_000;
const CLAIM_MS = 2 * 86_400_000;
const PROFILE = "profile";
const SUMMARY = "summary of a profile";

/** Returns the profile, but only if its version differs from the proxy's. */
const READ = `
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version == ARGV[1] then return { version } end
return { version, redis.call('HGET', KEYS[1], 'profile') }
`;

/** Writes only if no other proxy has written since, so that no proxy undoes what another has seen. */
const WRITE = `
local version = redis.call('HGET', KEYS[1], 'version') or '0'
if version ~= ARGV[1] then return '0' end
if version == '0' then redis.call('HSET', KEYS[1], 'version', ARGV[6]) end
version = redis.call('HINCRBY', KEYS[1], 'version', 1)
redis.call('HSET', KEYS[1], 'profile', ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[5])
return redis.call('HGET', KEYS[1], 'version')
`;

export interface RedisProfilesOptions {
  readonly url: string;
  /** The key of the counters. */
  readonly key: Buffer;
  readonly commandTimeout: number;
  readonly ca?: string;
  readonly observe?: CommandObserver;
  readonly onProblem: (problem: string) => void;
}

const summarySchema = z.object({
  day: z.number(),
  days: z.number(),
  newPeople: z.number(),
  week: z.number(),
  lookups: z.number(),
  hours: z.array(z.number()),
  networks: z.array(z.string()),
  ordinary: z.number().default(0),
  recent: z.array(z.tuple([z.number(), z.number()])).default([]),
});

/**
 * Profiles that a fleet shares: one sealed text per user, and for each role a hash of the summaries that its users are
 * compared with. A reader of Redis learns no name, and a writer cannot forge a profile.
 */
export class RedisProfiles implements ProfileBackend {
  readonly #client: RedisClient;
  readonly #sealer: TextSealer;

  constructor({ url, key, onProblem, ...options }: RedisProfilesOptions) {
    this.#sealer = new TextSealer(key);
    this.#client = connectRedis(parseRedisUrl(url), options);
    this.#client.defineCommand("sluiceProfileRead", { numberOfKeys: 1, lua: READ });
    this.#client.defineCommand("sluiceProfileWrite", { numberOfKeys: 2, lua: WRITE });
    this.#client.on("error", (error: Error) => onProblem(error.message));
  }

  get reachable(): boolean {
    return this.#client.status === "ready";
  }

  async read(name: ProfileName, version: number): Promise<Stored | undefined> {
    const reply = await this.#client.sluiceProfileReadBuffer(this.#profileKey(name), version);
    const [found, sealed] = Array.isArray(reply) ? (reply as readonly unknown[]) : [];
    const there = Number(String(found));
    if (there === version) return undefined;
    const text = Buffer.isBuffer(sealed) ? this.#sealer.open(sealed, placeOf(name)) : undefined;
    // Damaged or forged: it counts as unknown, and the next write repairs it.
    return { version: there, kept: text === undefined ? undefined : parseProfile(text) };
  }

  async write(
    name: ProfileName,
    version: number,
    kept: KeptProfile,
    summary: KeptSummary,
  ): Promise<number | undefined> {
    const written = await this.#client.sluiceProfileWrite(
      this.#profileKey(name),
      this.#roleKey(name.database, name.role),
      version,
      this.#sealer.seal(profileText(kept), placeOf(name)),
      this.#sealer.nameOf("summary", name.user),
      this.#sealer.seal(JSON.stringify(summary), SUMMARY),
      KEPT_MS,
      randomInt(1, 2 ** 30) * LINEAGE,
    );
    return Number(written) || undefined;
  }

  async summaries(database: string, role: string, today: number): Promise<readonly KeptSummary[]> {
    const key = this.#roleKey(database, role);
    const found: KeptSummary[] = [];
    const gone: string[] = [];
    for (const [field, sealed] of Object.entries(await this.#client.hgetallBuffer(key))) {
      const summary = parseSummary(this.#sealer.open(sealed, SUMMARY));
      if (summary === undefined || summary.day < today - KEPT_DAYS) gone.push(field);
      else found.push(summary);
    }
    if (gone.length > 0) await this.#client.hdel(key, ...gone);
    return found;
  }

  /** True for the first proxy that asks. */
  async claim({ database, user }: ProfileName, what: string): Promise<boolean> {
    const key = `sluice:{${this.#tagOf(database)}}:told:${this.#sealer.nameOf("told", user, what)}`;
    return (await this.#client.set(key, 1, "PX", CLAIM_MS, "NX")) === "OK";
  }

  close(): void {
    this.#client.disconnect();
  }

  /** One slot of a Redis Cluster per database, as for its counters. */
  #tagOf(database: string): string {
    return this.#sealer.nameOf("database", database);
  }

  #profileKey({ database, role, user }: ProfileName): string {
    return `sluice:{${this.#tagOf(database)}}:profile:${this.#sealer.nameOf(PROFILE, role, user)}`;
  }

  #roleKey(database: string, role: string): string {
    return `sluice:{${this.#tagOf(database)}}:peers:${this.#sealer.nameOf("peers", role)}`;
  }
}

/** Prevents that one user's profile passes for another's. */
function placeOf({ database, role, user }: ProfileName): string {
  return [PROFILE, database, role, user].join("\0");
}

function parseSummary(text: string | undefined): (Summary & KeptSummary) | undefined {
  return text === undefined ? undefined : parseJson(summarySchema, text);
}
