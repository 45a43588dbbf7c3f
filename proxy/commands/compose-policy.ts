import type { AuditLog } from "../audit/event.ts";
import { describeProblem, type PolicyProblem, type PolicySet } from "../policy/load.ts";
import type { Tellers } from "./compose-state.ts";

/** What happens when the policy is read: it is told in the log, on record and in numbers. */
export function policyHandlers(
  initial: PolicySet,
  { metrics, audit, log }: Tellers & { readonly audit: AuditLog },
) {
  const told = (kind: "policy loaded" | "policy rejected", policy: string, problems: number) => {
    if (kind === "policy loaded") metrics.policyLoaded(policy);
    else metrics.policyRejected();
    audit.write({ kind, time: Date.now(), policy, problems });
  };
  told("policy loaded", initial.version, 0);
  let inForce = initial.version;
  return {
    initial,
    onLoaded(policies: PolicySet) {
      inForce = policies.version;
      told("policy loaded", inForce, 0);
      log.info({ policy: inForce }, "policy loaded");
    },
    onRejected(problems: readonly PolicyProblem[]) {
      told("policy rejected", inForce, problems.length);
      for (const problem of problems) log.error({ problem: describeProblem(problem) }, "policy rejected");
      log.error({ policy: inForce }, "the policy in force stays");
    },
  };
}

export function usesTokens(policies: PolicySet): boolean {
  return [...policies.databases, ""].some((database) =>
    [...policies.forDatabase(database).classes.values()].some(({ mask }) => mask.kind === "token"),
  );
}
