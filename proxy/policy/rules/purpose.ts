import { z } from "zod";
import { missingFilterHint } from "../missing.ts";
import { checkPurpose } from "../purpose-condition.ts";
import { relationName, sql } from "../schema.ts";
import { isUnique } from "../subject-path.ts";
import { conditionAt } from "./condition.ts";
import { roleRule } from "./rule.ts";

const HINT =
  "Tables of people and conditions, as in { public.customers: " +
  '"exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)" }.';

// It hides nothing and is evaluated only for people who are counted, so it guards nothing.
export const purpose = roleRule("purpose", {
  keys: {
    purpose: {
      schema: z.record(relationName, sql, { error: HINT }),
      about:
        "What ties a person to the reader's work, by the table of people. Rows are shown all the same: the rule " +
        '"purpose" sees who reads many people without. EXISTS, AND, OR, NOT, IS NULL and comparisons only. A role that ' +
        "extends another changes only the tables that it names.",
      example: {
        "public.customers":
          "exists (select from public.tickets t where t.customer_id = customers.id and t.assignee = :user)",
      },
    },
  },
  compile({ name, entry, document }, base, context) {
    const conditions = new Map(base);
    for (const [table, said] of Object.entries(entry.purpose ?? {})) {
      const condition = conditionAt(said, document.placeOf(["roles", name, "purpose", table]), context);
      if (condition !== undefined) conditions.set(table, condition);
    }
    return conditions;
  },
  conditions: (conditions) => [...conditions.values()],
  againstCatalog(role, { policy, catalog, report }) {
    for (const [name, condition] of role.purpose) {
      const relation = catalog.relations.get(name);
      const entry = policy.tables.get(name);
      if (relation === undefined) {
        const what = (table: string) => `nobody's reading of ${table} is looked at`;
        const hint = missingFilterHint(name, role.purpose, what, role, catalog);
        report("error", condition.place, `"purpose" names ${name}, which is not there`, hint, [name]);
        continue;
      }
      if (entry?.subject === undefined || entry.path !== undefined || !isUnique(relation, entry.subject)) {
        const hint = 'Name the table of the people, whose "subject" is its key.';
        report("error", condition.place, `"purpose": no key of ${name} names one person`, hint);
        continue;
      }
      const checked = checkPurpose(condition, relation, catalog);
      if (checked.ok) continue;
      const hint = "It runs with every statement, so it must not be able to fail: comparisons and EXISTS.";
      report("error", condition.place, `the purpose of ${name}: ${checked.problem}`, hint);
    }
  },
  fact: {
    label: "Purpose",
    lines: (conditions) => [...conditions].map(([relation, { sql }]) => [relation, ": ", { sql }]),
  },
});
