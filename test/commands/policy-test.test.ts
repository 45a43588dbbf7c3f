import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { policyTest } from "../../proxy/commands/policy-test.ts";
import { loadPolicies } from "../../proxy/policy-files/load.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { type Captured, captured } from "./captured.ts";

const POLICIES = fileURLToPath(new URL("../../policies/", import.meta.url));
const SUPPORT = readFileSync(join(POLICIES, "support.yaml"), "utf8");
const TESTS = readFileSync(join(POLICIES, "support_test.yaml"), "utf8");

let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  database = await freshDatabase("policy_test");
  await supportSchema(database.uri);
  await database.query(
    "CREATE FUNCTION take_ticket(bigint) RETURNS void LANGUAGE sql AS 'UPDATE public.tickets SET assignee = session_user WHERE id = $1'",
  );
});
afterAll(() => database.drop());

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sluice-policy-test-"));
  write("support.yaml", SUPPORT);
});
afterEach(() => {
  vi.restoreAllMocks();
  rmSync(folder, { recursive: true, force: true });
});

function write(name: string, text: string): void {
  writeFileSync(join(folder, name), text);
}

async function run(...args: readonly string[]): Promise<Captured> {
  const told = await captured(() => policyTest(args));
  return { ...told, out: told.out.replaceAll(`${folder}/`, "") };
}

/** Of one expectation about Anna, judged with the tables of the real database. */
async function ofAnna(statement: string, expectation: string) {
  write("a_test.yaml", `tests:\n  - as: anna\n    run: ${statement}\n    expect: ${expectation}\n`);
  return run(folder, "--upstream", database.uri);
}

test("the example policy does what its tests promise, without any database; nothing is left behind", async () => {
  const { status, out } = await run(POLICIES);
  expect(out).toBe("24 expectations: all hold\n");
  expect(status).toBe(0);
  expect(readdirSync(tmpdir()).filter((name) => name.startsWith(`sluice-scratch-${process.pid}-`))).toEqual(
    [],
  );
});

test("the example of an application does what its tests promise", async () => {
  const { status, out } = await run(join(POLICIES, "examples"));
  expect(out).toBe("5 expectations: all hold\n");
  expect(status).toBe(0);
});

test("a change that shows agents what they may not see fails in CI, at the line of the promise it breaks", async () => {
  write("support.yaml", SUPPORT.replace("      - name\n", "      - name\n      - email\n"));
  write("support_test.yaml", TESTS);
  const { status, out } = await run(join(folder, "support.yaml"));
  expect(status).toBe(1);
  const line = TESTS.split("\n").findIndex((text) => text.includes("masked: [email, phone, birth]")) + 1;
  expect(out.split("\n")[0]).toMatch(
    new RegExp(
      `^support_test.yaml:${line}:\\d+: failed: an agent sees the name .*: expected masked birth, email, phone; found birth, phone$`,
    ),
  );
  expect(out).toMatch(/\n24 expectations, \d failed\n$/);
});

test("the same promises hold with the tables and grants of a real database", async () => {
  write("support_test.yaml", TESTS.replace("database: support\n", ""));
  expect(await run(folder, "--upstream", database.uri)).toMatchObject({
    status: 0,
    out: "24 expectations: all hold\n",
  });
});

test("a list alone will do where there is a database, and its mistakes are told at their lines", async () => {
  write(
    "a_test.yaml",
    `- as: anna
  run: select email from customers where id = 7
  expect: { masked: [email] }
- as: anna
  run: copy customers to stdout
  expect: { error: "54001" }
`,
  );
  const judged = await run(folder, "--upstream", database.uri);
  expect(judged.status).toBe(1);
  expect(judged.out).toMatch(/^a_test\.yaml:6:\d+/m);
  expect(judged.out).not.toMatch(/^a_test\.yaml:3/m);
  write("a_test.yaml", "- as: anna\n  run: select 1\n  expect: allowed\n  wants: [email]\n");
  const mistaken = await run(folder, "--upstream", database.uri);
  expect(mistaken.status).toBe(2);
  expect(mistaken.errors + mistaken.out).toContain('a_test.yaml:4:3: error: unknown key "wants"');
});

test("tests are no policies: neither check nor serve takes them for one", async () => {
  write("support_test.yaml", TESTS);
  const loaded = await loadPolicies(folder);
  expect(loaded.ok && loaded.policies.files).toEqual([join(folder, "support.yaml")]);
});

const READ = "select email from customers where id = 7";

