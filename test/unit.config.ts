import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { serverlessTests } from "./harness/serverless.ts";

const root = join(import.meta.dirname, "..");

/** `npm run test:unit`: what needs no server, for a look while one writes. `npm test` has these tests as well. */
export default defineConfig({
  root,
  test: {
    setupFiles: ["test/harness/patience.ts"],
    include: [...serverlessTests(root)],
    maxWorkers: 2,
    testTimeout: 30_000,
  },
});
