import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { policyExplain } from "../../proxy/commands/policy-explain.ts";
import type { Explanation } from "../../proxy/sql/explanation.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { type Captured, captured } from "./captured.ts";

const POLICY = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
roles:
  agent: { users: [anna], from: [10.2.0.0/16], reads: [public.customers], finds: [email], rows: 100 }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;
const policy = join(mkdtempSync(join(tmpdir(), "sluice-explain-")), "policy.yaml");
let database: TestDatabase;

beforeAll(async () => {
  writeFileSync(policy, POLICY);
  database = await freshDatabase("explain");
  await supportSchema(database.uri);
});
afterAll(() => database.drop());
afterEach(() => vi.restoreAllMocks());

function run(...args: readonly string[]): Promise<Captured> {
  return captured(() => policyExplain(["--upstream", database.uri, "--policy", policy, ...args]));
}

const ANNA = ["--as", "anna", "--from", "10.2.0.7"];

test("a DBA sees what an agent's lookup becomes, and nothing is run", async () => {
  const { status, out } = await run(...ANNA, "--json", "select email from customers where email = 'x'");
  const explanation = JSON.parse(out) as Explanation;
  expect(status).toBe(0);
  expect(explanation).toMatchObject({ role: "agent", verdict: "is rewritten", lookups: 1 });
  expect(explanation.reads).toEqual(["public.customers"]);
  expect(explanation.masked).toEqual(["email"]);
  expect(explanation.sent).toContain('FROM "public"."customers"');
});

test("a refusal names its SQLSTATE and the policy line", async () => {
  const { status, out } = await run(...ANNA, "delete from customers");
  expect(status).toBe(0);
  expect(out).toContain("verdict   is refused, by the policy and Sluice's rules (rules)\n");
  expect(out).toMatch(/reason {4}42501: /);
  expect(out).toMatch(/rule {6}roles\.agent\./);
});

test("an application's statement passes unchanged", async () => {
  const { out } = await run("--as", "helpdesk_app", "select * from customers");
  expect(out).toContain("verdict   passes unchanged\n");
  expect(out).not.toContain("sent to the server");
});

test("what reads protected columns and counts nobody says so, and why", async () => {
  const counting = join(policy, "..", "counting.yaml");
  writeFileSync(
    counting,
    `version: 1
classes: { email: { mask: email }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { email: email } }
  public.ticket_messages: { columns: { body: text } }
roles:
  agent: { users: [anna], reads: [public.customers, public.ticket_messages, public.tickets], sees: [text], budget: { 1h: 9 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`,
  );
  const counted = async (user: string, statement: string) => {
    const { out } = await run("--as", user, "--policy", counting, statement);
    return /^counted {3}(.*)$/m.exec(out)?.[1];
  };
  expect(await counted("anna", "select body from ticket_messages")).toBe(
    "no one: it reads public.ticket_messages, which has no subject",
  );
  expect(
    await counted("anna", "select m.body from ticket_messages m join customers c on c.id = m.customer_id"),
  ).toBe("no one of public.ticket_messages, which has no subject");
  expect(await counted("helpdesk_app", "select * from customers")).toBe(
    "no one: the role sees, reads and writes everything without a limit",
  );
  for (const nothing of [
    "select email from customers where id = 7",
    "prepare p as select email from customers where id = 7",
    "select id from tickets",
    "delete from customers",
  ])
    expect(await counted("anna", nothing), nothing).toBeUndefined();
  const { out } = await run("--as", "anna", "--policy", counting, "--json", "select 1 from ticket_messages");
  expect(JSON.parse(out)).toMatchObject({
    counts: [],
    countsNobody: { tables: ["public.ticket_messages"], why: "no subject" },
  });
});

test("the hint of a refusal does not lead to a table whose rows count nobody", async () => {
  const hinted = join(policy, "..", "hinted.yaml");
  const text = (more: string) => `version: 1
classes: { text: { mask: redact } }
tables:
  public.customers: { subject: id }
  ${more}
roles:
  agent: { users: [anna], reads: [public.customers], budget: { 1h: 9 } }
`;
  const hint = async (more: string, table: string) => {
    writeFileSync(hinted, text(more));
    const { out } = await run("--as", "anna", "--policy", hinted, `select 1 from ${table}`);
    return /^hint {6}(.*)$/m.exec(out)?.[1];
  };
  const advice = "If it is about people, name the person of a row";
  const grant = (table: string) => new RegExp(`^Add public.${table} under "reads:" of `);
  expect(await hint("public.tickets: { columns: { body: text } }", "tickets")).toMatch(grant("tickets"));
  expect(await hint("public.tickets: { columns: { body: text } }", "tickets")).toContain(advice);
  expect(await hint("", "payments")).toContain(
    `${advice} and the classes of its columns under "tables:": until then its rows count no one.`,
  );
  const counted = await hint("public.tickets: { subject: customer_id, columns: { body: text } }", "tickets");
  expect(counted).toMatch(grant("tickets"));
  expect(counted).not.toContain("about people");
});

