/**
 * Sessions that come, work and go for a long time: the memory of Sluice must not grow.
 *
 *   npx tsc -p bench/tsconfig.json
 *   node dist/bench/bench/soak.js [MINUTES]      30 if left out
 */
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { median, table } from "./figures.ts";
import { runPgbench } from "./pgbench.ts";
import { usageOf } from "./processes.ts";
import { startSluice, uriAt } from "./targets.ts";
import { startWorld } from "./world.ts";

const MINUTES = Number(process.argv[2] ?? 30);
const MAIN = fileURLToPath(new URL("../../main.js", import.meta.url));
/** So much memory may come and go with garbage (kB). */
const SLACK = 48 * 1024;

const world = await startWorld(100_000);
const upstream = { port: world.postgres.port, folder: world.folder };
const sluice = await startSluice(upstream, { main: MAIN, control: world.control, redis: world.redis.url });
const samples: number[] = [];
try {
  const end = performance.now() + MINUTES * 60_000;
  const isOver = () => performance.now() >= end;
  await Promise.all([
    work("app", "simple", isOver),
    work("app", "prepared", isOver),
    work("guarded", "simple", isOver),
    work("guarded", "prepared", isOver),
    sample(isOver),
  ]);
} finally {
  await sluice.stop();
  await world.stop();
}
const minutes = samples.map((resident, minute) => [String(minute + 1), (resident / 1024).toFixed(0)]);
console.log(table(["minute", "MB resident"], minutes));
const third = Math.ceil(samples.length / 3);
const growth = median(samples.slice(-third)) - median(samples.slice(third, 2 * third));
console.log(`\nfrom the second third to the last: ${(growth / 1024).toFixed(1)} MB (may be ${SLACK / 1024})`);
process.exitCode = growth <= SLACK ? 0 : 1;

/** New sessions every few seconds, at a rate that leaves the machine to others. */
async function work(user: string, mode: "simple" | "prepared", isOver: () => boolean): Promise<void> {
  const target = { name: user, uri: uriAt(sluice.port, user), pid: sluice.pid };
  const load = { mode, clients: 4, seconds: 10, accounts: 100_000, rate: 150 };
  while (!isOver()) await runPgbench(target, load);
}

async function sample(isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    await setTimeout(60_000);
    samples.push((await usageOf(sluice.pid)).resident);
  }
}
