import { decodeParameterStatus } from "../wire/backend-messages.ts";
import { decodeError, fatalResponse } from "../wire/errors.ts";
import { type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { queryMessage } from "../wire/frontend-messages.ts";
import { Backend } from "../wire/messages.ts";
import { applying, type Carried, resetFor } from "./carried-settings.ts";
import { type Asker, NoConnection, noneFree, type Pool, type Startup } from "./pool.ts";
import type { Holder, ServerConnection } from "./server-connection.ts";

/** What a session is told at its beginning, by the names of parameters. */
export type Parameters = ReadonlyMap<string, string>;

/** How often a connection that was lost is replaced. */
const ATTEMPTS = 3;

/**
 * Gives a connection a client's start-up settings, and asks what its parameters are then: the server says as well what is
 * wrong with a setting, in the words that it has for a start-up packet. Rejects with `NoConnection`.
 */
export function tryOn(
  pool: Pool,
  startup: Startup,
  settings: Carried,
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
  readonly #settings: Carried;
  readonly #outcome: Outcome;
  #connection: ServerConnection | undefined;
  #attempts = 0;
  /** Answers that are still to come; what the last client has left is taken back first. */
  #due: ("reset" | "settings")[] = [];
  #problem: NoConnection | undefined;

  constructor(pool: Pool, startup: Startup, settings: Carried, outcome: Outcome) {
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
    if (this.#connection === undefined) reject(noneFree("before the time for the log-in was over", reason));
    else reject(reason);
  }

  granted(connection: ServerConnection): void {
    this.#connection = connection;
    connection.holder = this;
    connection.opened.socket.resume();
    const reset = resetFor(connection.leaves);
    const settings = applying(this.#settings, reset === undefined ? connection.applied : new Map());
    if (reset !== undefined) connection.toServer.send(reset);
    // Whatever is asked, the server tells first what is new in its configuration.
    connection.toServer.send(settings ?? NOTHING);
    this.#due = reset === undefined ? ["settings"] : ["reset", "settings"];
    connection.flush(() => {});
  }

  failed(problem: NoConnection): void {
    this.#outcome.reject(problem);
  }

  backend(frame: FrameReader): void {
    const connection = this.#connection;
    if (connection === undefined) throw new ProtocolViolation("an answer to nothing");
    switch (frame.type) {
      case Backend.ParameterStatus: {
        const { name, value } = decodeParameterStatus(frame);
        connection.parameters.set(name, value);
        break;
      }
      case Backend.ErrorResponse:
        this.#problem = new NoConnection(fatalResponse(frame), decodeError(frame).get("C") ?? "XX000");
        break;
      case Backend.ReadyForQuery:
        this.#answered(connection);
        break;
    }
  }

  arrived(): void {}

  lost(): void {
    this.#connection = undefined;
    this.#problem = undefined;
    if (++this.#attempts < ATTEMPTS) this.begin();
    else this.#outcome.reject(new Error("a server connection was lost again and again"));
  }

  mayStream(): boolean {
    return false;
  }

  #answered(connection: ServerConnection): void {
    const done = this.#due.shift();
    const isLast = this.#due.length === 0;
    if (done === "reset") {
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
    if (!isLast) return;
    if (this.#problem === undefined) connection.applied = this.#settings;
    const parameters = new Map(connection.parameters);
    connection.holder = undefined;
    this.#connection = undefined;
    this.#pool.release(connection);
    if (this.#problem === undefined) this.#outcome.resolve(parameters);
    else this.#outcome.reject(this.#problem);
  }
}

const NOTHING = queryMessage(Buffer.alloc(0));
