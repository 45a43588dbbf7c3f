import type { BudgetEntry, RoleEntry } from "./format.ts";
import {
  BEHAVIOUR_RULES,
  type BehaviourAction,
  type BehaviourRule,
  type BudgetWindow,
  type Limits,
  type Role,
} from "./policy.ts";
import type { Context, Source } from "./role-sources.ts";
import { durationSeconds, sizeBytes } from "./units.ts";

/** A role's limits of one statement; what it does not say comes from its parent. */
export function makeLimits(entry: RoleEntry, base: Limits | undefined): Limits {
  const rows = entry.rows === undefined ? base?.rows : entry.rows === "none" ? undefined : entry.rows;
  const bytes =
    entry.bytes === undefined ? base?.bytes : entry.bytes === "none" ? undefined : sizeBytes(entry.bytes);
  const changes =
    entry.changes === undefined ? base?.changes : entry.changes === "none" ? undefined : entry.changes;
  return {
    ...(rows === undefined ? {} : { rows }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(changes === undefined ? {} : { changes }),
    onExcess: entry.on_excess ?? base?.onExcess ?? "error",
    pushed: entry.push_limit ?? base?.pushed ?? false,
  };
}

const LONGEST_WINDOW = 366 * 86_400;

const SCOPES = [
  ["budget", "user"],
  ["role_budget", "role"],
  ["address_budget", "address"],
] as const;

/** A role's windows of all scopes, shortest first. */
export function makeBudget(
  source: Source,
  base: readonly BudgetWindow[],
  context: Context,
): readonly BudgetWindow[] {
  return SCOPES.flatMap(([key, scope]) => {
    const inherited = base.filter((window) => (window.scope ?? "user") === scope);
    const windows = makeWindows(source, key, inherited, context);
    return scope === "user" ? windows : windows.map((window) => ({ ...window, scope }));
  }).sort((a, b) => a.seconds - b.seconds);
}

/** One scope's windows: they replace those of the parent that they name, and `none` all of them. */
function makeWindows(
  { name, entry, document }: Source,
  key: (typeof SCOPES)[number][0],
  base: readonly BudgetWindow[],
  context: Context,
): readonly BudgetWindow[] {
  const named = entry[key];
  if (named === undefined) return base;
  if (named === "none") return [];
  const windows = base.filter((window) => !Object.hasOwn(named, window.name));
  return [...windows, ...windowsAt(document, ["roles", name, key], named, context)];
}

/** The windows of a budget that stands at this path of a policy file. */
export function windowsAt(
  document: Source["document"],
  path: readonly string[],
  named: Exclude<BudgetEntry, "none">,
  { problems }: Context,
): readonly BudgetWindow[] {
  const windows: BudgetWindow[] = [];
  for (const [length, value] of Object.entries(named)) {
    const seconds = durationSeconds(length) ?? 0;
    if (seconds > LONGEST_WINDOW) {
      problems.error(
        document.placeOfKey([...path, length]),
        `${length} is too long a window`,
        "At most 366d.",
      );
    }
    const rule = `${path.join(".")}.${length}`;
    for (const [what, limit, path] of limitsOf(value, rule)) {
      if (limit !== undefined) windows.push({ name: length, seconds, what, limit, rule: path });
    }
  }
  return windows;
}

type WindowEntry = Exclude<BudgetEntry, "none">[string];

function limitsOf(
  value: WindowEntry,
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

/** `on_counter_loss: grace` without a share. */
const DEFAULT_GRACE = 0.1;

/** What a role may do while the counters are away, and what is done about odd behaviour. */
export function makeWatch(
  { on_counter_loss: loss, behaviour }: RoleEntry,
  base: Role | undefined,
): Pick<Role, "graceShare" | "behaviour"> {
  const share =
    loss === undefined
      ? base?.graceShare
      : loss === "closed"
        ? undefined
        : loss === "grace"
          ? DEFAULT_GRACE
          : loss.grace;
  const rules = behaviour === undefined ? base?.behaviour : mergeBehaviour(behaviour, base);
  return {
    ...(share === undefined ? {} : { graceShare: share }),
    ...(rules === undefined ? {} : { behaviour: rules }),
  };
}

/** A child changes the rules that it names; `off` turns off all of them. */
function mergeBehaviour(
  behaviour: NonNullable<RoleEntry["behaviour"]>,
  base: Role | undefined,
): ReadonlyMap<BehaviourRule, BehaviourAction> {
  if (behaviour === "off") return new Map(BEHAVIOUR_RULES.map((rule) => [rule, "off"]));
  const rules = new Map(base?.behaviour);
  for (const rule of BEHAVIOUR_RULES) {
    const action = behaviour[rule];
    if (action !== undefined) rules.set(rule, action);
  }
  return rules;
}
