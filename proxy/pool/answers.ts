import {
  decodeCommandComplete,
  decodeParameterStatus,
  decodeReadyForQuery,
} from "../wire/backend-messages.ts";
import { decodeError, errorResponse, isError, isLongError } from "../wire/errors.ts";
import { type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { Backend, BodyReader } from "../wire/messages.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Expected, NamingSent, ParseSent, QuerySent } from "./expected.ts";
import type { PoolSession } from "./pool-session.ts";
import { missing } from "./preparing.ts";
import { deallocated } from "./requests.ts";

/** The server's messages on their way to the client that holds the connection. */
export class Answers {
  readonly #server: PoolSession;
  /** The other pieces of a long error follow its beginning. */
  #passesError = false;

  constructor(server: PoolSession) {
    this.#server = server;
  }

  mayStream(type: number, length: number): boolean {
    if (isLongError(type, length)) return true;
    return (
      (type === Backend.DataRow || type === Backend.CopyData) && this.#server.ledger.head?.kind !== "ownQuery"
    );
  }

  /** Throws a `ProtocolViolation` for what answers nothing: nobody knows then what belongs to whom. */
  handle(frame: FrameReader): void {
    const { ledger, toClient } = this.#server;
    if (isError(frame.type) && (frame.piece === "middle" || frame.piece === "last")) {
      if (this.#passesError) toClient.forward(frame);
      return;
    }
    switch (frame.type) {
      case Backend.ParameterStatus:
        this.#parameter(frame);
        return;
      case Backend.NoticeResponse:
        this.#passesError = ledger.head?.kind !== "ownQuery";
        if (this.#passesError) toClient.forward(frame);
        return;
      // Nobody may LISTEN here; what code of the database's has made it listen to is nobody's.
      case Backend.NotificationResponse:
        return;
      case Backend.ErrorResponse:
        this.#error(frame, ledger.head);
        return;
      case Backend.ReadyForQuery:
        this.#ready(frame);
        return;
    }
    this.#answer(frame, ledger.expect(frame.type));
    ledger.answered(frame.type);
    this.#server.tellAll();
  }

  #answer(frame: FrameReader, head: Expected): void {
    const { toClient } = this.#server;
    switch (head.kind) {
      case "ownQuery":
        if (frame.type === Backend.DataRow) head.row = fieldsOf(frame);
        return;
      case "parse":
        this.#prepared(head);
        if (head.hidden) return;
        break;
      case "close":
        if (head.change !== undefined) this.#server.statements.confirm(head.change);
        if (head.hidden) return;
        break;
      case "execute":
      case "query":
        if (frame.type === Backend.EmptyQueryResponse && head.forgets === true) {
          if (head.kind === "execute" && head.change !== undefined)
            this.#server.statements.confirm(head.change);
          toClient.send(deallocated);
          return;
        }
        this.#result(frame);
        break;
    }
    toClient.forward(frame);
  }

  #prepared({ change, prepares }: ParseSent): void {
    const { statements, connection } = this.#server;
    if (change !== undefined) statements.confirm(change);
    if (prepares?.isUnnamed === true) connection?.statements.confirmUnnamed();
    else if (prepares !== undefined) connection?.statements.confirm(prepares.statement);
  }

  #result(frame: FrameReader): void {
    if (frame.type === Backend.CommandComplete) this.#completed(frame);
    // What was sent behind it would be taken for a part of the copy.
    else if (frame.type === Backend.CopyInResponse && !this.#server.gate.mayCopyIn)
      throw new ProtocolViolation("COPY without being asked");
    else if (isRow(frame)) frame.widen();
  }

  /** The tag says what has been done, not only asked for. */
  #completed(frame: FrameReader): void {
    const server = this.#server;
    if (!server.gate.mayDiscard) return;
    const tag = decodeCommandComplete(frame);
    if (tag === "DISCARD ALL") server.discarded("all");
    else if (tag === "DEALLOCATE ALL") server.discarded("statements");
  }

  #parameter(frame: FrameReader): void {
    const server = this.#server;
    const { name, value } = decodeParameterStatus(frame);
    // What the pool itself sets is compared when all of it is set.
    if (server.ledger.head?.kind === "ownQuery") server.connection?.parameters.set(name, value);
    else server.carrying.report(name, value);
  }

  #error(frame: FrameReader, head: Expected | undefined): void {
    const { ledger, toClient } = this.#server;
    this.#passesError = false;
    if (head?.kind === "ownQuery") {
      head.failed = true;
      ledger.failed();
      return;
    }
    const refusal = head && refusalFor(head, decodeError(frame).get("C"));
    this.#passesError = refusal === undefined;
    if (refusal === undefined) toClient.forward(frame);
    else toClient.send(errorResponse(refusal));
    if (head?.kind === "bind" || head?.kind === "describe") this.#isStale(frame, head);
    for (const each of ledger.failed()) this.#undo(each, each === head);
  }

  /** What was sent has failed, or was skipped: what was noted when it was sent is taken back. */
  #undo(expected: Expected, hasFailed: boolean): void {
    const { statements, connection } = this.#server;
    if (expected.kind === "query") statements.withdraw(expected.drops);
    if ("change" in expected && expected.change !== undefined) {
      statements.withdraw(expected.change);
      // The server drops the old unnamed statement before it looks at the new text (exec_parse_message).
      if (expected.kind === "parse" && hasFailed && expected.change.name === "") statements.delete("");
    }
    if (expected.kind === "close" && expected.unwanted !== undefined)
      connection?.statements.keepUnwanted(expected.unwanted);
    if (expected.kind !== "parse" || expected.prepares === undefined) return;
    const { statement, isUnnamed } = expected.prepares;
    if (isUnnamed) connection?.statements.dropUnnamed();
    else connection?.statements.forget(statement);
  }

  /**
   * A plan whose result has changed its type stays so (RevalidateCachedQuery of utils/cache/plancache.c), types of parameters
   * are found out once, and code of the database's may have given up what we prepared: the next time it is prepared anew.
   */
  #isStale(frame: FrameReader, { of }: NamingSent): void {
    const { connection } = this.#server;
    const sqlstate = decodeError(frame).get("C");
    if (sqlstate === "26000") connection?.statements.clear();
    else if (of !== undefined) connection?.statements.renew(of.statement);
  }

  #ready(frame: FrameReader): void {
    const server = this.#server;
    const ended = server.ledger.ready(decodeReadyForQuery(frame));
    if (ended?.kind === "ownQuery") {
      ended.done(ended);
      return;
    }
    if (ended?.kind === "query") this.#queryEnded(ended);
    server.toClient.forward(frame);
    server.tellAll();
    server.settle();
  }

  #queryEnded({ drops, change }: QuerySent): void {
    const { statements } = this.#server;
    statements.confirm(drops);
    if (change !== undefined) statements.confirm(change);
  }
}

/** What the client is told in place of the server's words: those name what it has never heard of. */
function refusalFor(head: Expected, sqlstate: string | undefined): Refusal | undefined {
  if (head.kind === "parse" && head.taken?.sqlstate === sqlstate) return head.taken;
  if ("of" in head && head.of !== undefined && sqlstate === "26000") return missing(head.of.name);
  return "refusal" in head ? head.refusal : undefined;
}

function isRow({ type }: FrameReader): boolean {
  return type === Backend.DataRow || type === Backend.CopyData;
}

/** A DataRow's fields, a character a byte. */
function fieldsOf(frame: FrameReader): readonly (string | undefined)[] {
  const body = new BodyReader(frame, "DataRow");
  return Array.from({ length: body.uint16() }, () => {
    const length = body.int32();
    return length < 0 ? undefined : body.bytes(length).toString("latin1");
  });
}
