import type { Catalog } from "../catalog/catalog.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import { checkCosts } from "../policy/check-costs.ts";
import { describeProblem, type PolicyProblem, type PolicySet } from "../policy/load.ts";
import type { Policy } from "../policy/policy.ts";
import { checkWritableConditions } from "../sql/writable-conditions.ts";

/* What `policy check` says of a policy that could be loaded, and `serve` writes to its log. */

/** What the policy alone tells: of every database that has one of its own, and of all others. */
export function problemsOfAll(policies: PolicySet): readonly PolicyProblem[] {
  const found = [...policies.databases, ""].flatMap((name) => problemsOf(policies.forDatabase(name)));
  // What stands in a general file is told once.
  return [...new Map(found.map((problem) => [describeProblem(problem), problem])).values()];
}

function problemsOf(policy: Policy): readonly PolicyProblem[] {
  return checkCosts(policy);
}

/** What takes a database to tell. */
export function problemsIn(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  return [...checkAgainstCatalog(policy, catalog), ...checkWritableConditions(policy, catalog)];
}

/** All of both, for one database. */
export function allProblems(policy: Policy, catalog: Catalog): readonly PolicyProblem[] {
  return [...problemsOf(policy), ...problemsIn(policy, catalog)];
}
