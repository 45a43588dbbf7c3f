import { z } from "zod";
import { roleRule } from "./rule.ts";

export const watch = roleRule("watch", {
  keys: {
    watch: {
      schema: z.boolean({ error: "true or false." }),
      about:
        "Of a role that sees, reads and writes all: its statements run as they were written and none is refused for " +
        "what it asks, but the people whom they show are counted, logged and held against decoys and behaviour rules. " +
        "false if left out.",
      example: true,
    },
  },
  compile: ({ entry }, base) => ((entry.watch ?? base ?? false) ? true : undefined),
  fact: {
    label: "Watched",
    lines: (isWatched) => (isWatched ? [["its statements run as they were written"]] : []),
  },
});

export const onBudget = roleRule("onBudget", {
  keys: {
    on_budget: {
      schema: z.enum(["stop", "alert"], { error: "stop or alert." }),
      about:
        "Of a watched role, when a budget is used up: stop (the default) shows no one new until the budget has room " +
        "again; alert sends an alert and stops nothing.",
      example: "alert",
    },
  },
  compile({ entry }, base) {
    const said = entry.on_budget ?? base ?? "stop";
    return said === "alert" ? "alert" : undefined;
  },
  watched: "only",
  fact: {
    label: "A used-up budget",
    lines: (said) => (said === undefined ? [] : [["raises an alert alone"]]),
  },
});
