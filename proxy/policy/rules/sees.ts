import { z } from "zod";
import { checkUse, unknownColumns } from "../check-uses.ts";
import { type Condition, type Role, relationSetHas, type Sight } from "../policy.ts";
import { parseCondition } from "../policy-sql.ts";
import { at } from "../problems.ts";
import { checkClass } from "../references.ts";
import { mapping, name, none, sql } from "../schema.ts";
import { conditionAt } from "./condition.ts";
import { type Context, type Database, type Entry, roleRule, type Source } from "./rule.ts";

const keys = {
  sees: {
    schema: z.union(
      [
        z.literal("all"),
        none,
        z.array(
          z.union(
            [
              name,
              z.record(name, mapping({ when: sql }, 'A condition as in { when: "assignee = :user" }.'), {
                error: 'A class with its condition, as in text: { when: "assignee = :user" }.',
              }),
            ],
            { error: 'A class name, or text: { when: "assignee = :user" }.' },
          ),
        ),
      ],
      { error: "all, none, or a list of class names, each perhaps with { when: … }." },
    ),
    about:
      "Classes that the role sees in the clear. With `when`, only in rows where the SQL condition holds; " +
      ":user is the user's name as a quoted literal. All other classes are masked.",
    example: ["name", { text: { when: "assignee = :user" } }],
    reason: "column",
  },
} as const;

export const sees = roleRule("sees", {
  keys,
  compile: (source, base, context) => sightOf(source, context) ?? base ?? new Map(),
  guardedBy: (sight) => (sight === "all" ? [] : ["sees"]),
  unrestricted: "all",
  conditions: (sight) =>
    sight === "all" ? [] : [...sight.values()].filter((when): when is Condition => when !== "always"),
  againstCatalog(role, database) {
    if (role.sees === "all") return;
    for (const [className, sight] of role.sees)
      if (sight !== "always") checkSight(role, className, sight, database);
  },
  fact: {
    label: "Sees in the clear",
    lines: (sight) =>
      sight === "all"
        ? [["all"]]
        : [...sight].map(([kind, when]) =>
            when === "always" ? [kind] : [kind, " when ", { sql: when.sql }],
          ),
  },
});

function sightOf({ name, entry, document }: Source<Entry<typeof keys>>, context: Context): Sight | undefined {
  const said = entry.sees;
  if (said === undefined || said === "all") return said;
  const sight = new Map<string, "always" | Condition>();
  if (said === "none") return sight;
  said.forEach((item, i) => {
    const path = ["roles", name, "sees", i];
    const pairs: readonly [string, { when: string } | undefined][] =
      typeof item === "string" ? [[item, undefined]] : Object.entries(item);
    for (const [className, condition] of pairs) {
      const place = document.placeOf(path);
      checkClass(context.documents, context.classes, className, place, context.problems);
      if (sight.has(className)) {
        const hint = "Name it once; join conditions with OR.";
        context.problems.error(place, `class "${className}" is in "sees" twice`, hint);
      }
      const when =
        condition === undefined
          ? "always"
          : conditionAt(condition.when, document.placeOf([...path, className, "when"]), context);
      sight.set(className, when ?? { sql: "false", place });
    }
  });
  return sight;
}

/** Checks a condition, which uses the columns of one table; a table that lacks them stays masked. */
function checkSight(role: Role, className: string, condition: Condition, database: Database): void {
  const { policy, catalog, report } = database;
  const parsed = parseCondition(condition.sql);
  if (!parsed.ok) return;
  checkUse(`the condition of class "${className}"`, parsed.use, condition.place, database);
  for (const table of policy.tables.values()) {
    const relation = catalog.relations.get(table.name);
    if (relation === undefined || ![...table.columns.values()].includes(className)) continue;
    if (!relationSetHas(role.reads, relation.schema, relation.name)) continue;
    const [missing] = unknownColumns(parsed.use, relation);
    if (missing === undefined) continue;
    const what = `the condition of class "${className}" names "${missing}", which ${table.name} (${at(table.place)}) has not`;
    const hint = `It stays masked there; give the columns of ${table.name} a class of their own.`;
    report("warning", condition.place, what, hint);
  }
}
