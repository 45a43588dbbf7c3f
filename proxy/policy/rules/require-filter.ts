import { z } from "zod";
import { missingFilterHint } from "../missing.ts";
import { relationName } from "../schema.ts";
import { checkReach } from "./reach.ts";
import { roleRule } from "./rule.ts";

export const requireFilter = roleRule("requireFilter", {
  keys: {
    require_filter: {
      schema: z.array(relationName, { error: "A list of tables." }),
      about:
        "Tables that may be read, updated and deleted from only with a condition on an indexed column. None if left out.",
      example: ["public.customers"],
      reason: "filter",
    },
  },
  compile: ({ entry }, base) =>
    entry.require_filter === undefined ? (base ?? new Set()) : new Set(entry.require_filter),
  guardedBy: (tables) => (tables.size > 0 ? ["require_filter"] : []),
  unrestricted: new Set(),
  check({ name, entry, document }, role, problems) {
    (entry.require_filter ?? []).forEach((table, i) => {
      const place = document.placeOf(["roles", name, "require_filter", i]);
      checkReach(role, table, "require_filter", place, problems);
    });
  },
  againstCatalog(role, { catalog, report }) {
    for (const name of role.requireFilter) {
      const relation = catalog.relations.get(name);
      if (relation === undefined) {
        const what = (table: string) => `role "${role.name}" reads ${table} without a condition`;
        const hint = missingFilterHint(name, role.requireFilter, what, role, catalog);
        report("error", role.place, `"require_filter" names ${name}, which is not there`, hint, [name]);
      } else if (!relation.indexes.some(({ columns }) => columns.length > 0)) {
        const what = `role "${role.name}" needs a condition on an indexed column of ${name}, which has no index`;
        report("warning", role.place, what, "Until it has one, the role cannot read the table.");
      }
    }
  },
  fact: { label: "Must filter", lines: (tables) => [...tables].map((table) => [table]) },
});
