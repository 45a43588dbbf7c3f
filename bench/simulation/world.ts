import { createHash, randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import type { StatementEvent } from "../../proxy/audit/event.ts";
import type { Finding } from "../../proxy/behaviour/alert.ts";
import { Behaviour } from "../../proxy/behaviour/behaviour-watch.ts";
import { FileProfiles } from "../../proxy/behaviour/profile-file.ts";
import { RedisProfiles } from "../../proxy/behaviour/profile-redis.ts";
import { SequenceWatch } from "../../proxy/behaviour/sequence.ts";
import { type ProfileBackend, SharedProfiles } from "../../proxy/behaviour/shared-profiles.ts";
import { createLog } from "../../proxy/log.ts";
import { refusalOf } from "../../proxy/meter/budget-refusal.ts";
import { chargeScript } from "../../proxy/meter/charge-script.ts";
import {
  type Account,
  accountOf,
  type CounterStore,
  type Grant,
  type Meter,
} from "../../proxy/meter/meter.ts";
import { createMeter } from "../../proxy/meter/session-meter.ts";
import { Stops } from "../../proxy/meter/stops.ts";
import { withReadings, withTightening } from "../../proxy/meter/store-layers.ts";
import { createRedisStore } from "../../proxy/meter/store-redis.ts";
import { openSuspensions, type Suspensions } from "../../proxy/orders/suspensions.ts";
import type { Role } from "../../proxy/policy/policy.ts";
import { mostAhead } from "../../proxy/session/watched/charged-readers.ts";
import { DAY, INSTANCES, type Sip } from "./organisation.ts";

const CLOCK_KEY = "simulation:now";
/** The proxies' own script, whose clock is a key that only the simulation sets. */
const SCRIPT = chargeScript(`
local now, skipped, began = tonumber(redis.call('GET', '${CLOCK_KEY}')), 0, 0
local function expiry(keep) return tonumber(ARGV[1]) + keep end
`);
const DATABASE = "support";
const SILENT = createLog({ level: "silent" });

/** What became of one sip. */
export interface Outcome {
  /** Leading people who were released. */
  readonly released: number;
  readonly stopped: "no" | "row limit" | "budget" | "suspended";
}

/** "refused": before it ran, as a budget was known to be used up. */
type Ending = Outcome["stopped"] | "refused";

/** The guard of a fleet, as it is, in virtual time. */
export class World {
  now = 0;
  readonly alerts: Finding[] = [];
  readonly #roles: ReadonlyMap<string, Role>;
  readonly #redis: Redis;
  readonly #stores: readonly CounterStore[];
  readonly #suspensions: Suspensions;
  /** Each proxy's own: what they know of users they have from each other, by Redis. */
  readonly #behaviours: readonly Behaviour[];
  readonly #profiles: readonly SharedProfiles[];
  readonly #meters = new Map<string, Meter>();
  /** Of each proxy, where rows of a watched role do not wait for the counters. */
  readonly #stops = Array.from({ length: INSTANCES }, () => new Stops());

  private constructor(
    roles: ReadonlyMap<string, Role>,
    redis: Redis,
    suspensions: Suspensions,
    shared: CounterStore[],
    backends: readonly ProfileBackend[],
  ) {
    this.#roles = roles;
    this.#redis = redis;
    this.#suspensions = suspensions;
    // An exchange after each statement (in a proxy it comes two seconds later), and a look at peers every ten
    // minutes (in a proxy every minute): colluders are seen later here, never sooner.
    this.#profiles = backends.map(
      (backend, i) =>
        new SharedProfiles({
          backend: apart(backend),
          writer: `proxy ${i}`,
          log: SILENT,
          every: 0,
          peersEvery: 600_000,
          now: () => this.now,
        }),
    );
    this.#behaviours = this.#profiles.map(
      (profiles) =>
        new Behaviour({
          profiles,
          role: (_, name) => roles.get(nameOfRole(name)),
          measures: suspensions,
          onFinding: (alert) => this.alerts.push(alert),
          log: SILENT,
          newId: randomUUID,
        }),
    );
    this.#stores = shared.map((store, i) => {
      // Each proxy sees the ids that pass through it.
      const watch = new SequenceWatch((account, ids) =>
        this.#behaviours[i % this.#behaviours.length]?.walked(
          { ...account, role: companyOf(account.role ?? "", account.user) },
          ids,
          this.now,
        ),
      );
      return withReadings(
        withTightening(store, (user) => suspensions.tightened(user) !== undefined),
        (account, batch, rows) => watch.released(account, batch, rows),
      );
    });
  }

  static async open(
    url: string,
    roles: ReadonlyMap<string, Role>,
    kept: "one" | "each proxy's",
  ): Promise<World> {
    const redis = new Redis(url);
    await redis.flushall();
    await redis.set(CLOCK_KEY, 0);
    let world: World | undefined;
    const suspensions = await openSuspensions({ log: SILENT, now: () => world?.now ?? 0 });
    const key = Buffer.alloc(32, 1);
    const shared = await Promise.all(
      Array.from(
        { length: INSTANCES },
        () =>
          new Promise<CounterStore>((resolve) => {
            const store = createRedisStore({
              ...{ url, key, log: SILENT, script: SCRIPT, commandTimeout: 10_000 },
              onReady: (ready) => ready && resolve(store),
            });
          }),
      ),
    );
    const backends = await profilesOf(url, key, kept);
    world = new World(roles, redis, suspensions, shared, backends);
    return world;
  }

  /** Whoever is honest calls, and is let in again within a day. */
  async #isSuspended(user: string): Promise<boolean> {
    const suspension = this.#suspensions.isSuspended(user);
    if (suspension === undefined) return false;
    if (user.includes("#") || this.now < suspension.at + DAY) return true;
    await this.#suspensions.resume(user, "", "operator");
    await this.#suspensions.relax(user, "operator");
    return false;
  }

  isTightened(user: string): boolean {
    return this.#suspensions.tightened(user) !== undefined;
  }

  /** One statement: limits, budgets, and what the watch makes of it. */
  async read(sip: Sip, roleName: string): Promise<Outcome> {
    const { time, user, address, people, instance, lookups } = sip;
    const role = this.#roles.get(roleName);
    if (role === undefined) throw new Error(`no role ${roleName}`);
    this.now = time;
    if (await this.#isSuspended(user)) return { released: 0, stopped: "suspended" };
    // The script's clock.
    await this.#redis.set(CLOCK_KEY, time);
    const limit = role.limits.rows ?? Number.POSITIVE_INFINITY;
    const asked = people.slice(0, limit).map(String);
    const account = accountOf(role, { database: DATABASE, user, address });
    const meter = this.#meterOf(account, instance);
    if (role.watch && this.#stopsOf(instance).of(account, () => meter.windows, time) !== undefined) {
      await this.#observe({ ...sip, lookups: 0 }, role, [], "refused");
      return { released: 0, stopped: "budget" };
    }
    if (lookups > 0 && (await meter.amount("lookups", lookups)).kind !== "all")
      return { released: 0, stopped: "budget" };
    const grant = await meter.charge({
      rows: asked.length,
      people: asked,
      namespaces: ["customers"],
      unknownPerRow: 0,
    });
    if (grant.kind === "unreachable") throw new Error("Redis cannot be reached");
    const released = role.watch
      ? this.#shown(asked.length, grant, account, instance)
      : grant.kind === "all"
        ? asked.length
        : grant.rows;
    const stopped = grant.kind === "part" ? "budget" : people.length > limit ? "row limit" : "no";
    await this.#observe(sip, role, asked.slice(0, released), stopped);
    return { released, stopped };
  }

  /** What the watch of the sip's proxy makes of it. */
  async #observe(sip: Sip, role: Role, people: readonly string[], stopped: Ending): Promise<void> {
    const proxy = sip.instance % this.#profiles.length;
    const [behaviour, profiles] = [this.#behaviours[proxy], this.#profiles[proxy]];
    behaviour?.observe(eventOf(sip, role, people, stopped));
    await behaviour?.settled();
    await profiles?.exchange();
  }

  /** Rows of a watched role leave before they are charged: at the worst all that may. The next statement is stopped. */
  #shown(asked: number, grant: Grant, account: Account, instance: number): number {
    if (grant.kind !== "part") return asked;
    // The store tells it by the machine's clock, which virtual time has nothing to do with.
    const until = this.now + Math.max(0, grant.freesAt - Date.now());
    this.#stopsOf(instance).stop(account, grant.window, refusalOf(grant, account), until);
    return Math.min(asked, grant.rows + mostAhead(account.windows));
  }

  #stopsOf(instance: number): Stops {
    const stops = this.#stops[instance % INSTANCES];
    if (stops === undefined) throw new Error("no such instance");
    return stops;
  }

  /** Bytes that Redis holds for all of it. */
  async memory(): Promise<number> {
    const info = await this.#redis.info("memory");
    return Number(/used_memory:(\d+)/.exec(info)?.[1] ?? 0);
  }

  async close(): Promise<void> {
    await Promise.all(this.#profiles.map((profiles) => profiles.close()));
    await Promise.all(this.#stores.map((store) => store.close()));
    await this.#suspensions.close();
    this.#redis.disconnect();
  }

  #meterOf(account: Account, instance: number): Meter {
    const store = this.#stores[instance % INSTANCES];
    if (store === undefined) throw new Error("no such instance");
    const key = [account.user, account.address, instance].join();
    let meter = this.#meters.get(key);
    if (meter === undefined) {
      meter = createMeter(store, account, () => this.now);
      this.#meters.set(key, meter);
    }
    return meter;
  }
}

