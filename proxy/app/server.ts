import { createServer, type Socket } from "node:net";
import type { AuditLog } from "../audit/event.ts";
import type { CanarySighting, Decoys } from "../canaries/canaries.ts";
import type { Catalogs } from "../catalog/catalogs.ts";
import type { RunningInfo, SessionInfo } from "../fleet/session-registry.ts";
import type { Keys } from "../keys/secret.ts";
import type { Log } from "../log.ts";
import type { BudgetSighting } from "../meter/budget-alerts.ts";
import type { CounterStore } from "../meter/meter.ts";
import type { Metrics } from "../metrics/metrics.ts";
import { endSession, refuseLogin, refuseStatement, type Suspensions } from "../orders/suspensions.ts";
import type { PolicySet } from "../policy/compile.ts";
import { personName } from "../policy/person-name.ts";
import { type NamedPool, Pools, ResidueCache, type ResidueElsewhere } from "../pool/pools.ts";
import type { ConnectionParts, PrepareSession } from "../session/accept/connection.ts";
import { SeatCount, type Seats } from "../session/accept/connection-limits.ts";
import { openCatalog, prepareWith } from "../session/accept/open-session.ts";
import type { ClientTls } from "../session/accept/start-up.ts";
import { CancelKeys } from "../session/cancel/cancel.ts";
import { CancelDesk, type ForwardCancel } from "../session/cancel/cancel-desk.ts";
import { TimeKeeper } from "../session/context/time-limits.ts";
import type { AdminDatabase } from "../session/login/admin-login.ts";
import type { Authenticating } from "../session/login/login.ts";
import type { Pooling } from "../session/login/pooled-login.ts";
import type { Claims } from "../session/person/claims.ts";
import { runSession } from "../session/session.ts";
import { type Address, type Addresses, isUnixSocket, type Settings } from "../settings/settings.ts";
import type { Scopes, VerdictCache } from "../sql/cache.ts";
import { storedBytes } from "../sql/stored-text.ts";
import type { Sealer } from "../tokens/sealed.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import { type Refusal, refuseSession } from "../wire/refusal.ts";
import { surviveErrors } from "../wire/survive-errors.ts";
import { TlsAcceptor } from "../wire/tls.ts";
import type { Upstream } from "../wire/upstream.ts";
import { type ProbeHost, UpstreamHosts } from "../wire/upstream-hosts.ts";
import { readUsersFile, type Users } from "../wire/users-file.ts";
import { Connections } from "./connections.ts";
import { listenAtAll } from "./listening.ts";

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

/** The parts that sessions need. */
export interface ServerParts {
  readonly settings: ServerSettings;
  readonly upstream: Upstream;
  /** Databases on other servers, by name. */
  readonly databases?: ReadonlyMap<string, Upstream>;
  /** Asks a host for its state; needed unless `target_session_attrs` is `any`. */
  readonly probeHost?: ProbeHost;
  /** The policies in force. */
  readonly policies: () => PolicySet;
  readonly catalogs: Catalogs;
  readonly verdicts: VerdictCache;
  /** For the pool's long texts; they are looked at on the event loop if absent. */
  readonly residueElsewhere?: ResidueElsewhere;
  readonly scopes: Scopes;
  readonly store: CounterStore;
  /** Who is suspended; no one if absent. */
  readonly suspensions?: Pick<Suspensions, "isSuspended" | "onSuspended">;
  readonly audit: AuditLog;
  /** Called when a decoy is about to be released. */
  readonly onCanary?: (sighting: CanarySighting) => void;
  /** Called when a budget that only alerts is used up. */
  readonly onBudget?: (sighting: BudgetSighting) => void;
  /** Verifies signed claims; if absent they name no one. */
  readonly claims?: Claims;
  /** Decoys that conditions mark; none if absent. */
  readonly decoys?: Decoys;
  /** The virtual admin database; none if absent. */
  readonly adminDatabase?: AdminDatabase;
  readonly metrics: Metrics;
  readonly keys: Keys;
  /** Seals and opens values that databases hold as tokens; absent without a key ring. */
  readonly tokens?: Sealer;
  readonly log: Log;
  /** Connection limits; those of this process alone if absent. */
  readonly seats?: Seats;
  /** Forwards cancel requests whose keys other processes issued; none if absent. */
  readonly forwardCancel?: readonly ForwardCancel[];
  readonly cancelKeys?: CancelKeys;
  /** Unix time in milliseconds; the system clock if absent. */
  readonly now?: () => number;
  /** Replaces the guarded session, for tests of what comes before it. */
  readonly prepareSession?: PrepareSession;
}

