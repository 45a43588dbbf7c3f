import type { Catalog } from "../catalog/catalog.ts";
import { checkDatabase, checkPolicies } from "../check/check.ts";
import type { Log } from "../log.ts";
import type { PolicySet } from "../policy/compile.ts";
import { describeProblem, type PolicyProblem } from "../policy/problems.ts";

/**
 * Logs what `policy check` would print for the policy in force: each problem once per load of the policy. Problems that
 * need a database are logged once its catalog has been read.
 */
export class PolicyWarnings {
  readonly #log: Log;
  #policies: PolicySet;
  /** The latest catalog of each database. */
  readonly #catalogs = new Map<string, Catalog>();
  #told = new Set<string>();

  constructor(policies: PolicySet, log: Log) {
    this.#log = log;
    this.#policies = policies;
    this.loaded(policies);
  }

  /** Called when a policy has come into force. */
  loaded(policies: PolicySet): void {
    this.#policies = policies;
    this.#told = new Set();
    for (const problem of checkPolicies(policies)) this.#tell(problem, {}, "policy warning");
    for (const catalog of this.#catalogs.values()) this.#check(catalog);
  }

  /** Called when a database's catalog has been read. */
  read(catalog: Catalog): void {
    if (this.#catalogs.get(catalog.database)?.version === catalog.version) return;
    this.#catalogs.set(catalog.database, catalog);
    this.#check(catalog);
  }

  /** Drops a long-unused database, which may no longer exist. */
  forget(database: string): void {
    this.#catalogs.delete(database);
  }

  #check(catalog: Catalog): void {
    const { database } = catalog;
    for (const problem of checkDatabase(this.#policies.forDatabase(database), catalog))
      this.#tell(problem, { database }, "policy and database differ");
  }

  #tell(problem: PolicyProblem, about: { readonly database?: string }, message: string): void {
    const text = describeProblem(problem);
    const key = `${about.database ?? ""}\0${text}`;
    if (this.#told.has(key)) return;
    this.#told.add(key);
    this.#log.warn({ problem: text, ...about }, message);
  }
}
