import { setTimeout as sleep } from "node:timers/promises";
import { type Console, createConsole } from "../admin/console/console.ts";
import { Oidc } from "../admin/console/oidc.ts";
import { createAdminDatabase } from "../admin/database/admin-database.ts";
import { Fleet } from "../admin/fleet.ts";
import { createOperations, type Operations } from "../admin/operations.ts";
import type { Recent } from "../admin/recent.ts";
import type { Catalogs } from "../catalog/catalogs.ts";
import { readSessions, type SessionInfo } from "../fleet/session-registry.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { PolicySet } from "../policy/compile.ts";
import type { AdminDatabase } from "../session/login/admin-login.ts";
import type { Settings } from "../settings/settings.ts";
import { version } from "../version.ts";
import { refuseSession } from "../wire/refusal.ts";
import type { TlsFiles } from "../wire/tls.ts";
import type { Upstream } from "../wire/upstream.ts";
import type { Guard } from "./compose-guard.ts";
import { openQuestions } from "./compose-questions.ts";
import type { RunningServer } from "./server.ts";
import { redisOf } from "./state-places.ts";

/** How long Redis may take to list the fleet's sessions, in milliseconds. */
const SESSIONS_WITHIN = 3_000;

interface Parts {
  readonly settings: Settings;
  readonly upstream: Upstream;
  readonly recent: Recent;
  readonly policies: () => PolicySet;
  readonly catalogs: Catalogs;
  readonly namespaces: () => readonly string[];
  readonly guard: Guard;
  /** The server starts later; this is not called before. */
  readonly server: () => RunningServer;
  readonly reload: () => Promise<void>;
  /** What to close at the end. */
  readonly stops: (() => void | Promise<void>)[];
  /** The compiled thread for leaked lists. */
  readonly leakThread: URL;
  readonly metrics: Pick<Metrics, "redis">;
  readonly log: Log;
}

/** The operations of the console and of the admin database. */
export function openOperations(parts: Parts): Operations {
  const { settings, upstream, recent, policies, catalogs, guard, server, log } = parts;
  const redis = redisOf(settings);
  const end = (session: string, by: string) =>
    server().end(
      session,
      refuseSession("57P01", "terminating connection due to administrator command", {
        detail: `Ordered by ${by}.`,
      }),
    );
  const running = (most: number) => server().running(most);
  const others =
    redis && new Fleet({ ...redis, observe: parts.metrics.redis("console"), recent, running, end });
  if (others !== undefined) parts.stops.push(() => others.close());
  return createOperations({
    version: version(),
    maxClients: settings.maxClients,
    recent,
    mainDatabase: mainDatabase(upstream),
    databaseUser: settings.auth === "scram" ? upstream.user : undefined,
    policies,
    catalogs,
    namespaces: parts.namespaces,
    store: guard.store,
    suspensions: guard.suspensions,
    cases: guard.cases,
    here: () => server().list(),
    pools: () => (settings.pool === "transaction" ? server().pools() : undefined),
    everywhere: redis === undefined ? undefined : remembered(() => readSessions({ ...redis, log })),
    running,
    end,
    others,
    reload: parts.reload,
    record(order) {
      const { kind, by, session } = order;
      guard.audit.write(order);
      log.warn({ by, ...(session === undefined ? {} : { session }) }, `an operator's order: ${kind}`);
    },
    questions: openQuestions({
      settings,
      leakThread: parts.leakThread,
      audit: guard.audit,
      log,
      now: Date.now,
    }),
    now: Date.now,
  });
}

/** Caches the sessions: proxies report them every two seconds, so asking more often would show nothing new. */
function remembered(read: () => Promise<readonly SessionInfo[]>): () => Promise<readonly SessionInfo[]> {
  let last: { readonly at: number; readonly sessions: Promise<readonly SessionInfo[]> } | undefined;
  return () => {
    if (last === undefined || performance.now() - last.at > 1_000) {
      last = { at: performance.now(), sessions: Promise.race([read(), givenUp()]) };
    }
    return last.sessions;
  };
}

/** A Redis that accepts connections but does not answer must not hold up a page. */
async function givenUp(): Promise<never> {
  await sleep(SESSIONS_WITHIN, undefined, { ref: false });
  throw new Error("Redis does not answer in time");
}

/** A real database of the same name is not hidden silently: it keeps the name. */
export function openAdminDatabase(
  { adminDatabase: name, databases }: Settings,
  upstream: Upstream,
  policies: { readonly current: PolicySet },
  operations: Operations,
  log: Log,
): AdminDatabase {
  const isReal = (database: string) =>
    database === mainDatabase(upstream) ||
    databases?.has(database) === true ||
    policies.current.databases.includes(database);
  if (isReal(name)) {
    log.warn(
      { database: name },
      "there is a real database of this name: the admin database is not served under it (--admin-database)",
    );
  }
  return createAdminDatabase(name, isReal, () => policies.current, operations);
}

/** Undefined if --admin uses plain HTTP. */
export function adminTls(settings: Settings): TlsFiles | undefined {
  const { adminTlsCert: certificate, adminTlsKey: key, adminTlsClientCa: clientCa } = settings;
  return certificate === undefined || key === undefined ? undefined : { certificate, key, clientCa };
}

/** Undefined without a token or a CA, because no one could log in. */
export async function openConsole(
  settings: Settings,
  tokens: () => NonNullable<Settings["consoleToken"]>,
  operations: Operations,
  log: Log,
): Promise<Console | undefined> {
  const { consoleHosts: hosts = [], adminTlsClientCa } = settings;
  const oidc = oidcOf(settings, log);
  if (tokens().length === 0 && adminTlsClientCa === undefined && oidc === undefined) return undefined;
  return createConsole({ tokens, hosts, oidc, operations, log });
}

function oidcOf(settings: Settings, log: Log): Oidc | undefined {
  const { consoleOidc: issuer, consoleOidcClient: client, consoleOidcRoles: roles, consoleUrl } = settings;
  if (issuer === undefined || client === undefined || roles === undefined || consoleUrl === undefined)
    return undefined;
  const { consoleOidcSecret: secret, consoleOidcClaim: claim } = settings;
  return new Oidc({ issuer, client, secret, claim, roles, consoleUrl, log, now: Date.now });
}

function mainDatabase({ database, user }: Upstream): string {
  return database ?? user ?? "postgres";
}
