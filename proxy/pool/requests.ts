import { commandComplete } from "../wire/backend-messages.ts";
import { type Frame, type FrameReader, MalformedMessage, ProtocolViolation } from "../wire/frames.ts";
import { decodeQuery, queryMessage } from "../wire/frontend-messages.ts";
import { Frontend, nameKey } from "../wire/messages.ts";
import { poisonedQuery } from "../wire/poison.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { type QuerySent, SYNC } from "./expected.ts";
import type { PoolSession } from "./pool-session.ts";
import { missing, Preparing } from "./preparing.ts";
import type { ServerConnection } from "./server-connection.ts";

/** Answered with a tag of ours: what DEALLOCATE names the server does not know. */
const nothingToRun = queryMessage(Buffer.alloc(0));
export const deallocated: Buffer = commandComplete("DEALLOCATE");

/** The client's messages on their way to the connection that it holds. */
export class Requests {
  readonly #server: PoolSession;
  readonly #preparing: Preparing;

  constructor(server: PoolSession) {
    this.#server = server;
    this.#preparing = new Preparing(server);
  }

  /** False: it has to wait for what was sent before to be answered. */
  handle(frame: FrameReader, connection: ServerConnection): boolean {
    const server = this.#server;
    if (server.ledger.intake === "copyIn") {
      this.#copy(frame, connection);
      return true;
    }
    if (server.ledger.intake === "skipping" && frame.type !== Frontend.Sync) return true;
    const isDone = this.#handleWhole(frame, connection);
    server.tellAll();
    return isDone;
  }

  #handleWhole(frame: FrameReader, connection: ServerConnection): boolean {
    try {
      return this.#handle(frame, connection);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      const { error: refusal } = error;
      if (frame.type === Frontend.Query) this.#refuseQuery(connection, refusal);
      else this.#preparing.refuse(connection, refusal);
      return true;
    }
  }

  #handle(frame: FrameReader, connection: ServerConnection): boolean {
    const server = this.#server;
    switch (frame.type) {
      case Frontend.Query:
        this.#query(frame, connection);
        break;
      case Frontend.Parse:
        return this.#preparing.parse(frame, connection);
      case Frontend.Bind:
        return this.#preparing.bind(frame, connection);
      case Frontend.Describe:
        return this.#preparing.describe(frame, connection);
      case Frontend.Close:
        return this.#preparing.close(frame, connection);
      case Frontend.Execute:
        return this.#preparing.execute(frame, connection);
      case Frontend.Sync:
        connection.toServer.forward(frame);
        server.ledger.sent(SYNC);
        this.#restore();
        break;
      case Frontend.Flush:
        connection.toServer.forward(frame);
        server.ledger.flushSent();
        break;
      // Outside of COPY a server drops them (PostgresMain).
      case Frontend.CopyData:
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        break;
      case Frontend.FunctionCall:
        this.#refuseQuery(connection, FUNCTION_CALL);
        break;
      default:
        throw new ProtocolViolation(`invalid frontend message type ${frame.type}`);
    }
    return true;
  }

  /** Nothing but copy data may reach the server: by the time it arrives the copy may have failed. */
  #copy(frame: FrameReader, connection: ServerConnection): void {
    const server = this.#server;
    switch (frame.type) {
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        connection.toServer.forward(frame);
        server.ledger.copyEndSent();
        // A simple query may hold another COPY.
        if (server.ledger.head?.kind === "execute") server.gate.copied();
        break;
      case Frontend.CopyData:
        connection.toServer.forward(frame);
        if (frame.piece === "first") server.passRest();
        break;
      // CopyGetData takes no notice of them.
      case Frontend.Sync:
      case Frontend.Flush:
        break;
      default:
        throw new ProtocolViolation(`unexpected message type ${frame.type} during COPY from stdin`);
    }
  }

  #query(frame: Frame, connection: ServerConnection): void {
    const server = this.#server;
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const leavings = server.leavingsOf(frame.buffer.subarray(sqlStart, sqlEnd));
    if (leavings.deallocates !== undefined) {
      this.#deallocate(connection, leavings.deallocates);
      return;
    }
    if (leavings.refusal !== undefined) {
      this.#refuseQuery(connection, leavings.refusal);
      return;
    }
    server.note(leavings, connection);
    server.gate.queried(leavings);
    this.#send(connection, frame, {});
    this.#restore();
  }

  /** Behind what may be a COPY nothing is sent: it would be read as a part of it. */
  #restore(): void {
    if (!this.#server.gate.mayCopyIn) this.#server.carrying.restore();
  }

  #refuseQuery(connection: ServerConnection, refusal: Refusal): void {
    this.#send(connection, poisonedQuery, { refusal });
  }

  #deallocate(connection: ServerConnection, name: string): void {
    const { statements, ledger } = this.#server;
    const key = nameKey(name);
    if (statements.expected(key) === undefined) {
      this.#refuseQuery(connection, missing(key));
      return;
    }
    const change = statements.propose(key, undefined, ledger.pipeline);
    this.#send(connection, nothingToRun, { forgets: true, change });
  }

  #send(
    connection: ServerConnection,
    query: Buffer | Frame,
    more: Pick<QuerySent, "refusal" | "forgets" | "change">,
  ): void {
    const { ledger } = this.#server;
    const drops = this.#preparing.unnamedGoes(connection);
    if (Buffer.isBuffer(query)) connection.toServer.send(query);
    else connection.toServer.forward(query);
    ledger.sent({ kind: "query", drops, ...more });
  }
}

const FUNCTION_CALL = refuse("42501", "the function call protocol is not possible with --pool transaction", {
  hint: "Call the function in a SELECT.",
});
