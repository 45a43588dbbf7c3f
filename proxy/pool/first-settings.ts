import { Ledger } from "../protocol/ledger.ts";
import { decodeParameterStatus, decodeReadyForQuery } from "../wire/backend-messages.ts";
import { decodeError, fatalResponse } from "../wire/errors.ts";
import type { FrameReader } from "../wire/frames.ts";
import { Backend } from "../wire/messages.ts";
import { type Asker, NoConnection, noneFree, type Startup } from "./asker.ts";
import type { Pool } from "./pool.ts";
import { OwnQuery } from "./pool-requests.ts";
import type { Holder, ServerConnection } from "./server-connection.ts";
import { applying, askingDefaults, resetFor, type SyncedParameters } from "./synced-parameters.ts";

/** What a session is told at its beginning, by the names of parameters. */
export type Parameters = ReadonlyMap<string, string>;

/** How often a connection that was lost is replaced. */
const ATTEMPTS = 3;

/**
 * Gives a connection a client's start-up settings, and asks what its parameters are then: the server says as well what is
 * wrong with a setting, in the words that it has for a start-up packet. A connection that began with other defaults than
 * sessions do now is not used. Rejects with `NoConnection`.
 */
export function tryOn(
  pool: Pool,
  startup: Startup,
  settings: SyncedParameters,
  signal: AbortSignal,
): Promise<Parameters> {
  return new Promise((resolve, reject) => {
    const trial = new Trial(pool, startup, settings, { resolve, reject });
    signal.addEventListener("abort", () => trial.giveUp(signal.reason), { once: true });
    if (signal.aborted) reject(signal.reason);
    else trial.begin();
  });
}

interface Outcome {
  readonly resolve: (parameters: Parameters) => void;
  readonly reject: (problem: unknown) => void;
}

class Trial implements Asker, Holder {
  readonly #pool: Pool;
  readonly #startup: Startup;
  readonly #settings: SyncedParameters;
  readonly #outcome: Outcome;
  #connection: ServerConnection | undefined;
  #attempts = 0;
  readonly #ledger = new Ledger();
  #problem: NoConnection | undefined;
  /** With which settings the server begins sessions: the last question. */
  #question: OwnQuery | undefined;

  constructor(pool: Pool, startup: Startup, settings: SyncedParameters, outcome: Outcome) {
    this.#pool = pool;
    this.#startup = startup;
    this.#settings = settings;
    this.#outcome = outcome;
  }

  begin(): void {
    const connection = this.#pool.take(this, this.#startup);
    if (connection !== undefined) this.granted(connection);
  }

  /** Nobody wants to know any more. */
  giveUp(reason: unknown): void {
    this.#pool.forget(this);
    const { reject } = this.#outcome;
    if (this.#connection === undefined) reject(noneFree("within the login timeout", reason));
    else reject(reason);
  }

  granted(connection: ServerConnection): void {
    this.#connection = connection;
    connection.lend(this);
    connection.flow(true);
    const reset = resetFor(connection.leaves);
    const settings = applying(this.#settings, reset === undefined ? connection.applied : new Map());
    // What the last client has left is taken back first.
    if (reset !== undefined) this.#ask(connection, reset, () => this.#isReset(connection));
    // Whatever is asked, the server tells first what is new in its configuration.
    if (settings !== undefined) this.#ask(connection, settings, () => {});
    this.#question = this.#ask(connection, askingDefaults, (asked) => this.#areSet(connection, asked));
    connection.flush();
  }

  failed(problem: NoConnection): void {
    this.#outcome.reject(problem);
  }

  arrived(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    try {
      while (this.#connection === connection && connection.next()) this.#take(connection.reader);
    } catch (error) {
      connection.broke(error);
      return;
    }
    if (this.#connection === connection && connection.hasEnded) connection.finish();
  }

  #take(frame: FrameReader): void {
    const ledger = this.#ledger;
    switch (frame.type) {
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(frame);
        this.#connection?.parameters.set(name, value);
        break;
      }
      case Backend.NoticeResponse:
      case Backend.NotificationResponse:
        break;
      case Backend.ErrorResponse:
        this.#failed(frame);
        ledger.failed();
        break;
      case Backend.ReadyForQuery:
        ledger.ready(decodeReadyForQuery(frame));
        break;
      default: {
        const own = ledger.expectOwn(frame.type);
        if (own instanceof OwnQuery && frame.type === Backend.DataRow) own.take(frame);
        ledger.answered(frame.type);
      }
    }
  }

  /** What is asked last may take longer than a client's own settings allow: it is not theirs. */
  #failed(frame: FrameReader): void {
    const { own } = this.#ledger;
    if (own instanceof OwnQuery) own.failed = true;
    if (own !== this.#question)
      this.#problem = new NoConnection(fatalResponse(frame), decodeError(frame).get("C") ?? "XX000");
  }

  lost(): void {
    this.#connection = undefined;
    this.#problem = undefined;
    this.#ledger.clear();
    if (++this.#attempts < ATTEMPTS) this.begin();
    else this.#outcome.reject(new Error("a server connection was lost again and again"));
  }

  mayStream(): boolean {
    return false;
  }

  #ask(connection: ServerConnection, message: Buffer, ended: (query: OwnQuery) => void): OwnQuery {
    const asked = new OwnQuery(ended);
    connection.sendOwn(message);
    this.#ledger.asked(asked);
    return asked;
  }

  #isReset(connection: ServerConnection): void {
    if (this.#problem !== undefined) {
      connection.holder = undefined;
      this.#pool.discard(connection);
      this.lost();
      return;
    }
    if (connection.leaves === "anything") connection.statements.clear();
    connection.leaves = "nothing";
    connection.applied = new Map();
  }

  #areSet(connection: ServerConnection, { row, failed }: OwnQuery): void {
    if (this.#problem === undefined) connection.applied = this.#settings;
    const parameters = new Map(connection.parameters);
    const isOutdated = !failed && this.#pool.beginsWith(row[0] ?? "");
    this.#connection = undefined;
    connection.giveUp();
    this.#pool.release(connection);
    if (this.#problem !== undefined) this.#outcome.reject(this.#problem);
    else if (isOutdated) this.begin();
    else this.#outcome.resolve(parameters);
  }
}