/** Of one for all proxies and of each proxy's own, exchanged by Redis, come the same sightings: the former in a tenth of the time. */
async function profilesOf(
  url: string,
  key: Buffer,
  kept: "one" | "each proxy's",
): Promise<readonly ProfileBackend[]> {
  if (kept === "one") return [new FileProfiles({ onProblem: console.error })];
  const backends = Array.from(
    { length: INSTANCES },
    () => new RedisProfiles({ url, key, commandTimeout: 10_000, onProblem: console.error }),
  );
  while (!backends.every(({ reachable }) => reachable)) await sleep(10);
  return backends;
}

/** Beside whom the rules see a user: thieves of one kind work beside all who are honest, and know no other thieves. */
function companyOf(role: string, user: string): string {
  const [thief, account] = user.split("#");
  return account === undefined ? role : `${role}~${thief}`;
}

function nameOfRole(company: string): string {
  return company.split("~")[0] ?? company;
}

function apart(inner: ProfileBackend): ProfileBackend {
  return {
    get reachable() {
      return inner.reachable;
    },
    read: (name, version) => inner.read(name, version),
    write: (name, version, kept, summary) => inner.write(name, version, kept, summary),
    claim: (name, what) => inner.claim(name, what),
    close: () => inner.close(),
    async summaries(database, company, today) {
      const role = nameOfRole(company);
      const honest = await inner.summaries(database, role, today);
      return role === company ? honest : [...honest, ...(await inner.summaries(database, company, today))];
    },
  };
}

function eventOf(
  { time, user, address, lookups, purposeless }: Sip,
  role: Role,
  people: readonly string[],
  stopped: Ending,
): StatementEvent {
  const isRefused = stopped === "refused";
  const sqlstate =
    stopped === "budget" || isRefused ? "53400" : stopped === "row limit" ? "54000" : undefined;
  const decision = sqlstate === undefined ? "mask" : isRefused ? "refuse" : "cut";
  return {
    ...(role.watch && { account: "helpdesk_app" }),
    ...{ kind: "statement", time, session: "", user, role: companyOf(role.name, user), database: DATABASE },
    ...{ client: address, application: "", command: "SELECT", statement: "", relations: [], masked: [] },
    ...{ lookups, decision, policy: "", bytes: 0, duration: 0 },
    ...(sqlstate === undefined ? {} : { sqlstate }),
    ...(role.purpose.size === 0 ? {} : { purposeless: Math.min(purposeless, people.length) }),
    rows: people.length,
    subjects: [...new Set(people)].map(hashOf),
    people: new Set(people).size,
  };
}

function hashOf(person: string): string {
  return createHash("sha256").update(person).digest("base64url").slice(0, 12);
}
