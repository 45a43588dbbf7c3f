import { setTimeout as sleep } from "node:timers/promises";
import { type Admin, startAdmin } from "../admin/http-server.ts";
import { Recent, seenBy } from "../admin/recent.ts";
import { ANALYST_THREAD, Analyst } from "../analyst/analyst.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { CancelChannel } from "../fleet/cancel-relay.ts";
import { registerSessions } from "../fleet/session-registry.ts";
import { deriveKeys, randomSecret } from "../keys/secret.ts";
import type { Log } from "../log.ts";
import { createMetrics } from "../metrics/metrics.ts";
import type { PolicySet } from "../policy/compile.ts";
import { PolicyMisfit } from "../policy/misfit.ts";
import { namespacesOf } from "../policy/namespaces.ts";
import { describeProblem, type PolicyProblem } from "../policy/problems.ts";
import { type PolicyWatch, watchPolicies } from "../policy-files/watch-files.ts";
import { CancelKeys } from "../session/cancel/cancel.ts";
import type { Address, Addresses, Settings } from "../settings/settings.ts";
import { type CacheEvents, Scopes, VerdictCache } from "../sql/cache.ts";
import { version } from "../version.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import type { Crew } from "../workers/worker.ts";
import { adminTls, openAdminDatabase, openConsole, openOperations } from "./compose-admin.ts";
import { openAudit } from "./compose-audit.ts";
import { askUntilThere, openCatalogs, openDecoys } from "./compose-catalogs.ts";
import { ComposedClaims } from "./compose-claims.ts";
import { Fit } from "./compose-fit.ts";
import { openGuard, openStore } from "./compose-guard.ts";
import { policyHandlers, policyOnStart, tokenProblems, usesNoise, usesTokens } from "./compose-policy.ts";
import { type ReadAgain, Reloaded } from "./compose-reload.ts";
import { readiness, stateOf } from "./compose-state.ts";
import { targetsOf } from "./compose-targets.ts";
import { probeHost } from "./control.ts";
import type { HouseWatch } from "./house-watch.ts";
import { LEAK_THREAD } from "./leak-desk.ts";
import { tellOfPlainText } from "./plain-connections.ts";
import { PolicyWarnings } from "./policy-warnings.ts";
import { type RunningServer, startServer } from "./server.ts";
import { redisOf, trustRedis } from "./state-places.ts";
import { TokenKeyring, tokenKeysOf } from "./token-keyring.ts";
import { searchProblems } from "./token-searches.ts";
import { warmUp } from "./warm-up.ts";

/** The compiled files of threads: those beside this one, unless it runs from its sources. */
export interface Threads {
  readonly analyst: URL;
  readonly leaks: URL;
}

const COMPILED: Threads = { analyst: ANALYST_THREAD, leaks: LEAK_THREAD };

/** A running Sluice. */
export interface Running {
  readonly addresses: Addresses;
  readonly admin: Address;
  sessions(): number;
  /** Reads the policy, the users, the TLS files and the files of settings again. */
  reload(): Promise<void>;
  /** Lets open transactions finish, for as long as the settings allow; then closes everything. */
  close(): Promise<void>;
}

export type Composed =
  | { readonly ok: true; readonly running: Running }
  | { readonly ok: false; readonly problems: readonly string[] };

/**
 * Builds all parts from the settings and starts them. An invalid policy or setting is a problem. A database or Redis
 * that is unreachable is not: both may come back, and until then clients are refused.
 */
export async function compose(
  settings: Settings,
  log: Log,
  crew?: Crew,
  readAgain?: ReadAgain,
  threads: Threads = COMPILED,
): Promise<Composed> {
  const found = targetsOf(settings);
  if (!found.ok) return failed(found.problem);
  let redisCa: string | undefined;
  try {
    redisCa = trustRedis(settings);
  } catch (error) {
    return failed(startProblem(error));
  }
  const reloaded = new Reloaded(
    { targets: found.targets, consoleTokens: settings.consoleToken, redis: settings.redis, redisCa },
    readAgain,
    log,
  );
  if (settings.pool === "transaction" && settings.auth !== "scram") {
    return failed("--pool: transaction needs --auth scram, for the proxy itself has to log in to the server");
  }
  const loaded = await policyOnStart(settings.policy, log, crew);
  if (!loaded.ok) return failed(...loaded.problems.map(describeProblem));
  const { policies } = loaded;
  if (settings.key === undefined && usesTokens(policies)) {
    return failed("--key-file: missing; the policy has token masks, which are made with it (or SLUICE_KEY)");
  }
  const tokenKeys = await tokenKeysOf(settings);
  if (tokenKeys?.ok === false) return failed(`--token-keys-file: ${tokenKeys.problem}`);
  const keyring = new TokenKeyring(tokenKeys, readAgain, log);
  const unsealed = tokenProblems(policies, keyring.sealer);
  if (unsealed.length > 0) return failed(...unsealed.map(describeProblem));
  if (settings.key === undefined && usesNoise(policies))
    log.warn("--key-file: missing; the noise of aggregates_only is another one after each start");
  const stops: Stop[] = [];
  try {
    return {
      ok: true,
      running: await start(settings, reloaded, { policies, keyring, log, crew, threads }, stops),
    };
  } catch (error) {
    await stopAll(stops);
    if (error instanceof PolicyMisfit) return failed(...error.problems.map(describeProblem));
    return failed(startProblem(error));
  }
}

