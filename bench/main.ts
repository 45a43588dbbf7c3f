/**
 * Sluice beside PgBouncer, Pgpool-II, a bare relay and no proxy at all, on this machine, in one run.
 *
 *   npm run bench               some 15 minutes
 *   npm run bench -- --quick    two minutes, one round: a look, no figures to quote
 *
 *   --only point,workers,misses,bulk,idle,slow,fair    some parts of it; "pool" must be asked for: transaction pooling
 *   --build NAME=MAIN.JS                  another compiled Sluice beside this one, to compare the two
 *   --load "COPY of"                      of the part "fair", the loads whose names begin so
 *   --profile FOLDER                      with Node's CPU profiles of Sluice
 */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { cpus, release } from "node:os";
import { fileURLToPath } from "node:url";
import { parseArgs, promisify } from "node:util";
import { describeBulk, judgeBulk, measureBulk, RECORDS } from "./bulk.ts";
import { BURDENS, describeFairness, judgeFairness, measureFairness } from "./fairness.ts";
import { table } from "./figures.ts";
import {
  describeIdle,
  describeSlow,
  judgeIdle,
  judgeSlow,
  measureIdle,
  measureSlowReader,
  rowsOf,
} from "./memory.ts";
import {
  describePointQueries,
  judgePointQueries,
  measurePointQueries,
  type Reached,
} from "./point-queries.ts";
import { measurePooled, PASSWORD, POOL_SIZE, pooledTarget, startPooledSluice } from "./pooled.ts";
import {
  type RunningProxy,
  startIdleServer,
  startPgBouncer,
  startPgpool,
  startRelay,
  startSluice,
  type Target,
  uriAt,
} from "./targets.ts";
import { describeWorkers, judgeWorkers, measureWorkers } from "./workers.ts";
import { startWorld, type World } from "./world.ts";

const QUICK = {
  rounds: 1,
  seconds: 1,
  warmUp: 1,
  clients: [1, 8],
  people: 200_000,
  bulk: 1,
  idle: 500,
  rest: 0,
  stream: 500,
};
const FULL = {
  rounds: 3,
  seconds: 2,
  warmUp: 3,
  clients: [1, 8, 32],
  people: 1_000_000,
  bulk: 2,
  idle: 5_000,
  /** V8 looks at what can be freed some 10 to 25 seconds after a process has gone quiet. */
  rest: 30_000,
  stream: 10_240,
};

const PARTS = ["point", "workers", "misses", "bulk", "idle", "slow", "fair"] as const;

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    only: { type: "string", default: PARTS.join(",") },
    build: { type: "string", multiple: true, default: [] },
    load: { type: "string", default: "" },
    profile: { type: "string" },
    rounds: { type: "string" },
    seconds: { type: "string" },
    clients: { type: "string" },
  },
});
const plan = {
  ...(values.quick ? QUICK : FULL),
  ...(values.rounds !== undefined && { rounds: Number(values.rounds) }),
  ...(values.seconds !== undefined && { seconds: Number(values.seconds) }),
  ...(values.clients !== undefined && { clients: values.clients.split(",").map(Number) }),
};
const parts = new Set(values.only.split(","));
const MAIN = fileURLToPath(new URL("../../main.js", import.meta.url));
const HERE = fileURLToPath(new URL(".", import.meta.url));
const builds = [`=${MAIN}`, ...values.build].map((build) => {
  const [name = "", main = ""] = build.split("=");
  return { build: name === "" ? "" : ` [${name}]`, main };
});

/** One part after the other, each with proxies of its own: none inherits another's memory or warm code. */
async function main(): Promise<void> {
  const began = performance.now();
  const world = await startWorld(plan.people);
  const reached: Reached[] = [];
  try {
    say(await machine(world));
    if (parts.has("point")) reached.push(...(await point(world)));
    // Short rounds say nothing of workers that have little CPU.
    if (parts.has("workers") && !values.quick) reached.push(...(await workers(world)));
    if (parts.has("misses")) reached.push(...(await misses()));
    if (parts.has("bulk")) reached.push(...(await bulk(world)));
    if (parts.has("idle")) reached.push(...(await idle(world)));
    if (parts.has("slow")) reached.push(...(await slow(world)));
    if (parts.has("fair")) reached.push(...(await fair(world)));
    if (parts.has("pool")) await pool(world);
  } finally {
    await world.stop();
  }
  const verdicts = reached.map(({ what, target, reached: figure, holds }) => [
    what,
    target,
    figure,
    holds === undefined ? "" : holds ? "yes" : "no",
  ]);
  say(`## Targets\n\n${table(["work", "target", "reached", "holds"], verdicts)}`);
  say(`${((performance.now() - began) / 60_000).toFixed(1)} minutes`);
}

