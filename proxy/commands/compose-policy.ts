import type { AuditLog, PolicyEvent } from "../audit/event.ts";
import type { Log } from "../log.ts";
import {
  type Compiled,
  compilePolicies,
  describeProblem,
  loadPolicies,
  type PolicyProblem,
  type PolicySet,
} from "../policy/load.ts";
import { namespaceOf } from "../policy/subject-path.ts";
import type { Crew } from "../workers/worker.ts";
import type { Tellers } from "./compose-state.ts";
import type { PolicyWarnings } from "./policy-warnings.ts";

/**
 * What is on disk. Where that is wrong, a worker that takes the place of another goes on with what is in force in
 * the others: a bad policy never replaces a good one, nor does it cost a worker.
 */
export async function policyOnStart(path: string, log: Log, crew: Crew | undefined): Promise<Compiled> {
  const loaded = await loadPolicies(path);
  const inForce = loaded.ok ? undefined : await crew?.policyInForce();
  if (inForce === undefined) return loaded;
  log.warn("the policy on disk is wrong: this worker starts with the one that is in force");
  return compilePolicies(inForce);
}

/** What happens when the policy is read: it is told in the log, on record and in numbers. */
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

/** By which names the log's questions are put: where people are named, and the classes of columns. */
function vocabularyOf(policies: PolicySet): Required<Pick<PolicyEvent, "namespaces" | "classes">> {
  const all = [...policies.databases, ""].map((database) => policies.forDatabase(database));
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
  return [...policies.databases, ""].some((database) =>
    [...policies.forDatabase(database).classes.values()].some(({ mask }) => mask.kind === "token"),
  );
}

/** Without a secret the noise of summaries is another one after each start, and many starts would average it out. */
export function usesNoise(policies: PolicySet): boolean {
  return [...policies.databases, ""].some((database) =>
    [...policies.forDatabase(database).roles.values()].some(
      ({ aggregatesOnly }) => aggregatesOnly !== undefined && aggregatesOnly.noise > 0,
    ),
  );
}
