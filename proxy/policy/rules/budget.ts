import { z } from "zod";
import type { Places } from "../places.ts";
import type { BudgetWindow, Place, Role } from "../policy.ts";
import type { Problems } from "../problems.ts";
import { count, mapping, none, size } from "../schema.ts";
import { amountText, durationSeconds, sizeBytes } from "../units.ts";
import { type Context, type Entry, roleRule, type Source } from "./rule.ts";

const DURATION = /^[1-9][0-9]{0,5}[smhdw]$/;
const LONGEST_WINDOW = 366 * 86_400;

/** The length of a window. */
export const duration = z
  .string()
  .regex(DURATION, { error: "A window: a number and s, m, h, d or w, as in 1m, 12h, 30d." });

/** The windows of a budget, by their length. */
export const budgetSchema = z.union(
  [
    none,
    z.record(
      duration,
      z.union(
        [
          none,
          count,
          mapping(
            {
              people: count.optional(),
              rows: count.optional(),
              bytes: size.optional(),
              lookups: count.optional(),
              changes: count.optional(),
            },
            "As in { people: 300, rows: 5000, bytes: 10MB, lookups: 500, changes: 500 }.",
          ),
        ],
        {
          error:
            "A number of people, { people: 300, rows: 5000, bytes: 10MB, lookups: 500, changes: 500 }, or none.",
        },
      ),
    ),
  ],
  { error: "none, or windows as in { 1h: 120, 1d: { people: 300, rows: 5000 } }." },
);

type BudgetEntry = z.infer<typeof budgetSchema>;

const keys = {
  budget: {
    schema: budgetSchema,
    about:
      "How many distinct people (and rows, bytes, exact lookups) a user may read within sliding windows, over " +
      "all sessions and proxies together. changes: how many rows about people the user may write. `none`: not " +
      "counted. A role that extends another changes only the windows it names.",
    example: { "1h": 120, "1d": { people: 300, rows: 5000, lookups: 500 } },
    reason: "budget",
  },
  role_budget: {
    schema: budgetSchema,
    about: "As budget, for all users of the role together: what colluding accounts may read.",
    example: { "1d": 2000 },
    reason: "budget",
  },
  address_budget: {
    schema: budgetSchema,
    about: "As budget, for all that is read from one client address by users of such roles.",
    example: { "1h": 500 },
    reason: "budget",
  },
} as const;

const SCOPES = [
  ["budget", "user"],
  ["role_budget", "role"],
  ["address_budget", "address"],
] as const;

/** The windows of all scopes, shortest first. */
export const budget = roleRule("budget", {
  keys,
  compile: (source, base = [], context) =>
    SCOPES.flatMap(([key, scope]) => {
      const inherited = base.filter((window) => (window.scope ?? "user") === scope);
      const windows = ownWindows(source, key, inherited, context);
      return scope === "user" ? windows : windows.map((window) => ({ ...window, scope }));
    }).sort(bySeconds),
  guardedBy: (windows) =>
    SCOPES.flatMap(([key, scope]) =>
      windows.some((window) => (window.scope ?? "user") === scope) ? [key] : [],
    ),
  unrestricted: [],
  // Checked after the answer.
  watched: "also",
  check: (_, role, problems) => checkWatchedWindows(role, role.budget, role.place, problems),
  fact: {
    label: "Budget",
    lines: (windows) =>
      windows.length === 0
        ? [["none"]]
        : windows.map(({ limit, what, name, scope = "user" }) => [
            `${amountText(limit, what)} in ${name}${scope === "user" ? "" : ` for each ${scope}`}`,
          ]),
  },
});

export function bySeconds(a: BudgetWindow, b: BudgetWindow): number {
  return a.seconds - b.seconds;
}

/** A watched role's budget may not count what is not counted after an answer. */
export function checkWatchedWindows(
  role: Role,
  windows: readonly BudgetWindow[],
  place: Place,
  problems: Problems,
): void {
  if (role.watch !== true) return;
  for (const { what, rule } of windows) {
    if (what !== "lookups" && what !== "changes") continue;
    const problem = `${rule} counts ${what}, which are not counted for a watched role`;
    problems.error(place, problem, "Count people, rows or bytes.");
  }
}

/** One scope's windows. They replace the parent's windows of the same name; `none` removes all of them. */
function ownWindows(
  { name, entry, document }: Source<Entry<typeof keys>>,
  key: keyof typeof keys,
  base: readonly BudgetWindow[],
  context: Context,
): readonly BudgetWindow[] {
  const named = entry[key];
  if (named === undefined) return base;
  if (named === "none") return [];
  const windows = base.filter((window) => !Object.hasOwn(named, window.name));
  return [...windows, ...windowsAt(document, ["roles", name, key], named, context)];
}

/** The windows of the budget at this path of a policy file. */
export function windowsAt(
  document: Places,
  path: readonly string[],
  named: Exclude<BudgetEntry, "none">,
  { problems }: Context,
): readonly BudgetWindow[] {
  const windows: BudgetWindow[] = [];
  for (const [length, value] of Object.entries(named)) {
    const seconds = secondsAt(document, [...path, length], length, problems);
    const rule = `${path.join(".")}.${length}`;
    for (const [what, limit, path] of limitsOf(value, rule)) {
      if (limit !== undefined) windows.push({ name: length, seconds, what, limit, rule: path });
    }
  }
  return windows;
}

/** How long the window at this path is. */
export function secondsAt(
  document: Places,
  path: readonly string[],
  length: string,
  problems: Problems,
): number {
  const seconds = durationSeconds(length) ?? 0;
  if (seconds > LONGEST_WINDOW)
    problems.error(document.placeOfKey(path), `${length} is too long a window`, "At most 366d.");
  return seconds;
}

function limitsOf(
  value: Exclude<BudgetEntry, "none">[string],
  rule: string,
): readonly (readonly [BudgetWindow["what"], number | undefined, string])[] {
  if (value === "none") return [];
  if (typeof value === "number") return [["people", value, rule]];
  const bytes = value.bytes === undefined ? undefined : sizeBytes(value.bytes);
  return [
    ["people", value.people, `${rule}.people`],
    ["rows", value.rows, `${rule}.rows`],
    ["bytes", bytes, `${rule}.bytes`],
    ["lookups", value.lookups, `${rule}.lookups`],
    ["changes", value.changes, `${rule}.changes`],
  ];
}
