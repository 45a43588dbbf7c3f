import type { Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { describeMessage } from "../../wire/frontend-messages.ts";
import { SessionEnd } from "../context/parts.ts";
import { isUnproven, MISFIT, mayGiveRows, misfit } from "../statement/described.ts";
import {
  asAnswered,
  isSource,
  type Portal,
  type Prepared,
  type Source,
  sourceOf,
} from "../statement/prepared.ts";
import type { Run } from "../statement/run.ts";
import type { Exchange } from "./exchange.ts";
import type { DescribeReply } from "./outstanding-replies.ts";
import { mayWrite } from "./written-rows.ts";

/** Asks the server for descriptions of results where the client does not, and holds all that come against the verdicts. */
export class Describing {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** The client asks by itself. */
  asked({ description }: Prepared | Portal): void {
    description.askedIn = this.#exchange.ledger.pipeline;
  }

  /** Before an Execute: asks for what the portal gives, unless that is known or the answer is on its way. */
  ask(name: string, { statement, description }: Portal): void {
    const { pipeline } = this.#exchange.ledger;
    if (description.answer === "fits" || description.askedIn === pipeline) return;
    if (statement === undefined || !mayGiveRows(statement)) return;
    description.askedIn = pipeline;
    const of = { target: "portal", name } as const;
    const reply = { kind: "describe", at: performance.now(), hidden: true, own: true, of } as const;
    this.#exchange.sendStep(describeMessage(of), reply);
  }

  /**
   * After an Execute whose rows have not been described: what comes next waits, as after a result that may be cut
   * off. A write is not committed before its rows have been looked at.
   */
  hold({ statement, description }: Portal, source: Source | undefined): void {
    const exchange = this.#exchange;
    if (description.answer === "fits" || statement === undefined || source === undefined) return;
    const { barrier } = exchange.ledger;
    if (barrier.level !== "open" || !isUnproven(source.shape)) return;
    const isRead = source.shape.kind === "read" && !mayWrite(source.shape) && !exchange.pipelineWrites;
    barrier.raise(isRead ? "untilSync" : "closed");
  }

  /** A description of the rows that follow it. False: they are dropped, and the client is told at their end. */
  ofRows(frame: Frame, run: Run): boolean {
    const fault = misfit(frame, run.shape, run.scope);
    run.isDescribed = true;
    if (fault === undefined) return true;
    this.#report(fault, run.statement);
    run.cut ??= MISFIT;
    // Without a barrier, a cancel request could hit a later statement of the client's. So none is sent, and the time
    // limit for stopping does not apply.
    if (this.#exchange.ledger.barrier.level === "open") run.cancelledAt = Number.POSITIVE_INFINITY;
    return false;
  }

  /** A description that was asked for. False: it does not fit, and no Execute will bring a row. */
  ofReply(frame: Frame, reply: DescribeReply): boolean {
    const described = this.#described(reply);
    const { shape, scope } = this.source(reply);
    const now = scope ?? ("kept" in described ? described.kept.scope : described.judged.scope);
    const fault = now === undefined ? "a scope that nobody uses any more" : misfit(frame, shape, now);
    described.description.answer = fault === undefined ? "fits" : MISFIT;
    if (fault !== undefined) this.#report(fault, shape);
    return fault === undefined;
  }

  /** It gives no rows. */
  nothing(reply: DescribeReply): void {
    this.#described(reply).description.answer = "fits";
  }

  /** The statement whose rows are described. */
  source(reply: DescribeReply): Source {
    const { names } = this.#exchange;
    const { statement } = this.#described(reply);
    if (statement === undefined) throw SessionEnd.outOfStep("A description of an unknown statement.");
    const source = sourceOf(statement, { rows: 0, bytes: 0 }, asAnswered(names));
    if (!isSource(source)) throw SessionEnd.outOfStep("A description of an unknown statement.");
    return source;
  }

  #described({ of }: DescribeReply): Prepared | Portal {
    const { names } = this.#exchange;
    const described =
      "counts" in of
        ? of
        : of.target === "statement"
          ? names.statements.get(of.name)
          : names.portals.get(of.name);
    if (described === undefined) throw SessionEnd.outOfStep("A description of an unknown statement.");
    return described;
  }

  #report(fault: string, { command }: Statement): void {
    const { parts, established, judging } = this.#exchange;
    parts.metrics.verificationFailed();
    parts.log.error(
      { session: established.id, role: judging.role.name, command, column: fault },
      "the server's description of a result did not verify; its rows were held back",
    );
    judging.doubt();
  }
}
