import { z } from "zod";
import { mapping, none, positive } from "../schema.ts";
import { roleRule } from "./rule.ts";

/**
 * A count of people is off by at most four, and one more person changes it one time in five: see docs/aggregates.md.
 */
const ORDINARY_NOISE = 5;

export const aggregatesOnly = roleRule("aggregatesOnly", {
  keys: {
    aggregates_only: {
      schema: z.union(
        [
          none,
          mapping(
            {
              min_group: positive.min(2, { error: "A whole number, 2 or more." }),
              noise: z
                .union([z.literal("off"), positive.min(2).max(100)], {
                  error: "off, or a whole number from 2 to 100.",
                })
                .optional()
                .describe(
                  "Base of rounding: counts, sums and averages are off by fewer than so many of the largest contributions in a group (5 if " +
                    "left out), so that two groups do not tell of the one person in whom they differ. off: exact figures.",
                ),
            },
            "As in { min_group: 10 }.",
          ),
        ],
        { error: "none, or { min_group: 10 }." },
      ),
      about:
        "Grouped results only, rounded; groups of fewer people than min_group are left out. All results if left out.",
      example: { min_group: 10 },
      reason: "summaries",
    },
  },
  compile({ entry }, base) {
    const said = entry.aggregates_only;
    if (said === undefined) return base;
    if (said === "none") return undefined;
    return { minGroup: said.min_group, noise: said.noise === "off" ? 0 : (said.noise ?? ORDINARY_NOISE) };
  },
  guardedBy: (value) => (value === undefined ? [] : ["aggregates_only"]),
  fact: {
    label: "Only groups of",
    lines: (value) =>
      value === undefined ? [] : [[`${value.minGroup} or more${value.noise > 0 ? "" : ", exact figures"}`]],
  },
});
