import {
  decodeCommandComplete,
  decodeParameterStatus,
  decodeReadyForQuery,
} from "../wire/backend-messages.ts";
import { decodeError, errorResponse } from "../wire/errors.ts";
import { type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { Backend, BodyReader, type TransactionStatus } from "../wire/messages.ts";
import type { Refusal } from "../wire/refusal.ts";
import type { Expected } from "./expected.ts";
import type { PoolSession } from "./pool-session.ts";
import { missing } from "./preparing.ts";
import { deallocated } from "./requests.ts";

/** The server's messages on their way to the client that holds the connection. */
export class Answers {
  /** As the last ReadyForQuery said. */
  status: TransactionStatus = "I";
  readonly #server: PoolSession;

  constructor(server: PoolSession) {
    this.#server = server;
  }

  mayStream(type: number): boolean {
    return (
      (type === Backend.DataRow || type === Backend.CopyData) && this.#server.expected.head?.kind !== "own"
    );
  }

  /** Throws a `ProtocolViolation` for what answers nothing: nobody knows then what belongs to whom. */
  handle(frame: FrameReader): void {
    const { head } = this.#server.expected;
    switch (frame.type) {
      case Backend.ParameterStatus:
        this.#parameter(frame);
        return;
      case Backend.NoticeResponse:
        if (head?.kind !== "own") this.#server.toClient.forward(frame);
        return;
      // Nobody may LISTEN here; what code of the database's has made it listen to is nobody's.
      case Backend.NotificationResponse:
        return;
      case Backend.ErrorResponse:
        this.#error(frame, head);
        return;
      case Backend.ReadyForQuery:
        this.#ready(frame);
        return;
    }
    if (head === undefined) throw new ProtocolViolation("an answer to nothing");
    this.#answer(frame, head);
  }

  #answer(frame: FrameReader, head: Expected): void {
    const { toClient } = this.#server;
    switch (head.kind) {
      case "own":
        if (frame.type === Backend.DataRow) head.row = fieldsOf(frame);
        return;
      case "query":
        this.#ofQuery(frame, head);
        return;
      case "execute":
        this.#ofExecute(frame);
        return;
      case "parse":
        expectType(frame, Backend.ParseComplete);
        head.onDone?.();
        if (!head.hidden) toClient.forward(frame);
        break;
      case "bind":
        expectType(frame, Backend.BindComplete);
        toClient.forward(frame);
        break;
      case "close":
        expectType(frame, Backend.CloseComplete);
        if (!head.hidden) toClient.forward(frame);
        break;
      case "describe":
        toClient.forward(frame);
        if (frame.type === Backend.ParameterDescription) return;
        if (frame.type !== Backend.NoData) expectType(frame, Backend.RowDescription);
        break;
      default:
        throw new ProtocolViolation("an answer to something else");
    }
    this.#done();
  }

  #ofQuery(frame: FrameReader, { forgets }: Extract<Expected, { kind: "query" }>): void {
    const { toClient } = this.#server;
    if (frame.type === Backend.EmptyQueryResponse && forgets === true) {
      toClient.send(deallocated);
      return;
    }
    if (frame.type === Backend.CommandComplete) this.#completed(frame);
    else if (frame.type === Backend.CopyInResponse) {
      this.#copyBegins(frame);
      return;
    } else if (frame.type === Backend.CopyBothResponse) throw new ProtocolViolation("replication");
    else if (isRow(frame)) frame.widen();
    toClient.forward(frame);
  }

  #ofExecute(frame: FrameReader): void {
    const { toClient } = this.#server;
    switch (frame.type) {
      case Backend.CommandComplete:
        this.#completed(frame);
        toClient.forward(frame);
        this.#done();
        return;
      case Backend.EmptyQueryResponse:
      case Backend.PortalSuspended:
        toClient.forward(frame);
        this.#done();
        return;
      case Backend.CopyInResponse:
        this.#copyBegins(frame);
        return;
      case Backend.CopyOutResponse:
      case Backend.CopyDone:
        break;
      default:
        if (!isRow(frame)) throw new ProtocolViolation("an answer to something else");
        frame.widen();
    }
    toClient.forward(frame);
  }

  /** The tag says what has been done, not only asked for. */
  #completed(frame: FrameReader): void {
    const server = this.#server;
    if (!server.gate.mayDiscard) return;
    const tag = decodeCommandComplete(frame);
    if (tag === "DISCARD ALL") server.discarded("all");
    else if (tag === "DEALLOCATE ALL") server.discarded("statements");
  }

  #copyBegins(frame: FrameReader): void {
    const server = this.#server;
    // What was sent behind it would be taken for a part of the copy.
    if (!server.gate.mayCopyIn) throw new ProtocolViolation("COPY without being asked");
    server.copyIn = true;
    server.toClient.forward(frame);
  }

  #parameter(frame: FrameReader): void {
    const server = this.#server;
    const { name, value } = decodeParameterStatus(frame);
    // What the pool itself sets is compared when all of it is set.
    if (server.expected.head?.kind === "own") server.connection?.parameters.set(name, value);
    else server.carrying.report(name, value);
  }

  #error(frame: FrameReader, head: Expected | undefined): void {
    const server = this.#server;
    server.copyIn = false;
    if (head?.kind === "own") {
      head.failed = true;
      return;
    }
    const refusal = head && refusalFor(head, decodeError(frame).get("C"));
    if (refusal === undefined) server.toClient.forward(frame);
    else server.toClient.send(errorResponse(refusal));
    if (head === undefined || head.kind === "query" || head.kind === "sync") return;
    if (head.kind === "bind" || head.kind === "describe") this.#isStale(frame, head);
    server.skipping = !server.expected.skipToSync();
  }

  /**
   * A plan whose result has changed its type stays so (RevalidateCachedQuery of utils/cache/plancache.c), types of parameters
   * are found out once, and code of the database's may have given up what we prepared: the next time it is prepared anew.
   */
  #isStale(frame: FrameReader, { of }: Extract<Expected, { kind: "bind" | "describe" }>): void {
    const { connection } = this.#server;
    const sqlstate = decodeError(frame).get("C");
    if (sqlstate === "26000") connection?.statements.clear();
    else if (of !== undefined) connection?.statements.renew(of.statement);
  }

  #ready(frame: FrameReader): void {
    const server = this.#server;
    server.tellAll();
    const { head } = server.expected;
    this.status = decodeReadyForQuery(frame);
    if (head?.kind === "own") {
      this.#done();
      head.done(head);
      return;
    }
    if (head?.kind !== "query" && head?.kind !== "sync") throw new ProtocolViolation("ReadyForQuery");
    server.toClient.forward(frame);
    server.copyIn = false;
    this.#done();
    server.settle();
  }

  #done(): void {
    this.#server.expected.shift();
    this.#server.tellAll();
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

function expectType(frame: FrameReader, type: number): void {
  if (frame.type !== type) throw new ProtocolViolation("an answer to something else");
}

/** A DataRow's fields, a character a byte. */
function fieldsOf(frame: FrameReader): readonly (string | undefined)[] {
  const body = new BodyReader(frame, "DataRow");
  return Array.from({ length: body.uint16() }, () => {
    const length = body.int32();
    return length < 0 ? undefined : body.bytes(length).toString("latin1");
  });
}
