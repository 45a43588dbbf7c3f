import { Cluster, type Command, Redis } from "ioredis";
import { authoritiesOf, remember } from "./redis-logins.ts";

/** Either kind of client: both support the same commands. */
export type RedisClient = Redis | Cluster;

/** The content of a Redis URL. */
export interface RedisAddress {
  readonly kind: "single" | "cluster" | "sentinel";
  readonly tls: boolean;
  readonly hosts: readonly { readonly host: string; readonly port: number }[];
  readonly username?: string;
  readonly password?: string;
  readonly db: number;
  /** The name that the sentinels use for the primary. */
  readonly primary?: string;
  /** The login for the sentinels themselves, which usually differs from that of the servers behind them. */
  readonly sentinel: Login;
}

interface Login {
  readonly username?: string;
  readonly password?: string;
}

const SHAPE =
  /^redis(?<tls>s?)(?:\+(?<kind>cluster|sentinel))?:\/\/(?:(?<login>[^@/]*)@)?(?<hosts>[^@/?#]+)(?<path>\/[^?#]*)?(?:\?(?<query>[^#]*))?$/;

/**
 * Parses `redis[s]://[user:password@]host[:port][/db]`, `redis[s]+cluster://host,host…` and
 * `redis[s]+sentinel://host,host…/primary[/db][?sentinel=user:password]`. The error never repeats the URL, which may
 * hold a password.
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

/** Called with the outcome of each command. */
export interface CommandObserver {
  answered(seconds: number): void;
  /** Redis refused the command, did not answer in time, or is unreachable. */
  failed(): void;
}

export interface ConnectOptions {
  /** Milliseconds to wait for an answer. */
  readonly commandTimeout: number;
  /** Authorities (PEM) for the server's certificate; those of `trust` if absent. */
  readonly ca?: string;
  readonly observe?: CommandObserver;
}

/**
 * Opens the connection in the background. Commands do not wait for an unreachable Redis: there is no offline queue, a
 * lost connection fails its commands immediately, and a silent one is given up after the command timeout. A charge is
 * never resent automatically.
 */
export function connectRedis(address: RedisAddress, options: ConnectOptions): RedisClient {
  const client = open(address, options);
  remember(client, address);
  return options.observe === undefined ? client : observed(client, options.observe);
}

/** The arguments after the command differ between the two kinds of client. */
type Send = (command: Command, ...how: never[]) => unknown;

/** Observes sendCommand, through which all commands go, including scripts. */
function observed(client: RedisClient, observer: CommandObserver): RedisClient {
  const send: Send = client.sendCommand.bind(client);
  const timed: Send = (command, ...how) => {
    const start = performance.now();
    const answer = send(command, ...how);
    command.promise.then(
      () => observer.answered((performance.now() - start) / 1000),
      (error: Error) => {
        // After this error ioredis sends the script itself.
        if (!error.message.startsWith("NOSCRIPT")) observer.failed();
      },
    );
    return answer;
  };
  return Object.assign(client, { sendCommand: timed });
}

function open(address: RedisAddress, options: ConnectOptions): RedisClient {
  const { hosts, db, username, password } = address;
  const { commandTimeout, ca = authoritiesOf(address) } = options;
  const retry = (times: number) => Math.min(50 * 2 ** Math.min(times, 6), 2_000);
  const common = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(address.tls ? { tls: ca === undefined ? {} : { ca } } : {}),
    connectionName: "sluice",
    commandTimeout,
    // A peer that vanished silently (no RST) is detected by its silence, not by TCP after minutes.
    socketTimeout: Math.max(commandTimeout * 4, 2_000),
    connectTimeout: 5_000,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // Listeners subscribe at each "ready". Nothing catches a failure of ioredis' own resubscription: a connection that
    // is lost again immediately would end the process (an unhandled rejection).
    autoResubscribe: false,
    // After a failover behind one name, the old primary answers READONLY: reconnect to find the new one.
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
