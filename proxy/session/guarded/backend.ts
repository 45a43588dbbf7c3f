import { decodeReadyForQuery } from "../../wire/backend-messages.ts";
import { isError, isLongError } from "../../wire/errors.ts";
import { type Frame, ProtocolViolation } from "../../wire/frames.ts";
import { Backend } from "../../wire/messages.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import { type Refusal, refuseSession } from "../../wire/refusal.ts";
import { SessionEnd } from "../context/parts.ts";
import { STOPPING_MS } from "../context/time-limits.ts";
import { surroundingsIn } from "../decide/probe.ts";
import { answer } from "../relay/lifecycle.ts";
import { trimDescription } from "../statement/described.ts";
import { isHeld } from "../statement/effects.ts";
import type { Run } from "../statement/run.ts";
import { Announcements } from "./announcements.ts";
import { GuardedCompletion } from "./completion.ts";
import { runOf } from "./current-run.ts";
import { Describing } from "./describing.ts";
import type { Exchange } from "./exchange.ts";
import { GuardedFailure } from "./failure.ts";
import { Results } from "./results.ts";
import { StepAnswers } from "./step-answers.ts";

/** What is neither a row nor an error is read whole: a notice may quote a value. Honest ones are a thousand times shorter. */
const LONGEST_ANSWER = 1024 * 1024;

/**
 * The server's messages on their way to the client of a guarded session. Each must be what the oldest
 * message without an answer can bring; a server that says anything else ends the session.
 */
