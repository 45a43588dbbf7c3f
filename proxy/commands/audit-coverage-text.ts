import type { Coverage } from "../audit/coverage.ts";
import { coverageLines } from "../audit/coverage-lines.ts";

/** What an answer does not cover, as its last paragraph. */
export function coverageText(coverage: Coverage): string {
  return `Not covered:\n${coverageLines(coverage)
    .map((line) => `  - ${line}\n`)
    .join("")}`;
}
