import { expect, test } from "vitest";
import { z } from "zod";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { policyFileSchemaOf } from "../../proxy/policy/format.ts";
import type { Condition, Role } from "../../proxy/policy/policy.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";
import {
  conditionsOf,
  factsOf,
  guardingKeys,
  isGuarded,
  keyReason,
  ROLE_RULES,
  unrestricted,
} from "../../proxy/policy/rules/all.ts";
import type { RoleRule } from "../../proxy/policy/rules/rule.ts";

/*
 * A made-up rule, defined in one place: everything that uses a role's keys then knows it. Only its effect on a
 * statement is elsewhere, in sql/rules/.
 */

interface Hours {
  readonly from: number;
  readonly when: Condition;
}

const officeHours = {
  property: "officeHours",
  keys: {
    office_hours: {
      schema: z.number({ error: "An hour." }),
      about: "The hour from which the role may read.",
      example: 8,
      reason: "hours",
    },
  },
  compile: ({ entry, place }: { entry: { office_hours?: number }; place: Role["place"] }, base?: Hours) =>
    entry.office_hours === undefined
      ? base
      : { from: entry.office_hours, when: { sql: "owner = :user", place } },
  guardedBy: (value?: Hours) => (value === undefined ? [] : ["office_hours"]),
  conditions: (value?: Hours) => (value === undefined ? [] : [value.when]),
  check({ place }: Pick<Role, "place">, role: Role, problems: { error: (...args: unknown[]) => void }) {
    if (hoursOf(role) === 25) problems.error(place, "a day has 24 hours", "Say 0 to 24.");
  },
  idle: [],
  fact: { label: "Office hours", lines: (value?: Hours) => (value ? [[`from ${value.from}`]] : []) },
} as unknown as RoleRule;

const RULES = [...ROLE_RULES, officeHours];

function hoursOf(role: Role): number | undefined {
  return "officeHours" in role ? (role.officeHours as Hours).from : undefined;
}

const ALL = "users: [anna], reads: all, writes: all, sees: all";

function roles(text: string): ReadonlyMap<string, Role> {
  const compiled = compilePolicies([{ name: "p.yaml", text: `version: 1\nroles:\n${text}` }], RULES);
  if (!compiled.ok) throw new Error(compiled.problems.map(describeProblem).join("\n"));
  return compiled.policies.forDatabase("any").roles;
}

const parent = `  parent: { ${ALL}, office_hours: 8 }\n`;
const child = "  child: { users: [ben], extends: parent }\n";
const other = "  other: { users: [cleo], reads: all, writes: all, sees: all }\n";

test("files may use it, children inherit it, and its problems are reported at its position", () => {
  const made = roles(parent + child + other);
  expect([...made.values()].map(hoursOf)).toEqual([8, 8, undefined]);
  expect(() => roles(`  parent: { ${ALL}, office_hours: 25 }\n`)).toThrow("p.yaml:3:3: error: a day has 24");
  expect(() => roles(`  parent: { ${ALL}, office_hours: late }\n`)).toThrow("An hour.");
  const without = compilePolicies([{ name: "p.yaml", text: `version: 1\nroles:\n${parent}` }]);
  expect(without.ok).toBe(false);
});

test("its role is guarded, and no other; verdicts are not shared between users; a watched role may not have it", () => {
  const [guarded, , free] = [...roles(parent + child + other).values()];
  if (guarded === undefined || free === undefined) throw new Error("no role");
  expect([guarded, free].map((role) => isGuarded(role, RULES))).toEqual([true, false]);
  expect(guardingKeys(guarded, RULES)).toEqual(["office_hours"]);
  expect(conditionsOf(guarded, RULES)).toMatchObject([{ sql: "owner = :user" }]);
  expect(isGuarded(unrestricted(guarded, RULES), RULES)).toBe(false);
  expect(() => roles(`  parent: { ${ALL}, watch: true, office_hours: 8 }\n`)).toThrow(
    'is watched and has "office_hours", which refuses or changes statements',
  );
});

test("editors, metrics and the console know it", () => {
  const schema = JSON.stringify(
    z.toJSONSchema(policyFileSchemaOf(RULES), { target: "draft-7", io: "input" }),
  );
  expect(schema).toContain('"office_hours":{"description":"The hour from which the role may read."');
  expect(keyReason("office_hours", RULES)).toBe("hours");
  const [role] = roles(parent).values();
  expect(role && factsOf(role, RULES)).toContainEqual({ label: "Office hours", lines: [["from 8"]] });
});

test("no two rules have the same key, and a role without limits has none", () => {
  const keys = ROLE_RULES.flatMap((rule) => Object.keys(rule.keys));
  expect(new Set(keys).size).toBe(keys.length);
  const [role] = roles(other).values();
  expect(role && guardingKeys(unrestricted(role))).toEqual([]);
});
