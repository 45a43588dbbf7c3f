import type { LegNote } from "../protocol/leg-notes.ts";
import {
  decodeCommandComplete,
  decodeParameterStatus,
  decodeReadyForQuery,
} from "../wire/backend-messages.ts";
import { decodeError, errorResponse, isError } from "../wire/errors.ts";
import { type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { Backend } from "../wire/messages.ts";
import { deallocated } from "./held-requests.ts";
import { OwnQuery, Passed } from "./pool-requests.ts";
import type { PoolSession } from "./pool-session.ts";
import { missing } from "./preparing.ts";

/** The server's messages on their way to the session that holds the connection. */
export class Answers {
  readonly #server: PoolSession;
  /** The other pieces of a long error follow its beginning. */
  #passesError = false;

  constructor(server: PoolSession) {
    this.#server = server;
  }

  /**
   * Whether the message is the session's; what it gets in place of one it has been told by then. Throws a
   * `ProtocolViolation` for what answers nothing: nobody knows then what belongs to whom.
   */
  isForSession(frame: FrameReader): boolean {
    if (isError(frame.type) && (frame.piece === "middle" || frame.piece === "last")) return this.#passesError;
    switch (frame.type) {
      case Backend.DataRow:
      case Backend.CopyData:
        return !this.#isOwn(frame);
      case Backend.ParameterStatus:
        this.#parameter(frame);
        return false;
      case Backend.NoticeResponse:
        this.#passesError = !(this.#server.ledger.own instanceof OwnQuery);
        return this.#passesError;
      // Nobody may LISTEN here; what code of the database's has made it listen to is nobody's.
      case Backend.NotificationResponse:
        return false;
      case Backend.ErrorResponse:
        return this.#isErrorForSession(frame);
      case Backend.ReadyForQuery:
        return this.#isReadyForSession(frame);
      default:
        return !this.#isOwn(frame) && this.#isAnswerForSession(frame);
    }
  }

  /** It answers what the pool has asked by itself. */
  #isOwn(frame: FrameReader): boolean {
    const { ledger } = this.#server;
    if (frame.piece === "middle" || frame.piece === "last") return ledger.own !== undefined;
    const own = ledger.expectOwn(frame.type);
    if (own === undefined) return false;
    if (own instanceof OwnQuery && frame.type === Backend.DataRow) own.take(frame);
    ledger.answered(frame.type);
    return true;
  }

  #isAnswerForSession(frame: FrameReader): boolean {
    switch (frame.type) {
      case Backend.EmptyQueryResponse:
        if (partsOf(this.#server.ledger.note)?.forgets !== true) return true;
        this.#server.tell(deallocated);
        return false;
      case Backend.CommandComplete:
        this.#completed(frame);
        return true;
      case Backend.CopyInResponse:
        // What was sent behind it would be taken for a part of the copy.
        if (!this.#server.barriers.mayCopyIn) throw new ProtocolViolation("COPY without being asked");
        return true;
      default:
        return true;
    }
  }

  /** The tag says what has been done, not only asked for. */
  #completed(frame: FrameReader): void {
    const server = this.#server;
    const { note, statementIndex } = server.ledger;
    if (note instanceof Passed) note.statementDone(statementIndex);
    if (!server.barriers.mayDiscard) return;
    const tag = decodeCommandComplete(frame);
    if (tag === "DISCARD ALL") server.discarded("all");
    else if (tag === "DEALLOCATE ALL") server.discarded("statements");
  }

  #parameter(frame: FrameReader): void {
    const server = this.#server;
    const { name, value } = decodeParameterStatus(frame);
    // What the pool itself sets is compared when all of it is set.
    if (server.ledger.own instanceof OwnQuery) server.connection?.parameters.set(name, value);
    else server.parameterSync.report(name, value);
  }

  #isErrorForSession(frame: FrameReader): boolean {
    const { ledger } = this.#server;
    this.#passesError = false;
    const { own } = ledger;
    if (own instanceof OwnQuery) {
      own.failed = true;
      ledger.failed();
      return false;
    }
    // What could not be prepared fails the message that it was prepared for.
    while (ledger.own !== undefined) ledger.ownFailed();
    const sqlstate = decodeError(frame).get("C");
    const parts = partsOf(ledger.note);
    const { head } = ledger;
    if (head?.kind === "bind" || head?.kind === "describe") this.#isStale(sqlstate, parts?.of);
    const refusal = parts && refusalFor(parts, sqlstate);
    if (refusal !== undefined) this.#server.tell(errorResponse(refusal));
    this.#passesError = refusal === undefined;
    return this.#passesError;
  }

  /**
   * A plan whose result has changed its type stays so (RevalidateCachedQuery of utils/cache/plancache.c), types of parameters
   * are found out once, and code of the database's may have given up what we prepared: the next time it is prepared again.
   */
  #isStale(sqlstate: string | undefined, of: Passed["parts"]["of"]): void {
    const { connection } = this.#server;
    if (sqlstate === "26000") connection?.statements.clear();
    else if (of !== undefined) connection?.statements.renew(of.statement);
  }

  #isReadyForSession(frame: FrameReader): boolean {
    const { ledger } = this.#server;
    if (ledger.own === undefined || ledger.answersDoubtfulSync) return true;
    ledger.ready(decodeReadyForQuery(frame));
    return false;
  }
}

function partsOf(note: LegNote | undefined): Passed["parts"] | undefined {
  return note instanceof Passed ? note.parts : undefined;
}

/** What the client gets in place of the server's words: those have names that it does not know. */
function refusalFor({ taken, of, refusal }: Passed["parts"], sqlstate: string | undefined) {
  if (taken !== undefined && taken.sqlstate === sqlstate) return taken;
  if (of !== undefined && sqlstate === "26000") return missing(of.name);
  return refusal;
}
