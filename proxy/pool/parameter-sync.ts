import type { Residue } from "../sql/session-residue.ts";
import { parameterStatus } from "../wire/backend-messages.ts";
import { refuseSession } from "../wire/refusal.ts";
import type { OwnQuery } from "./pool-requests.ts";
import type { PoolSession } from "./pool-session.ts";
import type { ServerConnection } from "./server-connection.ts";
import {
  applying,
  asBytes,
  asking,
  IDLE_TIMEOUT,
  resetFor,
  restoring,
  type SyncedParameters,
  withoutIdleTimeout,
} from "./synced-parameters.ts";

/** How often a connection that cannot be set up is replaced before the client is told. */
const ATTEMPTS = 3;

/** How often the server is asked what has come of settings before the client is told that this cannot be known. */
const LEARNING_ATTEMPTS = 2;

/** What a client carries from one connection to the next: its settings, and what it knows of parameters. */
export class ParameterSync {
  /** A connection is being made ready: nothing of the client's may be sent. */
  isSettingUp = false;
  /** A statement of this transaction may have set search_path for the transaction. */
  hasLocalPath = false;
  readonly #server: PoolSession;
  readonly #own: SyncedParameters;
  #settings: SyncedParameters;
  /** Settings that may have been changed since the server was asked. */
  readonly #touched = new Set<string>();
  /** As the client was last told. */
  readonly #parameters: Map<string, string>;
  #attempts = 0;
  /** What the startup packet said may have given way to the server's defaults. */
  #mustRestore = false;

  constructor(server: PoolSession, settings: SyncedParameters, parameters: ReadonlyMap<string, string>) {
    this.#server = server;
    this.#own = settings;
    this.#settings = settings;
    this.#parameters = new Map(parameters);
  }

  /** The server must be asked what has come of it. */
  get isTouched(): boolean {
    return this.#touched.size > 0 || this.#mustRestore;
  }

  /** RESET gives back what the startup packet said: sent right behind it, so that the client's next message finds that. */
  restore(): void {
    if (!this.#mustRestore) return;
    this.#mustRestore = false;
    this.#server.ask(restoring(this.#own), () => {
      const { connection } = this.#server;
      if (connection !== undefined) this.#compare(connection);
      this.#server.settle();
    });
  }

  /** search_path of the session; undefined while only the server knows it. */
  get path(): string | undefined {
    if (this.hasLocalPath || this.#touched.has("search_path")) return undefined;
    return this.#settings.get("search_path") ?? "";
  }

  note({ sets, resets, defaults, localPath }: Residue): void {
    if (defaults && this.#own.size > 0) this.#mustRestore = true;
    for (const name of sets) this.#touched.add(asBytes(name));
    if (resets) for (const name of this.#settings.keys()) this.#touched.add(name);
    if (localPath) this.hasLocalPath = true;
  }

  /**
   * Makes a connection the client's. Nothing of the client's is sent before that is done: it could fail, and the
   * client's would run all the same.
   */
  setUp(connection: ServerConnection): void {
    const isOwn = connection.lastHolder === this.#server;
    const reset = isOwn ? undefined : resetFor(connection.leaves);
    const discardsPlans = connection.leaves === "anything";
    const settings = applying(this.#settings, reset === undefined ? connection.applied : new Map());
    const queries = [reset, settings].filter((query) => query !== undefined);
    if (queries.length === 0) {
      this.#compare(connection);
      return;
    }
    this.isSettingUp = true;
    let failed = false;
    let answered = 0;
    const done = (query: OwnQuery) => {
      failed ||= query.failed;
      if (++answered < queries.length) return;
      if (!failed && reset !== undefined) {
        if (discardsPlans) connection.statements.clear();
        connection.leaves = "nothing";
      }
      this.#isSetUp(connection, failed);
    };
    for (const query of queries) this.#server.ask(query, done);
    connection.flush();
  }

  /** The connection was lost, or could not be set up. */
  tryAgain(): void {
    this.isSettingUp = false;
    // The message that waits asks for another one.
    if (++this.#attempts < ATTEMPTS) this.#server.goOnSoon();
    else this.#server.fail(NOT_SET_UP);
  }

  /** Asks the server what has come of the settings that were touched. */
  learn(): void {
    this.restore();
    if (this.#touched.delete(IDLE_TIMEOUT)) this.#server.ask(withoutIdleTimeout, () => this.#server.settle());
    const names = [...new Set([...this.#settings.keys(), ...this.#touched])];
    this.#touched.clear();
    if (names.length > 0) this.#learn(names, LEARNING_ATTEMPTS);
  }

  /** The first question may meet what the client has left: a server out of step after a Query in a pipeline (XX000). */
  #learn(names: readonly string[], attempts: number): void {
    this.#server.ask(asking(names), ({ row, failed }) => {
      if (failed) {
        if (attempts > 1) this.#learn(names, attempts - 1);
        else this.#server.fail(NOT_SET_UP);
        return;
      }
      const learnt = names.map((name, i) => [name, row[i]] as const);
      this.#settings = new Map(learnt.filter((each): each is [string, string] => each[1] !== undefined));
      const { connection } = this.#server;
      if (connection !== undefined) connection.applied = this.#settings;
      this.#server.settle();
    });
  }

  /** All settings are as they were at login (DISCARD ALL). */
  discarded(connection: ServerConnection): void {
    this.#settings = this.#own;
    // What was set before is undone: to ask for it would learn the server's defaults in place of the client's.
    this.#touched.clear();
    this.#mustRestore = false;
    connection.applied = new Map();
    connection.leaves = "nothing";
  }

  /** The server reports a parameter while it answers the client. */
  report(name: string, value: string): void {
    this.#server.connection?.parameters.set(name, value);
    if (this.#parameters.get(name) === value) return;
    this.#parameters.set(name, value);
    const pinned = PINNED.get(name);
    if (pinned === undefined || pinned === value) {
      this.#server.tell(parameterStatus(name, value));
      return;
    }
    // Code of the database's has set it: texts would be read here as the server does not read them.
    this.#server.fail(refuseSession("22023", `${name} must stay ${pinned} with --pool transaction`));
  }

  #isSetUp(connection: ServerConnection, failed: boolean): void {
    if (failed) {
      this.#server.discard();
      this.tryAgain();
      return;
    }
    this.isSettingUp = false;
    this.#attempts = 0;
    connection.applied = this.#settings;
    this.#compare(connection);
  }

  /** A connection that was opened earlier or later may have other defaults: the client is told. */
  #compare(connection: ServerConnection): void {
    for (const [name, value] of connection.parameters) this.report(name, value);
  }
}

/** The analysis reads texts as the server does with these. */
const PINNED: ReadonlyMap<string, string> = new Map([
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
]);

const NOT_SET_UP = refuseSession(
  "08006",
  "the settings of this session cannot be carried to another connection",
  {
    hint: "A setting may name something that is gone, or statement_timeout may be too short. Connect again.",
  },
);
