import { errorResponse } from "../wire/errors.ts";
import { refuseSession } from "../wire/refusal.ts";
import type { ServerConnection } from "./server-connection.ts";

/** What a connection is opened with. */
export interface Startup {
  /** Equal for startup packets that make equal sessions. */
  readonly key: string;
  readonly packet: Buffer;
}

/** Why there is no connection, as the ErrorResponse that a client is to get. */
export class NoConnection extends Error {
  override readonly name = "NoConnection";
  readonly response: Buffer;
  readonly sqlstate: string;

  constructor(response: Buffer, sqlstate: string, options?: ErrorOptions) {
    super(`no connection to the server (${sqlstate})`, options);
    this.response = response;
    this.sqlstate = sqlstate;
  }
}

/** Who waits for a connection. */
export interface Asker {
  granted(connection: ServerConnection): void;
  failed(problem: NoConnection): void;
}

/** What a client is told who has waited for too long; `how` completes "became free". */
export function noneFree(how: string, cause?: unknown): NoConnection {
  const refusal = refuseSession("53300", `no server connection became free ${how}`, {
    hint: "Other transactions of this user hold all of --pool-size. End them sooner, or raise it.",
  });
  return new NoConnection(errorResponse(refusal), refusal.sqlstate, { cause });
}
