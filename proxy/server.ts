import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import type { AuditLog } from "./audit/event.ts";
import type { Catalogs } from "./catalog/catalogs.ts";
import { Connections } from "./connections.ts";
import type { BudgetSighting } from "./guard/budget-alerts.ts";
import type { CanarySighting, Decoys } from "./guard/canaries.ts";
import type { CounterStore } from "./guard/meter.ts";
import type { SessionInfo } from "./guard/session-registry.ts";
import { endSession, refuseLogin, type Suspensions } from "./guard/suspensions.ts";
import type { Keys } from "./keys.ts";
import { boundTo, listenAt } from "./listening.ts";
import type { Log } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { PolicySet } from "./policy/load.ts";
import { LeavingsCache, type NamedPool, Pools } from "./pool/pools.ts";
import type { AdminDatabase } from "./session/admin-login.ts";
import { CancelKeys } from "./session/cancel.ts";
import { CancelDesk, type ForwardCancel } from "./session/cancel-desk.ts";
import type { ConnectionParts, PrepareSession } from "./session/connection.ts";
import type { Authenticating } from "./session/login.ts";
import type { Pooling } from "./session/pooled-login.ts";
import { openCatalog, prepareWith } from "./session/prepare.ts";
import { SeatCount, type Seats } from "./session/seats.ts";
import { runSession } from "./session/session.ts";
import type { ClientTls } from "./session/start-up.ts";
import { TimeKeeper } from "./session/time-limits.ts";
import type { Address, Settings } from "./settings.ts";
import type { Scopes, VerdictCache } from "./sql/cache.ts";
import { storedText } from "./sql/stored-text.ts";
import type { BackendKey } from "./wire/backend-messages.ts";
import { type Refusal, refuseSession } from "./wire/refusal.ts";
import { surviveErrors } from "./wire/survive-errors.ts";
import { TlsAcceptor } from "./wire/tls.ts";
import type { Upstream } from "./wire/upstream.ts";
import { type ProbeHost, UpstreamHosts } from "./wire/upstream-hosts.ts";
import { readUsersFile, type Users } from "./wire/users-file.ts";

type TimeLimit = "idleSessionTimeout" | "idleInTransactionTimeout" | "statementTimeout";

export type ServerSettings = Pick<
  Settings,
  | "listen"
  | "auth"
  | "users"
  | "tlsCert"
  | "tlsKey"
  | "tlsClientCa"
  | "maxMessage"
  | "maxClients"
  | "loginTimeout"
  | "drainTimeout"
> &
  Partial<
    Pick<
      Settings,
      | "pool"
      | "poolSize"
      | "poolWait"
      | "tlsRequired"
      | "auditDurability"
      | "maxClientsPerUser"
      | "proxyProtocolFrom"
      | "tcpKeepalive"
      | TimeLimit
    >
  >;

/** All that sessions are made of. */
export interface ServerParts {
  readonly settings: ServerSettings;
  readonly upstream: Upstream;
  /** Databases that are elsewhere, by their names. */
  readonly databases?: ReadonlyMap<string, Upstream>;
  /** Asks a host what it is; needed where `target_session_attrs` says more than any. */
  readonly probeHost?: ProbeHost;
  /** The policies in force. */
  readonly policies: () => PolicySet;
  readonly catalogs: Catalogs;
  readonly verdicts: VerdictCache;
  readonly scopes: Scopes;
  readonly store: CounterStore;
  /** Who is cut off; nobody if left out. */
  readonly suspensions?: Pick<Suspensions, "isSuspended" | "onSuspended">;
  readonly audit: AuditLog;
  /** Told when a decoy is about to be given out; nobody if left out. */
  readonly onCanary?: (sighting: CanarySighting) => void;
  /** A budget that only alerts is used up; nobody is told if left out. */
  readonly onBudget?: (sighting: BudgetSighting) => void;
  /** Decoys that conditions mark; none if left out. */
  readonly decoys?: Decoys;
  /** The database that is no database; none if left out. */
  readonly adminDatabase?: AdminDatabase;
  readonly metrics: Metrics;
  readonly keys: Keys;
  readonly log: Log;
  /** Those of this process alone if left out. */
  readonly seats?: Seats;
  /** Where cancel requests go whose keys other processes have handed out: nowhere if left out. */
  readonly forwardCancel?: readonly ForwardCancel[];
  readonly cancelKeys?: CancelKeys;
  /** Unix time in milliseconds; the system's if left out. */
  readonly now?: () => number;
  /** In place of the session that guards: for tests of what comes before it. */
  readonly prepareSession?: PrepareSession;
}

