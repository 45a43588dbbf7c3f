import { beforeAll, expect, test } from "vitest";
import { runLoad } from "../../bench/storm/load.ts";
import { runStorm } from "../../bench/storm/run.ts";
import { compileSluice, type Program } from "../harness/compiled-program.ts";

let program: Program;

beforeAll(async () => {
  program = await compileSluice();
});

/** A breath of `npm run storm`, whose clients know the answer to each of their questions. */
test("while Redis and a proxy are killed and come back, no answer is wrong, leaks, or goes uncounted or unlogged", async () => {
  const { checks, report } = await runStorm({
    ...{ main: program.main, seconds: 1, clients: 20, rate: 60, calm: 100 },
    phases: [{ workers: 1, troubles: ["redis", "proxy"] }],
    load: async (options, stop) => [await runLoad(options, stop)],
  });
  // How fast all goes on is the business of a machine that has nothing else to do.
  const failed = checks.filter(({ problems, pace }) => problems.length > 0 && pace !== true);
  expect(failed.length, report).toBe(0);
}, 240_000);