export class GuardedBackend {
  readonly #exchange: Exchange;
  readonly #results: Results;
  readonly #completion: GuardedCompletion;
  readonly #failure: GuardedFailure;
  readonly #announcements: Announcements;
  readonly #describing: Describing;
  readonly #steps: StepAnswers;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#results = new Results(exchange);
    this.#announcements = new Announcements(exchange);
    this.#completion = new GuardedCompletion(exchange, this.#results, this.#announcements);
    this.#failure = new GuardedFailure(exchange, this.#results);
    this.#describing = new Describing(exchange);
    this.#steps = new StepAnswers(exchange, this.#describing);
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: Frame): boolean {
    // The beginning of a long error has been sent.
    if (isError(frame.type) && (frame.piece === "middle" || frame.piece === "last")) return true;
    if (frame.type === Backend.DataRow) return this.#dataRow(frame);
    if (frame.type === Backend.CopyData) return this.#copyData(frame);
    if (ENDS.has(frame.type)) return answer(this.#completion, frame);
    if (frame.type === Backend.ErrorResponse) return answer(this.#failure, frame);
    // Rows that wait for the meter come before whatever follows them.
    if (!this.#results.release()) return false;
    this.#handle(frame);
    return true;
  }

  /** All that came in one read event has been dealt with. False: rows still wait for the meter. */
  settle(): boolean {
    if (!this.#results.release()) return false;
    const head = this.#exchange.ledger.head;
    const run = head?.kind === "query" || head?.kind === "execute" ? head.run : undefined;
    if (run?.cut !== undefined) this.#stop(run, run.cut);
    return true;
  }

  /** The rest is not needed. A server that cannot be cancelled, or does not stop, is left. */
  #stop(run: Run, cut: Refusal): void {
    const now = performance.now();
    if (run.cancelledAt === undefined) {
      run.cancelledAt = now;
      this.#exchange.cancel();
      setTimeout(() => this.#exchange.wake(), STOPPING_MS + 1).unref();
    } else if (now - run.cancelledAt >= STOPPING_MS) {
      throw new SessionEnd({ ...cut, ends: "upstream" });
    }
  }

  /** The session ends while a statement is being answered. */
  abandon(): void {
    const { head } = this.#exchange.ledger;
    if (head?.kind !== "query" && head?.kind !== "execute") return;
    if (head.run !== undefined) this.#exchange.trace.answered(head.run, "08006");
  }

  /** Whether a long message of this type may be handed in by pieces. Throws where it may not be that long. */
  mayStream(type: number, length: number): boolean {
    if (isLongError(type, length)) return true;
    if (type !== Backend.DataRow && type !== Backend.CopyData) {
      if (length > LONGEST_ANSWER) throw new ProtocolViolation(`message longer than ${LONGEST_ANSWER} bytes`);
      return false;
    }
    const reply = this.#exchange.ledger.head;
    if (reply?.kind !== "query" && reply?.kind !== "execute") return false;
    if (reply.kind === "query" && reply.failed) return true;
    return this.#results.mayStream(runOf(this.#exchange, reply), length);
  }

  #handle(frame: Frame): void {
    switch (frame.type) {
      case Backend.ParseComplete:
        this.#steps.parseComplete(frame);
        break;
      case Backend.BindComplete:
        this.#steps.bindComplete(frame);
        break;
      case Backend.CloseComplete:
        this.#steps.closeComplete(frame);
        break;
      case Backend.ParameterDescription:
        this.#steps.parameterDescription(frame);
        break;
      case Backend.RowDescription:
        this.#rowDescription(frame);
        break;
      case Backend.NoData:
        this.#steps.noData(frame);
        break;
      case Backend.CopyInResponse:
        this.#copyInResponse(frame);
        break;
      case Backend.CopyOutResponse:
        this.#copyOutResponse(frame);
        break;
      case Backend.CopyDone:
        this.#copyDone(frame);
        break;
      case Backend.ReadyForQuery:
        this.#readyForQuery(frame);
        break;
      case Backend.ParameterStatus:
        this.#announcements.parameterStatus(frame);
        break;
      case Backend.NoticeResponse:
        this.#announcements.noticeResponse(frame);
        break;
      case Backend.NotificationResponse:
        this.#announcements.notification(frame);
        break;
      default:
        throw SessionEnd.outOfStep(`Message type ${frame.type}.`);
    }
  }

  #rowDescription(frame: Frame): void {
    const { ledger, toClient } = this.#exchange;
    const { head } = ledger;
    if (head?.kind === "query") {
      const run = this.#running();
      if (run !== undefined && this.#describing.ofRows(frame, run))
        toClient.lend(frame.buffer, frame.start, trimDescription(frame, run.shape));
      return;
    }
    this.#steps.description(frame);
  }

  #dataRow(frame: Frame): boolean {
    const { head } = this.#exchange.ledger;
    if (head?.kind === "ownExecute") {
      const { acting, judging } = this.#exchange;
      if (acting === undefined) judging.path.answer(onlyField(frame));
      else acting.answered(surroundingsIn(frame, acting.asked));
      return true;
    }
    const run = this.#running();
    if (run === undefined) return true;
    if (!run.isDescribed && run.cut === undefined) throw SessionEnd.outOfStep("Rows without a description.");
    run.cut ??= this.#exchange.acting?.cutOff(run.shape);
    return this.#results.row(frame, run);
  }

  #copyInResponse(frame: Frame): void {
    const run = this.#running();
    if (run?.statement.effect?.kind !== "copyIn")
      throw SessionEnd.outOfStep("COPY FROM without being asked.");
    this.#exchange.ledger.answered(frame.type);
    this.#exchange.toClient.forward(frame);
  }

  #copyOutResponse(frame: Frame): void {
    const run = this.#running();
    if (run === undefined) return;
    const { effect } = run.shape;
    if (effect?.kind !== "copyOut") throw SessionEnd.outOfStep("COPY TO without being asked.");
    // The overall format: 0 is text, 1 binary (Postgres docs, "CopyOutResponse").
    run.copy = { binary: frame.buffer[frame.start + 5] === 1, headerLine: effect.header === true };
    run.truncates = this.#exchange.judging.role.limits.onExcess === "truncate";
    this.#exchange.toClient.forward(frame);
  }

  #copyData(frame: Frame): boolean {
    const run = this.#running();
    if (run === undefined) return true;
    const { copy } = run;
    if (copy === undefined) throw SessionEnd.outOfStep("Copied rows without COPY.");
    run.cut ??= this.#exchange.acting?.cutOff(run.shape);
    if (copy.headerLine || (copy.binary && isTrailer(frame))) {
      if (!this.#results.plain(frame, run)) return false;
      if (frame.piece === "whole" || frame.piece === "last") copy.headerLine = false;
      return true;
    }
    return this.#results.row(frame, run);
  }

  #copyDone(frame: Frame): void {
    const run = this.#running();
    if (run?.cut === undefined && run !== undefined) this.#exchange.toClient.forward(frame);
  }

  #readyForQuery(frame: Frame): void {
    const { ledger, names, judging, toClient, acting } = this.#exchange;
    if (ledger.answersDoubtfulSync) {
      ledger.ready(decodeReadyForQuery(frame));
      toClient.forward(frame);
      return;
    }
    const reply = ledger.head;
    if (reply?.kind !== "query" && reply?.kind !== "sync") throw SessionEnd.outOfStep("ReadyForQuery.");
    if (reply.refusal !== undefined && reply.kind === "query" && !reply.failed) {
      throw SessionEnd.outOfStep("What had to fail did not.");
    }
    const status = decodeReadyForQuery(frame);
    ledger.ready(status);
    this.#exchange.uncommitted.ready(status);
    this.#exchange.cancelled = undefined;
    if (status === "I") names.portals.clear(isHeld);
    if (reply.spoiled && status === "T") {
      this.#failTransaction();
      return;
    }
    judging.path.ready(status, reply.pipeline);
    acting?.certainty.ready(status, ledger.isSettled);
    if (reply.hidden !== true) toClient.forward(frame);
  }

  /** The client was told an error that the server did not have: the block fails now, before the client goes on. */
  #failTransaction(): void {
    if (!this.#exchange.ledger.isSettled) {
      throw new SessionEnd(
        refuseSession("54000", "a result was cut off while later statements were on their way"),
      );
    }
    const at = performance.now();
    const nothing = {
      portalName: "",
      unrolled: undefined,
      asked: 0,
      truncates: false,
      pinned: undefined,
      repeat: undefined,
      run: undefined,
    };
    this.#exchange.sendStep(poisonedExecute, { kind: "execute", at, quiet: true, ...nothing });
    this.#exchange.sendSync();
  }

  /** The statement that is being answered; undefined when its client has been told an error already. */
  #running(): Run | undefined {
    const { head } = this.#exchange.ledger;
    if (head?.kind !== "query" && head?.kind !== "execute")
      throw SessionEnd.outOfStep("Rows that nobody asked for.");
    if (head.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    if (head.kind === "query" && head.failed) return undefined;
    return runOf(this.#exchange, head);
  }
}

/** The ends of an answer that is no error. */
const ENDS: ReadonlySet<number> = new Set([
  Backend.CommandComplete,
  Backend.PortalSuspended,
  Backend.EmptyQueryResponse,
]);

/** A DataRow's first field as text. */
function onlyField({ buffer, start }: Frame): string {
  // Type, length word, count of fields, the field's length.
  const length = buffer.readInt32BE(start + 7);
  return buffer.toString("utf8", start + 11, start + 11 + Math.max(length, 0));
}

/** COPY in binary ends with a count of -1; without any row, the header of 19 bytes comes before it. */
function isTrailer({ buffer, start, end, piece }: Frame): boolean {
  const length = end - start - 5;
  return piece === "whole" && (length === 2 || length === 21) && buffer.readInt16BE(end - 2) === -1;
}
