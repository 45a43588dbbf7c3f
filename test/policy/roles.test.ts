import { expect, test } from "vitest";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { parseNetwork } from "../../proxy/policy/networks.ts";
import type { Policy, Role } from "../../proxy/policy/policy.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";

function policy(text: string): Policy {
  const compiled = compilePolicies([{ name: "p.yaml", text: `version: 1\n${text}` }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  return compiled.policies.forDatabase("support");
}

function nameFor(of: Policy, user: string, address = "10.1.1.1"): string {
  const result = roleFor(of, user, address);
  return isRefusal(result) ? `${result.sqlstate} ${result.rule}` : result.name;
}

test("an exact name comes before a wildcard, then the order of the file counts", () => {
  const roles = policy(`roles:
  everyone: { users: ["*"] }
  staff: { users: ["support_*", "??"] }
  agent: { users: [support_anna] }
`);
  expect(nameFor(roles, "support_anna")).toBe("agent");
  expect(nameFor(roles, "support_ben")).toBe("everyone");
  const reverse = policy(`roles:
  staff: { users: ["support_*", "??"] }
  everyone: { users: ["*"] }
`);
  expect(nameFor(reverse, "support_ben")).toBe("staff");
  expect(nameFor(reverse, "ab")).toBe("staff");
  expect(nameFor(reverse, "abc")).toBe("everyone");
  expect(nameFor(reverse, "support")).toBe("everyone");
});

test("user names are compared exactly: case and spaces count", () => {
  const roles = policy("roles: { agent: { users: [anna] } }\n");
  for (const user of ["Anna", "anna ", " anna", "", "anna\u0301"])
    expect(nameFor(roles, user)).toBe("28000 unknown_users");
});

test("a wildcard for which a backtracking pattern would be slow is fast", () => {
  const roles = policy(`roles: { agent: { users: ["${"*a".repeat(30)}b"] } }\n`);
  const before = process.cpuUsage();
  expect(nameFor(roles, "a".repeat(10_000))).toBe("28000 unknown_users");
  const { user, system } = process.cpuUsage(before);
  // Microseconds; a backtracking pattern would need years.
  expect(user + system).toBeLessThan(1_000_000);
});

test("the same user has one role in the office and another at home", () => {
  const roles = policy(`roles:
  office: { users: [anna], from: [10.0.0.0/8, "2001:db8::/32"] }
  home: { users: [anna], from: [192.168.1.7] }
`);
  expect(nameFor(roles, "anna", "10.200.3.4")).toBe("office");
  expect(nameFor(roles, "anna", "::ffff:10.200.3.4")).toBe("office");
  expect(nameFor(roles, "anna", "2001:db8:1::2")).toBe("office");
  expect(nameFor(roles, "anna", "192.168.1.7")).toBe("home");
  expect(nameFor(roles, "anna", "192.168.1.8")).toBe("28000 roles.office.from");
});

test("a user who is named, but not at this address, is refused and not treated as unknown", () => {
  const roles = policy(`roles:
  agent: { users: [anna], from: [10.0.0.0/8] }
  guest: {}
unknown_users: guest
`);
  expect(nameFor(roles, "zoe", "1.2.3.4")).toBe("guest");
  expect(nameFor(roles, "anna", "1.2.3.4")).toBe("28000 roles.agent.from");
  for (const address of ["local", "", "10.0.0.1.5", "10.0.0.0/8"]) {
    expect(nameFor(roles, "anna", address)).toBe("28000 roles.agent.from");
  }
});

test("a refusal ends the session and names the policy line that would allow it", () => {
  const roles = policy("roles:\n  agent: { users: [anna], from: [10.0.0.0/8] }\n");
  expect(roleFor(roles, "zoe", "10.1.1.1")).toMatchObject({
    severity: "FATAL",
    sqlstate: "28000",
    hint: expect.stringContaining('"users:"'),
  });
  expect(roleFor(roles, "anna", "1.2.3.4")).toMatchObject({
    hint: 'Role "agent" is for 10.0.0.0/8 (p.yaml:3).',
  });
});

test("networks contain their addresses and no others", () => {
  const cases: readonly [string, string, boolean][] = [
    ["10.2.0.0/16", "10.2.255.255", true],
    ["10.2.0.0/16", "10.3.0.0", false],
    ["10.2.0.0/16", "::ffff:10.2.0.1", true],
    ["0.0.0.0/0", "255.255.255.255", true],
    ["0.0.0.0/0", "2001:db8::1", false],
    ["::1", "::1", true],
    ["fe80::/10", "fe80::1%eth0", true],
    ["2001:db8::/48", "2001:db8:1::", false],
  ];
  for (const [network, address, inside] of cases) {
    const parsed = parseNetwork(network);
    expect.soft(parsed.ok && parsed.network.contains(address), `${address} in ${network}`).toBe(inside);
  }
  for (const text of [
    "",
    "10.2/16",
    "10.2.0.0/",
    "10.2.0.0/1/2",
    "10.2.0.0/-1",
    "fe80::1%eth0",
    "office",
    "010.1.1.1",
  ]) {
    expect.soft(parseNetwork(text).ok, text).toBe(false);
  }
});

test("a child's keys replace its parent's, budgets window by window; filters are added, users not inherited", () => {
  const roles = policy(`classes: { name: { mask: initials }, email: { mask: email } }
roles:
  lead:
    extends: agent
    users: [cleo]
    sees: [email]
    rows: none
    only: { public.b: "x > 1" }
    budget: { 1d: 600, 1h: none, 7d: { people: 9, rows: 10, changes: 8 } }
  agent:
    users: [anna]
    from: [10.0.0.0/8]
    reads: [public.a, public.b, crm.*]
    sees: [name]
    finds: [email]
    calls: [crm.f]
    require_filter: [public.a]
    aggregates_only: { min_group: 5 }
    only: { public.a: "true", public.b: "true" }
    rows: 100
    bytes: 256kB
    changes: 50
    on_excess: truncate
    budget: { 1m: 30, 1h: 120, 1d: 300 }
  free:
    extends: lead
    aggregates_only: none
    require_filter: []
    finds: none
    bytes: 10
    changes: none
    budget: none
`).roles;
  const lead = roles.get("lead") as Role;
  expect([...roles.keys()]).toEqual(["lead", "agent", "free"]);
  expect(lead.users).toEqual([{ text: "cleo", exact: true }]);
  expect(lead.from.map(({ text }) => text)).toEqual(["10.0.0.0/8"]);
  expect(lead.reads).toEqual({ tables: new Set(["public.a", "public.b"]), schemas: new Set(["crm"]) });
  expect(lead.sees).toEqual(new Map([["email", "always"]]));
  expect(lead.finds).toEqual(new Set(["email"]));
  expect([...lead.only].map(([table, { sql }]) => [table, sql])).toEqual([
    ["public.a", "true"],
    ["public.b", "(true) AND (x > 1)"],
  ]);
  expect(lead.limits).toEqual({ bytes: 256 * 1024, changes: 50, onExcess: "truncate", pushed: false });
  expect(lead.aggregatesOnly).toEqual({ minGroup: 5, noise: 5 });
  expect(lead.budget).toEqual([
    { name: "1m", seconds: 60, what: "people", limit: 30, rule: "roles.agent.budget.1m" },
    { name: "1d", seconds: 86_400, what: "people", limit: 600, rule: "roles.lead.budget.1d" },
    { name: "7d", seconds: 604_800, what: "people", limit: 9, rule: "roles.lead.budget.7d.people" },
    { name: "7d", seconds: 604_800, what: "rows", limit: 10, rule: "roles.lead.budget.7d.rows" },
    { name: "7d", seconds: 604_800, what: "changes", limit: 8, rule: "roles.lead.budget.7d.changes" },
  ]);
  const free = roles.get("free") as Role;
  expect(free).toMatchObject({
    users: [],
    budget: [],
    finds: new Set(),
    requireFilter: new Set(),
    limits: { bytes: 10 },
  });
  expect(free.limits.changes).toBeUndefined();
  expect(free.aggregatesOnly).toBeUndefined();
});

test("a child role keeps its parent's filters, over generations, until it says none for a table", () => {
  const roles = policy(`roles:
  agent: { reads: all, only: { public.a: "tenant = 1", public.b: "tenant = 1", public.c: "tenant = 1" } }
  other: { extends: agent, only: { public.d: "tenant = 2", public.c: "tenant = 1" } }
  free: { extends: other, only: { public.a: none, public.b: "mine" } }
  again: { extends: free, only: { public.a: "(none)" } }
  silent: { extends: again }
`).roles;
  const only = (name: string) =>
    Object.fromEntries([...(roles.get(name) as Role).only].map(([table, { sql }]) => [table, sql]));
  const kept = { "public.b": "tenant = 1", "public.c": "tenant = 1" };
  expect(only("other")).toEqual({ ...kept, "public.a": "tenant = 1", "public.d": "tenant = 2" });
  const free = { ...kept, "public.b": "(tenant = 1) AND (mine)", "public.d": "tenant = 2" };
  expect(only("free")).toEqual(free);
  expect(only("again")).toEqual({ ...free, "public.a": "(none)" });
  expect(only("silent")).toEqual(only("again"));
});

test("a role that says nothing may do nothing", () => {
  const role = policy("roles: { empty: { users: [anna] } }\n").roles.get("empty");
  const nothing = { tables: new Set(), schemas: new Set() };
  expect(role).toMatchObject({
    reads: nothing,
    writes: nothing,
    sees: new Map(),
    finds: new Set(),
    calls: new Map(),
  });
});

test("budgets of a role, of an address and of bytes and lookups merge by window, like those of a user", () => {
  const { roles } = policy(`roles:
  agent:
    users: [anna]
    budget: { 1d: { people: 300, bytes: 10MB, lookups: 50 } }
    role_budget: { 1d: 5000, 1h: 900 }
    address_budget: { 1h: { rows: 1000 } }
    on_counter_loss: grace
    behaviour: { new_people: tighten, sequence: suspend }
  lead:
    extends: agent
    users: [cleo]
    role_budget: { 1h: none }
    address_budget: none
    on_counter_loss: { grace: 0.5 }
    behaviour: { sequence: alert }
  app:
    extends: agent
    users: [helpdesk]
    on_counter_loss: closed
    behaviour: off
`);
  const shortly = (name: string) =>
    (roles.get(name)?.budget ?? []).map(({ scope, what, limit, rule }) => [scope, what, limit, rule]);
  expect(shortly("agent")).toEqual([
    ["role", "people", 900, "roles.agent.role_budget.1h"],
    ["address", "rows", 1000, "roles.agent.address_budget.1h.rows"],
    [undefined, "people", 300, "roles.agent.budget.1d.people"],
    [undefined, "bytes", 10 * 1024 * 1024, "roles.agent.budget.1d.bytes"],
    [undefined, "lookups", 50, "roles.agent.budget.1d.lookups"],
    ["role", "people", 5000, "roles.agent.role_budget.1d"],
  ]);
  expect(shortly("lead").map(([scope]) => scope)).toEqual([undefined, undefined, undefined, "role"]);
  expect(["agent", "lead", "app"].map((name) => roles.get(name)?.graceShare)).toEqual([0.1, 0.5, undefined]);
  expect([...(roles.get("lead")?.behaviour ?? [])]).toEqual([
    ["new_people", "tighten"],
    ["sequence", "alert"],
  ]);
  expect(new Set(roles.get("app")?.behaviour?.values())).toEqual(new Set(["off"]));
});
