import { describeProblem, type PolicyProblem } from "./problems.ts";

/** A policy names what the database does not have, and does not say that it may be missing. */
export class PolicyMisfit extends Error {
  readonly problems: readonly PolicyProblem[];

  constructor(problems: readonly PolicyProblem[]) {
    super(problems.map(describeProblem).join("\n"));
    this.problems = problems;
  }
}
