import { z } from "zod";
import { roleRule } from "./rule.ts";

const HINT = "A list of columns, as in [public.tickets.assignee].";

const columnPattern = z.string({ error: HINT }).regex(/^[^.*\s][^.*]*\.[^.*]+\.([^.*]+|\*)$/, {
  error:
    "A column with its schema and table, as in public.tickets.assignee, or a whole table, as in public.tickets.*.",
});

// The key permits what other keys forbid, so it guards nothing.
export const writesOwnConditions = roleRule("writesOwnConditions", {
  keys: {
    writes_own_conditions: {
      schema: z.array(columnPattern, { error: HINT }),
      about:
        "Columns that the role may write although a condition of its own (when, only, purpose) depends on them: it can " +
        "then grant itself what the condition guards. schema.table.* means all columns of a table. None if left out.",
      example: ["public.tickets.assignee"],
    },
  },
  compile({ name, entry, document }, base) {
    const said = entry.writes_own_conditions;
    if (said === undefined) return base ?? new Map();
    return new Map(
      said.map((text, i) => [text, document.placeOf(["roles", name, "writes_own_conditions", i])]),
    );
  },
  fact: {
    label: "Writes of its own conditions",
    lines: (columns) => [...columns.keys()].map((each) => [each]),
  },
});
