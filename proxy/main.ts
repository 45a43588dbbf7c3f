#!/usr/bin/env node
import { realpathSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { version } from "./version.ts";

/** A command takes the arguments after its name and gives the exit status: 0 done, 1 failed, 2 misused. */
export type Run = (args: readonly string[]) => Promise<number>;

interface Command {
  readonly name: string;
  readonly what: string;
  /** Loaded when it is called: `policy check` need not load a server. */
  readonly load: () => Promise<Run>;
}

export const COMMANDS: readonly Command[] = [
  {
    name: "serve",
    what: "run the proxy in front of a database",
    load: async () => (await import("./commands/serve.ts")).serve,
  },
  {
    name: "demo",
    what: "a Postgres with made-up customers, Sluice in front of it, and a tour",
    load: async () => (await import("./commands/demo.ts")).demo,
  },
  {
    name: "policy check",
    what: "check policies and list their mistakes",
    load: async () => (await import("./commands/policy-check.ts")).policyCheck,
  },
  {
    name: "policy explain",
    what: "show what happens to a statement, and why",
    load: async () => (await import("./commands/policy-explain.ts")).policyExplain,
  },
  {
    name: "policy suggest",
    what: "print a policy to start from, by the names of tables and columns",
    load: async () => (await import("./commands/policy-suggest.ts")).policySuggest,
  },
  {
    name: "policy test",
    what: "run the tests of a policy",
    load: async () => (await import("./commands/policy-test.ts")).policyTest,
  },
  {
    name: "policy report",
    what: "report what a policy did or would have done, and propose budgets",
    load: async () => (await import("./commands/policy-report.ts")).policyReport,
  },
  {
    name: "policy learn",
    what: "print a fence for an application: the statements that it runs, and from where",
    load: async () => (await import("./commands/policy-learn.ts")).policyLearn,
  },
  {
    name: "policy schema",
    what: "print the JSON Schema of policies or of their tests, for editors",
    load: async () => (await import("./commands/policy-schema.ts")).policySchema,
  },
  {
    name: "audit verify",
    what: "verify that the audit log is as it was written",
    load: async () => (await import("./commands/audit-verify.ts")).auditVerify,
  },
  {
    name: "audit who-read",
    what: "given leaked people, find who read them",
    load: async () => (await import("./commands/audit-who-read.ts")).auditWhoRead,
  },
  {
    name: "audit subject",
    what: "list who read one person",
    load: async () => (await import("./commands/audit-subject.ts")).auditSubject,
  },
  {
    name: "audit read-by",
    what: "list the people a user has read",
    load: async () => (await import("./commands/audit-read-by.ts")).auditReadBy,
  },
  {
    name: "audit breach",
    what: "write the figures for a breach notification, and the list of people to notify",
    load: async () => (await import("./commands/audit-breach.ts")).auditBreach,
  },
  {
    name: "audit export",
    what: "write the lines of a case with proofs that others can verify without Sluice",
    load: async () => (await import("./commands/audit-export.ts")).auditExport,
  },
  {
    name: "audit forget",
    what: "make people unmatchable in the audit log",
    load: async () => (await import("./commands/audit-forget.ts")).auditForget,
  },
  {
    name: "audit hold",
    what: "keep a part of the audit log from retention and forgetting",
    load: async () => (await import("./commands/audit-hold.ts")).auditHold,
  },
  {
    name: "canary make",
    what: "make up decoys, and the policy lines that raise an alert when one is read",
    load: async () => (await import("./commands/canary-make.ts")).canaryMake,
  },
  {
    name: "suspend",
    what: "cut a user off, on every proxy and at once",
    load: async () => (await import("./commands/suspend.ts")).suspend,
  },
  {
    name: "resume",
    what: "let a suspended user in again",
    load: async () => (await import("./commands/resume.ts")).resume,
  },
  {
    name: "grant",
    what: "add to a user's budgets for some hours",
    load: async () => (await import("./commands/grant.ts")).grant,
  },
  {
    name: "sessions",
    what: "list who is connected, and how many people each has read",
    load: async () => (await import("./commands/sessions.ts")).sessions,
  },
  {
    name: "scram",
    what: "make the SCRAM verifier of a password, for --users",
    load: async () => (await import("./commands/scram.ts")).scram,
  },
  {
    name: "tokens key",
    what: "make a key for values that the database holds as tokens",
    load: async () => (await import("./commands/tokens.ts")).tokensKey,
  },
  {
    name: "tokens canary",
    what: "make the policy's line by which serve recognises the key ring",
    load: async () => (await import("./commands/tokens.ts")).tokensCanary,
  },
  {
    name: "tokens verify",
    what: "count what a column with tokens holds",
    load: async () => (await import("./commands/tokens-column.ts")).tokensVerify,
  },
  {
    name: "tokens migrate",
    what: "turn the values that a column holds into tokens",
    load: async () => (await import("./commands/tokens-column.ts")).tokensMigrate,
  },
  {
    name: "tokens restore",
    what: "turn the tokens of a column back",
    load: async () => (await import("./commands/tokens-column.ts")).tokensRestore,
  },
  {
    name: "tokens rotate",
    what: "make tokens of older keys into those of the active one",
    load: async () => (await import("./commands/tokens-column.ts")).tokensRotate,
  },
];

/** Finds the command that the arguments name and runs it. */
export async function main(args: readonly string[]): Promise<number> {
  const [first = "", second = ""] = args;
  if (first === "--help" || first === "-h" || first === "help") {
    process.stdout.write(usage());
    return 0;
  }
  if (first === "--version" || first === "-V") {
    process.stdout.write(`sluice ${version()}\n`);
    return 0;
  }
  for (const [name, words] of [
    [`${first} ${second}`, 2],
    [first, 1],
  ] as const) {
    const command = COMMANDS.find((one) => one.name === name);
    if (command) return (await command.load())(args.slice(words));
  }
  process.stderr.write(misuse(first, second));
  return 2;
}

/** The text of `sluice --help`. */
export function usage(): string {
  const width = Math.max(...COMMANDS.map((command) => command.name.length)) + 2;
  return [
    "Sluice runs in front of a Postgres database and controls what each user reads.",
    "",
    "usage: sluice COMMAND [ARGUMENTS]",
    "",
    ...COMMANDS.map((command) => `  ${command.name.padEnd(width)}${command.what}`),
    "",
    '"sluice COMMAND --help" describes each.',
    "",
  ].join("\n");
}

function misuse(first: string, second: string): string {
  if (first === "") return usage();
  const family = COMMANDS.filter((command) => command.name.startsWith(`${first} `));
  if (family.length > 0) {
    const names = family.map((command) => `"sluice ${command.name}"`).join(", ");
    const said = second && !second.startsWith("-") ? `there is no "sluice ${first} ${second}"` : "which one?";
    return `sluice: ${said}; there are ${names}\n`;
  }
  return `sluice: there is no command "${first}"; "sluice --help" lists them\n`;
}

/** Tests import this file; only as the program itself does it run a command. npm starts it through a link. */
function isProgram(): boolean {
  const script = process.argv[1];
  return script !== undefined && import.meta.url === pathToFileURL(realpathSync(script)).href;
}

if (isProgram()) {
  main(process.argv.slice(2)).then(
    (status) => {
      process.exitCode = status;
    },
    (error: unknown) => {
      process.stderr.write(`sluice: ${error instanceof Error ? error.message : String(error)}\n`);
      process.exitCode = 1;
    },
  );
}
