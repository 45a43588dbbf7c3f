import { Cluster, type Command, Redis } from "ioredis";
import { remember } from "./redis-logins.ts";

/** Either kind of client: both speak the same commands. */
export type RedisClient = Redis | Cluster;

/** What a Redis URL says. */
export interface RedisAddress {
  readonly kind: "single" | "cluster" | "sentinel";
  readonly tls: boolean;
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string;
  readonly password?: string;
  readonly db: number;
  /** The name under which the sentinels know the primary. */
  readonly primary?: string;
  /** What the sentinels themselves ask for: seldom what the servers behind them do. */
  readonly sentinel: Login;
}

interface Login {
  readonly username?: string;
  readonly password?: string;
}

const SHAPE =
  /^redis(?<tls>s?)(?:\+(?<kind>cluster|sentinel))?:\/\/(?:(?<login>[^@/]*)@)?(?<hosts>[^@/?#]+)(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/;

/**
 * Reads `redis[s]://[user:password@]host[:port][/db]`, `redis[s]+cluster://host,host…` and
 * `redis[s]+sentinel://host,host…/primary[/db][?sentinel=user:password]`. The error never repeats the URL: it may hold a password.
 */
export function parseRedisUrl(url: string): RedisAddress {
  const groups = SHAPE.exec(url)?.groups;
  if (groups === undefined) throw new Error(EXPECTED);
  const kind = (groups.kind ?? "single") as RedisAddress["kind"];
  const hosts = (groups.hosts ?? "")
    .split(",")
    .map((host) => parseHost(host, kind === "sentinel" ? 26379 : 6379));
  const path = (groups.path ?? "")
    .split("/")
    .filter((part) => part !== "")
    .map(decode);
  const primary = kind === "sentinel" ? path.shift() : undefined;
  const db = path.shift() ?? "0";
  const oneHost = kind !== "single" || hosts.length === 1;
  if (!oneHost || path.length > 0 || !/^\d{1,5}$/.test(db)) throw new Error(EXPECTED);
  if (kind === "sentinel" && primary === undefined) throw new Error(EXPECTED);
  if (kind === "cluster" && db !== "0") throw new Error("a Redis Cluster has only database 0");
  const query = /^sentinel=(?<login>[^&=]+)$/.exec(groups.query ?? "")?.groups;
  if (groups.query !== undefined && (kind !== "sentinel" || query === undefined)) throw new Error(EXPECTED);
  return {
    kind,
    tls: groups.tls === "s",
    hosts,
    ...login(groups.login),
    db: Number(db),
    ...(primary === undefined ? {} : { primary }),
    sentinel: login(query?.login),
  };
}

const EXPECTED =
  "not a Redis address: expected redis://[user:password@]host[:port][/db], rediss://…, " +
  "redis+cluster://host,host or redis+sentinel://host,host/primary[/db][?sentinel=user:password]";

function parseHost(text: string, port: number): { host: string; port: number } {
  const match = /^(?:\[(?<six>[0-9a-fA-F:.]+)\]|(?<name>[^:[\]]+))(?::(?<port>\d{1,5}))?$/.exec(text);
  const host = match?.groups?.six ?? match?.groups?.name;
  if (host === undefined) throw new Error(EXPECTED);
  return { host, port: Number(match?.groups?.port ?? port) };
}

function login(text: string | undefined): Login {
  if (text === undefined) return {};
  const colon = text.indexOf(":");
  const username = decode(colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? "" : decode(text.slice(colon + 1));
  return { ...(username === "" ? {} : { username }), ...(password === "" ? {} : { password }) };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new Error(EXPECTED);
  }
}

/** Told how each command ended. */
export interface CommandObserver {
  answered(seconds: number): void;
  /** Redis refused it, or did not answer in time, or cannot be reached. */
  failed(): void;
}

export interface ConnectOptions {
  /** Milliseconds after which an answer is no longer waited for. */
  readonly commandTimeout: number;
  /** Certificates (PEM) that sign the server's in place of the well-known authorities. */
  readonly ca?: string;
  readonly observe?: CommandObserver;
}

/**
 * Opens the connection in the background. Nothing waits on a Redis that is away: there is no offline
 * queue, a lost connection answers what was under way at once, and a silent one is given up after the
 * command's time limit. A charge is never sent twice behind our back.
 */
export function connectRedis(address: RedisAddress, options: ConnectOptions): RedisClient {
  const client = open(address, options);
  remember(client, address);
  return options.observe === undefined ? client : observed(client, options.observe);
}

/** What comes behind the command differs between the two kinds of client. */
type Send = (command: Command, ...how: never[]) => unknown;

/** All commands go through sendCommand, scripts included. */
function observed(client: RedisClient, observer: CommandObserver): RedisClient {
  const send: Send = client.sendCommand.bind(client);
  const timed: Send = (command, ...how) => {
    const start = performance.now();
    const answer = send(command, ...how);
    command.promise.then(
      () => observer.answered((performance.now() - start) / 1000),
      (error: Error) => {
        // ioredis sends the script itself after that.
        if (!error.message.startsWith("NOSCRIPT")) observer.failed();
      },
    );
    return answer;
  };
  return Object.assign(client, { sendCommand: timed });
}

function open(address: RedisAddress, options: ConnectOptions): RedisClient {
  const { hosts, db, username, password } = address;
  const { commandTimeout, ca } = options;
  const retry = (times: number) => Math.min(50 * 2 ** Math.min(times, 6), 2_000);
  const common = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(address.tls ? { tls: ca === undefined ? {} : { ca } } : {}),
    connectionName: "sluice",
    commandTimeout,
    // A peer that vanished without a word (no RST) is noticed by its silence, not by TCP after minutes.
    socketTimeout: Math.max(commandTimeout * 4, 2_000),
    connectTimeout: 5_000,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // Whoever listens subscribes at each "ready". ioredis' own second time has nobody who catches its failure: a
    // connection that is lost again at once would end the process (an unhandled rejection).
    autoResubscribe: false,
    // After a failover behind one name, the old primary answers READONLY: find the new one.
    reconnectOnError: (error: Error) => error.message.includes("READONLY"),
  };
  switch (address.kind) {
    case "cluster":
      return new Cluster([...hosts], {
        enableOfflineQueue: false,
        clusterRetryStrategy: retry,
        redisOptions: common,
      });
    case "sentinel":
      return new Redis({
        ...common,
        sentinels: [...hosts],
        name: address.primary ?? "",
        ...(address.sentinel.username === undefined ? {} : { sentinelUsername: address.sentinel.username }),
        ...(address.sentinel.password === undefined ? {} : { sentinelPassword: address.sentinel.password }),
        db,
        enableOfflineQueue: false,
        enableTLSForSentinelMode: address.tls,
        sentinelRetryStrategy: retry,
        retryStrategy: retry,
      });
    case "single": {
      const [only] = hosts;
      if (only === undefined) throw new Error(EXPECTED);
      return new Redis({ ...common, ...only, db, enableOfflineQueue: false, retryStrategy: retry });
    }
  }
}
