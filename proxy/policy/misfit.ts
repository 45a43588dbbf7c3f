import { describeProblem, type PolicyProblem } from "./problems.ts";

/** The policy names something that the database does not have, and does not declare that it may be missing. */
export class PolicyMisfit extends Error {
  readonly problems: readonly PolicyProblem[];

  constructor(problems: readonly PolicyProblem[]) {
    super(problems.map(describeProblem).join("\n"));
    this.problems = problems;
  }
}