test.each([
  ["select id from customers where id = 7", "allowed"],
  ["select 1", "unchanged"],
  ["delete from customers", "refused"],
  ["select", "unchanged"],
  ["selec", '{ error: "42601" }'],
  [READ, "{ masked: [email], reads: [public.customers], writes: [], counts: [public.customers.id] }"],
  [READ, "{ lookups: 0, rows: 100, sent: [FROM, customers], not_sent: payments }"],
  ["select 1", "{ rows: none, counts: [], sent: select 1 }"],
])("%s: %s holds", async (statement, expectation) => {
  expect(await ofAnna(statement, expectation)).toMatchObject({ status: 0, out: "1 expectation: all hold\n" });
});

test.each([
  [
    "delete from customers",
    "allowed",
    /4:13: failed: anna: delete from customers: expected it is allowed; found it is refused: 42501: .* \(roles\.agent\.writes\)\n/,
  ],
  ["selec", "allowed", /expected it is allowed; found it is refused: 42601: syntax error/],
  // What is refused masks nothing, and must not pass for what is shown in the clear.
  ["delete from customers", "{ masked: [] }", /expected it is allowed; found it is refused: 42501/],
  [READ, "refused", /expected it is refused; found it is rewritten\n/],
  [READ, "unchanged", /expected it passes unchanged; found it is rewritten: select/],
  ["select 1", '{ error: "42501" }', /expected it is refused; found it passes unchanged\n/],
  [
    "delete from customers",
    '{ error: "54000" }',
    /4:22: .*expected it is refused with 54000; found it is refused: 42501/,
  ],
  [
    "delete from customers",
    "{ rule: roles.agent.reads }",
    /expected it is refused by roles\.agent\.reads; found .*\(roles\.agent\.writes\)/,
  ],
  [READ, "{ masked: [] }", /expected masked none; found email\n/],
  [READ, "{ reads: [public.payments] }", /expected reads public\.payments; found public\.customers\n/],
  [READ, "{ counts: [] }", /expected counts none; found public\.customers\.id\n/],
  [READ, "{ lookups: 2 }", /expected 2 lookups; found 0\n/],
  [READ, "{ rows: none }", /expected a limit of none rows; found 100\n/],
  [READ, "{ sent: [FROM, payments] }", /expected "payments" in what is sent; found select/],
  [READ, "{ not_sent: customers }", /expected no "customers" in what is sent; found select/],
])("%s: %s fails, and says what is instead", async (statement, expectation, told) => {
  const { status, out } = await ofAnna(statement, expectation);
  expect(out).toMatch(told);
  expect(out).toMatch(/^a_test\.yaml:4:\d+: failed: anna: /);
  expect(out).toMatch(/\n1 expectation, 1 failed\n$/);
  expect(status).toBe(1);
});

test("a user whom the policy does not know, or who comes from elsewhere, is refused", async () => {
  write("support.yaml", SUPPORT.replace("users: [anna, ben]", "users: [anna, ben]\n    from: [10.2.0.0/16]"));
  write(
    "a_test.yaml",
    `tests:
  - { as: mallory, run: select 1, expect: { error: "28000", rule: unknown_users } }
  - { as: anna, run: select 1, expect: { error: "28000", rule: roles.agent.from } }
  - { as: anna, from: 10.2.0.7, run: select 1, expect: allowed }
  - { as: "mal\\u001blory", run: select 1, expect: allowed }
`,
  );
  const { status, out } = await run(folder, "--upstream", database.uri);
  expect(status).toBe(1);
  expect(out).toMatch(/^a_test\.yaml:5:\d+: .*28000: no role for user "mal lory"/);
  expect(out).toContain("4 expectations, 1 failed");
});

test.each(["selec", "select * from custmers", "select public.nope()"])(
  "%s is a mistake: a test that expects the policy to refuse it does not hold for that",
  async (statement) => {
    const { status, out } = await ofAnna(statement, "refused");
    expect(out).toMatch(/expected the policy refuses it; found it is refused: 42/);
    expect(status).toBe(1);
  },
);

test("a table without a column that the policy names is closed, so nothing is tested with it", async () => {
  write("support.yaml", SUPPORT.replace("birth_date: birth", "born: birth"));
  const { status, out } = await ofAnna("select * from customers", "refused");
  expect(out).toMatch(
    /^a_test\.yaml:1:1: error: public\.customers has no column "born", which the policy names \(support\.yaml:\d+\)\n/,
  );
  expect(status).toBe(2);
});

test("a policy that only observes is told of", async () => {
  write("support.yaml", SUPPORT.replace("mode: enforce", "mode: observe"));
  const { status, out } = await ofAnna("delete from customers", "refused");
  expect(status).toBe(0);
  expect(out).toContain("the policy only observes");
});

const GOOD = "{ as: anna, run: select 1, expect: allowed }";

