import { Decoys } from "../canaries/canaries.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import type { Log } from "../log.ts";
import type { PolicySet } from "../policy/compile.ts";
import { PolicyMisfit } from "../policy/misfit.ts";
import type { Fit } from "./compose-fit.ts";
import type { State, Tellers } from "./compose-state.ts";
import type { Targets } from "./compose-targets.ts";
import { controlConnection } from "./control.ts";

/** How often the whole catalog is probed; `LiveCatalog` itself checks user-defined objects more often. */
const PROBE_SECONDS = 30;
/** How long the catalog's connection to an unused database stays open, in milliseconds. */
const LINGER_MS = 1_000;
/** How long the query for decoys may occupy the catalog's connection, in milliseconds. */
const DECOYS_WITHIN = 5_000;
/** How soon a database that was unreachable at the start is asked again, in milliseconds. */
const RETRY_MS = 2_000;
const MISFIT =
  "the policy names objects that are not in the database: no one can log in until the policy or the database is corrected";

/** What checks each catalog that was read. */
interface Judging {
  readonly policies: () => PolicySet;
  readonly fit: Fit;
  readonly onRead: (catalog: Catalog) => void;
  readonly onForgotten: (database: string) => void;
}

/** The catalogs of all databases; differences between policy and catalog are logged. */
export function openCatalogs(
  targets: () => Pick<Targets, "control" | "controls">,
  { policies, fit, onRead, onForgotten }: Judging,
  state: State,
  { metrics, log }: Tellers,
): Catalogs {
  return new Catalogs({
    connection: controlConnection(targets().control),
    connectionOf: (database) =>
      controlConnection(() => targets().controls.get(database) ?? targets().control),
    probeSeconds: PROBE_SECONDS,
    lingerMs: LINGER_MS,
    // /readyz reports on these, whether they are in use or not.
    isAlwaysProbed: (database) => state.asked.includes(database),
    onForgotten: (database) => {
      fit.forget(policies(), database);
      onForgotten(database);
    },
    admit: (catalog) => fit.admit(policies(), catalog),
    onRefreshed(catalog: Catalog) {
      metrics.catalogRefreshed(Date.now());
      const { database } = catalog;
      fit.note(catalog);
      state.misfits.delete(database);
      metrics.upstreamReached(database, true);
      if (state.databaseProblems.delete(database)) log.info({ database }, "the database answers");
      onRead(catalog);
    },
    onError(error: Error, database: string) {
      // A database that only clients name may be gone for good.
      const isNamed = state.asked.includes(database) || [...policies().databases].includes(database);
      if (isNamed) metrics.upstreamReached(database, false);
      if (state.asked.includes(database)) state.databaseProblems.set(database, error.message);
      log.error(
        { problem: error.message, database },
        "the catalog cannot be read; the last one stays in force",
      );
    },
  });
}

/** The database may start after Sluice: asks until its catalog has been read once. Returns a function that stops it. */
export function askUntilThere(
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
      const isMisfit = error instanceof PolicyMisfit;
      if (state.databaseProblems.get(database) !== problem)
        log.error({ problem, database }, isMisfit ? MISFIT : "the database cannot be reached");
      state.databaseProblems.set(database, problem);
      if (isMisfit) state.misfits.add(database);
      else state.misfits.delete(database);
      metrics.upstreamReached(database, isMisfit);
      if (!stopped) timer = setTimeout(ask, RETRY_MS);
    });
  };
  ask();
  return () => {
    stopped = true;
    clearTimeout(timer);
  };
}

/** Decoys that conditions mark are queried over the same connection as the catalog. */
export function openDecoys(catalogs: Catalogs, policies: () => PolicySet, log: Log): Decoys {
  return new Decoys({
    policy: (database) => policies().forDatabase(database),
    ask: async (database, sql) => (await catalogs.of(database)).ask(sql, DECOYS_WITHIN),
    isUsed: (database) => catalogs.isUsed(database),
    log,
  });
}
