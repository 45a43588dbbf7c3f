import { parseArgs } from "node:util";
import { policyJsonSchema } from "../policy/format.ts";
import { testJsonSchema } from "../policy/test-format.ts";

const USAGE = `usage: sluice policy schema [--tests]

Prints the JSON Schema of policy files, or of their tests. Editors use it for completion and hints:
  sluice policy schema > policies/policy.schema.json
  sluice policy schema --tests > policies/policy-tests.schema.json
`;

/** `sluice policy schema`: the JSON schema of policies or of their tests, from the validators' own types. */
export async function policySchema(args: readonly string[]): Promise<number> {
  let help: boolean | undefined;
  let tests: boolean | undefined;
  try {
    ({ help, tests } = parseArgs({
      args: [...args],
      options: { tests: { type: "boolean" }, help: { type: "boolean", short: "h" } },
    }).values);
  } catch (error) {
    process.stderr.write(`sluice policy schema: ${error instanceof Error ? error.message : ""}\n${USAGE}`);
    return 2;
  }
  process.stdout.write(help ? USAGE : tests ? testJsonSchema() : policyJsonSchema());
  return 0;
}
