import { expect, test } from "vitest";
import { checkPolicy } from "../../proxy/check/check.ts";
import { compilePolicies, describeProblem } from "../../proxy/policy/load.ts";

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
  [`${ALL}unnamed: refuse`, /and not what names people/],
  [`${ALL}people_behind: [{ application_name: "helpdesk/.+" }]`, /no regular expression with one group/],
  [`${ALL}people_behind: [{ application_name: "(" }]`, /no regular expression with one group/],
  [`${ALL}people_behind: [{ setting: search_path }]`, /A setting of the application's own/],
  [`${ALL}people_behind: [{ cookie: user }]`, /setting: app.agent/],
])("a policy is wrong that says %s", (role, message) => {
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

test("nothing that bounds what is read where nobody is named is warned of", () => {
  const sources = `${ALL}budget: { 1d: 300 }\npeople_behind: [{ comment: user }]\n`;
  const warning = expect.stringContaining("nothing of its own bounds what is read where nobody is named");
  expect(warnings(sources)).toContainEqual(warning);
  expect(warnings(`${sources}unnamed: { budget: none }`)).toContainEqual(warning);
  expect(warnings(`${sources}unnamed: refuse`)).not.toContainEqual(warning);
  expect(warnings(`${sources}unnamed: { budget: { 1h: 50 } }`)).not.toContainEqual(warning);
});
