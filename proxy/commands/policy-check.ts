import { parseArgs } from "node:util";
import { controlConnection } from "../app/control.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import { checkPolicies, checkPolicy } from "../check/check.ts";
import { missingDatabases, missingUsers } from "../check/users.ts";
import type { PolicySet } from "../policy/compile.ts";
import { describeProblem, type PolicyProblem, sortProblems } from "../policy/problems.ts";
import { loadPolicies } from "../policy-files/load.ts";
import { parseUpstream } from "../wire/upstream.ts";
import { counted } from "./text-table.ts";

const HELP = `usage: sluice policy check [PATH] [--upstream URI [--auth MODE]] [--strict]

Checks the policies of a file or folder (default: SLUICE_POLICY, or policies/) and lists problems with file, line
and column: mistakes, tables that count no one, keys that have no effect. The exit status is 1 if there is an error,
for example one because of which serve would reject the policy.

  --upstream URI   also check that the tables, columns, types and users exist, and that the masks fit; without it,
                   a misspelt table is not found
  --auth MODE      with --upstream, as for serve: with scram the policy's users are not the database's
  --strict         warnings are errors
`;

/** What is misspelt is right as far as the files tell. */
const UNCHECKED =
  "sluice policy check: the tables and columns were not checked against a database; --upstream does that\n";

/** `sluice policy check`: 0 when the policy is right, 1 when it is not, 2 when misused. */
export async function policyCheck(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  if (typeof options === "string") return misused(options);
  const { path, upstream, strict } = options;
  const loaded = await loadPolicies(path);
  if (!loaded.ok) return report(loaded.problems, [], strict);
  if (upstream === undefined) {
    process.stderr.write(UNCHECKED);
    return report(checkPolicies(loaded.policies), loaded.policies.files, strict);
  }
  return checkDatabase(loaded.policies, upstream, options);
}

interface Options {
  readonly path: string;
  readonly upstream: string | undefined;
  readonly scram: boolean;
  readonly strict: boolean;
}

/** A text says what is wrong. */
function readOptions(args: readonly string[]): Options | "help" | string {
  const text = { type: "string" } as const;
  const yes = { type: "boolean" } as const;
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { upstream: text, auth: text, strict: yes, help: { ...yes, short: "h" } },
    });
    if (values.help) return "help";
    if (positionals.length > 1) return "one path at a time; the files of a folder are one policy";
    const { upstream, auth } = values;
    if (auth !== undefined && auth !== "scram" && auth !== "passthrough")
      return "--auth: scram or passthrough";
    if (auth !== undefined && upstream === undefined) return "--auth: only with --upstream";
    const path = positionals[0] ?? process.env.SLUICE_POLICY ?? "policies/";
    return { path, upstream, scram: auth === "scram", strict: values.strict === true };
  } catch (error) {
    return error instanceof Error ? error.message : "these arguments are not understood";
  }
}

async function checkDatabase(
  policies: PolicySet,
  uri: string,
  { scram, strict }: Pick<Options, "scram" | "strict">,
): Promise<number> {
  const target = parseUpstream(uri, process.env);
  if (!target.ok) return misused(`--upstream: ${target.problem}`);
  const database = target.upstream.database ?? target.upstream.user;
  if (database === undefined) return misused("--upstream: names no database");
  const catalogs = new Catalogs({ connection: controlConnection(target.upstream), probeSeconds: 3600 });
  const policy = policies.forDatabase(database);
  try {
    const live = await catalogs.of(database);
    const ask = (sql: string) => live.ask(sql, ASK_WITHIN);
    const users = scram ? [] : await missingUsers(policy, ask);
    const databases = await missingDatabases(policies, ask);
    const found = sortProblems([...checkPolicy(policy, live.current), ...users, ...databases]);
    return report(found, policies.files, strict);
  } catch (error) {
    const why = error instanceof Error ? error.message : "unknown";
    process.stderr.write(`sluice policy check: the catalog of "${database}" cannot be read: ${why}\n`);
    return 1;
  } finally {
    await catalogs.close();
  }
}

/** For a small question to the control connection, in milliseconds. */
const ASK_WITHIN = 10_000;

/** Prints problems as compilers do, so that editors can jump to them. */
function report(found: readonly PolicyProblem[], files: readonly string[], strict: boolean): number {
  const problems = strict ? found.map((problem) => ({ ...problem, severity: "error" as const })) : found;
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

function misused(problem: string): number {
  process.stderr.write(`sluice policy check: ${problem}\n${HELP}`);
  return 2;
}
