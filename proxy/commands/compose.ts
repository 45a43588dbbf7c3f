import { setTimeout as sleep } from "node:timers/promises";
import { type Admin, startAdmin } from "../admin/http.ts";
import { Recent, seenBy } from "../admin/recent.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { registerSessions } from "../guard/session-registry.ts";
import { deriveKeys, randomSecret } from "../keys.ts";
import type { Log } from "../log.ts";
import { createMetrics } from "../metrics.ts";
import { describeProblem, type PolicySet } from "../policy/load.ts";
import { PolicyMisfit } from "../policy/misfit.ts";
import { type PolicyWatch, watchPolicies } from "../policy/watch.ts";
import { type RunningServer, startServer } from "../server.ts";
import { CancelKeys } from "../session/cancel.ts";
import { CancelChannel } from "../session/cancel-channel.ts";
import type { Address, Settings } from "../settings.ts";
import { Scopes, VerdictCache } from "../sql/cache.ts";
import { version } from "../version.ts";
import type { BackendKey } from "../wire/backend-messages.ts";
import type { Crew } from "../workers/worker.ts";
import { adminTls, openAdminDatabase, openConsole, openOperations } from "./compose-admin.ts";
import { openAudit } from "./compose-audit.ts";
import { askUntilThere, openCatalogs, openDecoys } from "./compose-catalogs.ts";
import { Fit } from "./compose-fit.ts";
import { openGuard, openStore } from "./compose-guard.ts";
import { policyHandlers, policyOnStart, usesNoise, usesTokens } from "./compose-policy.ts";
import { type ReadAgain, Reloaded } from "./compose-reload.ts";
import { readiness, stateOf } from "./compose-state.ts";
import { targetsOf } from "./compose-targets.ts";
import { probeHost } from "./control.ts";
import { redisOf } from "./control-arguments.ts";
import { tellOfPlainText } from "./plain-text.ts";
import { PolicyWarnings } from "./policy-warnings.ts";

/** A Sluice that serves. */
export interface Running {
  readonly address: Address;
  readonly admin: Address;
  sessions(): number;
  /** Reads again: the policy, the users, the TLS files, and the files that settings stand in. */
  reload(): Promise<void>;
  /** Lets open transactions finish, for as long as the settings say; then everything is closed. */
  close(): Promise<void>;
}

export type Composed =
  | { readonly ok: true; readonly running: Running }
  | { readonly ok: false; readonly problems: readonly string[] };

/**
 * Builds all parts from the settings and starts them. A policy or a setting that is wrong is a problem; a
 * database or Redis that is away is not: both may come back, and until then clients are refused.
 */
export async function compose(
  settings: Settings,
  log: Log,
  crew?: Crew,
  readAgain?: ReadAgain,
): Promise<Composed> {
  const found = targetsOf(settings);
  if (!found.ok) return failed(found.problem);
  const reloaded = new Reloaded(
    { targets: found.targets, consoleTokens: settings.consoleToken, redis: settings.redis },
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
  if (settings.key === undefined && usesNoise(policies))
    log.warn("--key-file: missing; the noise of aggregates_only is another one after each start");
  const stops: Stop[] = [];
  try {
    return { ok: true, running: await start(settings, reloaded, { policies, log, crew }, stops) };
  } catch (error) {
    await stopAll(stops);
    if (error instanceof PolicyMisfit) return failed(...error.problems.map(describeProblem));
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

interface Given {
  readonly policies: PolicySet;
  readonly log: Log;
  /** The other processes, when this is a worker. */
  readonly crew: Crew | undefined;
}

async function start(
  settings: Settings,
  reloaded: Reloaded,
  { policies: onDisk, log, crew }: Given,
  stops: Stop[],
): Promise<Running> {
  const { upstream, databases: others } = reloaded.current.targets;
  const keys = deriveKeys(settings.key ?? randomSecret());
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
  const judging = {
    policies: () => watch?.current ?? onDisk,
    fit,
    onRead: (catalog: Catalog) => warnings?.read(catalog),
    onForgotten: (database: string) => warnings?.forget(database),
  };
  const catalogs = openCatalogs(() => reloaded.current.targets, judging, state, { metrics, log });
  stops.push(() => catalogs.close());
  const policies = await fit.start(onDisk, catalogs, crew);
  const recent = new Recent();
  const audit = seenBy(recent, await openAudit(settings, keys.audit, { metrics, log }));
  stops.push(() => audit.close());
  const store = openStore(settings, keys, metrics, log);
  stops.push(() => store.close());
  crew?.policyLoaded(policies.texts);
  const told = new PolicyWarnings(policies, log);
  warnings = told;
  for (const catalog of fit.catalogs) told.read(catalog);
  const handlers = policyHandlers(policies, { metrics, audit, log, warnings: told }, crew);
  const tellUsers = (of: PolicySet) => {
    // With scram they are those of --users.
    if (settings.auth === "passthrough") void fit.tellUsers(of, catalogs);
  };
  tellUsers(policies);
  const watching = watchPolicies(settings.policy, {
    ...handlers,
    check: (read) => fit.problemsOf(read, catalogs),
    onLoaded: (read) => {
      handlers.onLoaded(read);
      tellUsers(read);
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
  stops.push(() => guard.close());
  metrics.ask({
    auditWaitsSince: () => audit.waitsSince,
    suspendedUsers: () => guard.suspensions.list().length,
  });
  const decoys = openDecoys(catalogs, () => watching.current, log);
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
    await Promise.all([watching.reload(), server.reload(reloaded.current.targets)]);
    for (const admin of admins) admin.reload();
  };
  const operations = openOperations({
    settings,
    upstream,
    recent,
    policies: () => watching.current,
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
      const { control, controls } = reloaded.current.targets;
      const { user, password } = controls.get(host.database ?? "") ?? control;
      return probeHost({ ...host, user, password, database: host.database ?? "postgres" });
    },
    policies: () => watching.current,
    catalogs,
    verdicts,
    scopes: new Scopes(),
    store: guard.store,
    suspensions: guard.suspensions,
    audit: guard.audit,
    onCanary: guard.onCanary,
    onBudget: guard.onBudget,
    decoys,
    adminDatabase: openAdminDatabase(settings, upstream, watching, operations, log),
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

function failed(...problems: readonly string[]): Composed {
  return { ok: false, problems };
}
