/**
 * A support organisation and its thieves, 90 days of them, before the guard as it is: the proxies' own code
 * and script, a real Redis, virtual time, the policy of bench/simulation/policy.yaml, a fixed seed.
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/simulation/run.js --seed 20190415 [--fleet] [--agents 100] [--days 60] [--thieves "ten at 75;dump"]
 *   --behind    the same people behind one application with a watched role (bench/simulation/behind.yaml)
 *
 * prints the tables of this run. `--keep` puts its figures into bench/simulation/results; page.ts makes docs/ of
 * them. Six minutes on one core.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { loadPolicies } from "../../proxy/policy-files/load.ts";
import { launchRedis } from "../../test/harness/redis-process.ts";
import { DAYS } from "./organisation.ts";
import { simulate } from "./simulate.ts";
import { honestTable, thievesTable } from "./tables.ts";
import { CURVE, THIEVES } from "./thieves.ts";

const RESULTS = "bench/simulation/results";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "20190415" },
    policy: { type: "string" },
    agents: { type: "string", default: "300" },
    days: { type: "string", default: String(DAYS) },
    thieves: { type: "string" },
    // Each proxy with profiles of its own, exchanged by Redis, as a fleet is.
    fleet: { type: "boolean" },
    behind: { type: "boolean" },
    keep: { type: "boolean" },
  },
});
const { behind = false, policy = `bench/simulation/${behind ? "behind" : "policy"}.yaml` } = values;
const loaded = await loadPolicies(policy);
if (!loaded.ok) throw new Error(loaded.problems.map((problem) => problem.message).join("\n"));
const wanted = values.thieves?.split(";");
const redis = await launchRedis({});
const results = await simulate({
  redis: redis.url,
  roles: loaded.policies.forDatabase("support").roles,
  seed: Number(values.seed),
  agents: Number(values.agents),
  thieves: [...THIEVES, ...CURVE].filter(({ name }) => wanted === undefined || wanted.includes(name)),
  days: Number(values.days),
  portions: 10,
  ...(behind && { application: { role: "app", address: "10.0.0.7" } }),
  profiles: values.fleet ? "each proxy's" : "one",
  onDay: (day) => day % 10 === 9 && console.error(`day ${day + 1} of ${values.days}`),
});
await redis.stop();
console.log([...thievesTable([results], results.thieves), "", ...honestTable([results])].join("\n"));
for (const { user, rule, day, text } of results.honest.falseAlerts) {
  console.log(`false alert on day ${day}: ${user} ${rule}: ${text}`);
}
if (values.keep) {
  await mkdir(RESULTS, { recursive: true });
  const name = `${values.seed}${values.fleet ? "-fleet" : ""}${behind ? "-behind" : ""}.json`;
  await writeFile(`${RESULTS}/${name}`, `${JSON.stringify(results, undefined, 2)}\n`);
}