/** Closes a part at the end; kept in the order of opening. */
type Stop = () => void | Promise<void>;

async function stopAll(stops: readonly Stop[]): Promise<void> {
  for (const stop of stops.toReversed()) await stop();
}

/** Node's own message names the address or path, and what is wrong with it. */
function startProblem(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === "EADDRINUSE" ? `${message}; another program listens there (--listen, --admin)` : message;
}

function tellProblems(problems: readonly PolicyProblem[], log: Log): void {
  const says =
    "keys of signed claims cannot be read: the keys read before stay in use; without keys, claims name no person";
  for (const problem of problems) log.error({ problem: describeProblem(problem) }, says);
}

interface Given {
  readonly policies: PolicySet;
  readonly keyring: TokenKeyring;
  readonly log: Log;
  /** The other processes, if this is a worker. */
  readonly crew: Crew | undefined;
  readonly threads: Threads;
}

async function start(
  settings: Settings,
  reloaded: Reloaded,
  { policies: onDisk, keyring, log, crew, threads }: Given,
  stops: Stop[],
): Promise<Running> {
  const { upstream, databases: others } = reloaded.current.targets;
  const { sealer } = keyring;
  const keys = deriveKeys(settings.key ?? randomSecret());
  if (settings.key === undefined && crew === undefined)
    log.warn(
      "without --key-file the audit log names people by a key that ends with this process: no one can ask it who read whom, and policy report cannot read it",
    );
  const usual = upstream.database ?? upstream.user ?? "postgres";
  const databases = new Set([...onDisk.databases, usual, ...others.keys()]);
  const metrics = createMetrics({
    version: version(),
    databases: [...databases],
    topUsers: settings.metricsUsers,
  });
  const asked = [usual, ...others.keys()];
  const state = stateOf(asked);
  const fit = new Fit(asked, log);
  let watch: PolicyWatch | undefined;
  let warnings: PolicyWarnings | undefined;
  let handlers: ReturnType<typeof policyHandlers> | undefined;
  const judging = {
    policies: () => watch?.current ?? onDisk,
    fit,
    onRead: (catalog: Catalog) => {
      warnings?.read(catalog);
      handlers?.onCatalogRead();
    },
    onForgotten: (database: string) => warnings?.forget(database),
  };
  const catalogs = openCatalogs(() => reloaded.current.targets, judging, state, { metrics, log });
  stops.push(() => catalogs.close());
  const policies = await fit.start(onDisk, catalogs, crew);
  const signed = new ComposedClaims(metrics, log);
  const unsigned = await signed.problemsOf(policies);
  // A worker that replaces another serves without them: claims name no one until their keys can be read.
  if (unsigned.length > 0 && crew === undefined) throw new PolicyMisfit(unsigned);
  tellProblems(unsigned, log);
  const recent = new Recent();
  const audit = seenBy(recent, await openAudit(settings, keys.audit, { metrics, log }));
  stops.push(() => audit.close());
  let house: HouseWatch | undefined;
  const store = openStore(settings, keys, { metrics, log }, (database) => house?.countersLost(database));
  stops.push(() => store.close());
  crew?.policyLoaded(policies.texts);
  const told = new PolicyWarnings(policies, log);
  warnings = told;
  for (const catalog of fit.catalogs) told.read(catalog);
  const parts = { metrics, audit, log, warnings: told, catalogs: () => fit.catalogs };
  const onPolicy = policyHandlers(policies, parts, crew);
  handlers = onPolicy;
  const tellMissing = (of: PolicySet) => {
    // With scram the users are those of --users, and with --databases a file may be of another server's database.
    if (settings.auth === "passthrough") void fit.tellUsers(of, catalogs);
    if (settings.databases === undefined) void fit.tellDatabases(of, catalogs);
  };
  tellMissing(policies);
  const watching = watchPolicies(settings.policy, {
    ...onPolicy,
    check: async (read) => [
      ...(await fit.problemsOf(read, catalogs)),
      ...(await signed.problemsOf(read)),
      ...tokenProblems(read, sealer),
      ...searchProblems(watch?.current ?? policies, read, sealer),
    ],
    onLoaded: (read) => {
      onPolicy.onLoaded(read);
      tellMissing(read);
      house?.policyLoaded(read);
    },
    onRejected: (problems) => {
      onPolicy.onRejected(problems);
      house?.policyRejected(problems.length);
    },
  });
  watch = watching;
  stops.push(() => watching.close());
  const guard = await openGuard({
    settings,
    counters: store,
    audit,
    policies: () => watching.current,
    metrics,
    log,
  });
  house = guard.house;
  stops.push(() => guard.close());
  metrics.ask({
    auditWaitsSince: () => audit.waitsSince,
    suspendedUsers: () => guard.suspensions.list().length,
    openCases: () => guard.cases.list().filter(({ closedAt }) => closedAt === undefined).length,
  });
  const decoys = openDecoys(catalogs, () => watching.current, log);
  stops.push(() => decoys.close());
  const analyst = new Analyst({
    thread: threads.analyst,
    onLost: (why) => log.error({ why }, "the thread that analyses long statements was lost"),
  });
  stops.push(() => analyst.close());
  const cacheEvents: CacheEvents = {
    onLookup: (hit) => metrics.verdictCache(hit),
    onAnalysis: () => metrics.analysis(),
    onRefusal: (stage) => metrics.refusedBy(stage),
    onLeftover: (name) => {
      metrics.verificationFailed();
      log.error({ relation: name }, "a rewritten statement did not verify and was refused");
    },
  };
  const verdicts = new VerdictCache(cacheEvents, analyst);
  const redis = redisOf(settings);
  const cancelKeys = new CancelKeys();
  const cancelChannel =
    redis &&
    new CancelChannel({
      ...redis,
      observe: metrics.redis("cancel"),
      cancel: (request) => cancelKeys.request(request),
    });
  if (cancelChannel !== undefined) stops.push(() => cancelChannel.close());
  const admins: Admin[] = [];
  const reload = async () => {
    reloaded.reload();
    const isKept = (await keyring.reload(watching.current)) !== undefined;
    await Promise.all([watching.reload(), server.reload(reloaded.current.targets)]);
    // A ring may belong to the policy that has been read just now.
    const unread = isKept ? await keyring.reload(watching.current) : undefined;
    if (unread !== undefined) keyring.tell(unread);
    tellProblems(await signed.problemsOf(watching.current), log);
    for (const admin of admins) admin.reload();
  };
  const operations = openOperations({
    settings,
    upstream,
    recent,
    policies: () => watching.current,
    catalogs,
    namespaces: () => [...namespacesOf(watching.current, fit.catalogs).keys()],
    guard,
    server: () => server,
    reload: () => (crew ?? { reload }).reload(),
    stops,
    leakThread: threads.leaks,
    metrics,
    log,
  });
  const began = performance.now();
  const warmed = warmUp(watching.current, fit.catalogs).length;
  log.debug({ statements: warmed, ms: Math.round(performance.now() - began) }, "the analysis is warm");
  const server: RunningServer = await startServer({
    settings,
    upstream,
    databases: others,
    probeHost: (host) => {
      const { control, controls } = reloaded.current.targets;
      const { user, password } = controls.get(host.database ?? "") ?? control;
      return probeHost({ ...host, user, password, database: host.database ?? "postgres" });
    },
    policies: () => watching.current,
    catalogs,
    verdicts,
    residueElsewhere: (text, catalog) => analyst.residue(text, catalog),
    scopes: new Scopes(),
    store: guard.store,
    suspensions: guard.orders,
    audit: guard.audit,
    onCanary: guard.onCanary,
    onBudget: guard.onBudget,
    claims: signed.claims,
    decoys,
    adminDatabase: openAdminDatabase(settings, upstream, watching, operations, log),
    metrics,
    keys,
    ...(sealer && { tokens: sealer }),
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
    stops.push(registerSessions({ ...redis, observe: metrics.redis("sessions"), log }, server));
  const ready = () => readiness(state, store, audit);
  const console = await openConsole(settings, () => reloaded.current.consoleTokens ?? [], operations, log);
  const serveAdmin = async (listen: Address): Promise<Address> => {
    const parts = { metrics: crew ?? metrics, log, ready: crew?.ready ?? ready, console };
    const admin = await startAdmin({ listen, tls: adminTls(settings), ...parts });
    admins.push(admin);
    stops.push(() => admin.close());
    return admin.address;
  };
  const admin = crew === undefined ? await serveAdmin(settings.admin) : settings.admin;
  void tellOfPlainText(settings, [upstream, ...others.values()], log);
  for (const database of asked) stops.push(askUntilThere(catalogs, database, state, { metrics, log }));
  await crew?.serves({
    addresses: server.addresses,
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
    addresses: server.addresses,
    admin,
    sessions: () => server.sessions,
    reload,
    close: async () => {
      state.draining = true;
      await sleep(settings.drainDelay);
      // Goes first, so that /readyz reports the draining as long as it lasts.
      await server.close();
      await stopAll(stops);
    },
  };
}

function failed(...problems: readonly string[]): Composed {
  return { ok: false, problems };
}
