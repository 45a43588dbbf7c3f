import { parseArgs } from "node:util";
import { policyJsonSchema } from "../policy/format.ts";

const USAGE = `usage: sluice policy schema

Prints the JSON Schema of policy files. Editors use it for completion and hints:
  sluice policy schema > policies/policy.schema.json
`;

/** `sluice policy schema`: the JSON schema of policies, from the validator's own types. */
export async function policySchema(args: readonly string[]): Promise<number> {
  let help: boolean | undefined;
  try {
    ({ help } = parseArgs({ args: [...args], options: { help: { type: "boolean", short: "h" } } }).values);
  } catch (error) {
    process.stderr.write(`sluice policy schema: ${error instanceof Error ? error.message : ""}\n${USAGE}`);
    return 2;
  }
  process.stdout.write(help ? USAGE : policyJsonSchema());
  return 0;
}
