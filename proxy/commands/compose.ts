import { setTimeout as sleep } from "node:timers/promises";
import { type Admin, type Readiness, startAdmin } from "../admin/http.ts";
import { Recent, seenBy } from "../admin/recent.ts";
import type { AuditLog } from "../audit/event.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import { Decoys } from "../guard/canaries.ts";
import type { CounterStore } from "../guard/meter.ts";
import { registerSessions } from "../guard/session-registry.ts";
import { createMemoryStore } from "../guard/store-memory.ts";
import { createRedisStore } from "../guard/store-redis.ts";
import { deriveKeys, type Keys, randomSecret } from "../keys.ts";
import type { Log } from "../log.ts";
import { createMetrics, type Metrics } from "../metrics.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import { describeProblem, loadPolicies, type PolicyProblem, type PolicySet } from "../policy/load.ts";
import { watchPolicies } from "../policy/watch.ts";
import { type RunningServer, startServer } from "../server.ts";
import { CancelKeys } from "../session/cancel.ts";
import { CancelChannel } from "../session/cancel-channel.ts";
import type { Address, Settings } from "../settings.ts";
import { Scopes, VerdictCache } from "../sql/cache.ts";
import { loadParser } from "../sql/parse.ts";
import { version } from "../version.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import { parseUpstream, type Upstream } from "../wire/upstream.ts";
import type { Crew } from "../workers/worker.ts";
import { adminTls, openAdminDatabase, openConsole, openOperations } from "./compose-admin.ts";
import { openAudit } from "./compose-audit.ts";
import { openGuard } from "./compose-guard.ts";
import { controlConnection, probeHost } from "./control.ts";
import { redisOf } from "./control-arguments.ts";

/** A Sluice that serves. */
export interface Running {
  readonly address: Address;
  readonly admin: Address;
  sessions(): number;
  /** Reads the policy again, the users and the TLS files. */
  reload(): Promise<void>;
  /** Lets open transactions finish, for as long as the settings say; then everything is closed. */
  close(): Promise<void>;
}

export type Composed =
  | { readonly ok: true; readonly running: Running }
  | { readonly ok: false; readonly problems: readonly string[] };

/** What of the outside world is as it should be; `/readyz` tells it. */
interface State {
  draining: boolean;
  /** The databases that the settings name. One that answers is enough to be ready: the log tells of others. */
  readonly asked: readonly string[];
  /** What stands against each of them; nothing against those that answer. */
  readonly databaseProblems: Map<string, string>;
}

/** How often the catalog is probed, and how soon a database that was away at the start is asked again. */
const PROBE_SECONDS = 30;
/** Looking for decoys must not hold up the catalog's connection for longer, in milliseconds. */
const DECOYS_WITHIN = 5_000;
const RETRY_MS = 2_000;

/**
 * Builds all parts from the settings and starts them. A policy or a setting that is wrong is a problem; a
 * database or Redis that is away is not: both may come back, and until then clients are refused.
 */
export async function compose(settings: Settings, log: Log, crew?: Crew): Promise<Composed> {
  const upstream = parseUpstream(settings.upstream, process.env);
  const control = parseUpstream(settings.control ?? settings.upstream, process.env);
  if (!upstream.ok) return failed(`--upstream: ${upstream.problem}`);
  if (!control.ok) return failed(`--control: ${control.problem}`);
  if (control.upstream.user === undefined) {
    return failed("--upstream: names no user; who reads the catalog? Name one there or in --control");
  }
  if (settings.auth === "scram" && upstream.upstream.user === undefined) {
    return failed("--upstream: names no user; with --auth scram sessions log in as that user");
  }
  if (settings.pool === "transaction" && settings.auth !== "scram") {
    return failed("--pool: transaction needs --auth scram, for the proxy itself has to log in to the server");
  }
  const loaded = await loadPolicies(settings.policy);
  if (!loaded.ok) return failed(...loaded.problems.map(describeProblem));
  const { policies } = loaded;
  if (settings.key === undefined && usesTokens(policies)) {
    return failed("--key-file: missing; the policy has token masks, which are made with it (or SLUICE_KEY)");
  }
  await loadParser();
  const targets = {
    upstream: upstream.upstream,
    control: control.upstream,
    ...otherDatabases(settings, upstream.upstream, control.upstream),
  };
  const stops: Stop[] = [];
  try {
    return { ok: true, running: await start(settings, targets, { policies, log, crew }, stops) };
  } catch (error) {
    await stopAll(stops);
    return failed(startProblem(error));
  }
}

