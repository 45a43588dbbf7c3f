import { commandComplete } from "../../wire/backend-messages.ts";
import { errorResponse, noticeResponse } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import { executeMessage } from "../../wire/frontend-messages.ts";
import { Backend } from "../../wire/messages.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import { type Refusal, refuseSession, warn } from "../../wire/refusal.ts";
import { SessionEnd } from "../context/parts.ts";
import type { AnswerSteps } from "../relay/lifecycle.ts";
import { applyEffect } from "../statement/effects.ts";
import type { Run } from "../statement/run.ts";
import type { Announcements } from "./announcements.ts";
import { portalOfReply, runOf } from "./current-run.ts";
import type { Exchange } from "./exchange.ts";
import { rowsToAsk } from "./extended-rewrite.ts";
import type { ExecuteReply, QueryReply } from "./outstanding-replies.ts";
import type { Results } from "./results.ts";
import { isHeldWrite, UNFINISHED, WrittenRows } from "./written-rows.ts";

/** How an answer has ended. */
type Ended =
  /** Of what the proxy asked itself. */
  | { readonly kind: "own"; readonly type: number }
  /** Not recorded: an empty text, and a statement after an error that the client has already received. */
  | { readonly kind: "empty" | "unheard"; readonly type: number; readonly reply: QueryReply | ExecuteReply }
  /** The client has been told the end. */
  | {
      readonly kind: "told";
      readonly type: number;
      readonly reply: QueryReply | ExecuteReply;
      readonly run: Run;
    }
  /** The end of the answer is withheld: the server completed the statement before the cancel request arrived. */
  | {
      readonly kind: "too late";
      readonly type: number;
      readonly reply: QueryReply | ExecuteReply;
      readonly run: Run;
      readonly cut: Refusal;
    }
  /** The server is asked for the next rows of a portal. */
  | { readonly kind: "goes on"; readonly reply: ExecuteReply; readonly run: Run };

/** The ends of statements in a guarded session: in the server's words, or cut short in ours. */
export class GuardedCompletion implements AnswerSteps<Frame, Ended> {
  readonly #exchange: Exchange;
  readonly #results: Results;
  readonly #announcements: Announcements;
  readonly #writtenRows: WrittenRows;

  constructor(exchange: Exchange, results: Results, announcements: Announcements) {
    this.#exchange = exchange;
    this.#results = results;
    this.#announcements = announcements;
    this.#writtenRows = new WrittenRows(exchange);
  }

  release(frame: Frame): Ended | "unsettled" {
    if (!this.#releaseRows(frame)) return "unsettled";
    switch (frame.type) {
      case Backend.CommandComplete:
        return this.#complete(frame);
      case Backend.PortalSuspended:
        return this.#suspended(frame);
      default:
        return this.#empty(frame);
    }
  }

  record(ended: Ended): void {
    const { trace } = this.#exchange;
    if (ended.kind === "too late") ended.run.cut = trace.refer(ended.cut);
    if (ended.kind === "too late" || ended.kind === "told") trace.answered(ended.run);
  }

  settle(ended: Ended): void {
    const { ledger } = this.#exchange;
    switch (ended.kind) {
      case "own":
        ledger.answered(ended.type);
        break;
      case "empty":
        this.#next(ended.reply, ended.type);
        break;
      case "unheard":
        this.#applyUnheard(ended.reply);
        this.#next(ended.reply, ended.type);
        break;
      case "told":
        this.#apply(ended.run, ended.type);
        this.#next(ended.reply, ended.type);
        break;
      case "too late":
        this.#apply(ended.run, ended.type);
        this.#fail(ended.reply, ended.run.cut ?? ended.cut, ended.type);
        break;
      case "goes on": {
        const { reply, run } = ended;
        const { limits } = this.#exchange.judging.role;
        const rows = rowsToAsk(reply.asked, run.rows, run.counts, limits);
        this.#exchange.sendPlain(executeMessage(reply.portalName, rows));
        this.#exchange.flushAfter();
        break;
      }
    }
  }

  /** What still waits for the meter comes before the end. */
  #releaseRows(frame: Frame): boolean {
    const { head } = this.#exchange.ledger;
    if (frame.type !== Backend.CommandComplete) return this.#results.release();
    const run = head?.kind === "query" || head?.kind === "execute" ? head.run : undefined;
    if (run !== undefined) return this.#results.conclude(frame, run);
    // An answer without rows has no run yet, and it too may differ from the answer that was expected.
    if (head === undefined || !("repeat" in head) || head.repeat === undefined)
      return this.#results.release();
    return this.#results.conclude(frame, runOf(this.#exchange, head));
  }

