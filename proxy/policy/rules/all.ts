import type { z } from "zod";
import type { Condition, Role } from "../policy.ts";
import { mapping, name } from "../schema.ts";
import { actsAs } from "./acts-as.ts";
import { aggregatesOnly } from "./aggregates-only.ts";
import { behaviour } from "./behaviour.ts";
import { budget } from "./budget.ts";
import { calls } from "./calls.ts";
import { counterLoss } from "./counter-loss.ts";
import { finds } from "./finds.ts";
import { from } from "./from.ts";
import { limits } from "./limits.ts";
import { only } from "./only.ts";
import { writesOwnConditions } from "./own-conditions.ts";
import { peopleBehind } from "./people-behind.ts";
import { purpose } from "./purpose.ts";
import { reads, writes } from "./relations.ts";
import { requireFilter } from "./require-filter.ts";
import { reveals } from "./reveals.ts";
import type { Entry, FactLine, RoleRule, RuleKeys, RuleProperty } from "./rule.ts";
import { sees } from "./sees.ts";
import { signedBy } from "./signed-by.ts";
import { unnamed } from "./unnamed.ts";
import { users } from "./users.ts";
import { onBudget, watch } from "./watch.ts";

/** The rule for each property of a role; a missing one does not compile. In the order of the docs and the console. */
const RULES = {
  users,
  from,
  reads,
  writes,
  sees,
  finds,
  calls,
  requireFilter,
  only,
  purpose,
  writesOwnConditions,
  aggregatesOnly,
  limits,
  budget,
  reveals,
  graceShare: counterLoss,
  behaviour,
  watch,
  peopleBehind,
  signedBy,
  actsAs,
  unnamed,
  onBudget,
} satisfies { readonly [Property in RuleProperty]: RoleRule<Property> };

export const ROLE_RULES: readonly RoleRule[] = Object.values(RULES);

type Rules = (typeof RULES)[RuleProperty];
type Both<Union> = (Union extends unknown ? (each: Union) => void : never) extends (both: infer All) => void
  ? All
  : never;
type Keys = Both<Rules["keys"]> extends infer All extends RuleKeys ? All : never;

/** A role in a policy file. */
export type RoleEntry = { readonly extends?: string | undefined } & Entry<Keys>;

/** The schema of a role in a policy file. */
export function roleSchema(rules: readonly RoleRule[] = ROLE_RULES): z.ZodType<RoleEntry> {
  const keys = rules.flatMap((rule) => Object.entries(rule.keys));
  const shape = keys.map(([key, { schema, about, example }]) => {
    return [key, schema.optional().meta({ description: about, examples: [example] })] as const;
  });
  // The list loses which key has which type; `Keys` is derived from the same list.
  return mapping(
    {
      extends: name.optional().meta({ description: EXTENDS, examples: ["agent"] }),
      ...Object.fromEntries(shape),
    },
    "A role as in { users: [anna], reads: [public.customers] }.",
  ) as unknown as z.ZodType<RoleEntry>;
}

const EXTENDS =
  "Another role. What this role says replaces what that one says, key by key; users stay its own, and that one's " +
  "filters (only) stay in force unless this role says none for the table.";

/**
 * Whether some rule requires the role's statements to be analysed. A watched role's statements are analysed as well,
 * but run unchanged.
 */
export function isGuarded(role: Role, rules: readonly RoleRule[] = ROLE_RULES): boolean {
  return role.watch !== true && (role.standsIn === true || guardingKeys(role, rules).length > 0);
}

/** The keys that require the role's statements to be analysed. */
export function guardingKeys(role: Role, rules: readonly RoleRule[] = ROLE_RULES): readonly string[] {
  return rules.flatMap((rule) => rule.guardedBy?.(role[rule.property]) ?? []);
}

/** The policy's SQL that is spliced into the role's statements. */
export function conditionsOf(role: Role, rules: readonly RoleRule[] = ROLE_RULES): readonly Condition[] {
  return rules.flatMap((rule) => rule.conditions?.(role[rule.property]) ?? []);
}

/** The same role without any rule that changes or refuses a statement. */
export function unrestricted(role: Role, rules: readonly RoleRule[] = ROLE_RULES): Role {
  const free = rules.filter(({ guardedBy }) => guardedBy !== undefined);
  const kept = Object.entries(role).filter(([property]) => !free.some((rule) => rule.property === property));
  const opened = free.flatMap((rule) => {
    return rule.unrestricted === undefined ? [] : [[rule.property, rule.unrestricted] as const];
  });
  return Object.fromEntries([...kept, ...opened]) as unknown as Role;
}

/** Why a key of a role refuses a statement or cuts it short, as a metric label. */
export function keyReason(key: string, rules: readonly RoleRule[] = ROLE_RULES): string | undefined {
  return rules.flatMap(({ keys }) => (Object.hasOwn(keys, key) ? [keys[key]?.reason] : []))[0];
}

/** What a role may do, in a form for people. */
export interface Fact {
  readonly label: string;
  readonly lines: readonly FactLine[];
}

/** The facts about a role, rule by rule. */
export function factsOf(role: Role, rules: readonly RoleRule[] = ROLE_RULES): readonly Fact[] {
  return rules.flatMap(({ fact, property }) => {
    const lines = fact?.lines(role[property]) ?? [];
    return fact === undefined || lines.length === 0 ? [] : [{ label: fact.label, lines }];
  });
}
