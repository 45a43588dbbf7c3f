import type { Condition, Role } from "../policy/policy.ts";

/** What a key of a role means for its sessions. */
interface RoleKey<Value> {
  /** A role that has this is guarded: its statements are analysed. */
  readonly guards: (value: Value) => boolean;
  /** SQL of the policy that may name the user (`:user`): verdicts are then a user's own. */
  readonly conditions: (value: Value) => readonly Condition[];
}

type RoleKeys = { readonly [Key in keyof Required<Role>]: RoleKey<Role[Key]> };

const NOTHING: RoleKey<unknown> = { guards: () => false, conditions: () => [] };

/** Each key of a role has its line here: one that is forgotten does not compile. */
const ROLE_KEYS = {
  name: NOTHING,
  place: NOTHING,
  users: NOTHING,
  from: NOTHING,
  reads: { ...NOTHING, guards: (reads) => reads !== "all" },
  writes: { ...NOTHING, guards: (writes) => writes !== "all" },
  sees: {
    guards: (sees) => sees !== "all",
    conditions: (sees) =>
      sees === "all" ? [] : [...sees.values()].filter((sight): sight is Condition => sight !== "always"),
  },
  // What is not masked need not be found.
  finds: NOTHING,
  only: { guards: (only) => only.size > 0, conditions: (only) => [...only.values()] },
  // It hides nothing, and is asked only of people who are counted.
  purpose: { ...NOTHING, conditions: (purpose) => [...purpose.values()] },
  // Opens what other keys close.
  writesOwnConditions: NOTHING,
  requireFilter: { ...NOTHING, guards: (tables) => tables.size > 0 },
  aggregatesOnly: { ...NOTHING, guards: (aggregatesOnly) => aggregatesOnly !== undefined },
  limits: {
    ...NOTHING,
    guards: ({ onExcess: _, pushed: __, ...limits }) =>
      Object.values(limits).some((limit) => limit !== undefined),
  },
  budget: { ...NOTHING, guards: (budget) => budget.length > 0 },
  // Both speak of budgets.
  graceShare: NOTHING,
  behaviour: NOTHING,
  // Who sees, reads and writes all may call all.
  calls: NOTHING,
  // The policy holds a watched role to what an unrestricted one has; its budgets are seen to behind the answer.
  watch: NOTHING,
  onBudget: NOTHING,
  peopleBehind: NOTHING,
  unnamed: NOTHING,
} satisfies RoleKeys;

const KEYS = Object.keys(ROLE_KEYS) as (keyof RoleKeys)[];

/** Some key of the role asks for its statements to be analysed. */
export function isGuarded(role: Role): boolean {
  return role.watch !== true && KEYS.some((key) => guardsBy(role, key));
}

/** The policy's SQL that is spliced into the statements of the role. */
export function conditionsOf(role: Role): readonly Condition[] {
  return KEYS.flatMap((key) => conditionsBy(role, key));
}

function guardsBy<Key extends keyof RoleKeys>(role: Role, key: Key): boolean {
  return (ROLE_KEYS as RoleKeys)[key].guards(role[key]);
}

function conditionsBy<Key extends keyof RoleKeys>(role: Role, key: Key): readonly Condition[] {
  return (ROLE_KEYS as RoleKeys)[key].conditions(role[key]);
}