/** What has to be closed again, in the order of opening. */
type Stop = () => void | Promise<void>;

async function stopAll(stops: readonly Stop[]): Promise<void> {
  for (const stop of stops.toReversed()) await stop();
}

/** Node's own message names the address or the path, and what is wrong with it. */
function startProblem(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === "EADDRINUSE" ? `${message}; another program listens there (--listen, --admin)` : message;
}

interface Targets {
  readonly upstream: Upstream;
  readonly control: Upstream;
  /** On other servers, by their names: for sessions, and for reading the catalog. */
  readonly databases: ReadonlyMap<string, Upstream>;
  readonly controls: ReadonlyMap<string, Upstream>;
}

interface Given {
  readonly policies: PolicySet;
  readonly log: Log;
  /** The other processes, when this is a worker. */
  readonly crew: Crew | undefined;
}

async function start(
  settings: Settings,
  { upstream, control, databases: others, controls }: Targets,
  { policies, log, crew }: Given,
  stops: Stop[],
): Promise<Running> {
  const keys = deriveKeys(settings.key ?? randomSecret());
  const usual = upstream.database ?? upstream.user ?? "postgres";
  const databases = new Set([...policies.databases, usual, ...others.keys()]);
  const metrics = createMetrics({
    version: version(),
    databases: [...databases],
    topUsers: settings.metricsUsers,
  });
  const recent = new Recent();
  const audit = seenBy(recent, await openAudit(settings, keys.audit, { metrics, log }));
  stops.push(() => audit.close());
  const store = openStore(settings, keys, metrics, log);
  stops.push(() => store.close());
  const asked = [usual, ...others.keys()];
  const state: State = {
    draining: false,
    asked,
    databaseProblems: new Map(asked.map((database) => [database, "not asked yet"])),
  };
  const watch = watchPolicies(settings.policy, policyHandlers(policies, { metrics, audit, log }));
  stops.push(() => watch.close());
  const guard = await openGuard({
    settings,
    counters: store,
    audit,
    policies: () => watch.current,
    metrics,
    log,
  });
  stops.push(() => guard.close());
  metrics.ask({
    auditWaitsSince: () => audit.waitsSince,
    suspendedUsers: () => guard.suspensions.list().length,
  });
  const catalogs = openCatalogs({ control, controls }, () => watch.current, state, { metrics, log });
  stops.push(() => catalogs.close());
  const decoys = new Decoys({
    policy: (database) => watch.current.forDatabase(database),
    ask: async (database, sql) => (await catalogs.of(database)).ask(sql, DECOYS_WITHIN),
    log,
  });
  stops.push(() => decoys.close());
  const verdicts = new VerdictCache({
    onLookup: (hit) => metrics.verdictCache(hit),
    onAnalysed: (seconds) => metrics.analysed(seconds),
    onLeftover: (name) => {
      metrics.verificationFailed();
      log.error({ relation: name }, "a rewritten statement did not verify and was refused");
    },
  });
  const redis = redisOf(settings);
  const cancelKeys = new CancelKeys(crew?.cancelProcess);
  const cancelChannel =
    redis &&
    new CancelChannel({
      ...redis,
      observe: metrics.redis("cancel"),
      process: cancelKeys.process,
      cancel: (request) => cancelKeys.request(request),
    });
  if (cancelChannel !== undefined) stops.push(() => cancelChannel.close());
  const admins: Admin[] = [];
  const reload = async () => {
    await Promise.all([watch.reload(), server.reload()]);
    for (const admin of admins) admin.reload();
  };
  const operations = openOperations({
    settings,
    upstream,
    recent,
    policies: () => watch.current,
    catalogs,
    guard,
    server: () => server,
    reload: () => (crew ?? { reload }).reload(),
    stops,
    metrics,
    log,
  });
  const server: RunningServer = await startServer({
    settings,
    upstream,
    databases: others,
    probeHost: (host) => {
      const { user, password } = controls.get(host.database ?? "") ?? control;
      return probeHost({ ...host, user, password, database: host.database ?? "postgres" });
    },
    policies: () => watch.current,
    catalogs,
    verdicts,
    scopes: new Scopes(),
    store: guard.store,
    suspensions: guard.suspensions,
    audit: guard.audit,
    onCanary: guard.onCanary,
    decoys,
    adminDatabase: openAdminDatabase(settings, upstream, watch, operations, log),
    metrics,
    keys,
    log,
    cancelKeys,
    // The nearest first.
    forwardCancel: [
      ...(crew === undefined ? [] : [crew.forwardCancel]),
      ...(cancelChannel === undefined ? [] : [(request: BackendKey) => cancelChannel.forward(request)]),
    ],
    ...(crew === undefined ? {} : { seats: crew.seats }),
  });
  stops.push(() => server.close());
  if (redis !== undefined)
    stops.push(registerSessions({ ...redis, observe: metrics.redis("sessions"), log }, () => server.list()));
  const ready = () => readiness(state, store, audit);
  const console = await openConsole(settings, operations, log);
  const serveAdmin = async (listen: Address): Promise<Address> => {
    const parts = { metrics: crew ?? metrics, log, ready: crew?.ready ?? ready, console };
    const admin = await startAdmin({ listen, tls: adminTls(settings), ...parts });
    admins.push(admin);
    stops.push(() => admin.close());
    return admin.address;
  };
  const admin = crew === undefined ? await serveAdmin(settings.admin) : settings.admin;
  for (const database of asked) stops.push(askUntilThere(catalogs, database, state, { metrics, log }));
  await crew?.serves({
    address: server.address,
    serveAdmin: (listen) =>
      serveAdmin(listen).catch((error: unknown) => {
        log.error({ problem: startProblem(error) }, "--admin cannot be served");
        throw error;
      }),
    ready,
    numbers: () => metrics.numbers(),
    cancel: (request) => server.cancel(request),
    reload,
  });
  return {
    address: server.address,
    admin,
    sessions: () => server.sessions,
    reload,
    close: async () => {
      state.draining = true;
      await sleep(settings.drainDelay);
      // First, so that /readyz tells of the draining as long as it lasts.
      await server.close();
      await stopAll(stops);
    },
  };
}