  #complete(frame: Frame): Ended | "unsettled" {
    const { ledger, toClient, counting } = this.#exchange;
    const { type } = frame;
    // What was paid for before it ran may have used up most of a budget.
    counting.warn(toClient);
    this.#announcements.ofQuery(ledger.head);
    if (ledger.head?.kind === "ownExecute") return { kind: "own", type };
    const reply = this.#running();
    if (reply.kind === "query" && reply.failed) return { kind: "unheard", type, reply };
    const run = runOf(this.#exchange, reply);
    if (!this.#writtenRows.settle(frame, run)) return "unsettled";
    this.#exchange.uncommitted.ran(run.person, run.statement, run.shape);
    if (run.cut !== undefined) return { kind: "too late", type, reply, run, cut: run.cut };
    if (run.truncated) this.#endEarly(run, frame);
    else toClient.forward(frame);
    return { kind: "told", type, reply, run };
  }

  #empty(frame: Frame): Ended {
    const reply = this.#running();
    const statements =
      reply.kind === "query" ? reply.judged?.verdict.statements : portalOfReply(this.#exchange, reply);
    const isEmpty = Array.isArray(statements) ? statements.length === 0 : statements !== undefined;
    if (!isEmpty) throw SessionEnd.outOfStep("A statement that was empty.");
    this.#exchange.toClient.forward(frame);
    return { kind: "empty", type: frame.type, reply };
  }

  /** The portal has given as many rows as it was asked for, and may have more. */
  #suspended(frame: Frame): Ended {
    const { toClient, judging } = this.#exchange;
    const { type } = frame;
    const reply = this.#running();
    if (reply.kind !== "execute") throw SessionEnd.outOfStep("PortalSuspended.");
    const run = runOf(this.#exchange, reply);
    this.#exchange.uncommitted.ran(run.person, run.statement, run.shape);
    if (isHeldWrite(judging.role, run.shape)) run.cut ??= UNFINISHED;
    if (run.cut !== undefined) return { kind: "too late", type, reply, run, cut: run.cut };
    const isSliced = run.truncates && run.shape.kind === "read";
    // A slice of ours: the client asked for more.
    if (isSliced && !run.truncated && (reply.asked === 0 || run.rows < reply.asked))
      return { kind: "goes on", reply, run };
    if (isSliced && run.truncated) this.#endEarly(run, undefined);
    else toClient.forward(frame);
    return { kind: "told", type, reply, run };
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

  /** A portal that stops in between has done nothing yet to the session's names. */
  #apply({ statement, judged }: Run, type: number): void {
    const { names, ledger } = this.#exchange;
    if (type === Backend.CommandComplete) applyEffect(names, statement.effect, judged, ledger.statementIndex);
  }

  /** A later statement of a text for which the client has already received an error: the server did run it. */
  #applyUnheard(reply: QueryReply | ExecuteReply): void {
    const { names, ledger } = this.#exchange;
    const index = ledger.statementIndex;
    if (reply.kind !== "query" || reply.judged === undefined) return;
    applyEffect(names, reply.judged.verdict.statements[index]?.effect, reply.judged, index);
  }

  /**
   * The result was complete before the cancel request arrived. The client gets the error anyway; the server has not
   * failed, so its transaction is made to fail.
   */
  #fail(reply: QueryReply | ExecuteReply, cut: Refusal, type: number): void {
    const { ledger, toClient } = this.#exchange;
    if (reply.kind === "query") {
      toClient.send(errorResponse(cut));
      reply.failed = true;
      reply.spoiled = true;
      this.#next(reply, type);
      return;
    }
    const { second } = ledger;
    if (second === undefined) {
      ledger.replaceHead({ ...reply, refusal: cut, run: undefined });
      this.#exchange.sendPlain(poisonedExecute);
      this.#exchange.flushAfter();
      return;
    }
    if (second.kind !== "sync") {
      throw new SessionEnd(
        refuseSession("54000", "a result was cut off while later statements were on their way"),
      );
    }
    toClient.send(errorResponse(cut));
    second.spoiled = true;
    ledger.answered(type);
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
