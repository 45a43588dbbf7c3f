import { parseArgs } from "node:util";
import type { Catalog } from "../catalog/catalog.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import { describeProblem, loadPolicies, type PolicyProblem, type PolicySet } from "../policy/load.ts";
import { parseUpstream } from "../wire/upstream.ts";
import { controlConnection } from "./control.ts";
import { allProblems, problemsOfAll } from "./policy-problems.ts";

const HELP = `usage: sluice policy check [PATH] [--upstream URI]

Reads the policies of a file or folder (default: SLUICE_POLICY, or policies/) and says what is wrong, each
with file, line and column. Exit status 1 when the policy would not be taken into force.

  --upstream URI   also look whether the tables, columns and types are there, and the masks fit
`;

/** `sluice policy check`: 0 when the policy is right, 1 when it is not, 2 when misused. */
export async function policyCheck(args: readonly string[]): Promise<number> {
  let parsed: { path: string | undefined; upstream: string | undefined; help: boolean; more: number };
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { upstream: { type: "string" }, help: { type: "boolean", short: "h" } },
    });
    parsed = {
      path: positionals[0],
      upstream: values.upstream,
      help: values.help === true,
      more: positionals.length - 1,
    };
  } catch (error) {
    return misused(error instanceof Error ? error.message : "these arguments are not understood");
  }
  if (parsed.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (parsed.more > 0) return misused("one path at a time; the files of a folder are one policy");

  const loaded = await loadPolicies(parsed.path ?? process.env.SLUICE_POLICY ?? "policies/");
  if (!loaded.ok) return report(loaded.problems, []);
  if (parsed.upstream === undefined) return report(problemsOfAll(loaded.policies), loaded.policies.files);
  return checkDatabase(loaded.policies, parsed.upstream);
}

async function checkDatabase(policies: PolicySet, uri: string): Promise<number> {
  const target = parseUpstream(uri, process.env);
  if (!target.ok) return misused(`--upstream: ${target.problem}`);
  const database = target.upstream.database ?? target.upstream.user;
  if (database === undefined) return misused("--upstream: names no database");
  const catalogs = new Catalogs({ connection: controlConnection(target.upstream), probeSeconds: 3600 });
  let catalog: Catalog;
  try {
    catalog = (await catalogs.of(database)).current;
  } catch (error) {
    const why = error instanceof Error ? error.message : "unknown";
    process.stderr.write(`sluice policy check: the catalog of "${database}" cannot be read: ${why}\n`);
    return 1;
  } finally {
    await catalogs.close();
  }
  const policy = policies.forDatabase(database);
  return report(allProblems(policy, catalog), policies.files);
}

/** Prints problems as compilers do, so that editors can jump to them. */
function report(problems: readonly PolicyProblem[], files: readonly string[]): number {
  for (const problem of problems) process.stdout.write(`${describeProblem(problem)}\n`);
  const errors = problems.filter(({ severity }) => severity === "error").length;
  const warnings = problems.length - errors;
  if (errors > 0) {
    process.stdout.write(`${counted(errors, "error")}, ${counted(warnings, "warning")}\n`);
    return 1;
  }
  const told = warnings > 0 ? `, ${counted(warnings, "warning")}` : "";
  process.stdout.write(`${counted(files.length, "file")}: right${told}\n`);
  return 0;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function misused(problem: string): number {
  process.stderr.write(`sluice policy check: ${problem}\n${HELP}`);
  return 2;
}