test("a user from elsewhere has no role, and is told of --from", async () => {
  const { status, errors } = await run("--as", "anna", "select 1");
  expect(status).toBe(1);
  expect(errors).toContain("28000");
  expect(errors).toContain("--from is the address that a user comes from");
});

test("a policy with a mistake is told with its place, and nothing is explained", async () => {
  const broken = join(policy, "..", "broken.yaml");
  writeFileSync(broken, `${POLICY}modus: enforce\n`);
  const { status, out, errors } = await run(...ANNA, "--policy", broken, "select 1");
  expect(status).toBe(1);
  expect(out).toBe("");
  expect(errors).toContain("broken.yaml:8:1");
});

test("a database that is away is a sentence, not a stack", async () => {
  const { status, errors } = await run(
    ...ANNA,
    "--upstream",
    "postgresql://x@127.0.0.1:1/support",
    "select 1",
  );
  expect(status).toBe(1);
  expect(errors).toBe("sluice policy explain: the catalog cannot be read: 127.0.0.1:1: ECONNREFUSED\n");
});

test.each([
  [["select 1"], "--as: missing"],
  [["--as", "anna"], "give one statement"],
  [["--as", "anna", "select", "1"], "give one statement"],
  [["--as", "anna", "--nope", "select 1"], "nope"],
])("%j is misused, with a hint", async (args, hint) => {
  const { status, errors } = await run(...args);
  expect(status).toBe(2);
  expect(errors).toContain(hint);
});

const BEHIND = `version: 1
classes: { email: { mask: email } }
tables:
  public.customers: { subject: id, columns: { email: email } }
people: { anna: [agent-17] }
roles:
  agent: { users: [anna], reads: [public.customers], sees: [], budget: { 1h: 9 } }
  lead: { users: [], extends: agent, sees: [{ email: { when: "name = :user" } }] }
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    people_behind: [{ setting: app.agent }]
    acts_as: agent
    unnamed: refuse
  signed:
    users: [metabase]
    people_behind: [{ setting: app.token }]
    signed_by: { key_file: claims.key }
    acts_as: { claim: groups, roles: { leads: lead, support: agent } }
    unnamed: { role: agent }
  watched: { users: [cleo], reads: all, writes: all, sees: all, watch: true, people_behind: [{ setting: app.agent }], unnamed: refuse }
fences:
  helpdesk_app:
    outside: refuse
    places: [{ from: [10.2.0.7], program: desk }]
    statements: [{ shape: "select email from customers where id = $1", people: 1, tables: [public.customers] }]
`;

test("a DBA sees what a person gets at an application's screen, and what comes where nobody is named", async () => {
  const file = join(policy, "..", "behind.yaml");
  writeFileSync(file, BEHIND);
  const ask = (...args: readonly string[]) => run("--policy", file, ...args);
  const read = "select email from customers where id = 7";
  const anna = await ask("--as", "helpdesk_app", "--person", "agent-17", read);
  expect(anna.out).toMatch(/^who {7}anna behind helpdesk_app, role agent, /m);
  expect(anna.out).toMatch(/^masked {4}email$/m);
  const nobody = await ask("--as", "helpdesk_app", read);
  expect(nobody.out).toMatch(/reason {4}42501: no person is named/);
  expect(nobody.out).toMatch(/rule {6}roles\.app\.unnamed/);
  // What depends on nobody is refused to nobody.
  expect((await ask("--as", "helpdesk_app", "set app.agent = 'anna'")).out).toMatch(
    /^verdict {3}passes unchanged$/m,
  );
  const outside = await ask("--as", "helpdesk_app", "--person", "anna", "select * from customers");
  expect(outside.out).toMatch(/rule {6}fences\.helpdesk_app/);
  const role = async (...args: readonly string[]) =>
    /role (\w+)/.exec((await ask("--as", "metabase", ...args, read)).out)?.[1];
  expect(await role("--person", "anna", "--claim", "support,leads")).toBe("lead");
  expect(await role("--person", "anna", "--claim", "boss")).toBe("agent");
  const watched = await ask("--as", "cleo", "--person", "ben", read);
  expect(watched.out).toMatch(/^who {7}ben behind cleo, role watched, /m);
  expect((await ask("--as", "cleo", read)).out).toMatch(/reason {4}42501: no person is named/);
});

test("a person whom nobody can be is told of", async () => {
  const file = join(policy, "..", "behind.yaml");
  writeFileSync(file, BEHIND);
  const problem = async (...args: readonly string[]) => {
    const { status, errors } = await run("--policy", file, ...args, "select 1");
    return `${status} ${errors}`;
  };
  expect(await problem("--as", "anna", "--person", "ben")).toMatch(/^1 .*role "agent" has no people_behind/);
  expect(await problem("--as", "helpdesk_app", "--person", "helpdesk_app")).toMatch(
    /^1 .*nobody .* can be called so/,
  );
  expect(await problem("--as", "helpdesk_app", "--person", "ben", "--claim", "x")).toMatch(
    /^1 .*no roles by a claim/,
  );
  expect(await problem("--as", "helpdesk_app", "--claim", "x")).toMatch(/^2 .*--person/);
});
