import { defineConfig } from "vitest/config";

/** Where to write the results as JSON beside the readable report; .ci/run counts them. */
const results = process.env.SLUICE_TEST_RESULTS;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts", "policies/**/*.test.ts"],
    globalSetup: ["test/harness/servers.ts"],
    setupFiles: ["test/harness/patience.ts"],
    expect: { poll: { timeout: 30_000 } },
    testTimeout: 60_000,
    hookTimeout: 120_000,
    // One more than CI has cores, as some tests wait for clocks; yet more only make real servers slower.
    maxWorkers: 3,
    // To load all modules anew for each file takes two seconds of a processor. So a file leaves nothing behind: mocks and clocks
    // are put back, servers are stopped.
    isolate: false,
    reporters: results ? ["default", ["json", { outputFile: results }]] : ["default"],
  },
});
