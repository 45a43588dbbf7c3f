/**
 * Prints which share of the statements that real clients send a guarded role may run, and why the others not.
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/acceptance.js [clients|regress]
 *
 * The corpus is looked for in SLUICE_CORPUS; a Postgres is started, or taken from TEST_PG_URL.
 */
import { readCatalog } from "../proxy/catalog/snapshot.ts";
import { analyse } from "../proxy/sql/analyse.ts";
import {
  type CorpusName,
  groupOf,
  imagine,
  imaginePolicy,
  readCorpus,
  type StatementGroup,
} from "../test/sql/corpus.ts";
import { scopeFor, withDatabase } from "./database.ts";

const name: CorpusName = process.argv[2] === "regress" ? "regress" : "clients";
const corpus = await readCorpus(name);
if (corpus === undefined) {
  console.log("The corpus is not here: say where it is by SLUICE_CORPUS.");
  process.exit(1);
}

await withDatabase(async (client) => {
  const base = scopeFor(await readCatalog(client));
  const accepted = new Map<StatementGroup, number>();
  const total = new Map<StatementGroup, number>();
  const reasons = new Map<string, string[]>();
  for (const { source, sql } of corpus) {
    const group = groupOf(sql);
    const catalog = imagine(base.catalog, sql);
    const scope = { ...base, catalog, policy: imaginePolicy(base.policy, catalog) };
    const verdict = analyse(sql, scope, (left) => console.log(`LEFT OVER ${left}: ${sql}`));
    total.set(group, (total.get(group) ?? 0) + 1);
    if (verdict.kind !== "refuse") {
      accepted.set(group, (accepted.get(group) ?? 0) + 1);
      continue;
    }
    const reason = `${group}: ${verdict.refusal.sqlstate} ${verdict.refusal.message}`;
    reasons.set(reason, [
      ...(reasons.get(reason) ?? []),
      `${source}: ${sql.replaceAll(/\s+/g, " ").slice(0, 160)}`,
    ]);
  }
  for (const [reason, examples] of [...reasons].sort((a, b) => b[1].length - a[1].length)) {
    console.log(`${examples.length} × ${reason}`);
    for (const example of examples.slice(0, 3)) console.log(`      ${example}`);
  }
  for (const [group, count] of total) {
    const passed = accepted.get(group) ?? 0;
    console.log(`${group}: ${passed} of ${count} (${((100 * passed) / count).toFixed(1)} %)`);
  }
});