async function point(world: World): Promise<readonly Reached[]> {
  const upstream = { port: world.postgres.port, folder: world.folder };
  return withProxies(async (keep) => {
    const pgbouncer = keep(await startPgBouncer(upstream));
    const pgpool = keep(await startPgpool(upstream, 40));
    const relay = keep(await startRelay(upstream));
    const sluices = [];
    for (const { build, main } of builds) {
      const proxy = keep(await startSluice(upstream, sluiceOptions(world, main)));
      sluices.push({
        build,
        app: target(proxy, "app"),
        guarded: target(proxy, "guarded"),
        watched: target(proxy, "watched"),
      });
    }
    const after = { ...sluiceOptions(world, MAIN), flags: ["--audit-durability", "after"] };
    const targets = {
      direct: direct(world),
      guardedAfter: target(keep(await startSluice(upstream, after)), "guarded"),
      pgbouncer: target(pgbouncer, "app"),
      pgpool: target(pgpool, "app"),
      relay: target(relay, "app"),
      sluices,
    };
    const cells = await measurePointQueries(targets, plan);
    say(`## pgbench -S\n\n${describePointQueries(cells)}`);
    return judgePointQueries(cells);
  });
}

async function workers(world: World): Promise<readonly Reached[]> {
  const upstream = { port: world.postgres.port, folder: world.folder };
  const crews = await measureWorkers(upstream, sluiceOptions(world, MAIN), plan);
  say(`## Workers\n\n${describeWorkers(crews)}`);
  return judgeWorkers(crews);
}

/** bench/analyse.ts measures them in a process of its own. */
async function misses(): Promise<readonly Reached[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [`${HERE}analyse.js`]);
  say(`## A statement never seen before\n\n${stdout.trim()}`);
  const verdicts = [...stdout.matchAll(/verdict\s+(\d+) µs/g)].map(([, microseconds]) =>
    Number(microseconds),
  );
  return [150, 1_500].map((limit, index) => ({
    what: `cache miss, ${index === 0 ? "200 bytes" : "5 kB"}`,
    target: `< ${limit} µs`,
    reached: `${verdicts[index]} µs`,
    holds: (verdicts[index] ?? Number.POSITIVE_INFINITY) < limit,
  }));
}

async function bulk(world: World): Promise<readonly Reached[]> {
  const upstream = { port: world.postgres.port, folder: world.folder };
  return withProxies(async (keep) => {
    const sluice = keep(await startSluice(upstream, sluiceOptions(world, MAIN)));
    const targets = {
      direct: direct(world),
      pgbouncer: target(keep(await startPgBouncer(upstream)), "app"),
      pgpool: target(keep(await startPgpool(upstream, 8)), "app"),
      relay: target(keep(await startRelay(upstream)), "app"),
      app: target(sluice, "app"),
      masked: target(sluice, "masked"),
      guarded: target(sluice, "guarded"),
      watched: target(sluice, "watched"),
      maskedSql: await maskedSql(world, sluice),
    };
    const reads = await measureBulk(targets, plan.bulk);
    say(`## ${plan.people} rows out\n\n${describeBulk(reads)}`);
    return judgeBulk(reads);
  });
}

/** What Sluice makes of the statement, asked of Sluice. */
async function maskedSql(world: World, { port }: RunningProxy): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [
    ...[MAIN, "policy", "explain", "--json", "--as", "masked", "--upstream", world.control],
    ...["--policy", `${world.folder}/policy-${port}.yaml`, RECORDS],
  ]);
  const { sent } = JSON.parse(stdout) as { readonly sent?: string };
  if (sent === undefined) throw new Error("the statement of the masked role is not rewritten");
  return sent;
}

