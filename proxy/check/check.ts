import type { Catalog } from "../catalog/catalog.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import { checkCosts } from "../policy/check-costs.ts";
import type { PolicySet } from "../policy/load.ts";
import type { Policy } from "../policy/policy.ts";
import { describeProblem, type PolicyProblem, sortProblems } from "../policy/problems.ts";
import { checkConstraints } from "../sql/constraint-warnings.ts";
import { checkWritableConditions } from "../sql/writable-conditions.ts";
import { unboundedUnnamed } from "./applications.ts";
import { type Check, Checked } from "./checked.ts";
import {
  emptyTables,
  idleKeys,
  idleNone,
  idleWindows,
  rolesOfNobody,
  seenFinds,
  unreadClasses,
  unreadTables,
  unusedClasses,
} from "./keys.ts";
import { nameSpaces } from "./name-spaces.ts";
import { budgetOfNobody, hiddenTables, uncountedTables } from "./people.ts";
import {
  idleCanaries,
  idleOnCanary,
  idlePurposes,
  idleRules,
  purposesOfNobody,
  watchOfUncounted,
} from "./watch.ts";

/*
 * What is wrong with a policy that can be read: the whole list. A key that has no effect, or a table that counts
 * nobody, is never passed over in silence: whoever wrote it believes in it.
 */

/** Whose reading nobody counts, although it looks as if somebody did. */
const UNCOUNTED: readonly Check[] = [uncountedTables, nameSpaces, watchOfUncounted, unboundedUnnamed];

/** What has no effect. */
const IDLE: readonly Check[] = [
  budgetOfNobody,
  idleRules,
  idlePurposes,
  purposesOfNobody,
  idleCanaries,
  idleOnCanary,
  idleKeys,
  seenFinds,
  unreadClasses,
  unreadTables,
  idleNone,
  idleWindows,
  unusedClasses,
  emptyTables,
  hiddenTables,
  rolesOfNobody,
];

/** All that is to be said of one database's policy, with what its catalog tells where there is one. */
export function checkPolicy(policy: Policy, catalog?: Catalog): readonly PolicyProblem[] {
  const checked = new Checked(policy, catalog);
  return sortProblems([
    ...foundBy(UNCOUNTED, checked),
    ...foundBy(IDLE, checked),
    ...others(policy, catalog),
  ]);
}

/** What takes a database to tell. */
export function checkDatabase(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  const told = byText(checkPolicy(policy));
  return checkPolicy(policy, catalog).filter((problem) => !told.has(describeProblem(problem)));
}

function foundBy(checks: readonly Check[], checked: Checked): readonly PolicyProblem[] {
  return checks.flatMap((check) => check(checked));
}

function others(policy: Policy, catalog: Catalog | undefined): readonly PolicyProblem[] {
  if (catalog === undefined) return checkCosts(policy);
  return [
    ...checkCosts(policy),
    ...checkAgainstCatalog(policy, catalog),
    ...checkWritableConditions(policy, catalog),
    ...checkConstraints(policy, catalog),
  ];
}

/**
 * Of all databases' policies, without a catalog. A key of a general file is idle only where it is so in all of
 * them: a class may be for the tables of one database. What is told of several is told once.
 */
export function checkPolicies(policies: PolicySet): readonly PolicyProblem[] {
  const { databases, generalFiles } = policies;
  // Databases without a file of their own have the general ones alone.
  const names = databases.length > 0 && generalFiles.size === 0 ? databases : [...databases, ""];
  const all = names.map((name) => new Checked(policies.forDatabase(name)));
  const idle = all.map((checked) => byText(foundBy(IDLE, checked)));
  const found = byText(
    all.flatMap((checked) => [...foundBy(UNCOUNTED, checked), ...others(checked.policy, undefined)]),
  );
  for (const [text, problem] of idle.flatMap((each) => [...each]))
    if (!generalFiles.has(problem.place.file) || idle.every((each) => each.has(text)))
      found.set(text, problem);
  return sortProblems([...found.values()]);
}

function byText(problems: readonly PolicyProblem[]): Map<string, PolicyProblem> {
  return new Map(problems.map((problem) => [describeProblem(problem), problem]));
}