export interface RunningServer {
  readonly address: Address;
  /** Clients past log-in. */
  readonly sessions: number;
  /** Who is connected, past log-in. */
  list(): readonly SessionInfo[];
  /** Grows whenever somebody comes or goes: while it stays, so does the list. */
  readonly changes: number;
  /** The pools of server connections; none without --pool. */
  pools(): readonly NamedPool[];
  /** Ends one session and what it has the server run; false when there is none of this id. */
  end(session: string, refusal: Refusal): boolean;
  /**
   * Reads the users file and the TLS files again; a bad one is logged, and what was in force stays. New sessions go to
   * the servers of `targets`, if they are given.
   */
  reload(targets?: Pick<ServerParts, "upstream" | "databases">): Promise<void>;
  /** Does what a cancel request asks that another process took; false for a key that is not known here. */
  cancel(request: BackendKey): Promise<boolean>;
  /** No new clients; open transactions may finish within the drain timeout; resolves when all are gone. */
  close(): Promise<void>;
}

/** What is judged is gathered first: no more than this by default. */
const MAX_MESSAGE = 64 * 2 ** 20;

/** Connections beyond the limit of clients: to be told that it is reached, and for cancel requests. */
const RESERVE = 100;
/** As many milliseconds of silence before a peer is probed as Postgres' docs advise for firewalls; Linux' own are two hours. */
const KEEPALIVE_MS = 60_000;

/** Listens for clients. Rejects when it cannot, or when a file that the settings name is not good. */
export async function startServer(parts: ServerParts): Promise<RunningServer> {
  const users = await openUsers(parts);
  const tls = openTls(parts.settings);
  const cancelKeys = parts.cancelKeys ?? new CancelKeys();
  let isClosed = false;
  const timeKeeper = new TimeKeeper({
    idleSession: parts.settings.idleSessionTimeout ?? 0,
    idleInTransaction: parts.settings.idleInTransactionTimeout ?? 0,
    statement: parts.settings.statementTimeout ?? 0,
  });
  const pooling = openPooling(parts);
  const routes = new Routes(parts);
  const connections = new Connections({
    ...connectionParts(parts, { users, tls, cancelKeys, timeKeeper, routes, isClosed: () => isClosed }),
    ...(pooling === undefined ? {} : { pooling }),
  });
  const { maxClients, listen, drainTimeout, tcpKeepalive } = parts.settings;

  const keepAliveInitialDelay = tcpKeepalive ?? KEEPALIVE_MS;
  const listener = createServer(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay },
    (socket: Socket) => {
      surviveErrors(socket);
      if (connections.size >= maxClients + RESERVE) {
        parts.metrics.loginFailed("limit");
        socket.destroy();
        return;
      }
      connections.serve(socket);
    },
  );
  const stopListening = parts.suspensions?.onSuspended((suspension) => {
    for (const connection of connections) {
      if (connection.info?.user === suspension.user) connection.cutOff(endSession(suspension));
    }
  });
  await listenAt(listener, listen);
  // Too many open files, say: the next client may be luckier.
  listener.on("error", (error) => parts.log.error({ err: error }, "a client could not be accepted"));

  return {
    address: boundTo(listener, listen),
    get sessions() {
      return [...connections].filter(({ inSession }) => inSession).length;
    },
    list: () => [...connections].flatMap(({ info }) => info ?? []),
    get changes() {
      return connections.changes;
    },
    pools: () => pooling?.pools.list() ?? [],
    end(session, refusal) {
      const connection = [...connections].find(({ info }) => info?.id === session);
      connection?.cutOff(refusal);
      return connection !== undefined;
    },
    async reload(targets) {
      if (targets !== undefined) routes.lead(targets);
      await users.reload();
      reloadTls(tls, parts.log);
    },
    cancel: (request) => cancelKeys.request(request),
    async close() {
      // It listens on: who comes now is told, and a transaction that runs on can still be cancelled.
      isClosed = true;
      await connections.drain(drainTimeout);
      const closed = listener.listening ? once(listener, "close") : undefined;
      if (listener.listening) listener.close();
      for (const connection of connections) connection.destroy();
      await closed;
      timeKeeper.close();
      pooling?.pools.close();
      stopListening?.();
    },
  };
}

interface OwnParts {
  readonly users: UsersInForce;
  readonly tls: ClientTls | undefined;
  readonly cancelKeys: CancelKeys;
  readonly timeKeeper: TimeKeeper;
  readonly routes: Routes;
  readonly isClosed: () => boolean;
}

