import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { checkPolicies } from "../../proxy/check/check.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";

/** `line:column message` of each warning, without a database. */
function warnings(...texts: readonly string[]): readonly string[] {
  const files = texts.map((text, i) => ({ name: `${i}.yaml`, text: `version: 1\n${text}` }));
  const compiled = compilePolicies(files);
  if (!compiled.ok) throw new Error(compiled.problems.map(describeProblem).join("\n"));
  return checkPolicies(compiled.policies).map(({ severity, place, message }) => {
    expect(severity).toBe("warning");
    return `${place.line}:${place.column} ${message}`;
  });
}

const BASE = `classes: { name: { mask: initials }, text: { mask: redact } }
tables:
  public.customers: { subject: id, columns: { name: name, note: text } }
  public.messages: { columns: { body: text } }
`;

const agent = (rest: string) => `${BASE}roles:
  agent: { users: [anna], reads: [public.customers], ${rest} }
`;
const app = (rest: string) => `${BASE}roles:
  app: { users: [app], reads: all, writes: all, sees: all, ${rest} }
`;

test("a policy without idle keys gets no warnings", async () => {
  expect(
    warnings(
      agent(
        "sees: [name], finds: [text], rows: 10, push_limit: true, on_excess: truncate, on_counter_loss: grace, " +
          "require_filter: [public.customers], budget: { 1h: 10, 1d: 20 }, behaviour: { dump: suspend, purpose: alert }, " +
          'purpose: { public.customers: "vip" }, only: { public.customers: "region = 1" }',
      ),
    ),
  ).toEqual([]);
  expect(warnings(app("budget: none"))).toEqual([]);
  expect(warnings((await readFile("policies/support.yaml", "utf8")).replace("version: 1", ""))).toEqual([]);
  const readme = await readFile("README.md", "utf8");
  const [, policy = ""] = /```yaml\n(version: 1\n[\s\S]*?)```/.exec(readme) ?? [];
  expect(policy).toContain("budget:");
  expect(warnings(policy.replace("version: 1", ""))).toEqual([]);
});

