import { z } from "zod";
import { mapping } from "../schema.ts";
import { roleRule } from "./rule.ts";

const HINT = "closed, grace, or { grace: 0.1 } (a share of the budgets, above 0 and at most 1).";

/** The share for `on_counter_loss: grace` without a value. */
const DEFAULT_GRACE = 0.1;

export const counterLoss = roleRule("graceShare", {
  keys: {
    on_counter_loss: {
      schema: z.union(
        [
          z.enum(["closed", "grace"], { error: HINT }),
          mapping({ grace: z.number({ error: HINT }).min(0.001).max(1) }, HINT),
        ],
        { error: HINT },
      ),
      about:
        "While Redis cannot be reached: closed (the default) releases nothing that a budget counts; grace lets each " +
        "proxy release a share of each budget (a tenth by default) and counts it in when Redis is back.",
      example: { grace: 0.1 },
    },
  },
  compile({ entry }, base) {
    const said = entry.on_counter_loss;
    if (said === undefined) return base;
    if (said === "closed") return undefined;
    return said === "grace" ? DEFAULT_GRACE : said.grace;
  },
  idle: [
    {
      key: "on_counter_loss",
      isIdle: ({ graceShare, budget }) => graceShare !== undefined && budget.length === 0,
      why: "there is no budget of which a share could be lent",
      hint: "Give the role a budget, or take it out.",
    },
  ],
  fact: {
    label: "While counters are away",
    lines: (share) => (share === undefined ? [] : [[`${share * 100} % of each budget`]]),
  },
});
