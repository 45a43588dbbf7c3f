import type { Request } from "../protocol/requests.ts";
import { type Residue, UNKNOWN_RESIDUE } from "../sql/session-residue.ts";
import { commandComplete } from "../wire/backend-messages.ts";
import { type Frame, MalformedMessage } from "../wire/frames.ts";
import {
  closeMessage,
  decodeEmpty,
  decodeQuery,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../wire/frontend-messages.ts";
import { Frontend, nameKey } from "../wire/messages.ts";
import { poisonedQuery } from "../wire/poison.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { Around, Passed } from "./pool-requests.ts";
import type { PoolSession } from "./pool-session.ts";
import { missing, Preparing, refusesAll } from "./preparing.ts";
import type { ServerConnection } from "./server-connection.ts";

/** Answered with a tag of ours: what DEALLOCATE names the server does not know. */
const nothingToRun = queryMessage(Buffer.alloc(0));
export const deallocated: Buffer = commandComplete("DEALLOCATE");

/** The session's requests on their way to the connection that it holds. */
export class Requests {
  readonly #server: PoolSession;
  readonly #preparing: Preparing;

  constructor(server: PoolSession) {
    this.#server = server;
    this.#preparing = new Preparing(server);
  }

  /** False: it has to wait for what was sent before to be answered. */
  isSettled(frame: Frame, connection: ServerConnection): boolean {
    try {
      if (frame.type === Frontend.Query) return this.#isKnownWhatItDrops(frame);
      return this.#preparing.isSettled(frame, connection);
    } catch (error) {
      if (error instanceof MalformedMessage) return true;
      throw error;
    }
  }

  /** DEALLOCATE: whether the names are prepared is known, and whether it will be done. */
  #isKnownWhatItDrops(frame: Frame): boolean {
    const { statements, ledger, residueOf } = this.#server;
    if (ledger.isEmpty || frame.piece === "first") return true;
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const { deallocates, deallocatesAt } = residueOf(frame.buffer.subarray(sqlStart, sqlEnd), []);
    if (deallocates !== undefined) return false;
    const names = [...(deallocatesAt?.values() ?? [])];
    return names.every((name) => statements.find(nameKey(name), ledger.pipeline) !== "unsettled");
  }

  send(frame: Frame, request: Request, connection: ServerConnection): void {
    try {
      this.#send(frame, request, connection);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      const { error: refusal } = error;
      if (frame.type === Frontend.Query) this.#refuseQuery(connection, request, refusal);
      else this.#preparing.refuse(connection, request, refusal);
    }
  }

  #send(frame: Frame, request: Request, connection: ServerConnection): void {
    const { ledger } = this.#server;
    switch (frame.type) {
      case Frontend.Query:
        this.#query(frame, request, connection);
        break;
      case Frontend.Parse:
        this.#preparing.parse(frame, request, connection);
        break;
      case Frontend.Bind:
        this.#preparing.bind(frame, request, connection);
        break;
      case Frontend.Describe:
        this.#preparing.describe(frame, request, connection);
        break;
      case Frontend.Close:
        this.#preparing.close(frame, request, connection);
        break;
      case Frontend.Execute:
        this.#preparing.execute(frame, request, connection);
        break;
      case Frontend.FunctionCall:
        this.#refuseQuery(connection, request, FUNCTION_CALL);
        break;
      case Frontend.Sync:
        connection.toServer.forward(frame);
        ledger.sent(request);
        this.#restore();
        break;
      default:
        // The server finds fault with it, and says so.
        decodeEmpty(frame, "message");
        connection.toServer.forward(frame);
        ledger.sent(request);
    }
  }

  #query(frame: Frame, request: Request, connection: ServerConnection): void {
    const server = this.#server;
    if (frame.piece === "first") {
      this.#beginQuery(frame, request, connection);
      return;
    }
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const residue = server.residueOf(frame.buffer.subarray(sqlStart, sqlEnd), []);
    if (residue.deallocates !== undefined && !refusesAll(server.ledger)) {
      this.#deallocate(connection, request, residue.deallocates);
      return;
    }
    const names = residue.deallocatesAt;
    const refusal = residue.refusal ?? (names && this.#refusalOf(names, residue));
    if (refusal !== undefined) {
      this.#refuseQuery(connection, request, refusal);
      return;
    }
    server.note(residue, connection);
    server.barriers.queried(residue);
    if (names === undefined) this.#sendQuery(connection, frame, request, {});
    else this.#deallocateAmong(connection, frame, request, names);
    this.#restore();
  }

  /** The rest of it follows as it comes. It is too long to be looked at. */
  #beginQuery(frame: Frame, request: Request, connection: ServerConnection): void {
    const server = this.#server;
    server.note(UNKNOWN_RESIDUE, connection);
    server.barriers.queried(UNKNOWN_RESIDUE);
    this.#sendQuery(connection, frame, request, {});
    server.passRest();
  }

  /** What stands around such a query must be no part of a pipeline or a COPY, and its names not be the pool's. */
  #refusalOf(names: ReadonlyMap<number, string>, { copiesIn }: Residue): Refusal | undefined {
    const isOurs = [...names.values()].some((name) => name.startsWith(OUR_PREFIX));
    return isOurs || copiesIn || this.#server.ledger.intake === "pipeline" ? BESIDE_OTHERS : undefined;
  }

  /**
   * The server does not know the client's names. For the time of this query it does: as empty statements, so that each statement's
   * answer, and the place where one fails, are its own.
   */
  #deallocateAmong(
    connection: ServerConnection,
    frame: Frame,
    request: Request,
    names: ReadonlyMap<number, string>,
  ): void {
    const { statements, ledger } = this.#server;
    const places = new Map<string, number>();
    for (const [place, name] of names) {
      const key = nameKey(name);
      if (!places.has(key) && statements.expected(key) !== undefined) places.set(key, place);
    }
    const around = (message: Buffer, kind: "parse" | "close" | "sync") => {
      connection.toServer.send(message);
      ledger.asked(new Around(kind));
    };
    for (const key of places.keys()) around(parseMessage(key, NOTHING), "parse");
    around(syncMessage, "sync");
    const deallocates = new Map(
      [...places].map(([key, place]) => [place, statements.propose(key, undefined, ledger.pipeline)]),
    );
    this.#sendQuery(connection, frame, request, { deallocates });
    for (const key of places.keys()) around(closeMessage({ target: "statement", name: key }), "close");
    around(syncMessage, "sync");
  }

  /** Behind what may be a COPY nothing is sent: it would be read as a part of it. */
  #restore(): void {
    if (!this.#server.barriers.mayCopyIn) this.#server.parameterSync.restore();
  }

  #refuseQuery(connection: ServerConnection, request: Request, refusal: Refusal): void {
    this.#sendQuery(connection, poisonedQuery, request, { refusal });
  }

  #deallocate(connection: ServerConnection, request: Request, name: string): void {
    const { statements, ledger } = this.#server;
    const key = nameKey(name);
    if (statements.expected(key) === undefined) {
      this.#refuseQuery(connection, request, missing(key));
      return;
    }
    const change = statements.propose(key, undefined, ledger.pipeline);
    this.#sendQuery(connection, nothingToRun, request, { forgets: true, change });
  }

  #sendQuery(
    connection: ServerConnection,
    query: Buffer | Frame,
    request: Request,
    more: Pick<Passed["parts"], "refusal" | "forgets" | "change" | "deallocates">,
  ): void {
    const { ledger, statements } = this.#server;
    const drops = this.#preparing.unnamedGoes(connection);
    if (Buffer.isBuffer(query)) connection.toServer.send(query);
    else connection.toServer.forward(query);
    ledger.sent(request, new Passed(statements, { drops, ...more }));
  }
}

const NOTHING = Buffer.alloc(0);

/** Of the names under which the pool prepares clients' statements. */
const OUR_PREFIX = "sluice_";

const BESIDE_OTHERS = refuse(
  "42501",
  "DEALLOCATE beside other statements is not possible here with --pool transaction",
  { hint: "Send it by itself, not in an open pipeline and not beside COPY." },
);

const FUNCTION_CALL = refuse("42501", "the function call protocol is not possible with --pool transaction", {
  hint: "Call the function in a SELECT.",
});
