import { z } from "zod";
import { returnsNothing } from "../../catalog/catalog.ts";
import type { Role } from "../policy.ts";
import { type Database, roleRule } from "./rule.ts";

const HINT = "A list of functions, as in [public.close_ticket, { public.normalise_phone: shown }].";

const functionName = z.string({ error: "A function as schema.name." }).regex(/^[^.*\s(]+\.[^.*\s(]+$/, {
  error: "A function with its schema and without arguments, as in public.normalise_phone.",
});

// A role that sees, reads and writes everything may call everything, so the key guards nothing.
export const calls = roleRule("calls", {
  keys: {
    calls: {
      schema: z.array(
        z.union([functionName, z.record(functionName, z.literal("shown"), { error: HINT })], { error: HINT }),
        { error: HINT },
      ),
      about:
        "Functions outside pg_catalog that the role may call. What one returns may be anything, and so is guarded: " +
        "one that returns something is called only where { schema.name: shown } says that the role may see it. None if left out.",
      example: ["public.close_ticket", { "public.normalise_phone": "shown" }],
      reason: "function",
    },
  },
  compile({ entry }, base) {
    if (entry.calls === undefined) return base ?? new Map();
    const named = new Map<string, "hidden" | "shown">();
    for (const each of entry.calls) {
      // Just a name: the function's result stays hidden.
      if (typeof each === "string") named.set(each, "hidden");
      else for (const [name, result] of Object.entries(each)) named.set(name, result);
    }
    return named;
  },
  againstCatalog(role, database) {
    for (const [name, result] of role.calls) checkCall(role, name, result, database);
  },
  fact: {
    label: "Calls",
    lines: (named) =>
      [...named].map(([name, result]) => [result === "shown" ? `${name}, and sees what it returns` : name]),
  },
});

function checkCall(
  role: Role,
  name: string,
  result: "hidden" | "shown",
  { catalog, report }: Database,
): void {
  const all = (catalog.functionsByName.get(name.slice(name.indexOf(".") + 1)) ?? []).filter(
    (fn) => `${fn.schema}.${fn.name}` === name,
  );
  if (all.length === 0) {
    report("warning", role.place, `role "${role.name}" may call ${name}, which is not there`, "");
  } else if (result === "hidden" && all.some((fn) => !returnsNothing(catalog, fn))) {
    const what = `role "${role.name}" may call ${name}, but not see what it returns, and so not call it`;
    report("warning", role.place, what, `If the role may see what it returns: { ${name}: shown }.`);
  }
}
