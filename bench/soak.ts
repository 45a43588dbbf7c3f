/**
 * The clients of the storm, for a long time and in calm: sessions come, work and go, and the memory of Sluice must
 * not grow. Errors of a busy machine (a Redis that answers too late) are counted; wrong answers end with status 1.
 *
 *   npm run soak -- [MINUTES]      30 if left out
 */
import { fileURLToPath } from "node:url";
import { runLoad } from "./storm/load.ts";
import { runStorm } from "./storm/run.ts";

const { checks, report } = await runStorm({
  main: fileURLToPath(new URL("../../main.js", import.meta.url)),
  seconds: Number(process.argv[2] ?? 30) * 60,
  // A rate that leaves the machine to others.
  ...{ clients: 40, rate: 150, calm: 0 },
  phases: [{ workers: 1, troubles: [] }],
  load: async (options, stop) => [await runLoad(options, stop)],
});
console.log(report);
process.exitCode = checks.every(({ problems }) => problems.length === 0) ? 0 : 1;
