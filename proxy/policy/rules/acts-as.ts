import { z } from "zod";
import { mapping, name as roleName } from "../schema.ts";
import { placeOfKey, roleRule } from "./rule.ts";

const HINT = "The name of a role, or { claim: groups, roles: { support: agent, leads: lead } }.";

export const actsAs = roleRule("actsAs", {
  keys: {
    acts_as: {
      schema: z.union(
        [
          roleName,
          mapping(
            {
              claim: z.string().min(1).describe("The claim of the signed token: a text, or a list of texts."),
              roles: z
                .record(z.string().min(1), roleName, { error: HINT })
                .refine((roles) => Object.keys(roles).length > 0, { error: HINT })
                .describe("Roles by the claim's values; of several the first one here."),
            },
            HINT,
          ),
        ],
        { error: HINT },
      ),
      about:
        "The role by which the statements of the person behind an application are judged: its masks, rules, filters and " +
        "budgets hold for them. The application's sessions are guarded then. One role for everybody, or one by what a " +
        "claim of signed_by holds. The role's own keys hold for everybody if left out.",
      example: { claim: "groups", roles: { leads: "lead", support: "agent" } },
    },
  },
  compile({ name, entry, document }, base) {
    const said = entry.acts_as;
    if (said === undefined) return base;
    const place = document.placeOf(["roles", name, "acts_as"]);
    if (typeof said === "string") return { kind: "role", role: said, place };
    return { kind: "claim", claim: said.claim, roles: new Map(Object.entries(said.roles)), place };
  },
  // Its people are judged by roles that the session's start does not know.
  guardedBy: (said) => (said === undefined ? [] : ["acts_as"]),
  check(source, role, problems) {
    if (role.actsAs === undefined || role.peopleBehind !== undefined) return;
    const what = `role "${role.name}" gives people roles, but does not say what names them`;
    problems.error(placeOfKey(source, "acts_as"), what, 'Add "people_behind:", or remove it.');
  },
  fact: {
    label: "People behind it have the role",
    lines(said) {
      if (said === undefined) return [];
      if (said.kind === "role") return [[said.role]];
      return [...said.roles].map(([value, role]) => [`${role}, where the claim ${said.claim} has ${value}`]);
    },
  },
});