export interface RunningServer {
  /** Where it listens: the addresses of the settings, in their order. */
  readonly addresses: Addresses;
  /** The number of clients that have logged in. */
  readonly sessions: number;
  /** The sessions that have logged in. */
  list(): readonly SessionInfo[];
  /** What sessions run now: the ones that have waited longest for their answers first, at most so many. */
  running(most: number): readonly RunningInfo[];
  /** Increases whenever a client comes or goes: while it is unchanged, so is the list. */
  readonly changes: number;
  /** The pools of server connections; empty without --pool. */
  pools(): readonly NamedPool[];
  /** Ends one session and its running statement at the server; false if there is no session with this id. */
  end(session: string, refusal: Refusal): boolean;
  /**
   * Reads the users file and the TLS files again; an invalid one is logged, and the previous one stays in force. If
   * `targets` is given, new sessions connect to its servers.
   */
  reload(targets?: Pick<ServerParts, "upstream" | "databases">): Promise<void>;
  /** Handles a cancel request that another process received; false if the key is not known here. */
  cancel(request: BackendKey): Promise<boolean>;
  /** Accepts no new clients; open transactions may finish within the drain timeout; resolves when all are gone. */
  close(): Promise<void>;
}

/** Messages that are analysed are collected first: at most this many bytes by default. */
const MAX_MESSAGE = 64 * 2 ** 20;

/** Connections beyond the client limit: to refuse clients with an error, and for cancel requests. */
const RESERVE = 100;
/**
 * Milliseconds of silence before a peer is probed: as Postgres' docs advise for firewalls; Linux' default is two hours.
 */
const KEEPALIVE_MS = 60_000;

/** Listens for clients. Rejects if it cannot, or if a file that the settings name is invalid. */
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
  const serverFor = (address: Address) => {
    const isLocal = isUnixSocket(address);
    // A client that has closed its sending side gets its answers, as from the server.
    const options = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay };
    return createServer(options, (socket: Socket) => {
      surviveErrors(socket);
      if (connections.size >= maxClients + RESERVE) {
        parts.metrics.loginFailed("limit");
        socket.destroy();
        return;
      }
      connections.serve(socket, isLocal ? "unix" : "tcp");
    });
  };
  const stopListening = parts.suspensions?.onSuspended((suspension) => {
    for (const connection of connections) {
      const user = connection.info?.user;
      const isTheirs = user === suspension.user || (user && personName(user)) === suspension.user;
      if (isTheirs) connection.cutOff(endSession(suspension));
      else connection.stopPerson(suspension.user, refuseStatement(suspension));
    }
  });
  const listening = await listenAtAll(listen, serverFor, (error) =>
    parts.log.error({ err: error }, "a client could not be accepted"),
  );

  return {
    addresses: listening.addresses,
    get sessions() {
      return [...connections].filter(({ inSession }) => inSession).length;
    },
    list: () => [...connections].flatMap(({ info }) => info ?? []),
    running(most) {
      const found: RunningInfo[] = [];
      for (const { info, running } of connections)
        if (info !== undefined && running !== undefined)
          found.push({
            session: info.id,
            user: info.user,
            role: info.role,
            database: info.database,
            ...running,
          });
      return found.toSorted((a, b) => b.duration - a.duration).slice(0, most);
    },
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
      // Keeps listening: new clients get an error, and a running transaction can still be cancelled.
      isClosed = true;
      await connections.drain(drainTimeout);
      const closed = listening.close();
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
      parts.prepareSession ?? prepareWith({ ...parts, timeKeeper, now, normalise: storedBytes }, runSession),
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

/** Knows which server has which database. */
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

  /** Sets where new sessions connect. */
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

/** Worded as in backend_startup.c, except for what shuts down. */
const SHUTTING_DOWN = refuseSession("57P03", "the proxy is shutting down", {
  hint: "Connect again: another instance, or this one once it is back, will serve you.",
});

const POOL_SIZE = 20;
/** The default of PgBouncer's query_wait_timeout. */
const POOL_WAIT_MS = 120_000;

/** A shared server connection cannot log in with a relayed exchange: it belongs to no single client. */
function openPooling({ settings, catalogs, residueElsewhere, log }: ServerParts): Pooling | undefined {
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
    residue: new ResidueCache(residueElsewhere),
    catalogOf: (database) => openCatalog({ catalogs, log }, database),
  };
}

/** The users file as last read successfully. */
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
