import { expect, test } from "vitest";
import { checkPolicy } from "../../proxy/check/check.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";

function compiled(role: string) {
  const text = `version: 1
tables: { public.customers: { subject: id } }
roles:
  app:
    users: [helpdesk_app]
${role.replaceAll(/^/gm, "    ")}
`;
  return compilePolicies([{ name: "p.yaml", text }]);
}

const ALL = "reads: all\nwrites: all\nsees: all\nwatch: true\n";

function problems(role: string): readonly string[] {
  const result = compiled(role);
  return result.ok ? [] : result.problems.map(describeProblem);
}

function warnings(role: string): readonly string[] {
  const result = compiled(role);
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join("\n"));
  return checkPolicy(result.policies.forDatabase("any")).map(({ message }) => message);
}

test.each([
  ["reads: [public.customers]\nwrites: all\nsees: all\nwatch: true", /does not have "reads: all"/],
  ["reads: all\nsees: all\nwatch: true", /does not have "writes: all"/],
  [`${ALL}rows: 5`, /is watched and has "rows"/],
  [`${ALL}require_filter: [public.customers]`, /is watched and has "require_filter"/],
  [`${ALL}aggregates_only: { min_group: 10 }`, /is watched and has "aggregates_only"/],
  [`${ALL}only: { public.customers: "true" }`, /is watched and has "only"/],
  [`${ALL}budget: { 1h: { lookups: 5 } }`, /counts lookups, which are not counted for a watched role/],
  ["reads: all\non_budget: alert", /"on_budget" of role "app" is only for a watched role/],
  [
    "reads: all\npeople_behind: [{ comment: user }]",
    /"people_behind" of role "app" is only for a watched role/,
  ],
  [`${ALL}unnamed: refuse`, /but nothing names people/],
  [`${ALL}people_behind: [{ application_name: "helpdesk/.+" }]`, /no regular expression with one group/],
  [`${ALL}people_behind: [{ application_name: "(" }]`, /no regular expression with one group/],
  [`${ALL}people_behind: []`, /setting: app.agent/],
  [
    `${ALL}people_behind: [{ setting: { name: a.b, path: "sub." } }]`,
    /Keys with dots between them, as in user.sub/,
  ],
  [`${ALL}people_behind: [{ setting: { name: a.b, path: "user..sub" } }]`, /Keys with dots between them/],
  [`${ALL}people_behind: [{ setting: { name: a.b, path: [] } }]`, /Keys with dots between them/],
  [`${ALL}people_behind: [{ setting: { name: a.b, path: [user, ""] } }]`, /Keys with dots between them/],
  [`${ALL}people_behind: [{ setting: search_path }]`, /A setting of the application's own/],
  [
    `${ALL}signed_by: { jwks: keys.json }`,
    /names the signers of claims, but not the claims that name people/,
  ],
  [
    `${ALL}people_behind: [{ setting: { name: a.b, path: sub } }]\nsigned_by: { jwks: keys.json }`,
    /which are not signed/,
  ],
  [`${ALL}people_behind: [{ role: true }]\nsigned_by: { key_file: k }`, /SET ROLE takes none/],
  [`${ALL}people_behind: [{ application_name: "(.+)" }]\nsigned_by: { key_file: k }`, /no room/],
  [
    `${ALL}people_behind: [{ comment: user }]\nsigned_by: { jwks: "http://keys.example.com" }`,
    /could be changed on its way/,
  ],
  [`${ALL}people_behind: [{ comment: user }]\nsigned_by: { key: k }`, /jwks: keys.json/],
  [`${ALL}people_behind: [{ cookie: user }]`, /setting: app.agent/],
])("a policy that says %s is invalid", (role, message) => {
  expect(problems(role).join("\n")).toMatch(message);
});

test("a watched role is read with all its keys", () => {
  const result = compiled(`${ALL}budget: { 1d: 300 }
on_budget: alert
people_behind:
  - setting: app.agent
  - setting: { name: request.jwt.claims, path: user.sub }
  - comment: user
  - application_name: "helpdesk/(.+)"
  - role: true
unnamed: { budget: { 1h: 50 } }`);
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join("\n"));
  expect(result.policies.forDatabase("any").roles.get("app")).toMatchObject({
    watch: true,
    onBudget: "alert",
    peopleBehind: [
      { kind: "setting", name: "app.agent" },
      { kind: "setting", name: "request.jwt.claims", path: ["user", "sub"] },
      { kind: "comment", key: "user" },
      { kind: "application_name", pattern: /^(?:helpdesk\/(.+))$/u },
      { kind: "role" },
    ],
    unnamed: { budget: [{ name: "1h", limit: 50, rule: "roles.app.unnamed.budget.1h" }] },
  });
});

test("reading without a named person and without a limit causes a warning", () => {
  const sources = `${ALL}budget: { 1d: 300 }\npeople_behind: [{ comment: user }]\n`;
  const warning = expect.stringContaining("nothing limits reads without a named person");
  expect(warnings(sources)).toContainEqual(warning);
  expect(warnings(`${sources}unnamed: { budget: none }`)).toContainEqual(warning);
  expect(warnings(`${sources}unnamed: refuse`)).not.toContainEqual(warning);
  expect(warnings(`${sources}unnamed: { budget: { 1h: 50 } }`)).not.toContainEqual(warning);
});

/** A policy with an application's role, and two of people. */
function acting(app: string) {
  const role = (name: string, keys: string) => `  ${name}:\n${keys.replaceAll(/^/gm, "    ")}\n`;
  const text = `version: 1
tables: { public.customers: { subject: id } }
roles:
${role("agent", "reads: all\nbudget: { 1d: 300 }")}${role("lead", "extends: agent")}${role("seen", ALL)}${role(
  "app",
  `users: [helpdesk_app]\nreads: all\n${app}`,
)}`;
  return compilePolicies([{ name: "p.yaml", text }]);
}

