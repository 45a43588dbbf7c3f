import type { AuditLog, PolicyEvent } from "../audit/event.ts";
import type { Log } from "../log.ts";
import { type Compiled, compilePolicies, type PolicySet } from "../policy/compile.ts";
import { outlineOf } from "../policy/outline.ts";
import type { Policy } from "../policy/policy.ts";
import { describeProblem, type PolicyProblem } from "../policy/problems.ts";
import { namespaceOf } from "../policy/subject-path.ts";
import { loadPolicies } from "../policy-files/load.ts";
import { canaryProblem } from "../tokens/canary.ts";
import type { Sealer } from "../tokens/sealed.ts";
import type { Crew } from "../workers/worker.ts";
import type { Tellers } from "./compose-state.ts";
import type { PolicyWarnings } from "./policy-warnings.ts";

/**
 * The policy on disk. If it is invalid, a worker that replaces another continues with the policy in force in the other
 * workers: a bad policy never replaces a good one, nor does it cost a worker.
 */
export async function policyOnStart(path: string, log: Log, crew: Crew | undefined): Promise<Compiled> {
  const loaded = await loadPolicies(path);
  const inForce = loaded.ok ? undefined : await crew?.policyInForce();
  if (inForce === undefined) return loaded;
  log.warn("the policy on disk is wrong: this worker starts with the one that is in force");
  return compilePolicies(inForce);
}

/** Reports each load of the policy in the log, in the audit log and in the metrics. */
export function policyHandlers(
  initial: PolicySet,
  {
    metrics,
    audit,
    log,
    warnings,
  }: Tellers & { readonly audit: AuditLog; readonly warnings: PolicyWarnings },
  crew: Crew | undefined,
) {
  const loaded = (policies: PolicySet) => {
    metrics.policyLoaded(policies.version);
    audit.write({
      ...{ kind: "policy loaded", time: Date.now(), policy: policies.version, problems: 0 },
      ...vocabularyOf(policies),
      says: outlineOf(policies.texts),
    });
  };
  loaded(initial);
  let inForce = initial.version;
  return {
    initial,
    onLoaded(policies: PolicySet) {
      inForce = policies.version;
      crew?.policyLoaded(policies.texts);
      loaded(policies);
      log.info({ policy: inForce }, "policy loaded");
      warnings.loaded(policies);
    },
    onRejected(problems: readonly PolicyProblem[]) {
      metrics.policyRejected();
      audit.write({ kind: "policy rejected", time: Date.now(), policy: inForce, problems: problems.length });
      for (const problem of problems) log.error({ problem: describeProblem(problem) }, "policy rejected");
      log.error({ policy: inForce }, "the policy in force stays");
    },
  };
}

/** The policies of databases with a file of their own, and the one of all other databases. */
export function policiesIn(policies: PolicySet): readonly Policy[] {
  return [...policies.databases, ""].map((database) => policies.forDatabase(database));
}

/** The names used in queries of the audit log: the name spaces of people, and the classes of columns. */
function vocabularyOf(policies: PolicySet): Required<Pick<PolicyEvent, "namespaces" | "classes">> {
  const all = policiesIn(policies);
  const tables = new Map<string, Set<string>>();
  for (const table of all.flatMap((policy) => [...policy.tables.values()])) {
    const name = namespaceOf(table);
    if (name !== undefined) tables.set(name, (tables.get(name) ?? new Set()).add(table.name));
  }
  return {
    namespaces: [...tables.keys()]
      .toSorted()
      .map((name) => ({ name, tables: [...(tables.get(name) ?? [])] })),
    classes: [...new Set(all.flatMap(({ classes }) => [...classes.keys()]))].toSorted(),
  };
}

export function usesTokens(policies: PolicySet): boolean {
  return policiesIn(policies).some(({ classes }) =>
    [...classes.values()].some(({ mask }) => mask.kind === "token"),
  );
}

/** Why values of classes with stored: token could not be read, or would be written so that nobody else reads them. */
export function tokenProblems(policies: PolicySet, sealer: Sealer | undefined): readonly PolicyProblem[] {
  return policiesIn(policies).flatMap(({ tokenCanary, classes }) => {
    const place = [...classes.values()].find(({ stored }) => stored !== undefined)?.place;
    if (tokenCanary === undefined || place === undefined) return [];
    const problem =
      sealer === undefined ? "there is no --token-keys-file" : canaryProblem(sealer, tokenCanary);
    if (problem === undefined) return [];
    const hint =
      "Give serve the key ring with which token_canary was made: sluice tokens canary --token-keys-file FILE.";
    return [
      { severity: "error", place, message: `the policy's tokens cannot be read: ${problem}`, hint } as const,
    ];
  });
}

/** Without a secret the noise of summaries changes at each start, and averaging over many starts would remove it. */
export function usesNoise(policies: PolicySet): boolean {
  return policiesIn(policies).some(({ roles }) =>
    [...roles.values()].some(
      ({ aggregatesOnly }) => aggregatesOnly !== undefined && aggregatesOnly.noise > 0,
    ),
  );
}
