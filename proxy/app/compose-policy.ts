import type { AuditLog, Namespace } from "../audit/event.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { Log } from "../log.ts";
import { type Compiled, compilePolicies, type PolicySet } from "../policy/compile.ts";
import { namespacesOf, policiesIn } from "../policy/namespaces.ts";
import { outlineOf } from "../policy/outline.ts";
import { describeProblem, type PolicyProblem } from "../policy/problems.ts";
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
    catalogs,
  }: Tellers & {
    readonly audit: AuditLog;
    readonly warnings: PolicyWarnings;
    /** Those that have been read. */
    readonly catalogs: () => Iterable<Catalog>;
  },
  crew: Crew | undefined,
) {
  let current = initial;
  let told: string;
  const namespaces = (): readonly Namespace[] => {
    const found = [...namespacesOf(current, catalogs())].map(([name, tables]) => ({ name, tables }));
    told = JSON.stringify(found);
    return found;
  };
  const loaded = (policies: PolicySet) => {
    current = policies;
    metrics.policyLoaded(policies.version);
    audit.write({
      ...{ kind: "policy loaded", time: Date.now(), policy: policies.version, problems: 0 },
      ...{ namespaces: namespaces(), classes: classesOf(policies), says: outlineOf(policies.texts) },
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
    /** A foreign key may say that people are named elsewhere than the policy alone does. */
    onCatalogRead() {
      const before = told;
      const found = namespaces();
      if (told !== before)
        audit.write({ kind: "catalog read", time: Date.now(), policy: inForce, namespaces: found });
    },
    onRejected(problems: readonly PolicyProblem[]) {
      metrics.policyRejected();
      audit.write({ kind: "policy rejected", time: Date.now(), policy: inForce, problems: problems.length });
      for (const problem of problems) log.error({ problem: describeProblem(problem) }, "policy rejected");
      log.error({ policy: inForce }, "the policy in force stays");
    },
  };
}

function classesOf(policies: PolicySet): readonly string[] {
  return [...new Set(policiesIn(policies).flatMap(({ classes }) => [...classes.keys()]))].toSorted();
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
