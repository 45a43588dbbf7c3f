import { parseArgs } from "node:util";
import { controlConnection } from "../app/control.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import { deriveKeys, randomSecret } from "../keys/secret.ts";
import type { PolicySet } from "../policy/compile.ts";
import { describeProblem } from "../policy/problems.ts";
import { isRefusal, roleFor } from "../policy/roles.ts";
import { loadPolicies } from "../policy-files/load.ts";
import { type AskedPerson, explained, personProblem } from "../session/decide/explain-statement.ts";
import { readSettings, type Settings } from "../settings/settings.ts";
import { explanationText } from "../sql/explanation.ts";
import { parseUpstream } from "../wire/upstream.ts";

const HELP = `usage: sluice policy explain --as USER [FLAGS] "STATEMENT"

Shows what happens to a statement and why: the verdict, what is masked and counted, and the text that the server
would get. Nothing is run; only the catalog of the database is read.

  --as USER          the user who sends it
  --person NAME      the person for whom USER, an application, reads (people_behind); no one if left out
  --claim VALUES     the values of the claim that gives roles (acts_as), separated by commas
  --from ADDRESS     the user's address (127.0.0.1)
  --database NAME    the database (that of --upstream)
  --json             for programs

and of serve, as flags, variables or in sluice.yaml: --upstream, --control, --policy, --key-file, --config.
`;

/** Settings of `serve` that matter here; they are read as `serve` reads them. */
const SHARED = ["upstream", "upstream-file", "control", "control-file", "policy", "key-file", "config"];

interface ExplainArguments {
  readonly user: string;
  readonly from: string;
  readonly person: AskedPerson | undefined;
  readonly database: string | undefined;
  readonly json: boolean;
  readonly statement: string;
  readonly settings: Settings;
}

/** `sluice policy explain`: 0 when it could say, whatever it said. */
export async function policyExplain(args: readonly string[]): Promise<number> {
  const question = readQuestion(args);
  if (question === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  if ("problems" in question) return complain(question.problems, 2);
  const policies = await loadPolicies(question.settings.policy);
  if (!policies.ok) return complain(policies.problems.map(describeProblem), 1);
  return answer(question, policies.policies);
}

async function answer(question: ExplainArguments, policies: PolicySet): Promise<number> {
  const { settings, user } = question;
  const upstream = parseUpstream(settings.upstream, process.env);
  const control = parseUpstream(settings.control ?? settings.upstream, process.env);
  if (!upstream.ok || !control.ok) return complain(["--upstream or --control: not a libpq URI"], 2);
  const database = question.database ?? upstream.upstream.database;
  if (database === undefined) return complain(["--database: missing; --upstream names none"], 2);
  const policy = policies.forDatabase(database);
  const role = roleFor(policy, user, question.from);
  if (isRefusal(role)) {
    const hints = role.rule?.endsWith(".from")
      ? [role.hint, "--from is the address that a user comes from"]
      : [role.hint];
    return complain([`${role.message} (${role.sqlstate})`, ...hints.filter((hint) => hint !== undefined)], 1);
  }
  const nobody = personProblem({ policy, account: role, user, person: question.person });
  if (nobody !== undefined) return complain([`--person: ${nobody}`], 1);
  const catalogs = new Catalogs({ connection: controlConnection(control.upstream), probeSeconds: 3600 });
  try {
    const live = await catalogs.of(database);
    const explanation = await explained(live, question.statement, {
      policy,
      account: role,
      user,
      // With --auth scram all sessions run as the user of --upstream.
      databaseUser: settings.auth === "scram" ? (upstream.upstream.user ?? user) : user,
      // Not the fleet's: the text that is sent holds the key of token masks, and this one is shown on a terminal.
      maskKey: deriveKeys(randomSecret()).masks,
      person: question.person,
    });
    process.stdout.write(
      question.json ? `${JSON.stringify(explanation, null, 2)}\n` : explanationText(explanation),
    );
    return 0;
  } catch (error) {
    return complain([`the catalog cannot be read: ${error instanceof Error ? error.message : "unknown"}`], 1);
  } finally {
    await catalogs.close();
  }
}

function readQuestion(
  args: readonly string[],
): ExplainArguments | "help" | { readonly problems: readonly string[] } {
  const own = { as: "", from: "", database: "", person: "", claim: "" };
  const text = { type: "string" } as const;
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: {
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
        ...Object.fromEntries([...Object.keys(own), ...SHARED].map((name) => [name, text])),
      },
    });
    if (values.help) return "help";
    const given = values as Readonly<Record<string, string | undefined>>;
    const [statement, ...rest] = positionals;
    if (given.as === undefined) return wrong("--as: missing; name the user of the statement");
    if (statement === undefined || rest.length > 0) return wrong('give one statement, in quotes: "select …"');
    const { person, claim } = given;
    if (claim !== undefined && person === undefined) return wrong("--claim: say whose it is, with --person");
    const shared = SHARED.flatMap((name) => (given[name] === undefined ? [] : [`--${name}=${given[name]}`]));
    const read = readSettings(shared, process.env);
    if (!read.ok) return read;
    return {
      user: given.as,
      from: given.from ?? "127.0.0.1",
      database: given.database,
      person: person === undefined ? undefined : { name: person, claims: claim?.split(",") ?? [] },
      json: values.json === true,
      statement,
      settings: read.settings,
    };
  } catch (error) {
    return wrong(error instanceof Error ? error.message : "these arguments are not understood");
  }
}

function wrong(problem: string): { readonly problems: readonly string[] } {
  return { problems: [problem] };
}

function complain(problems: readonly string[], status: number): number {
  for (const problem of problems) process.stderr.write(`sluice policy explain: ${problem}\n`);
  return status;
}
