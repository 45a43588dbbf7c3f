import type { Log } from "../log.ts";
import { quoteIdentifier } from "../pg/quote.ts";
import { canaryKey, type MarkedCanaries, type Policy } from "../policy/policy.ts";

/** A user is about to receive a decoy. Contains no value of the decoy. */
export interface CanarySighting {
  /** Unix time in milliseconds. */
  readonly time: number;
  readonly user: string;
  readonly role: string;
  readonly database: string;
  /** IP address. */
  readonly client: string;
  readonly session: string;
  readonly application: string;
  /** The application's own user, where it reads for the user. */
  readonly account?: string;
  /** Of the statement: tables, and classes that it shows in the clear. */
  readonly tables?: readonly string[];
  readonly shown?: readonly string[];
  readonly action: "alert" | "suspend";
  /** The decoy's keyed hash, and the group that it was made for, "" for none. */
  readonly canary: { readonly subject: string; readonly group: string };
}

/** The text of the alert. */
export function canaryText({ canary }: CanarySighting): string {
  return canary.group === "" ? "a decoy was read" : `a decoy made for "${canary.group}" was read`;
}

export interface DecoysOptions {
  /** The policy in force. */
  readonly policy: (database: string) => Policy;
  /** Queries the database over the control connection. */
  readonly ask: (database: string, sql: string) => Promise<readonly unknown[][]>;
  /** Whether a user is logged in to the database, or about to be. */
  readonly isUsed: (database: string) => boolean;
  readonly log: Log;
}

/** How soon a newly inserted decoy is known, in milliseconds; later if the query is slow. */
const LOOK_EVERY = 2_000;
const REST_FACTOR = 20;
/** A condition that marks more rows than this marks people, not decoys. */
const MOST_DECOYS = 10_000;

interface Looked {
  groups: ReadonlyMap<string, string>;
  problem: string | undefined;
  timer: NodeJS.Timeout | undefined;
}

/**
 * The decoys that conditions of the policy mark. The database is queried for them every few seconds and not with each
 * statement: decoys are few and rarely new, and a statement's own user may lack the right to see the mark.
 */
export class Decoys {
  readonly #options: DecoysOptions;
  readonly #looked = new Map<string, Looked>();
  readonly #first = new Map<string, Promise<void>>();
  #closed = false;

  constructor(options: DecoysOptions) {
    this.#options = options;
  }

  /** By `canaryKey`: the group of each decoy. */
  of(database: string): ReadonlyMap<string, string> {
    return this.#looked.get(database)?.groups ?? NOBODY;
  }

  /**
   * Queries this database for as long as it is used; resolves after the first query, whatever its result. Never
   * rejects.
   */
  watch(database: string): Promise<void> {
    let first = this.#first.get(database);
    if (first === undefined) {
      // Known decoys stay known.
      const before = this.#looked.get(database);
      this.#looked.set(database, before ?? { groups: NOBODY, problem: undefined, timer: undefined });
      first = this.#look(database);
      this.#first.set(database, first);
    }
    return first;
  }

  close(): void {
    this.#closed = true;
    for (const { timer } of this.#looked.values()) clearTimeout(timer);
  }

  async #look(database: string): Promise<void> {
    const looked = this.#looked.get(database);
    if (looked === undefined) return;
    const start = performance.now();
    const { log, policy, ask } = this.#options;
    try {
      const groups = new Map<string, string>();
      for (const marked of policy(database).canaries?.marked ?? []) {
        const rows = await ask(database, decoysOf(marked));
        if (rows.length > MOST_DECOYS) {
          throw new Error(`the condition of ${marked.table} marks more than ${MOST_DECOYS} rows`);
        }
        for (const [id] of rows)
          groups.set(canaryKey(`${marked.table}.${marked.subject}`, String(id)), marked.group);
      }
      looked.groups = groups;
      looked.problem = undefined;
    } catch (error) {
      const problem = error instanceof Error ? error.message : "unknown";
      // Known decoys stay known.
      if (!this.#closed && looked.problem !== problem) {
        log.error({ problem, database }, "the decoys that the policy's conditions mark cannot be read");
      }
      looked.problem = problem;
    }
    if (this.#closed) return;
    const rest = Math.max(LOOK_EVERY, REST_FACTOR * (performance.now() - start));
    looked.timer = setTimeout(() => {
      if (this.#options.isUsed(database)) void this.#look(database);
      else this.#first.delete(database);
    }, rest).unref();
  }
}

const NOBODY: ReadonlyMap<string, string> = new Map();

function decoysOf({ table, subject, condition }: MarkedCanaries): string {
  const relation = table.split(".").map(quoteIdentifier).join(".");
  return `SELECT DISTINCT ${quoteIdentifier(subject)}::text FROM ${relation} WHERE (${condition.sql}) AND ${quoteIdentifier(subject)} IS NOT NULL LIMIT ${MOST_DECOYS + 1}`;
}
