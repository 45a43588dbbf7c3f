import { setTimeout as sleep } from "node:timers/promises";
import type { Catalog } from "../catalog/catalog.ts";
import type { Catalogs } from "../catalog/catalogs.ts";
import { missingDatabases, missingUsers } from "../check/users.ts";
import type { Log } from "../log.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import { compilePolicies, type PolicySet } from "../policy/compile.ts";
import { PolicyMisfit } from "../policy/misfit.ts";
import { describeProblem, type PolicyProblem, sortProblems } from "../policy/problems.ts";
import type { Crew } from "../workers/worker.ts";

/**
 * A database that has not answered by then counts as unreachable: its policy is checked once it answers. In
 * milliseconds.
 */
const ANSWER_WITHIN = 5_000;
const USERS_WITHIN = 5_000;

/**
 * Rejects policies that name tables or columns which their database does not have. A misspelt name protects nothing,
 * and leaves the table that was meant open. So Sluice does not start with such a policy, and it does not replace the
 * policy in force. A database that is unreachable at the start is waited for: no one gets into it before its catalog
 * has been read, and then its policy must fit. If a table or column is dropped while a policy is in force, this is
 * logged, and access is closed.
 */
export class Fit {
  readonly #asked: readonly string[];
  readonly #log: Log;
  /** The last catalog that was read of each database. */
  readonly #read = new Map<string, Catalog>();
  #started = false;
  /** The version in force in the other processes: what is missing for it was dropped since then. */
  #trusted: string | undefined;

  /** `asked`: the databases that the settings name. */
  constructor(asked: readonly string[], log: Log) {
    this.#asked = asked;
    this.#log = log;
  }

  /** The last catalog that was read of each database. */
  get catalogs(): Iterable<Catalog> {
    return this.#read.values();
  }

  /** Records a catalog that was read. */
  note(catalog: Catalog): void {
    this.#read.set(catalog.database, catalog);
  }

  /**
   * Drops a long-unused database. Databases that the settings or the policy name are kept: others are judged by them.
   */
  forget(policies: PolicySet, database: string): void {
    if (!this.#databases(policies).includes(database)) this.#read.delete(database);
  }

  /** Called before the first session of a database: throws a PolicyMisfit. The start checks all databases together. */
  admit(policies: PolicySet, catalog: Catalog): void {
    this.note(catalog);
    if (!this.#started || policies.version === this.#trusted) return;
    if (!this.#databases(policies).includes(catalog.database)) return;
    const problems = this.#misfits(policies).get(catalog.database) ?? [];
    if (problems.length > 0) throw new PolicyMisfit(problems);
  }

  /**
   * The policy to start with; throws a PolicyMisfit. A worker continues with the policy in force in the other workers.
   */
  async start(policies: PolicySet, catalogs: Catalogs, crew: Crew | undefined): Promise<PolicySet> {
    await this.#readAll(policies, (database) => catalogs.of(database));
    this.#started = true;
    const problems = this.#problems(policies);
    const inForce = problems.length > 0 ? await crew?.policyInForce() : undefined;
    if (inForce === undefined) {
      if (problems.length > 0) throw new PolicyMisfit(problems);
      return policies;
    }
    const compiled = compilePolicies(inForce);
    if (!compiled.ok) throw new PolicyMisfit(problems);
    this.#trusted = compiled.policies.version;
    const says =
      "the policy names what is not in the database: this worker starts with the one that is in force";
    for (const problem of problems) this.#log.warn({ problem: describeProblem(problem) }, says);
    return compiled.policies;
  }

  /** Why a policy may not replace the one in force. The databases are read again, because tables may be new. */
  async problemsOf(policies: PolicySet, catalogs: Catalogs): Promise<readonly PolicyProblem[]> {
    await this.#readAll(policies, async (database) =>
      this.note(await (await catalogs.of(database)).refresh()),
    );
    return this.#problems(policies);
  }

  /** Logs the policy's users that the databases do not know. */
  async tellUsers(policies: PolicySet, catalogs: Catalogs): Promise<void> {
    for (const database of this.#databases(policies)) {
      if (!this.#read.has(database)) continue;
      const ask = async (sql: string) => (await catalogs.of(database)).ask(sql, USERS_WITHIN);
      const missing = await missingUsers(policies.forDatabase(database), ask).catch(() => []);
      for (const problem of missing)
        this.#log.warn({ problem: describeProblem(problem), database }, "a user is missing");
    }
  }

  /** Logs the databases that the policy's files speak of and the server does not have. */
  async tellDatabases(policies: PolicySet, catalogs: Catalogs): Promise<void> {
    const [known] = this.#read.keys();
    if (known === undefined || policies.databases.every((database) => this.#read.has(database))) return;
    const ask = async (sql: string) => (await catalogs.of(known)).ask(sql, USERS_WITHIN);
    for (const problem of await missingDatabases(policies, ask).catch(() => []))
      this.#log.warn({ problem: describeProblem(problem) }, "a database is missing");
  }

  #problems(policies: PolicySet): readonly PolicyProblem[] {
    const found = this.#misfits(policies);
    const texts = new Map([...found.values()].flat().map((problem) => [describeProblem(problem), problem]));
    return sortProblems([...texts.values()]);
  }

  /**
   * What is missing, by database. A general file applies to all databases: a table that one of them has is not missing
   * in the others, nor is one while a database that may have it is unreachable.
   */
  #misfits(policies: PolicySet): ReadonlyMap<string, readonly PolicyProblem[]> {
    const catalogs = this.#databases(policies).flatMap((database) => this.#read.get(database) ?? []);
    const isAway = this.#asked.some((database) => !this.#read.has(database));
    const isElsewhere = (table: string) => isAway || catalogs.some(({ relations }) => relations.has(table));
    return new Map(
      catalogs.map((catalog) => {
        const found = checkAgainstCatalog(policies.forDatabase(catalog.database), catalog);
        const missing = found.filter(
          ({ missing: table, place }) =>
            table !== undefined &&
            (catalog.relations.has(table) || !policies.generalFiles.has(place.file) || !isElsewhere(table)),
        );
        return [catalog.database, missing];
      }),
    );
  }

  /** The databases that the settings or the policy name; the others have no tables of their own in the policy. */
  #databases({ databases }: PolicySet): readonly string[] {
    return [...new Set([...this.#asked, ...databases])];
  }

  async #readAll(policies: PolicySet, read: (database: string) => Promise<unknown>): Promise<void> {
    const waited = new AbortController();
    const all = this.#databases(policies).map((database) => read(database).catch(() => undefined));
    const limit = sleep(ANSWER_WITHIN, undefined, { signal: waited.signal }).catch(() => undefined);
    await Promise.race([Promise.all(all), limit]);
    waited.abort();
  }
}
