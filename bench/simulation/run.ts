/**
 * A support organisation and its thieves, 90 days of them, before the guard as it is: the proxies' own code
 * and script, a real Redis, virtual time, the policy of bench/simulation/policy.yaml, a fixed seed.
 *
 *   npx tsc -p tsconfig.json --noEmit false --outDir dist/bench --rootDir .
 *   node dist/bench/bench/simulation/run.js [--write] [--seed N] [--fleet]
 *
 * `--write` puts the table and the picture into docs/. A few minutes on one core.
 */
import { readFile, writeFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { loadPolicies } from "../../proxy/policy/load.ts";
import { loadParser } from "../../proxy/sql/parse.ts";
import { launchRedis } from "../../test/harness/redis-process.ts";
import { type Agent, DAY, DAYS, hire, type Sip, START, workday } from "./organisation.ts";
import { drawCurve } from "./picture.ts";
import { Random } from "./random.ts";
import { Ledger, reportOf } from "./report.ts";
import { CURVE, FIRST_DAY, THIEVES, type Thief } from "./thieves.ts";
import { World } from "./world.ts";

const AGENTS = 300;
/** Where the tables stand in docs/simulation.md. */
const FIGURES = /(<!-- figures[^>]*-->).*(<!-- end of figures -->)/s;

const { values } = parseArgs({
  options: {
    write: { type: "boolean" },
    policy: { type: "string", default: "bench/simulation/policy.yaml" },
    // Each proxy with profiles of its own, exchanged by Redis, as a fleet is: it takes half an hour.
    fleet: { type: "boolean" },
    seed: { type: "string", default: "20190415" },
  },
});
await loadParser();
const loaded = await loadPolicies(values.policy);
if (!loaded.ok) throw new Error("the policy is not good");
const redis = await launchRedis({});
const world = await World.open(
  redis.url,
  loaded.policies.forDatabase("support").roles,
  values.fleet ? "each proxy's" : "one",
);
const ledger = new Ledger();
const random = new Random(Number(values.seed));
const staff = hire(random, AGENTS);
const rogues = [...THIEVES, ...CURVE].flatMap((thief) => accountsOf(thief));

for (let day = 0; day < DAYS; day++) {
  const sips = staff.flatMap((agent) => workday(agent, day, random));
  for (const { agent, thief, account } of rogues) {
    if (!(thief.insteadOfWork && day >= FIRST_DAY)) sips.push(...workday(agent, day, random));
    if (day >= FIRST_DAY) sips.push(...theftOf(agent, thief, account, day));
  }
  for (const sip of sips.toSorted((a, b) => a.time - b.time)) {
    const role = sip.user.startsWith("lead") ? "lead" : "agent";
    const tightened = world.isTightened(sip.user);
    ledger.enter(sip, await world.read(sip, role), tightened);
  }
  if (day % 10 === 9) console.error(`day ${day + 1} of ${DAYS}`);
}
ledger.alerts.push(...world.alerts);
for (const { user, rule, action, time, text } of world.alerts.filter((alert) => !alert.user.includes("#"))) {
  console.error(`false alert: ${user} ${rule} ${action} on day ${Math.floor((time - START) / DAY)}: ${text}`);
}
const report = reportOf(ledger, { staff, memory: await world.memory() });
console.log(report.text);
if (values.write) {
  const page = await readFile("docs/simulation.md", "utf8");
  await writeFile(
    "docs/simulation.md",
    page.replace(FIGURES, (_, start, end) => `${start}\n\n${report.text}\n${end}`),
  );
  await writeFile("docs/simulation.svg", drawCurve(report.curve));
}
await world.close();
await redis.stop();

interface Rogue {
  readonly agent: Agent;
  readonly thief: Thief;
  readonly account: number;
}

/** Long-standing employees of an ordinary volume: nothing in their past gives them away. */
function accountsOf(thief: Thief): readonly Rogue[] {
  return hire(random, thief.accounts).map((agent, account) => ({
    agent: { ...agent, user: `${thief.name}#${account}`, lead: false, hired: 0 },
    thief,
    account,
  }));
}

function theftOf(agent: Agent, thief: Thief, account: number, day: number): readonly Sip[] {
  const address = `${agent.network}.${10 + account}`;
  return thief
    .steal(account, day, random)
    .filter(({ time }) => time < START + DAYS * DAY)
    .map((sip) => ({ ...sip, user: agent.user, address, stolen: true }));
}
