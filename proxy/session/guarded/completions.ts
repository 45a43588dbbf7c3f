import { commandComplete } from "../../wire/backend-messages.ts";
import { errorResponse, noticeResponse } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import { executeMessage } from "../../wire/frontend-messages.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import { type Refusal, refuseSession, warn } from "../../wire/refusal.ts";
import { SessionEnd } from "../context/parts.ts";
import { applyEffect } from "../statement/effects.ts";
import type { Run } from "../statement/run.ts";
import { portalOfReply, runOf } from "./current-run.ts";
import type { Exchange } from "./exchange.ts";
import { rowsToAsk } from "./extended-rewrite.ts";
import type { ExecuteReply, QueryReply } from "./outstanding-replies.ts";
import { isHeldWrite, UNFINISHED, WrittenRows } from "./written-rows.ts";

/** The ends of statements: in the server's words, or cut short in ours. */
export class Completions {
  readonly #exchange: Exchange;
  readonly #writtenRows: WrittenRows;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#writtenRows = new WrittenRows(exchange);
  }

  /** False: the message must be handed in again after a `wake`. */
  commandComplete(frame: Frame): boolean {
    const { ledger, toClient, trace, names } = this.#exchange;
    if (ledger.head?.kind === "ownExecute") {
      ledger.answered(frame.type);
      return true;
    }
    const reply = this.#running();
    if (reply.kind === "query" && reply.failed) {
      this.#endUnheard(reply, frame.type);
      return true;
    }
    const run = runOf(this.#exchange, reply);
    if (!this.#writtenRows.settle(frame, run)) return false;
    applyEffect(names, run.statement.effect, run.judged, ledger.statementIndex);
    if (run.cut !== undefined) {
      this.#tooLate(reply, run, run.cut, frame.type);
      return true;
    }
    if (run.truncated) this.#endEarly(run, frame);
    else toClient.forward(frame);
    trace.answered(run);
    this.#next(reply, frame.type);
    return true;
  }

  emptyQuery(frame: Frame): void {
    const reply = this.#running();
    const statements =
      reply.kind === "query" ? reply.judged?.verdict.statements : portalOfReply(this.#exchange, reply);
    const isEmpty = Array.isArray(statements) ? statements.length === 0 : statements !== undefined;
    if (!isEmpty) throw SessionEnd.outOfStep("A statement that was empty.");
    this.#exchange.toClient.forward(frame);
    this.#next(reply, frame.type);
  }

  /** The portal has given as many rows as it was asked for, and may have more. */
  portalSuspended(frame: Frame): void {
    const { toClient, trace, judging } = this.#exchange;
    const reply = this.#running();
    if (reply.kind !== "execute") throw SessionEnd.outOfStep("PortalSuspended.");
    const run = runOf(this.#exchange, reply);
    if (isHeldWrite(judging.role, run.shape)) run.cut ??= UNFINISHED;
    if (run.cut !== undefined) {
      this.#tooLate(reply, run, run.cut, frame.type);
      return;
    }
    if (run.truncates && run.shape.kind === "read") {
      if (run.truncated) {
        this.#endEarly(run, undefined);
      } else if (reply.asked === 0 || run.rows < reply.asked) {
        // A slice of ours: the client asked for more.
        const rows = rowsToAsk(reply.asked, run.rows, run.counts, judging.role.limits);
        this.#exchange.sendPlain(executeMessage(reply.portalName, rows));
        this.#exchange.flushAfter();
        return;
      } else {
        toClient.forward(frame);
      }
    } else {
      toClient.forward(frame);
    }
    trace.answered(run);
    this.#next(reply, frame.type);
  }

  /** The result ends before the server's: a warning, and a tag that counts what was given out. */
  #endEarly(run: Run, frame: Frame | undefined): void {
    const { toClient, judging } = this.#exchange;
    const { role } = judging;
    toClient.send(
      noticeResponse(
        warn(`the result was cut off after ${run.rows} rows`, {
          hint: `Role "${role.name}" may not have more from one statement.`,
          rule: `roles.${role.name}.rows`,
        }),
      ),
    );
    // What a write did it did: the server's own tag counts that.
    if (frame !== undefined && run.shape.kind !== "read" && run.copy === undefined) toClient.forward(frame);
    else toClient.send(commandComplete(`${verb(run)} ${run.rows}`));
  }

  /**
   * The result came to its end before the cancel request did. The client gets the error all the same; in
   * the server nothing has failed yet, and something shall.
   */
  #tooLate(reply: QueryReply | ExecuteReply, run: Run, cut: Refusal, type: number): void {
    const { ledger, toClient, trace } = this.#exchange;
    run.cut = trace.refer(cut);
    trace.answered(run);
    if (reply.kind === "query") {
      toClient.send(errorResponse(run.cut));
      reply.failed = true;
      reply.spoiled = true;
      this.#next(reply, type);
      return;
    }
    const { second } = ledger;
    if (second === undefined) {
      ledger.replaceHead({ ...reply, refusal: run.cut, run: undefined });
      this.#exchange.sendPlain(poisonedExecute);
      this.#exchange.flushAfter();
      return;
    }
    if (second.kind !== "sync") {
      throw new SessionEnd(
        refuseSession("54000", "a result was cut off while later statements were on their way"),
      );
    }
    toClient.send(errorResponse(run.cut));
    second.spoiled = true;
    ledger.answered(type);
  }

  /** A later statement of a text whose error the client has been told already: the server did run it. */
  #endUnheard(reply: QueryReply, type: number): void {
    const { names, ledger } = this.#exchange;
    const index = ledger.statementIndex;
    const effect = reply.judged?.verdict.statements[index]?.effect;
    if (reply.judged !== undefined) applyEffect(names, effect, reply.judged, index);
    this.#next(reply, type);
  }

  /** A message of this type has ended a statement's answer. */
  #next(reply: QueryReply | ExecuteReply, type: number): void {
    this.#exchange.ledger.answered(type);
    if (reply.kind === "query") {
      reply.run = undefined;
      return;
    }
    if (reply.unrolled === undefined) return;
    this.#exchange.unrolling = false;
    this.#exchange.sendSync();
  }

  #running(): QueryReply | ExecuteReply {
    const { head } = this.#exchange.ledger;
    if (head?.kind !== "query" && head?.kind !== "execute") throw SessionEnd.outOfStep("An end of nothing.");
    if (head.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    return head;
  }
}

function verb({ statement, copy }: Run): string {
  if (copy !== undefined) return "COPY";
  return statement.effect?.kind === "fetch" ? "FETCH" : "SELECT";
}
