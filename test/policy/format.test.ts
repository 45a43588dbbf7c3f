import { expect, test } from "vitest";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { policyJsonSchema } from "../../proxy/policy/format.ts";
import { describeProblem, type PolicyProblem } from "../../proxy/policy/problems.ts";
import { testJsonSchema } from "../../proxy/policy/test-format.ts";

/** Problems as a user gets them. */
function problemsOf(...texts: readonly string[]): readonly PolicyProblem[] {
  const compiled = compilePolicies(texts.map((text, i) => ({ name: `p${i + 1}.yaml`, text })));
  return compiled.ok ? [] : compiled.problems;
}

function only(...texts: readonly string[]): string {
  const problems = problemsOf(...texts);
  expect(problems.map(describeProblem)).toHaveLength(1);
  return problems.map(describeProblem).join("\n");
}

const BASE = `version: 1
classes:
  email: { mask: email }
tables:
  public.customers: { subject: id, columns: { email: email } }
`;

function role(lines: string): string {
  return `${BASE}roles:\n  agent:\n    reads: [public.customers]\n${lines
    .split("\n")
    .map((line) => `    ${line}`)
    .join("\n")}\n`;
}

test("the schemas for editors are the validators' own", async () => {
  await expect(policyJsonSchema()).toMatchFileSnapshot("../../policies/policy.schema.json");
  await expect(testJsonSchema()).toMatchFileSnapshot("../../policies/policy-tests.schema.json");
});

test("each mistake names its line and column, what is wrong, and what would be right", () => {
  const cases: readonly [string, string, string][] = [
    [
      "a misspelt key",
      role("bugdet: none"),
      'p1.yaml:9:5: error: unknown key "bugdet"\n  hint: Did you mean "budget"?',
    ],
    [
      "a misspelt section",
      `${BASE}rolls: {}\n`,
      'p1.yaml:6:1: error: unknown key "rolls"\n  hint: Did you mean "roles"?',
    ],
    ["no version", "roles: {}\n", '1:1: error: "version" is missing\n  hint: version: 1'],
    ["another version", "version: 2\n", '1:10: error: "version" cannot be "2"\n  hint: version: 1'],
    [
      "a misspelt mode",
      `${BASE}mode: enforced\n`,
      '6:7: error: "mode" cannot be "enforced"\n  hint: Did you mean "enforce"?',
    ],
    [
      "a subject that leads nowhere",
      "version: 1\ntables: { public.t: { subject: a -> tickets } }\n",
      '2:32: error: "a -> tickets" is no subject\n  hint: A column, or a path as in ticket_id -> public.tickets.customer_id.',
    ],
    [
      "a cost of nothing",
      "version: 1\nclasses: { a: { mask: redact, cost: 0 } }\n",
      '2:37: error: "cost" cannot be "0"\n  hint: A whole number from 1 to 100.',
    ],
    [
      "no such mask",
      "version: 1\nclasses: { a: { mask: blur } }\n",
      '2:23: error: "mask" cannot be "blur"\n  hint: A mask: "null", redact',
    ],
    [
      "no such mask with a number",
      "version: 1\nclasses: { a: { mask: { middle: 2 } } }\n",
      '2:23: error: "mask" cannot be a mapping\n  hint: A mask:',
    ],
    [
      "a mask of the wrong number",
      "version: 1\nclasses: { a: { mask: { last: two } } }\n",
      '2:31: error: "last" cannot be "two"\n  hint: A whole number',
    ],
    [
      "a table without a schema",
      "version: 1\ntables: { customers: {} }\n",
      '2:11: error: "customers" is not possible here\n  hint: A table with its schema',
    ],
    [
      "a bad window",
      role("budget: { 1day: 3 }"),
      '9:15: error: "1day" is not possible here\n  hint: A window:',
    ],
    ["a window that is too long", role("budget: { 900d: 3 }"), "9:15: error: 900d is too long a window"],
    [
      "a bad budget value",
      role("budget: { 1d: { peple: 3 } }"),
      '9:21: error: unknown key "peple"\n  hint: Did you mean "people"?',
    ],
    [
      "a bad size",
      role("bytes: 256kb"),
      '9:12: error: "bytes" cannot be "256kb"\n  hint: A size as in 4096, 256kB',
    ],
    ["no rows", role("rows: 0"), '9:11: error: "rows" cannot be "0"\n  hint: A whole number, 1 or more'],
    [
      "one user without a list",
      role("users: anna"),
      '9:12: error: "users" cannot be "anna"\n  hint: A list of user names',
    ],
    [
      "a user who looks like a number",
      role("users: [1234]"),
      '9:13: error: an entry of "users" cannot be "1234"\n  hint: A name; put it in quotes',
    ],
    [
      "a bad network",
      role("from: [10.2.0.0/33]"),
      '9:12: error: "/33" is not a prefix length of 10.2.0.0\n  hint: From /0 to /32.',
    ],
    [
      "a network with host bits",
      role("from: [10.2.3.4/16]"),
      "hint: The network is 10.2.0.0/16, the address alone 10.2.3.4.",
    ],
    [
      "an IPv6 network with host bits",
      role('from: ["2001:db8::1/32"]'),
      "hint: The network is 2001:db8::/32",
    ],
    ["no network at all", role("from: []"), "9:11: error: an empty list of networks"],
    [
      "a class that is not there (sees)",
      role("sees: [emial]"),
      '9:12: error: there is no class "emial"\n  hint: Did you mean "email"?',
    ],
    ["a class that is not there (finds)", role("finds: [phone]"), '9:13: error: there is no class "phone"'],
    [
      "a class that is not there (columns)",
      "version: 1\ntables: { public.t: { columns: { a: nope } } }\n",
      '2:37: error: there is no class "nope"',
    ],
    [
      "a parent that is not there",
      role("extends: agnt"),
      '9:14: error: there is no role "agnt" to extend\n  hint: Did you mean "agent"?',
    ],
    [
      "a role that extends itself",
      role("extends: agent"),
      "9:14: error: roles extend each other in a circle: agent → agent",
    ],
    [
      "no such role for unknown users",
      `${BASE}unknown_users: guest\n`,
      '6:16: error: there is no role "guest"',
    ],
    [
      "a filter on an unknown table",
      role('only: { public.custmers: "true" }'),
      '9:13: error: role "agent" may neither read nor write public.custmers\n  hint: Did you mean "public.customers"?',
    ],
    [
      "a filter key on an unknown table",
      role("require_filter: [public.tickets]"),
      '9:22: error: role "agent" may neither read nor write public.tickets',
    ],
    [
      "a condition that is no SQL",
      role('sees: [email: { when: "a = " }]'),
      "9:27: error: condition: not valid SQL: syntax error",
    ],
    ["a class seen twice", role("sees: [email, email]"), '9:19: error: class "email" is in "sees" twice'],
    ["a user named twice", role("users: [anna, anna]"), '9:19: error: user "anna" is named twice'],
    [
      "a function without a schema",
      role("calls: [f]"),
      '9:13: error: an entry of "calls" cannot be "f"\n  hint: A function with its schema',
    ],
    ["a duplicate key", "version: 1\nmode: observe\nmode: observe\n", "3:1: error: this key is here twice"],
    ["broken YAML", "version: 1\nroles: [\n", "error: not valid YAML"],
    ["an empty file", "", "1:1: error: the file is empty\n  hint: Begin with: version: 1"],
    ["comments alone", "# nothing\n", "error: the file is empty"],
    ["a list for a policy", "- a\n", "1:1: error: the file cannot be a list"],
    [
      "a reserved name",
      `${BASE}roles: { refuse: {} }\n`,
      '6:10: error: "refuse" cannot be the name of a role',
    ],
    [
      "a name that objects swallow",
      `${BASE}roles: { __proto__: { reads: all } }\n`,
      '"__proto__" cannot be a name',
    ],
  ];
  for (const [what, text, expected] of cases) expect.soft(only(text), what).toContain(expected);
});