function openStore(settings: Settings, keys: Keys, metrics: Metrics, log: Log): CounterStore {
  const onUsed = metrics.budgetUsed;
  metrics.countersReady(settings.redis === undefined);
  if (settings.redis === undefined) return createMemoryStore({ onUsed });
  return createRedisStore({
    url: settings.redis,
    key: keys.counters,
    log,
    commandTimeout: settings.commandTimeout,
    onReady: (ready) => metrics.countersReady(ready),
    onUsed,
    observe: metrics.redis("charge"),
  });
}

interface Tellers {
  readonly metrics: Metrics;
  readonly log: Log;
}

function policyHandlers(initial: PolicySet, { metrics, audit, log }: Tellers & { readonly audit: AuditLog }) {
  const told = (kind: "policy loaded" | "policy rejected", policy: string, problems: number) => {
    if (kind === "policy loaded") metrics.policyLoaded(policy);
    else metrics.policyRejected();
    audit.write({ kind, time: Date.now(), policy, problems });
  };
  told("policy loaded", initial.version, 0);
  let inForce = initial.version;
  return {
    initial,
    onLoaded(policies: PolicySet) {
      inForce = policies.version;
      told("policy loaded", inForce, 0);
      log.info({ policy: inForce }, "policy loaded");
    },
    onRejected(problems: readonly PolicyProblem[]) {
      told("policy rejected", inForce, problems.length);
      for (const problem of problems) log.error({ problem: describeProblem(problem) }, "policy rejected");
      log.error({ policy: inForce }, "the policy in force stays");
    },
  };
}

