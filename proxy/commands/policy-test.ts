import { parseArgs } from "node:util";
import { controlConnection } from "../app/control.ts";
import type { Catalog } from "../catalog/catalog.ts";
import { Catalogs } from "../catalog/catalogs.ts";
import type { LiveCatalog } from "../catalog/live.ts";
import { type ScratchServer, startScratch } from "../embedded/scratch.ts";
import { deriveKeys, randomSecret } from "../keys/secret.ts";
import type { PolicySet } from "../policy/compile.ts";
import { missingColumns } from "../policy/missing.ts";
import type { Place, Policy } from "../policy/policy.ts";
import { at, describeProblem, type PolicyProblem } from "../policy/problems.ts";
import { isRefusal, roleFor } from "../policy/roles.ts";
import type { TestEntry } from "../policy/test-format.ts";
import { loadPolicies } from "../policy-files/load.ts";
import { readTests, type TestFile } from "../policy-files/test-files.ts";
import { type AskedPerson, explained, personProblem } from "../session/decide/explain-statement.ts";
import { parseUpstream, type Upstream } from "../wire/upstream.ts";
import { differences, type Outcome } from "./expectations.ts";
import { untilSignal } from "./signals.ts";
import { counted } from "./text-table.ts";

const HELP = `usage: sluice policy test [PATH] [--upstream URI [--auth scram]]

Runs the tests of a policy: those in the files *_test.yaml of a folder (default: SLUICE_POLICY, or policies/), in
support_test.yaml beside support.yaml, or in one such file. Statements are judged as serve judges them; none is run,
so budgets are not tested, nor limits that stop a running statement.

  --upstream URI   judge with this database's tables and grants. Without it, a Postgres with the tables of
                   "schema:" in the file is started, in which every user may read everything.
  --auth scram     all sessions run as the user of --upstream, as with serve --auth scram

Exit status: 0 all tests pass, 1 a test fails, 2 the policy, a test file or a database has an error.
`;

interface Options {
  readonly path: string;
  readonly upstream: Upstream | undefined;
  readonly scram: boolean;
}

/** Something in a file that stands in the way of its tests. */
class Unfit extends Error {
  readonly problem: PolicyProblem;

  constructor(place: Place, message: string, hint: string) {
    super(message);
    this.problem = { severity: "error", place, message, hint };
  }
}

/** `sluice policy test`: 0 all holds, 1 something does not, 2 it could not be tested. */
export async function policyTest(args: readonly string[]): Promise<number> {
  const options = readOptions(args);
  if (options === "help") {
    process.stdout.write(HELP);
    return 0;
  }
  if (typeof options === "string") {
    process.stderr.write(`sluice policy test: ${options}\n${HELP}`);
    return 2;
  }
  const { policy, files, problems } = await readTests(options.path);
  const loaded = await loadPolicies(policy);
  const wrong = [...(loaded.ok ? [] : loaded.problems), ...problems];
  for (const problem of new Set(wrong.map(describeProblem))) say(problem);
  if (!loaded.ok || wrong.length > 0) return 2;
  const signal = untilSignal();
  const run = new Run(loaded.policies, options);
  try {
    const status = await Promise.race([run.all(files), signal.received]);
    return status === "signal" ? 2 : status;
  } finally {
    await run.close();
    signal.forget();
  }
}

class Run {
  readonly #policies: PolicySet;
  readonly #options: Options;
  #scratch: Promise<ScratchServer> | undefined;
  #closed = false;

  constructor(policies: PolicySet, options: Options) {
    this.#policies = policies;
    this.#options = options;
  }

  async all(files: readonly TestFile[]): Promise<number> {
    let [failed, unfit] = [0, 0];
    for (const file of files) {
      try {
        failed += await this.#file(file);
      } catch (error) {
        if (!(error instanceof Unfit)) throw error;
        // What was under way then fails for no fault of the file.
        if (this.#closed) return 2;
        unfit += 1;
        say(describeProblem(error.problem));
      }
    }
    const total = files.reduce((sum, { content }) => sum + content.tests.length, 0);
    const not = unfit > 0 ? `, ${counted(unfit, "file")} could not be tested` : "";
    say(
      `${counted(total, "expectation")}${not}${failed > 0 ? `, ${failed} failed` : not ? "" : ": all hold"}`,
    );
    return unfit > 0 ? 2 : failed > 0 ? 1 : 0;
  }

  async close(): Promise<void> {
    this.#closed = true;
    // One that could not be started has been told of.
    const scratch = await this.#scratch?.catch(() => undefined);
    await scratch?.stop();
  }

  /** How many of the file's expectations do not hold. */
  async #file(file: TestFile): Promise<number> {
    const { target, database } = await this.#databaseOf(file);
    const policy = this.#policies.forDatabase(database);
    if (policy.mode === "observe") say(`${file.name}: the policy only observes: nothing of this is in force`);
    const catalogs = new Catalogs({ connection: controlConnection(target), probeSeconds: 3600 });
    try {
      const away = (error: unknown): never => {
        throw new Unfit(placeOfDatabase(file), `the catalog cannot be read: ${textOf(error)}`, "");
      };
      const live = await catalogs.of(database).catch(away);
      refuseClosed(policy, live.current, placeOfDatabase(file));
      let failed = 0;
      for (const [index, test] of file.content.tests.entries()) {
        refuseNobody(test, policy, file.placeOf(["tests", index, "person"]));
        const found = differences(test, await this.#outcome(test, policy, live).catch(away));
        if (found.length > 0) failed += 1;
        for (const { key, expected, found: is } of found) {
          const { line, column } = file.placeOf(["tests", index, "expect", ...(key ? [key] : [])]);
          const what = oneLine(test.name ?? `${test.as}: ${test.run}`, 120);
          const told = `expected ${oneLine(expected, 300)}; found ${oneLine(is, 1000)}`;
          say(`${file.name}:${line}:${column}: failed: ${what}: ${told}`);
        }
      }
      return failed;
    } finally {
      await catalogs.close();
    }
  }

  async #outcome(entry: TestEntry, policy: Policy, live: LiveCatalog): Promise<Outcome> {
    const { as: user, from, run } = entry;
    const role = roleFor(policy, user, from ?? "127.0.0.1");
    if (isRefusal(role)) return { refusal: role };
    const { upstream, scram } = this.#options;
    return explained(
      live,
      run,
      {
        policy,
        account: role,
        user,
        databaseUser: scram ? (upstream?.user ?? user) : user,
        // A key that nobody has: the texts that are sent hold it where a mask is a token.
        maskKey: deriveKeys(randomSecret()).masks,
        person: personIn(entry),
      },
      // The users of a policy are not in a database that was made for its tests, so they have no grants there.
      upstream === undefined ? (scope) => ({ ...scope, unreadable: new Set() }) : undefined,
    );
  }

