import type { Socket } from "node:net";
import type { AuditLog } from "../../audit/event.ts";
import type { CanarySighting, Decoys } from "../../canaries/canaries.ts";
import type { Catalogs } from "../../catalog/catalogs.ts";
import type { LiveCatalog } from "../../catalog/live.ts";
import type { Keys } from "../../keys/secret.ts";
import type { Log } from "../../log.ts";
import type { BudgetSighting } from "../../meter/budget-alerts.ts";
import type { CounterStore } from "../../meter/meter.ts";
import { createMeter } from "../../meter/session-meter.ts";
import type { Metrics } from "../../metrics/metrics.ts";
import { refuseStatement, type Suspensions } from "../../orders/suspensions.ts";
import type { PolicySet } from "../../policy/compile.ts";
import { PolicyMisfit } from "../../policy/misfit.ts";
import type { Scopes, VerdictCache } from "../../sql/cache.ts";
import type { Sealer } from "../../tokens/sealed.ts";
import { refuseSession, type SessionEndReason } from "../../wire/refusal.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import type { TimeKeeper } from "../context/time-limits.ts";
import { LoginEnd } from "../login/login-end.ts";
import type { PrepareSession } from "./connection.ts";

/** What all sessions of a process share. */
export interface SharedParts {
  readonly policies: () => PolicySet;
  readonly catalogs: Catalogs;
  readonly verdicts: VerdictCache;
  readonly scopes: Scopes;
  readonly store: CounterStore;
  readonly audit: AuditLog;
  readonly settings?: {
    readonly auditDurability?: "before" | "after";
    readonly maxMessage?: number | undefined;
  };
  readonly onCanary?: (sighting: CanarySighting) => void;
  readonly suspensions?: Pick<Suspensions, "isSuspended">;
  readonly onBudget?: (sighting: BudgetSighting) => void;
  readonly claims?: SessionParts["claims"];
  readonly decoys?: Decoys;
  readonly timeKeeper?: Pick<TimeKeeper, "watch" | "unwatch">;
  readonly metrics: Metrics;
  readonly keys: Keys;
  readonly tokens?: Sealer;
  readonly log: Log;
  readonly now: () => number;
  readonly normalise: (sql: Buffer, more?: number) => string;
}

/** PQ_LARGE_MESSAGE_LIMIT of libpq/libpq.h: the server itself takes no longer one. */
const SERVER_MAXIMUM = 0x3fff_fffe;

/** Gives each session the parts of its database, and `run` to run it with them. */
export function prepareWith(
  shared: SharedParts,
  run: (established: Established, parts: SessionParts) => Promise<SessionEndReason>,
): PrepareSession {
  const open = new WeakMap<LiveCatalog, SessionParts>();
  return async (established) => {
    const { database } = established;
    const catalog = await openCatalog(shared, database);
    useWhileOpen(catalog, established.client.socket);
    // The catalog is not watched while no session uses it, so it may be out of date.
    await catalog.recent();
    await shared.decoys?.watch(database);
    const parts = open.get(catalog) ?? partsOf(shared, database, catalog);
    open.set(catalog, parts);
    return () => run(established, parts);
  };
}

/** Keeps the catalog in use until the client's connection closes, which also happens if the session never begins. */
function useWhileOpen(catalog: LiveCatalog, client: Socket): void {
  if (client.closed) return;
  client.once("close", catalog.use());
}

function partsOf(shared: SharedParts, database: string, catalog: LiveCatalog): SessionParts {
  const { policies, scopes, verdicts, store, audit, settings, decoys } = shared;
  const { metrics, keys, log, now, normalise } = shared;
  return {
    policy: () => policies().forDatabase(database),
    scopes,
    verdicts,
    catalog,
    unreadable: ({ user, databaseUser }) => catalog.unreadableBy(databaseUser ?? user),
    maskKey: keys.masks,
    ...(shared.tokens === undefined ? {} : { tokens: shared.tokens }),
    meter: (account) => createMeter(store, account),
    audit,
    openMessageBytes: settings?.maxMessage ?? SERVER_MAXIMUM,
    // Nobody said that an event may come later.
    auditDurability: settings?.auditDurability ?? "before",
    ...(shared.onCanary === undefined ? {} : { onCanary: shared.onCanary }),
    suspended(person) {
      const suspension = shared.suspensions?.isSuspended(person);
      return suspension && refuseStatement(suspension);
    },
    ...(shared.onBudget === undefined ? {} : { onBudget: shared.onBudget }),
    ...(shared.claims === undefined ? {} : { claims: shared.claims }),
    ...(decoys === undefined ? {} : { markedCanaries: () => decoys.of(database) }),
    ...(shared.timeKeeper === undefined ? {} : { timeKeeper: shared.timeKeeper }),
    times: metrics.times(database),
    metrics,
    log,
    now,
    normalise,
  };
}

/** Without a catalog no statement can be judged, so no session opens: one that refuses everything would be of no use. */
export async function openCatalog(
  { catalogs, log }: Pick<SharedParts, "catalogs" | "log">,
  database: string,
): Promise<LiveCatalog> {
  try {
    return await catalogs.of(database);
  } catch (error) {
    if (error instanceof PolicyMisfit) {
      log.error({ problem: error.message, database }, "the policy names what is not in the database");
      throw LoginEnd.refused(
        "upstream",
        refuseSession("57P03", `the proxy's policy does not fit database "${database}"`, {
          hint: 'The DBA finds what is missing with "sluice policy check --upstream …", and in the proxy\'s log.',
        }),
      );
    }
    log.error({ err: error, database }, "the catalog of a database cannot be read");
    throw LoginEnd.refused(
      "upstream",
      refuseSession("57P03", `the proxy cannot read the catalog of database "${database}"`, {
        hint: "Its control connection (--control) may lack CONNECT on this database. The proxy's log has details.",
      }),
    );
  }
}
