import { z } from "zod";
import { mapping, name as roleName } from "../schema.ts";
import { amountText } from "../units.ts";
import { budgetSchema, bySeconds, checkWatchedWindows, windowsAt } from "./budget.ts";
import { placeOfKey, roleRule } from "./rule.ts";

const HINT = "refuse, { budget: { 1h: 50 } }, or beside acts_as { role: batch }.";

export const unnamed = roleRule("unnamed", {
  keys: {
    unnamed: {
      schema: z.union(
        [z.literal("refuse"), mapping({ budget: budgetSchema }, HINT), mapping({ role: roleName }, HINT)],
        { error: HINT },
      ),
      about:
        "For reads without a named person: refuse shows no one, a budget counts the application itself, and with acts_as " +
        "a role may judge its statements. The role's own keys and budgets if left out.",
      example: { budget: { "1h": 50 } },
    },
  },
  compile({ name, entry, document }, base, context) {
    const said = entry.unnamed;
    if (said === undefined) return base;
    if (said === "refuse") return said;
    if ("role" in said)
      return { role: said.role, place: document.placeOf(["roles", name, "unnamed", "role"]) };
    const path = ["roles", name, "unnamed", "budget"];
    if (said.budget === "none") return { budget: [] };
    return { budget: windowsAt(document, path, said.budget, context).toSorted(bySeconds) };
  },
  watched: "people",
  check(source, role, problems) {
    const isOfPeople = role.watch === true || role.actsAs !== undefined;
    if (!isOfPeople || role.unnamed === undefined) return;
    if (role.peopleBehind === undefined) {
      const what = `role "${role.name}" decides for reads without a named person, but nothing names people`;
      problems.error(placeOfKey(source, "unnamed"), what, 'Add "people_behind:", or remove it.');
    }
    const windows = typeof role.unnamed === "object" && "budget" in role.unnamed ? role.unnamed.budget : [];
    if (role.watch === true) checkWatchedWindows(role, windows, role.place, problems);
  },
  fact: {
    label: "Where nobody is named",
    lines: (said) =>
      said === undefined
        ? []
        : said === "refuse"
          ? [["nobody is shown"]]
          : "role" in said
            ? [[`by the role ${said.role}`]]
            : said.budget.map(({ limit, what, name }) => [`${amountText(limit, what)} in ${name}`]),
  },
});