async function idle(world: World): Promise<readonly Reached[]> {
  const silent = await startIdleServer();
  const upstream = { port: silent.port, folder: world.folder };
  const start = async (what: string): Promise<RunningProxy> => {
    if (what === "PgBouncer") return startPgBouncer(upstream);
    if (what === "bare relay") return startRelay(upstream);
    return startSluice(upstream, sluiceOptions(world, MAIN));
  };
  const idles = [];
  // All at once would need more sockets than a process may have.
  for (const pair of [
    ["PgBouncer", "bare relay"],
    ["app", "guarded"],
  ]) {
    idles.push(
      ...(await withProxies(async (keep) => {
        const targets = [];
        for (const what of pair) {
          targets.push({ what, proxy: keep(await start(what)), user: what === "guarded" ? what : "app" });
        }
        return measureIdle(targets, plan.idle, plan.rest);
      })),
    );
  }
  await silent.stop();
  say(`## Idle connections\n\n${describeIdle(idles)}`);
  return judgeIdle(idles);
}

async function slow(world: World): Promise<readonly Reached[]> {
  const upstream = { port: world.postgres.port, folder: world.folder };
  const slows = [];
  for (const user of ["app", "guarded"]) {
    const proxy = await startSluice(upstream, sluiceOptions(world, MAIN));
    slows.push(
      await measureSlowReader(user, proxy, { user, sql: rowsOf, megabytes: plan.stream, within: 60_000 }),
    );
    await proxy.stop();
  }
  say(`## A slow reader\n\n${describeSlow(slows)}`);
  return judgeSlow(slows);
}

async function fair(world: World): Promise<readonly Reached[]> {
  const burdens = BURDENS.filter(({ what }) => what.startsWith(values.load));
  if (burdens.length === 0) throw new Error(`No such load: ${values.load}`);
  const { postgres, folder } = world;
  const upstream = { port: postgres.port, folder };
  return withProxies(async (keep) => {
    const options = sluiceOptions(world, MAIN);
    const sluice = keep(await startSluice(upstream, options));
    const pooled = keep(await startPooledSluice(upstream, options));
    const fairs = await measureFairness(
      [
        { name: "direct", port: postgres.port, pid: postgres.pid, users: ["app"] },
        {
          name: "Sluice",
          port: sluice.port,
          pid: sluice.pid,
          users: ["app", "narrow", "guarded", "watched"],
        },
        { name: "its pool", port: pooled.port, pid: pooled.pid, users: ["app"], password: PASSWORD },
      ],
      burdens,
    );
    say(`## One client's load, and another's waiting\n\n${describeFairness(fairs)}`);
    return judgeFairness(fairs);
  });
}

async function pool(world: World): Promise<void> {
  const upstream = { port: world.postgres.port, folder: world.folder };
  await withProxies(async (keep) => {
    const pgbouncer = keep(await startPgBouncer(upstream, POOL_SIZE));
    const sluice = keep(await startPooledSluice(upstream, sluiceOptions(world, MAIN)));
    const targets = [{ ...target(pgbouncer, "app"), name: "PgBouncer" }, pooledTarget(sluice)];
    const figures = await measurePooled(targets, plan);
    say(`## Transaction pooling, ${POOL_SIZE} server connections\n\n${figures}`);
  });
}

async function withProxies<T>(use: (keep: (proxy: RunningProxy) => RunningProxy) => Promise<T>): Promise<T> {
  const proxies: RunningProxy[] = [];
  try {
    return await use((proxy) => {
      proxies.push(proxy);
      return proxy;
    });
  } finally {
    await Promise.all(proxies.map((proxy) => proxy.stop()));
  }
}

function sluiceOptions(world: World, main: string) {
  const { profile } = values;
  return { main, control: world.control, redis: world.redis.url, ...(profile !== undefined && { profile }) };
}

function target({ port, pid }: RunningProxy, user: string): Target {
  return { name: user, uri: uriAt(port, user), pid };
}

function direct({ postgres }: World): Target {
  return { name: "direct", uri: uriAt(postgres.port, "app"), pid: postgres.pid };
}

async function machine(world: World): Promise<string> {
  const load = (await readFile("/proc/loadavg", "utf8")).split(" ").slice(0, 3).join(" ");
  const [cpu] = cpus();
  return `${cpus().length} × ${cpu?.model ?? "?"}, Linux ${release()}, Node ${process.version}, ${world.redis.way}, load before ${load}`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n\n`);
}

await main();