test.each([
  ["", "1:1: error: the file is empty"],
  ["tests: [", "error: not valid YAML"],
  ["5", '1:1: error: the file cannot be "5"'],
  ["tests: []", 'error: "tests" cannot be'],
  [`tests: [${GOOD}]\ntsets: 1`, '2:1: error: unknown key "tsets"\n  hint: Did you mean "tests"?'],
  ["tests:\n- { as: anna, run: select 1 }", '2:3: error: "expect" is missing'],
  ["tests:\n- { run: select 1, expect: allowed }", '2:3: error: "as" is missing'],
  [
    "tests:\n- { as: anna, run: select 1, expect: { maskd: [] } }",
    'unknown key "maskd"\n  hint: Did you mean "masked"?',
  ],
  ["tests:\n- { as: anna, run: select 1, expect: alowed }", '2:38: error: "expect" cannot be "alowed"'],
  ["tests:\n- { as: anna, run: select 1, expect: {} }", "2:38: error: nothing is expected"],
  ["tests:\n- { as: anna, run: select 1, expect: { error: 42501 } }", "An SQLSTATE, in quotes"],
  [
    "tests:\n- { as: anna, run: select 1, expect: { error: '42501', masked: [] } }",
    '"masked" cannot be combined with "error"',
  ],
  [
    "tests:\n- { as: anna, from: office, run: select 1, expect: allowed }",
    '2:21: error: "from" cannot be "office"',
  ],
  [
    `tests:\n- { name: a, as: anna, run: select 1, expect: allowed }\n- { name: a, as: ben, run: select 2, expect: allowed }`,
    '3:11: error: another expectation is named "a"\n  hint: It is in line 2.',
  ],
  [`tests:\n- ${GOOD}`, "1:1: error: no tables to judge with"],
  [
    `tests:\n- ${GOOD}\n- { __proto__: 1, as: anna, run: select 1, expect: allowed }`,
    '"__proto__" cannot be a name',
  ],
])("a file such as %j is told with its place, and nothing is tested", async (text, told) => {
  write("a_test.yaml", text);
  const { status, out } = await run(join(folder, "a_test.yaml"));
  expect(out).toMatch(/^a_test\.yaml:\d+:\d+: error: /);
  expect(out).toContain(told);
  expect(out).not.toContain("    at ");
  expect(status).toBe(2);
});

test("tables that cannot be made are told at their line, and their SQL runs no programs on this machine", async () => {
  const mark = join(folder, "mark");
  write(
    "a_test.yaml",
    `schema: |\n  CREATE TABLE a (b int);\n  CREATE TABEL c (d int);\ntests:\n- ${GOOD}\n`,
  );
  write("b_test.yaml", `schema: "COPY (SELECT 1) TO PROGRAM 'touch ${mark}'"\ntests:\n- ${GOOD}\n`);
  write("c_test.yaml", `database: 'an odd "name" %/'\nschema: CREATE TABLE a (b int)\ntests:\n- ${GOOD}\n`);
  const { status, out } = await run(folder);
  expect(out.split("\n")).toEqual([
    'a_test.yaml:3:1: error: the tables cannot be made: syntax error at or near "TABEL"',
    "b_test.yaml:1:9: error: the tables cannot be made: permission denied to COPY to or from an external program",
    "3 expectations, 2 files could not be tested",
    "",
  ]);
  expect(status).toBe(2);
  expect(existsSync(mark)).toBe(false);
});

test("a folder without tests, a policy with a mistake and a database that is away are told; none passes", async () => {
  expect(await run(folder)).toMatchObject({ status: 2, out: expect.stringContaining("nothing here tests") });
  write("a_test.yaml", `tests:\n- ${GOOD}\n`);
  const away = await run(folder, "--upstream", "postgresql://x@127.0.0.1:1/support");
  expect(away).toMatchObject({
    status: 2,
    out: expect.stringContaining("a_test.yaml:1:1: error: the catalog"),
  });
  write("support.yaml", `${SUPPORT}\nmodus: enforce\n`);
  expect(await run(folder)).toMatchObject({ status: 2, out: expect.stringContaining('unknown key "modus"') });
  expect((await run(join(folder, "away"))).out).toContain("there is no such file or folder");
});

test.each([
  [["a", "b"], "one path at a time"],
  [["--upstreem", "x"], "Unknown option"],
  [["--upstream", "http://x"], "--upstream: "],
  [["--auth", "scram"], "--auth: only with --upstream"],
])("%j is misused, with the usage", async (args, hint) => {
  const { status, errors } = await run(...args);
  expect(status).toBe(2);
  expect(errors).toContain(hint);
  expect(errors).toContain("usage: sluice policy test");
});

test("a test of a person behind a user who is no application is told of at its line", async () => {
  write("a_test.yaml", "tests:\n  - as: anna\n    person: ben\n    run: select 1\n    expect: allowed\n");
  const { status, out } = await run(folder, "--upstream", database.uri);
  expect(status).toBe(2);
  expect(out).toMatch(/^a_test\.yaml:3:\d+: .*has no people_behind/m);
});
