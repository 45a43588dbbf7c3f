import type { Catalog } from "../catalog/catalog.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import { Decoys } from "../guard/canaries.ts";
import type { Log } from "../log.ts";
import type { PolicySet } from "../policy/load.ts";
import type { State, Tellers } from "./compose-state.ts";
import type { Targets } from "./compose-targets.ts";
import { controlConnection } from "./control.ts";
import type { PolicyWarnings } from "./policy-warnings.ts";

/** How often the catalog is probed, and how soon a database that was away at the start is asked again. */
const PROBE_SECONDS = 30;
/** Looking for decoys must not hold up the catalog's connection for longer, in milliseconds. */
const DECOYS_WITHIN = 5_000;
const RETRY_MS = 2_000;

/** The catalogs of all databases; what each says of the policy is told. */
export function openCatalogs(
  { control, controls }: Pick<Targets, "control" | "controls">,
  warnings: PolicyWarnings,
  state: State,
  { metrics, log }: Tellers,
): Catalogs {
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
      warnings.read(catalog);
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

/** Decoys that conditions mark are asked for where the catalog is read. */
export function openDecoys(catalogs: Catalogs, policies: () => PolicySet, log: Log): Decoys {
  return new Decoys({
    policy: (database) => policies().forDatabase(database),
    ask: async (database, sql) => (await catalogs.of(database)).ask(sql, DECOYS_WITHIN),
    log,
  });
}
