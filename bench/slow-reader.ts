/**
 * 10 GB stream to a client that stops reading again and again: Sluice's memory must stay flat. For a role that sees
 * all, and for one whose rows are masked, limited and counted one by one.
 *
 *   npm run bench:compile && node dist/bench/bench/slow-reader.js [MINUTES]      at most, for each; 5 if left out
 */
import { fileURLToPath } from "node:url";
import { describeSlow, judgeSlow, measureSlowReader, rowsOf, type Slow } from "./memory.ts";
import { startSluice } from "./targets.ts";
import { startWorld } from "./world.ts";

const WITHIN = Number(process.argv[2] ?? 5) * 60_000;
const PEOPLE = 10_000;

const world = await startWorld(PEOPLE);
const upstream = { port: world.postgres.port, folder: world.folder };
const main = fileURLToPath(new URL("../../main.js", import.meta.url));
const slows: Slow[] = [];
try {
  for (const [user, sql] of [
    ["app", rowsOf],
    ["guarded", maskedRowsOf],
  ] as const) {
    const sluice = await startSluice(upstream, { main, control: world.control, redis: world.redis.url });
    slows.push(await measureSlowReader(user, sluice, { user, sql, megabytes: 10 * 1024, within: WITHIN }));
    await sluice.stop();
  }
} finally {
  await world.stop();
}
console.log(describeSlow(slows));
process.exitCode = judgeSlow(slows).every(({ holds }) => holds) ? 0 : 1;

/** People again and again, with a kilobyte each: every row is counted, and names its person. */
function maskedRowsOf(megabytes: number): string {
  const times = Math.ceil((megabytes * 1024) / PEOPLE);
  return `SELECT p.id, p.name, p.email, repeat('x', 1000) FROM people p, generate_series(1, ${times})`;
}
