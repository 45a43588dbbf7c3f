import { setTimeout as sleep } from "node:timers/promises";
import type { Catalog } from "../catalog/catalog.ts";
import type { Catalogs } from "../catalog/catalogs.ts";
import { missingUsers } from "../check/users.ts";
import type { Log } from "../log.ts";
import { checkAgainstCatalog } from "../policy/against-catalog.ts";
import { compilePolicies, describeProblem, type PolicyProblem, type PolicySet } from "../policy/load.ts";
import { PolicyMisfit } from "../policy/misfit.ts";
import { sortProblems } from "../policy/problems.ts";
import type { Crew } from "../workers/worker.ts";

/** A database that has not answered by then is away: its policy is looked at when it comes, in milliseconds. */
const ANSWER_WITHIN = 5_000;
const USERS_WITHIN = 5_000;

/**
 * Keeps out policies that name tables or columns which their database does not have. A misspelt name protects
 * nothing, and the table that was meant is open; so such a policy is not started with and does not replace one in
 * force. A database that is away at the start is waited for, as ever: nobody gets into it before its catalog was
 * read, and then its policy must fit. What is dropped while a policy is in force is told in the log, and closed.
 */
export class Fit {
  readonly #asked: readonly string[];
  readonly #log: Log;
  /** The last catalog of each database that was ever read. */
  readonly #read = new Map<string, Catalog>();
  #started = false;
  /** In force in the other processes: what is missing was dropped since then. */
  #trusted: string | undefined;

  /** `asked`: the databases that the settings name. */
  constructor(asked: readonly string[], log: Log) {
    this.#asked = asked;
    this.#log = log;
  }

  /** The last of each database that was read. */
  get catalogs(): Iterable<Catalog> {
    return this.#read.values();
  }

  /** A catalog was read. */
  note(catalog: Catalog): void {
    this.#read.set(catalog.database, catalog);
  }

  /** Nobody has used the database for long. What the settings and the policy name is kept: others are judged by it. */
  forget(policies: PolicySet, database: string): void {
    if (!this.#databases(policies).includes(database)) this.#read.delete(database);
  }

  /** Before the first session of a database: throws a PolicyMisfit. The start looks at all databases together. */
  admit(policies: PolicySet, catalog: Catalog): void {
    this.note(catalog);
    if (!this.#started || policies.version === this.#trusted) return;
    if (!this.#databases(policies).includes(catalog.database)) return;
    const problems = this.#misfits(policies).get(catalog.database) ?? [];
    if (problems.length > 0) throw new PolicyMisfit(problems);
  }

  /** The policy to start with; throws a PolicyMisfit. A worker goes on with what is in force in the others. */
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

  /** What keeps a policy from replacing the one in force. The databases are asked again: tables may be new. */
  async problemsOf(policies: PolicySet, catalogs: Catalogs): Promise<readonly PolicyProblem[]> {
    await this.#readAll(policies, async (database) =>
      this.note(await (await catalogs.of(database)).refresh()),
    );
    return this.#problems(policies);
  }

  /** Says which of the policy's users the databases do not know. */
  async tellUsers(policies: PolicySet, catalogs: Catalogs): Promise<void> {
    for (const database of this.#databases(policies)) {
      if (!this.#read.has(database)) continue;
      const ask = async (sql: string) => (await catalogs.of(database)).ask(sql, USERS_WITHIN);
      const missing = await missingUsers(policies.forDatabase(database), ask).catch(() => []);
      for (const problem of missing)
        this.#log.warn({ problem: describeProblem(problem), database }, "a user is missing");
    }
  }

  #problems(policies: PolicySet): readonly PolicyProblem[] {
    const found = this.#misfits(policies);
    const texts = new Map([...found.values()].flat().map((problem) => [describeProblem(problem), problem]));
    return sortProblems([...texts.values()]);
  }

  /**
   * What is missing, by database. A general file speaks of all databases: a table that one of them has is not
   * missing in the others, nor as long as one that may have it is away.
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

  /** Those that the settings or the policy name; the others have no table of their own in it. */
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
