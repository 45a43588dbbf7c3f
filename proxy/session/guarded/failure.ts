import { CHANGED } from "../../sql/emit/kept-columns.ts";
import { countsPeople } from "../../sql/rules/people.ts";
import { decodeError, type ErrorFields, errorResponse, redactError } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { STATEMENT_TIMEOUT } from "../context/time-limits.ts";
import { isOfParser, tellingOf } from "../record/error-redaction.ts";
import type { AnswerSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import { Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import { failedRunOf, mayTouchPeople } from "./current-run.ts";
import type { Exchange } from "./exchange.ts";
import { Tolls } from "./execution-prices.ts";
import type { QueryReply, Reply } from "./outstanding-replies.ts";
import type { Results } from "./results.ts";

/** The server gives these before it runs anything: the block has failed, the name is unknown. */
const FREE: ReadonlySet<string> = new Set(["25P02", "26000", "34000"]);

/** A server error that the client has got, or that was passed over. */
interface Failed {
  /** The message that it answers. */
  readonly head: Reply | undefined;
  /** What goes on record; undefined where that is nothing. */
  readonly run: Run | undefined;
  readonly sqlstate: string;
  /** The words in place of the server's. */
  readonly told: Refusal | undefined;
  /** The statement was refused: nothing of it has run. */
  readonly isRefused: boolean;
}

/** Errors of the server in a guarded session: what the client gets of them, and what they undo. */
export class GuardedFailure implements AnswerSteps<Frame, Failed> {
  readonly #exchange: Exchange;
  readonly #results: Results;
  readonly #tolls: Tolls;
  /** Told in place of an error that could not be paid for. */
  #unpaid: Refusal | undefined;

  constructor(exchange: Exchange, results: Results) {
    this.#exchange = exchange;
    this.#results = results;
    this.#tolls = new Tolls(exchange);
  }

  release(frame: Frame): Failed | "unsettled" {
    const { head } = this.#exchange.ledger;
    if (head?.kind === "query" || head?.kind === "execute") head.run?.answer?.breakOff();
    if (!this.#results.release() || !this.#isPaid(frame)) return "unsettled";
    const fields = decodeError(frame);
    if (fields.get("V") === "FATAL" || fields.get("V") === "PANIC") this.#exchange.fatal = true;
    if (head === undefined || head.kind === "sync") {
      // A commit that failed, at a deferred constraint for instance: ReadyForQuery still comes.
      this.#tell(frame, this.#ownWords(fields, undefined), undefined);
      return passedOver(head);
    }
    return head.kind === "query"
      ? this.#queryFailed(head, frame, fields)
      : this.#stepFailed(head, frame, fields);
  }

  record({ run, sqlstate, told, isRefused }: Failed): void {
    const { trace } = this.#exchange;
    if (run === undefined) return;
    if (run.cut !== undefined) run.cut = told;
    if (isRefused && told !== undefined) trace.refused(run, told);
    else if (run.cut !== undefined) trace.answered(run);
    else trace.answered(run, sqlstate, told?.reference);
  }

  settle({ head }: Failed): void {
    const { names, ledger, judging, acting } = this.#exchange;
    judging.path.failed();
    acting?.certainty.failed();
    if (head?.kind === "query") head.failed = true;
    for (const skipped of ledger.failed()) this.#undo(skipped);
    // exec_parse_message drops the unnamed statement before it reads the new one.
    if (head?.kind === "parse" && head.name === "") names.statements.delete("");
    // In the extended protocol the server now skips what it gets, up to the next Sync.
    if (ledger.intake !== "skipping" || !this.#exchange.unrolling) return;
    this.#exchange.unrolling = false;
    this.#exchange.sendSync();
  }

  /**
   * Charges an error that may reveal people, before it is sent. False: the message must be handed in again after a
   * `wake`.
   */
  #isPaid(frame: Frame): boolean {
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
    if (this.#refusalOf(head) !== undefined) return false;
    if (head.quiet === true || (head.kind === "query" && head.failed)) return false;
    // The client then gets our own words.
    if ("run" in head && head.run?.cut !== undefined) return false;
    return mayTouchPeople(this.#exchange, head);
  }

  #queryFailed(reply: QueryReply, frame: Frame, fields: ErrorFields): Failed {
    const run = failedRunOf(this.#exchange, reply);
    if (!reply.failed) return this.#answer(frame, fields, run, reply, reply.judged);
    if (this.#exchange.fatal) this.#tell(frame, undefined, reply.judged);
    return passedOver(reply);
  }

  #stepFailed(reply: Step, frame: Frame, fields: ErrorFields): Failed {
    const run = this.#failedRun(reply);
    if (reply.quiet !== true) return this.#answer(frame, fields, run, reply, run?.judged);
    if (this.#exchange.fatal) this.#tell(frame, undefined, undefined);
    return passedOver(reply);
  }

  #failedRun(reply: Step): Run | undefined {
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

  /** The client gets an error that goes on record under the same reference. */
  #answer(
    frame: Frame,
    fields: ErrorFields,
    run: Run | undefined,
    head: Reply,
    judged: Judged | undefined,
  ): Failed {
    const sqlstate = fields.get("C") ?? "XX000";
    const kept = sqlstate === CHANGED ? run?.shape.keeps : undefined;
    const refused = this.#refusalOf(head);
    const refusal = refused ?? kept;
    const own = this.#ownWords(fields, refused ?? run?.cut ?? kept);
    const told = run === undefined ? own : own && this.#exchange.trace.refer(own);
    this.#tell(frame, told, judged);
    return { head, run, sqlstate, told, isRefused: refusal !== undefined };
  }

  /** The refusal for which the server got a message that fails, in place of the client's. */
  #refusalOf(head: Reply): Refusal | undefined {
    return head.refusal ?? this.#exchange.leg.refusal;
  }

  /** What the client gets in place of the server's error. */
  #ownWords(fields: ErrorFields, refusal: Refusal | undefined): Refusal | undefined {
    const { cancelled } = this.#exchange;
    this.#exchange.cancelled = undefined;
    const unpaid = this.#unpaid;
    this.#unpaid = undefined;
    return refusal ?? unpaid ?? (fields.get("C") === STATEMENT_TIMEOUT.sqlstate ? cancelled : undefined);
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

type Step = Exclude<Reply, { kind: "query" | "sync" }>;

/** Nothing goes on record of it. */
function passedOver(head: Reply | undefined): Failed {
  return { head, run: undefined, sqlstate: "", told: undefined, isRefused: false };
}