const NAMED = "people_behind: [{ setting: app.agent }]\n";
const SIGNED = "people_behind: [{ setting: app.token }]\nsigned_by: { key_file: k }\n";

test.each([
  [`${NAMED}acts_as: nobody`, /acts as "nobody", and there is no such role/],
  [`${NAMED}acts_as: agnet`, /Did you mean "agent"/],
  ["acts_as: agent", /gives people roles, but does not say what names them/],
  [`${NAMED}acts_as: app`, /acts as "app", which is an application's role itself/],
  [`${NAMED}acts_as: seen`, /acts as "seen", which is an application's role itself/],
  [`${NAMED}acts_as: agent\nwatch: true\nwrites: all\nsees: all`, /is watched and has "acts_as"/],
  [`${NAMED}acts_as: { claim: groups, roles: { a: agent } }`, /by a claim that no one signs/],
  [`${SIGNED}acts_as: { claim: groups, roles: { a: agent, b: boss } }`, /acts as "boss", and there is no/],
  [`${SIGNED}acts_as: { claim: groups }`, /leads: lead/],
  [`${SIGNED}acts_as: { claim: groups, roles: {} }`, /leads: lead/],
  [`${NAMED}acts_as: agent\nunnamed: { role: batch }`, /acts as "batch", and there is no such role/],
  [`${NAMED}acts_as: agent\non_budget: alert`, /"on_budget" of role "app" is only for a watched role/],
  [`${ALL.replace("reads: all\n", "")}${NAMED}unnamed: { role: agent }`, /and has no "acts_as"/],
  ["people_behind: [{ setting: sluice.user }]\nacts_as: agent", /A setting of the application's own/],
])("a policy is wrong that says %s of whom its application acts as", (app, message) => {
  const result = acting(app);
  expect(result.ok ? "" : result.problems.map(describeProblem).join("\n")).toMatch(message);
});

test("acts_as is read: one role, or one by a claim, and a child has its parent's claim", () => {
  const result = acting(`${SIGNED}acts_as: { claim: groups, roles: { support: agent, leads: lead } }
unnamed: { role: agent }`);
  if (!result.ok) throw new Error(result.problems.map(describeProblem).join("\n"));
  expect(result.policies.forDatabase("any").roles.get("app")).toMatchObject({
    actsAs: {
      kind: "claim",
      claim: "groups",
      roles: new Map([
        ["support", "agent"],
        ["leads", "lead"],
      ]),
    },
    unnamed: { role: "agent" },
  });
});

test("a name in applications means one person, and no user of another name", () => {
  const result = (people: string) =>
    compilePolicies([
      { name: "p.yaml", text: `version: 1\nroles: { r: { users: [anna, ben] } }\npeople: ${people}` },
    ]);
  const good = result("{ anna: [a@x, anna], ben: [b@x], cleo: [c@x] }");
  if (!good.ok) throw new Error(good.problems.map(describeProblem).join("\n"));
  expect([...good.policies.forDatabase("any").people]).toEqual([
    ["a@x", "anna"],
    ["anna", "anna"],
    ["b@x", "ben"],
    ["c@x", "cleo"],
  ]);
  const forms = result("{ 'zoe\u0308': ['z  z\u00a0'] }");
  expect(forms.ok && [...forms.policies.forDatabase("any").people]).toEqual([
    ["zo\u00eb", "zoe\u0308"],
    ["z z", "zoe\u0308"],
  ]);
  for (const people of [
    "{ anna: [x], ben: [x] }",
    "{ anna: [ben] }",
    "{ anna: [cleo], cleo: [y] }",
    "{ anna: ['x y'], ben: ['x\u00a0 y'] }",
    "{ anna: ['x\u200by'] }",
  ])
    expect(result(people).ok).toBe(false);
});

test("an application's own user is no person, and has no other names", () => {
  const text = (user: string) => `version: 1
roles: { agent: { users: [anna] }, app: { users: [helpdesk_app], acts_as: agent, people_behind: [{ comment: user }] } }
people: { ${user}: [desk] }`;
  const problems = (user: string) => {
    const result = compilePolicies([{ name: "p.yaml", text: text(user) }]);
    return result.ok ? "" : result.problems.map(describeProblem).join("\n");
  };
  expect(problems("anna")).toBe("");
  expect(problems("helpdesk_app")).toMatch(/"helpdesk_app" is an application's own user, and no person/);
});

test("keys of an application's role that hold for nobody are warned of", () => {
  const warned = (app: string) => {
    const result = acting(`${NAMED}acts_as: agent\nbudget: { 1d: 5 }\n${app}`);
    if (!result.ok) throw new Error(result.problems.map(describeProblem).join("\n"));
    return checkPolicy(result.policies.forDatabase("any"))
      .map(({ message }) => /^"(\w+)" of role "app" has no effect/.exec(message)?.[1])
      .filter((key) => key !== undefined);
  };
  expect(warned("")).toEqual([]);
  expect(warned("unnamed: { budget: { 1h: 5 } }")).toEqual(["budget"]);
  expect(warned("unnamed: refuse").toSorted()).toEqual(["budget", "reads"]);
  expect(warned("unnamed: { role: lead }").toSorted()).toEqual(["budget", "reads"]);
  const result = acting(`${NAMED}acts_as: lead\nunnamed: refuse`);
  const messages = result.ok ? checkPolicy(result.policies.forDatabase("any")) : [];
  expect(messages.map(({ message }) => message)).not.toContain('no user has the role "lead"');
});