test.each([
  [
    "a table that counts no one",
    `${BASE}roles:\n  agent: { users: [anna], reads: [public.customers, public.messages], budget: { 1h: 5 } }\n`,
    '5:3 public.messages has protected columns and no subject: what role "agent" reads of it counts no one',
  ],
  [
    "a budget of the role only, and all tables",
    `${BASE}roles:\n  a: { users: [anna], reads: all, role_budget: { 1h: 5 } }\n  b: { users: [ben], reads: [public.*], budget: { 1h: 5 } }\n`,
    '5:3 public.messages has protected columns and no subject: what roles "a", "b" read of it counts no one',
  ],
  [
    "a path that stops before the people",
    `tables:
  public.contacts: { subject: id }
  public.talks: { subject: contact_id -> public.contacts.id }
  public.messages: { subject: talk_id -> public.talks.contact_id }
`,
    '5:31 the people of public.messages are counted as public.talks.contact_id, apart from those of public.contacts.id: the same person may count twice, and "audit who-read" finds only one of the two',
  ],
  [
    "rules of behaviour where no one is counted",
    app("behaviour: { new_people: suspend }"),
    '7:60 role "app" sees, reads and writes everything without a limit, so no one is counted: its "behaviour" has no effect',
  ],
  [
    "a purpose where no one is counted",
    app('purpose: { public.customers: "vip" }'),
    '7:60 role "app" sees, reads and writes everything without a limit, so no one is counted: its "purpose" has no effect',
  ],
  [
    "decoys where no one is counted",
    `${app("budget: none")}canaries: { public.customers: [1] }\n`,
    '8:13 decoys of public.customers are never seen: only role "app" reads them, in which no one is counted',
  ],
  ["on_canary alone", "on_canary: suspend\n", '2:1 "on_canary" has no effect: there are no decoys'],
  [
    "a purpose without people",
    `${BASE}roles:\n  agent: { users: [anna], reads: all, rows: 9, purpose: { public.messages: "x" }, behaviour: { purpose: alert } }\n`,
    '7:76 "purpose" names public.messages, which has no people of its own',
  ],
  [
    "a purpose that no rule uses",
    agent('rows: 9, purpose: { public.customers: "vip" }'),
    '7:63 role "agent" has a purpose, and its rule "purpose" is off',
  ],
  [
    "a rule without a purpose",
    agent("budget: { 1h: 9 }, behaviour: { purpose: suspend }"),
    '7:86 the rule "purpose" of role "agent" has no effect: the role has no purpose',
  ],
  [
    "a rule on dumps without limits",
    agent("behaviour: { dump: suspend }"),
    '7:67 the rule "dump" of role "agent" has no effect: nothing limits its statements',
  ],
  [
    "tightening without a budget",
    agent("rows: 9, behaviour: { new_people: tighten }"),
    '7:76 role "agent" has no budget that "new_people: tighten" could halve',
  ],
  [
    "a class that the role sees and finds",
    agent("sees: [name], finds: [name]"),
    '7:76 "finds: name" of role "agent" has no effect: what the role sees can be searched anyhow',
  ],
  [
    "finds for a role that sees all",
    agent("sees: all, finds: [name]"),
    '7:65 "finds" of role "agent" has no effect: the role sees all classes, and what is seen can be searched',
  ],
  [
    "push_limit without rows",
    agent("push_limit: true"),
    '7:54 "push_limit" of role "agent" has no effect: there is no "rows" to end a statement by',
  ],
  [
    "on_excess without limits",
    agent("on_excess: truncate"),
    '7:54 "on_excess" of role "agent" has no effect: there is neither "rows" nor "bytes" to be past',
  ],
  [
    "on_counter_loss without a budget",
    agent("on_counter_loss: { grace: 0.5 }"),
    '7:54 "on_counter_loss" of role "agent" has no effect: there is no budget of which a share could be lent',
  ],
  [
    "require_filter on a table that is only written",
    agent("writes: [public.messages], require_filter: [public.messages]"),
    '7:63 "writes: public.messages" of role "agent" has no effect: writing needs the right to read, which the role lacks',
    '7:98 "require_filter: public.messages" of role "agent" has no effect: the role may not read the table',
  ],
  [
    "a window that is never used up first",
    agent("budget: { 1h: 300, 1d: 300, 7d: { people: 900, rows: 10 }, 30d: { rows: 9 } }"),
    '7:64 "budget.1h" of role "agent" has no effect: 300 people in 1d are used up first',
    '7:82 "budget.7d" of role "agent" has no effect: 9 rows in 30d are used up first',
  ],
  [
    "dropping a filter that never existed",
    `${BASE}roles:
  agent: { users: [anna], reads: all, only: { public.messages: "x" } }
  lead: { extends: agent, users: [cleo], only: { public.messages: none, public.customers: none } }
`,
    '8:73 "only: public.customers: none" of role "lead" has no effect: role "agent" has no filter on it',
  ],
  [
    "a class that no column has",
    `${BASE}`.replace("classes: {", "classes: { card: { mask: redact },"),
    '2:12 no column has the class "card"',
  ],
  [
    "a role without users",
    `${BASE}roles:\n  agent: { from: [10.0.0.0/8], reads: [public.customers] }\n  later: { users: [] }\n`,
    '7:3 no user has the role "agent"',
    '7:12 "from" of role "agent" has no effect: it has no users',
  ],
  [
    "users whom an earlier role matches",
    `${BASE}roles:
  any: { users: ["*"], reads: [public.customers] }
  agent: { users: ["agent_*", anna], reads: [public.customers] }
unknown_users: agent
`,
    '8:20 "users: agent_*" of role "agent" has no effect: role "any" matches all users, and comes before it',
    '9:1 "unknown_users" has no effect: role "any" has all users',
  ],
])("%s is reported with its position", (_what, policy, ...expected) => {
  expect(warnings(policy)).toEqual(expected);
});

test("a key that has an effect in an extending role is not idle in the role that writes it", () => {
  const policy = (own: string) => `${BASE}roles:
  base: { reads: [public.customers], push_limit: true, on_excess: truncate, finds: [name] }
  agent: { extends: base, users: [anna], ${own} }
`;
  expect(warnings(policy("rows: 10"))).toEqual([]);
  expect(warnings(policy("sees: [name]"))).toEqual([
    '7:38 "push_limit" of role "base" has no effect: there is no "rows" to end a statement by',
    '7:56 "on_excess" of role "base" has no effect: there is neither "rows" nor "bytes" to be past',
  ]);
  const inherited = `${BASE}roles:
  base: { reads: all, behaviour: { sequence: suspend }, rows: 9 }
  app: { extends: base, users: [app], writes: all, sees: all, rows: none }
`;
  expect(warnings(inherited)).toEqual([
    '7:23 role "app" sees, reads and writes everything without a limit, so no one is counted: its "behaviour" has no effect',
  ]);
});

test("a key that one database uses is not idle in a general file", () => {
  const general = "classes: { name: { mask: initials }, card: { mask: redact } }\n";
  const sales =
    "database: sales\ntables: { public.c: { subject: id, columns: { name: name } }, public.m: { columns: { x: name } } }\n";
  const role = "roles: { agent: { users: [anna], reads: all, budget: { 1h: 9 } } }\n";
  expect(warnings(general + role, sales)).toEqual([
    '2:38 no column has the class "card"',
    '3:63 public.m has protected columns and no subject: what role "agent" reads of it counts no one',
  ]);
});