  async #databaseOf(file: TestFile): Promise<{ readonly target: Upstream; readonly database: string }> {
    const { upstream } = this.#options;
    const { database: named, schema } = file.content;
    if (upstream !== undefined) {
      const database = named ?? upstream.database ?? upstream.user;
      if (database !== undefined) return { target: upstream, database };
      throw new Unfit(file.placeOf([]), "--upstream names no database", 'Add "database:" here, or to it.');
    }
    if (schema === undefined) {
      const hint = 'Add "schema:" with CREATE TABLE …, or point --upstream at a database.';
      throw new Unfit(file.placeOf([]), "no tables to judge with", hint);
    }
    this.#scratch ??= startScratch();
    const scratch = await this.#scratch.catch((error: unknown) => {
      const hint = "Point --upstream at a database.";
      throw new Unfit(placeOfDatabase(file), `no Postgres could be started: ${textOf(error)}`, hint);
    });
    const database = named ?? "test";
    await scratch.make(database, schema).catch((error: unknown) => {
      throw new Unfit(placeInSchema(file, error), `the tables cannot be made: ${textOf(error)}`, "");
    });
    const made = parseUpstream(scratch.uri, {});
    if (!made.ok) throw new Error(made.problem);
    return { target: made.upstream, database };
  }
}

/** Whatever is expected to be refused there would be, and would hold for the wrong reason. */
function refuseClosed(policy: Policy, catalog: Catalog, place: Place): void {
  for (const table of policy.tables.values()) {
    const relation = catalog.relations.get(table.name);
    const [missing] = relation === undefined ? [] : missingColumns(table, relation);
    if (missing === undefined) continue;
    const message = `${table.name} has no column "${missing}", which the policy names (${at(table.place)})`;
    throw new Unfit(
      place,
      message,
      "Until it has one, serve refuses the policy, or closes the table to limited roles (allow_missing).",
    );
  }
}

/** A test of a person whom the policy cannot name would hold for the wrong reason. */
function refuseNobody(test: TestEntry, policy: Policy, place: Place): void {
  const account = roleFor(policy, test.as, test.from ?? "127.0.0.1");
  if (isRefusal(account)) return;
  const problem = personProblem({ policy, account, user: test.as, person: personIn(test) });
  if (problem !== undefined) throw new Unfit(place, problem, "Name the application under as.");
}

function personIn({ person, claims }: TestEntry): AskedPerson | undefined {
  return person === undefined ? undefined : { name: person, claims: claims ?? [] };
}

function placeOfDatabase({ placeOfKey, content }: TestFile): Place {
  return placeOfKey(content.database === undefined ? ["schema"] : ["database"]);
}

/** The server says at which character of the text; that is a line of the file where it stands there as it is. */
function placeInSchema({ text, content, placeOf }: TestFile, error: unknown): Place {
  const place = placeOf(["schema"]);
  const position = Number((error as { position?: string }).position);
  const header = text.split("\n")[place.line - 1] ?? "";
  if (!Number.isInteger(position) || !/^\|[-+\d]*\s*(#.*)?$/.test(header.slice(place.column - 1)))
    return place;
  const before = [...(content.schema ?? "")].slice(0, position - 1).join("");
  return { ...place, line: place.line + before.split("\n").length, column: 1 };
}

/** A text says what is wrong. */
function readOptions(args: readonly string[]): Options | "help" | string {
  const text = { type: "string" } as const;
  try {
    const { values, positionals } = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { upstream: text, auth: text, help: { type: "boolean", short: "h" } },
    });
    if (values.help) return "help";
    if (positionals.length > 1) return "one path at a time; the files of a folder are one policy";
    const { upstream: uri, auth } = values;
    if (auth !== undefined && auth !== "scram" && auth !== "passthrough")
      return "--auth: scram or passthrough";
    if (auth !== undefined && uri === undefined) return "--auth: only with --upstream";
    const read = uri === undefined ? undefined : parseUpstream(uri, process.env);
    if (read?.ok === false) return `--upstream: ${read.problem}`;
    const path = positionals[0] ?? process.env.SLUICE_POLICY ?? "policies/";
    return { path, upstream: read?.upstream, scram: auth === "scram" };
  } catch (error) {
    return textOf(error);
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function textOf(error: unknown): string {
  return oneLine(error instanceof Error ? error.message : String(error), 300);
}

/** Names, statements and messages of others may hold anything; a line of the report stays one line. */
function oneLine(text: string, longest: number): string {
  const line = text.replace(/[\s\p{Cc}]+/gu, " ").trim();
  return line.length > longest ? `${line.slice(0, longest)}…` : line;
}
