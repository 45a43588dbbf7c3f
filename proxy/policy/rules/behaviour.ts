import { z } from "zod";
import { BEHAVIOUR_RULES, type BehaviourAction, type BehaviourRule } from "../policy.ts";
import { mapping } from "../schema.ts";
import { roleRule } from "./rule.ts";

const HINT = "off, or rules as in { new_people: tighten, sequence: suspend }.";

const action = z.enum(["off", "alert", "tighten", "suspend"], { error: "off, alert, tighten or suspend." });

const optional = Object.fromEntries(BEHAVIOUR_RULES.map((rule) => [rule, action.optional()]));
const rules = mapping(optional as Record<BehaviourRule, z.ZodOptional<typeof action>>, HINT);

export const behaviour = roleRule("behaviour", {
  keys: {
    behaviour: {
      schema: z.union([z.literal("off"), rules], {
        error: `${HINT} Rules: ${BEHAVIOUR_RULES.join(", ")}.`,
      }),
      about: [
        "What happens when a user has an unusual reading pattern: alert (the default where there is a " +
          "budget), tighten (an alert, and half of the budgets for a week; suspended if it continues for three days), suspend (an alert, and cut off), off.",
        "new_people, lookups: far more in a day than the user and their colleagues ever do.",
        "dump: statements that are stopped because they ask for far more people than the role may have.",
        "sequence: one id after the other. hours: when neither the user nor the role works.",
        "addresses: from a network that no one of the role had used. refusals: many in a row.",
        "purpose: most of the new people of a day have nothing to do with the user's work, see `purpose` of the role.",
        "together: more users of the role than ever read far more than they do, at once, the user among them.",
      ].join("\n"),
      example: { new_people: "tighten", sequence: "suspend", hours: "off" },
    },
  },
  /** A child role changes only the rules that it names; `off` turns all of them off. */
  compile({ entry }, base) {
    const said = entry.behaviour;
    if (said === undefined) return base;
    if (said === "off") return new Map(BEHAVIOUR_RULES.map((rule) => [rule, "off"]));
    const changed = new Map<BehaviourRule, BehaviourAction>(base);
    for (const rule of BEHAVIOUR_RULES) {
      const named = said[rule];
      if (named !== undefined) changed.set(rule, named);
    }
    return changed;
  },
  fact: {
    label: "Unusual reading",
    lines: (said) => [...(said ?? [])].map(([rule, named]) => [`${rule}: ${named}`]),
  },
});