test("all mistakes are reported, in the order of the lines, and one mistake does not cause a second", () => {
  const text = `version: 1
mode: observed
classes:
  email: { mask: emial }
  phone: { mask: { last: 2 } }
tables:
  public.customers: { columns: { email: email, phone: fone } }
roles:
  agent:
    reads: customers
    only: { public.customers: "region = " }
    sees: [email, phone]
    users: [anna]
  lead:
    extends: agent
    users: [anna]
    colour: red
`;
  expect(problemsOf(text).map(({ place }) => place.line)).toEqual([2, 4, 7, 10, 11, 16, 17]);
});

test("duplicates within one policy are reported with the other position", () => {
  const second = `version: 1
classes: { email: { mask: redact } }
tables: { public.customers: {} }
roles: { agent: {} }
mode: observe
`;
  const first = `${BASE}roles: { agent: {} }\nmode: enforce\n`;
  const problems = problemsOf(first, second);
  expect(problems.map(({ place, message }) => `${place.file}:${place.line} ${message}`)).toEqual([
    'p2.yaml:2 class "email" is defined twice',
    "p2.yaml:3 table public.customers is described twice",
    'p2.yaml:4 role "agent" is defined twice',
    'p2.yaml:5 "mode" is enforce in p1.yaml and observe here',
  ]);
  expect(problems[0]?.hint).toContain("p1.yaml:3");
});

test("a user in two roles is refused unless their networks do not overlap", () => {
  const two = (a: string, b: string) => `version: 1
roles:
  a: { users: [anna], ${a} }
  b: { users: [anna], ${b} }
`;
  expect(only(two("reads: all", "reads: all"))).toContain('user "anna" is in the roles "a" and "b"');
  expect(only(two("from: [10.0.0.0/8]", "reads: all"))).toContain("do not overlap");
  expect(only(two("from: [10.0.0.0/8]", "from: [192.168.0.0/16, 10.2.0.0/16]"))).toContain("do not overlap");
  expect(problemsOf(two("from: [10.0.0.0/8]", "from: [192.168.0.0/16]"))).toEqual([]);
  expect(problemsOf(two("from: [10.0.0.0/8]", 'from: ["2001:db8::/32"]'))).toEqual([]);
});

test("a few aliases do not expand to gigabytes", () => {
  const bomb = `version: 1\na: &a [x,x,x,x,x,x,x,x,x]\n${["b", "c", "d", "e", "f", "g"]
    .map((key, i) => `${key}: &${key} [${Array(9).fill(`*${"abcdef"[i]}`).join(",")}]`)
    .join("\n")}\n`;
  expect(only(bomb)).toContain("not valid YAML");
});