function connectionParts(parts: ServerParts, own: OwnParts): ConnectionParts {
  const { settings } = parts;
  const { users, tls, cancelKeys, timeKeeper, routes, isClosed } = own;
  const now = parts.now ?? Date.now;
  const authenticating: Authenticating =
    settings.auth === "scram" ? { mode: "scram", users: users.current } : { mode: "passthrough" };
  return {
    authenticating,
    upstreamOf: (database) => routes.of(database),
    policies: parts.policies,
    cancelKeys,
    cancelDesk: new CancelDesk({ keys: cancelKeys, forward: parts.forwardCancel ?? [], now }),
    maxMessageBytes: settings.maxMessage ?? MAX_MESSAGE,
    log: parts.log,
    tls,
    loginTimeoutMs: settings.loginTimeout,
    trustsHeaderOf: (address) =>
      settings.proxyProtocolFrom?.some((network) => network.contains(address)) ?? false,
    seats: parts.seats ?? new SeatCount(settings),
    closedTo: () => (isClosed() ? SHUTTING_DOWN : undefined),
    prepareSession:
      parts.prepareSession ?? prepareWith({ ...parts, timeKeeper, now, normalise: storedText }, runSession),
    refuseUser: (user) => {
      const suspension = parts.suspensions?.isSuspended(user);
      return suspension && refuseLogin(suspension);
    },
    ...(parts.adminDatabase === undefined ? {} : { adminDatabase: parts.adminDatabase }),
    audit: parts.audit,
    metrics: parts.metrics,
    now,
  };
}

/** Which server has a database. */
class Routes {
  readonly #probe: ProbeHost;
  readonly #now: () => number;
  #usual: UpstreamHosts;
  #others: ReadonlyMap<string, UpstreamHosts>;

  constructor({ probeHost, now, ...targets }: ServerParts) {
    this.#probe = probeHost ?? (() => Promise.reject(new Error("nobody asks hosts what they are")));
    this.#now = now ?? Date.now;
    this.#usual = this.#hosts(targets.upstream);
    this.#others = this.#othersOf(targets);
  }

  of(database: string): UpstreamHosts {
    return this.#others.get(database) ?? this.#usual;
  }

  /** From here on sessions go there. */
  lead(targets: Pick<ServerParts, "upstream" | "databases">): void {
    this.#usual = this.#hosts(targets.upstream);
    this.#others = this.#othersOf(targets);
  }

  #othersOf({ databases }: Pick<ServerParts, "databases">): ReadonlyMap<string, UpstreamHosts> {
    return new Map([...(databases ?? [])].map(([name, target]) => [name, this.#hosts(target)]));
  }

  #hosts(target: Upstream): UpstreamHosts {
    return new UpstreamHosts(target, this.#probe, this.#now);
  }
}

/** In the words of backend_startup.c, but for who shuts down. */
const SHUTTING_DOWN = refuseSession("57P03", "the proxy is shutting down", {
  hint: "Connect again: another instance, or this one once it is back, will serve you.",
});

const POOL_SIZE = 20;
/** As PgBouncer's query_wait_timeout. */
const POOL_WAIT_MS = 120_000;

/** A server connection that many share cannot be logged in by the exchange that passes through: whose would it be? */
function openPooling({ settings, catalogs, log }: ServerParts): Pooling | undefined {
  if (settings.pool !== "transaction") return undefined;
  if (settings.auth !== "scram") {
    throw new Error("--pool transaction needs --auth scram: the proxy itself logs in to the server");
  }
  return {
    pools: new Pools({
      size: settings.poolSize ?? POOL_SIZE,
      waitMs: settings.poolWait ?? POOL_WAIT_MS,
      onFault: (error) => log.error({ err: error }, "a pooled server connection was ended by a fault"),
    }),
    leavings: new LeavingsCache(),
    catalogOf: (database) => openCatalog({ catalogs, log }, database),
  };
}

/** The users file as it was last read well. */
interface UsersInForce {
  readonly current: () => Users;
  reload(): Promise<void>;
}

async function openUsers({ settings, upstream, log }: ServerParts): Promise<UsersInForce> {
  if (settings.auth !== "scram") return { current: () => new Map(), reload: async () => {} };
  const { users: path } = settings;
  if (path === undefined) throw new Error('--auth scram needs --users ("sluice scram" makes its lines)');
  if (upstream.user === undefined) throw new Error("--auth scram needs a user in --upstream");
  const first = await readUsersFile(path);
  if (!first.ok) throw new Error(first.problems.join("\n"));
  let users = first.users;
  return {
    current: () => users,
    async reload() {
      const read = await readUsersFile(path);
      if (read.ok) users = read.users;
      else log.error({ problems: read.problems }, "the users file is not good; the last one stays in force");
    },
  };
}

function openTls({ tlsCert, tlsKey, tlsClientCa, tlsRequired }: ServerSettings): ClientTls | undefined {
  if (tlsCert === undefined && tlsKey === undefined && tlsClientCa === undefined && tlsRequired !== true)
    return undefined;
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new Error("TLS towards clients needs both --tls-cert and --tls-key");
  }
  return {
    acceptor: new TlsAcceptor({ certificate: tlsCert, key: tlsKey, clientCa: tlsClientCa }),
    certificates: tlsClientCa === undefined ? "not asked for" : "required",
    plain: tlsRequired === true ? "refused" : "served",
  };
}

function reloadTls(tls: ClientTls | undefined, log: Log): void {
  try {
    tls?.acceptor.reload();
  } catch (error) {
    log.error({ err: error }, "the TLS files are not good; the last ones stay in force");
  }
}