/** A policy that speaks of what the database does not have is told once for each pair of both. */
function openCatalogs(
  { control, controls }: Pick<Targets, "control" | "controls">,
  policies: () => PolicySet,
  state: State,
  { metrics, log }: Tellers,
): Catalogs {
  const checked = new Set<string>();
  return new Catalogs({
    connection: controlConnection(control),
    connectionOf: (database) => {
      const target = controls.get(database);
      return target && controlConnection(target);
    },
    probeSeconds: PROBE_SECONDS,
    onRefreshed(catalog: Catalog) {
      metrics.catalogRefreshed(Date.now());
      const { database } = catalog;
      metrics.upstreamReached(database, true);
      if (state.databaseProblems.delete(database)) log.info({ database }, "the database answers");
      const policy = policies().forDatabase(catalog.database);
      const pair = `${policy.version} ${catalog.version}`;
      if (checked.has(pair)) return;
      checked.add(pair);
      for (const problem of checkAgainstCatalog(policy, catalog)) {
        log.warn(
          { problem: describeProblem(problem), database: catalog.database },
          "policy and database differ",
        );
      }
    },
    onError(error: Error, database: string) {
      metrics.upstreamReached(database, false);
      if (state.asked.includes(database)) state.databaseProblems.set(database, error.message);
      log.error(
        { problem: error.message, database },
        "the catalog cannot be read; the last one stays in force",
      );
    },
  });
}

/** The database may come up after Sluice: asks until its catalog was read once. Gives what stops that. */
function askUntilThere(
  catalogs: Catalogs,
  database: string,
  state: State,
  { metrics, log }: Tellers,
): () => void {
  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const ask = () => {
    catalogs.of(database).catch((error: unknown) => {
      const problem = error instanceof Error ? error.message : "unknown";
      if (state.databaseProblems.get(database) !== problem)
        log.error({ problem, database }, "the database cannot be reached");
      state.databaseProblems.set(database, problem);
      metrics.upstreamReached(database, false);
      if (!stopped) timer = setTimeout(ask, RETRY_MS);
    });
  };
  ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** What it says may be read by anybody who reaches the address: no host, user or version. */
function readiness(state: State, store: CounterStore, audit: AuditLog): Readiness {
  const reasons: string[] = [];
  if (state.draining) reasons.push("draining");
  if (state.databaseProblems.size === state.asked.length) reasons.push("the database cannot be reached");
  if (!store.ready) reasons.push("the counters cannot be reached");
  if (!audit.ready) reasons.push("the audit log cannot be written");
  return { ok: reasons.length === 0, reasons };
}

/** A URI without a user has that of --upstream. Who reads the catalog is --control's user, if there is one. */
function otherDatabases(
  settings: Settings,
  upstream: Upstream,
  control: Upstream,
): Pick<Targets, "databases" | "controls"> {
  const databases = new Map<string, Upstream>();
  const controls = new Map<string, Upstream>();
  for (const [name, uri] of settings.databases ?? []) {
    const read = parseUpstream(uri, process.env);
    // The settings have been checked.
    if (!read.ok) continue;
    const own = read.upstream.user === undefined ? upstream : read.upstream;
    const reader = settings.control === undefined ? own : control;
    const target = { ...read.upstream, database: name };
    databases.set(name, { ...target, user: own.user, password: own.password });
    controls.set(name, { ...target, user: reader.user, password: reader.password });
  }
  return { databases, controls };
}

function usesTokens(policies: PolicySet): boolean {
  return [...policies.databases, ""].some((database) =>
    [...policies.forDatabase(database).classes.values()].some(({ mask }) => mask.kind === "token"),
  );
}

function failed(...problems: readonly string[]): Composed {
  return { ok: false, problems };
}
