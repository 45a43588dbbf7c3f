import { CHANGED } from "../../sql/emit/kept-columns.ts";
import { countsPeople } from "../../sql/rules/people.ts";
import { decodeError, type ErrorFields, errorResponse, redactError } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { STATEMENT_TIMEOUT } from "../context/time-limits.ts";
import { isOfParser, tellingOf } from "../record/error-redaction.ts";
import type { Judged } from "../statement/decision.ts";
import { Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import { failedRunOf, mayTouchPeople } from "./current-run.ts";
import type { Exchange } from "./exchange.ts";
import { Tolls } from "./execution-prices.ts";
import type { QueryReply, Reply } from "./outstanding-replies.ts";

/** The server gives these before it runs anything: the block has failed, the name is unknown. */
const FREE: ReadonlySet<string> = new Set(["25P02", "26000", "34000"]);

/** Errors of the server: what the client is told of them, and what they undo. */
export class Failures {
  readonly #exchange: Exchange;

  readonly #tolls: Tolls;
  /** Told in place of an error that could not be paid for. */
  #unpaid: Refusal | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#tolls = new Tolls(exchange);
  }

  /**
   * Charges an error that may tell of people, before it is told. False: the message must be handed in again after a
   * `wake`.
   */
  isPaid(frame: Frame): boolean {
    if (!this.#hasPrice(decodeError(frame))) return true;
    const { head } = this.#exchange.ledger;
    const repeat = head !== undefined && "repeat" in head ? head.repeat : undefined;
    const rows = head !== undefined && "run" in head ? (head.run?.rows ?? 0) : 0;
    const paid = this.#tolls.chargeError(repeat?.expected === undefined ? 0 : repeat.owed, rows);
    if (paid === "unsettled") return false;
    this.#unpaid = "repeat" in paid ? undefined : paid;
    return true;
  }

  #hasPrice(fields: ErrorFields): boolean {
    const { head } = this.#exchange.ledger;
    if (head === undefined || !countsPeople(this.#exchange.judging.role)) return false;
    if (isOfParser(fields) || fields.get("V") !== "ERROR" || FREE.has(fields.get("C") ?? "")) return false;
    if (head.refusal !== undefined || head.quiet === true || (head.kind === "query" && head.failed))
      return false;
    // What is told then are words of ours.
    if ("run" in head && head.run?.cut !== undefined) return false;
    return mayTouchPeople(this.#exchange, head);
  }

  errorResponse(frame: Frame): void {
    const { ledger, judging, acting } = this.#exchange;
    const { head } = ledger;
    const fields = decodeError(frame);
    if (fields.get("V") === "FATAL" || fields.get("V") === "PANIC") this.#exchange.fatal = true;
    judging.path.failed();
    acting?.certainty.failed();
    if (head !== undefined && head.kind !== "query" && head.kind !== "sync") {
      this.#stepFailed(head, frame);
      return;
    }
    if (head?.kind === "query") this.#queryFailed(head, frame);
    // A commit that failed, at a deferred constraint for instance: ReadyForQuery still comes.
    else this.#tell(frame, this.#ownWords(fields, undefined), undefined);
    ledger.failed();
  }

  #queryFailed(reply: QueryReply, frame: Frame): void {
    const run = failedRunOf(this.#exchange, reply);
    if (reply.failed) {
      if (this.#exchange.fatal) this.#tell(frame, undefined, reply.judged);
      return;
    }
    reply.failed = true;
    this.#answer(frame, run, reply, reply.judged);
  }

  /** In the extended protocol the server now skips what it gets, up to the next Sync. */
  #stepFailed(reply: Exclude<Reply, { kind: "query" | "sync" }>, frame: Frame): void {
    const { names, ledger } = this.#exchange;
    const run = this.#failedRun(reply);
    if (reply.quiet !== true) this.#answer(frame, run, reply, run?.judged);
    else if (this.#exchange.fatal) this.#tell(frame, undefined, undefined);
    for (const skipped of ledger.failed()) this.#undo(skipped);
    // exec_parse_message drops the unnamed statement before it reads the new one.
    if (reply.kind === "parse" && reply.name === "") names.statements.delete("");
    if (ledger.intake !== "skipping" || !this.#exchange.unrolling) return;
    this.#exchange.unrolling = false;
    this.#exchange.sendSync();
  }

  #failedRun(reply: Exclude<Reply, { kind: "query" | "sync" }>): Run | undefined {
    switch (reply.kind) {
      case "execute":
        // What has a reference is on record already: a result that was cut off too late.
        return reply.refusal?.reference === undefined ? failedRunOf(this.#exchange, reply) : undefined;
      case "parse":
      case "bind": {
        if (reply.judged === undefined) return undefined;
        const statement = reply.judged.verdict.statements[0] ?? UNKNOWN_STATEMENT;
        return new Run(reply.judged, statement, statement, { rows: 0, bytes: 0 }, reply.at);
      }
      case "describe":
      case "close":
      case "ownExecute":
        return undefined;
    }
  }

  #undo(reply: Reply): void {
    const { statements, portals } = this.#exchange.names;
    if (reply.kind === "parse" && reply.change !== undefined) statements.withdraw(reply.change);
    if (reply.kind === "bind" && reply.change !== undefined) portals.withdraw(reply.change);
    if (reply.kind === "close") {
      if (reply.statement !== undefined) statements.withdraw(reply.statement);
      if (reply.portal !== undefined) portals.withdraw(reply.portal);
    }
  }

  /** The client is told, and what it is told goes on record, under one reference. */
  #answer(frame: Frame, run: Run | undefined, { refusal }: Reply, judged: Judged | undefined): void {
    const { trace } = this.#exchange;
    const fields = decodeError(frame);
    const kept = fields.get("C") === CHANGED ? run?.shape.keeps : undefined;
    const own = this.#ownWords(fields, refusal ?? run?.cut ?? kept);
    if (run === undefined) {
      this.#tell(frame, own, judged);
      return;
    }
    const told = own && trace.refer(own);
    this.#tell(frame, told, judged);
    if (run.cut !== undefined) run.cut = told;
    if ((refusal ?? kept) !== undefined && told !== undefined) trace.refused(run, told);
    else if (run.cut !== undefined) trace.answered(run);
    else trace.answered(run, fields.get("C") ?? "XX000", told?.reference);
  }

  /** What is told in place of the server's error. */
  #ownWords(fields: ErrorFields, refusal: Refusal | undefined): Refusal | undefined {
    const overrun = this.#exchange.overrun && fields.get("C") === STATEMENT_TIMEOUT.sqlstate;
    this.#exchange.overrun = false;
    const unpaid = this.#unpaid;
    this.#unpaid = undefined;
    return refusal ?? unpaid ?? (overrun ? STATEMENT_TIMEOUT : undefined);
  }

  /** A server that ends the session has not come to what was to fail: the client must hear why it ends. */
  #tell(frame: Frame, own: Refusal | undefined, judged: Judged | undefined): void {
    const { head } = this.#exchange.ledger;
    const touches = head !== undefined && mayTouchPeople(this.#exchange, head);
    const message =
      own === undefined || this.#exchange.fatal
        ? redactError(frame, tellingOf(judged, decodeError(frame), touches))
        : errorResponse(own);
    this.#exchange.toClient.send(message);
  }
}
