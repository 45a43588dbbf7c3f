import { z } from "zod";
import { checkRowCondition } from "../check-uses.ts";
import { missingFilterHint } from "../missing.ts";
import type { Condition } from "../policy.ts";
import { relationName, sql } from "../schema.ts";
import { conditionAt } from "./condition.ts";
import { checkReach } from "./reach.ts";
import { roleRule } from "./rule.ts";

/** `only: { public.tickets: none }`. A boolean column of that name can be written as `(none)`. */
const NO_FILTER = "none";

export const only = roleRule("only", {
  keys: {
    only: {
      schema: z.record(relationName, sql, {
        error: "Tables and conditions, as in { public.tickets: \"region = 'eu'\" }; none drops the parent's.",
      }),
      about:
        "Row filters: of these tables the role has only the rows where the SQL condition holds. A role that extends " +
        "another keeps its filters and adds these; `none` drops the filter of that table.",
      example: { "public.tickets": "assignee = :user" },
      reason: "filter",
    },
  },
  /** The parent's filters and the role's own: if both have one for a table, both must hold. */
  compile({ name, entry, document }, base, context) {
    const filters = new Map(base);
    for (const [table, said] of Object.entries(entry.only ?? {})) {
      if (said === NO_FILTER) {
        filters.delete(table);
        continue;
      }
      const own = conditionAt(said, document.placeOf(["roles", name, "only", table]), context);
      const kept = filters.get(table);
      if (own !== undefined)
        filters.set(table, kept === undefined || kept.sql === own.sql ? own : bothOf(kept, own));
    }
    return filters;
  },
  guardedBy: (filters) => (filters.size > 0 ? ["only"] : []),
  unrestricted: new Map(),
  conditions: (filters) => [...filters.values()],
  check({ name, entry, document }, role, problems) {
    for (const table of Object.keys(entry.only ?? {}))
      checkReach(role, table, "only", document.placeOfKey(["roles", name, "only", table]), problems);
  },
  againstCatalog(role, database) {
    const { catalog, report } = database;
    for (const [name, condition] of role.only) {
      const relation = catalog.relations.get(name);
      if (relation !== undefined) {
        checkRowCondition(`the filter of ${name}`, condition, relation, database);
        continue;
      }
      const what = (table: string) => `role "${role.name}" reads all rows of ${table}`;
      const hint = missingFilterHint(name, role.only, what, role, catalog);
      report("error", condition.place, `"only" names ${name}, which is not there`, hint, [name]);
    }
  },
  fact: {
    label: "Only rows where",
    lines: (filters) => [...filters].map(([relation, { sql }]) => [relation, ": ", { sql }]),
  },
});

function bothOf(kept: Condition, own: Condition): Condition {
  return { sql: `(${kept.sql}) AND (${own.sql})`, place: own.place };
}
