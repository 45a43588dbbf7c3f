import type { Catalog } from "../catalog/catalog.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import { checkCosts } from "../policy/check-costs.ts";
import type { PolicySet } from "../policy/compile.ts";
import type { Policy } from "../policy/policy.ts";
import { describeProblem, type PolicyProblem, sortProblems } from "../policy/problems.ts";
import { checkConstraints } from "../sql/constraint-warnings.ts";
import { checkWritableConditions } from "../sql/writable-conditions.ts";
import { idleBesideActsAs, idleFences, unboundedUnnamed, unheldShapes } from "./applications.ts";
import { type Check, Checked } from "./checked.ts";
import {
  idleCanaries,
  idleOnCanary,
  idlePurposes,
  idleRules,
  purposesOfNobody,
  watchOfUncounted,
} from "./idle-detection.ts";
import {
  emptyTables,
  idleKeys,
  idleNone,
  idleWindows,
  openMasks,
  rolesOfNobody,
  seenFinds,
  unreadClasses,
  unreadTables,
  unusedClasses,
} from "./idle-keys.ts";
import { nameSpaces } from "./name-spaces.ts";
import { coarseSubjects, forgottenTables } from "./subjects.ts";
import { budgetOfNobody, hiddenTables, uncountedTables } from "./uncounted-people.ts";
import { openToUnknown } from "./users.ts";

/*
 * All checks of a readable policy. A key without effect, or a table that counts no one, is always reported: its author
 * relies on it.
 */

/** Reading that looks counted but is not. */
const UNCOUNTED: readonly Check[] = [
  uncountedTables,
  forgottenTables,
  coarseSubjects,
  nameSpaces,
  openToUnknown,
  watchOfUncounted,
  unboundedUnnamed,
];

/** Keys without effect. */
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
  openMasks,
  emptyTables,
  hiddenTables,
  rolesOfNobody,
  idleBesideActsAs,
  idleFences,
  unheldShapes,
];

/** All problems of one database's policy, including what its catalog shows if there is one. */
export function checkPolicy(policy: Policy, catalog?: Catalog): readonly PolicyProblem[] {
  const checked = new Checked(policy, catalog);
  return sortProblems([
    ...foundBy(UNCOUNTED, checked),
    ...foundBy(IDLE, checked),
    ...others(policy, catalog),
  ]);
}

/** The problems that only a database shows. */
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
 * The problems of all databases' policies, without a catalog. A key of a general file has no effect only if that is so
 * in every database: a class may be for one database's tables. A problem of several databases is reported once.
 */
export function checkPolicies(policies: PolicySet): readonly PolicyProblem[] {
  const { databases, generalFiles } = policies;
  // Databases without a file of their own have only the general files.
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
