import type { Frame } from "../../wire/frames.ts";
import { decodeExecute, executeMessage } from "../../wire/frontend-messages.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { PinnedPeople } from "../statement/pinned.ts";
import { isRefusal, missingPortal, nameOf, type Portal, type Source } from "../statement/prepared.ts";
import type { Repeat } from "../statement/repeats.ts";
import type { Describing } from "./describing.ts";
import type { Exchange } from "./exchange.ts";
import type { Tolls } from "./execution-prices.ts";
import { rowsToAsk } from "./extended-rewrite.ts";
import type { Refusing } from "./forced-errors.ts";
import type { Foresight } from "./in-flight-names.ts";
import { canBeCut } from "./results.ts";
import { refuseCommit } from "./rolling-back.ts";
import { isHeldWrite, mayWrite } from "./written-rows.ts";

interface ExecuteInput {
  readonly frame: Frame;
  readonly name: string;
  /** 0: all. */
  readonly maxRows: number;
  readonly portal: Portal;
}

interface ExecuteDecision extends ExecuteInput {
  /** Undefined for an empty text. */
  readonly source: Source | undefined;
}

/** The people and the answer that its price covers. */
interface Reserved {
  readonly pinned: PinnedPeople | undefined;
  readonly repeat: Repeat | undefined;
}

/** Execute messages of a guarded session: a portal runs, or goes on where it stopped. */
export class GuardedExecute implements RequestSteps<Frame, ExecuteInput, ExecuteDecision, Reserved> {
  readonly #exchange: Exchange;
  readonly #foresight: Foresight;
  readonly #refusing: Refusing;
  readonly #tolls: Tolls;
  readonly #describing: Describing;

  constructor(
    exchange: Exchange,
    foresight: Foresight,
    refusing: Refusing,
    tolls: Tolls,
    describing: Describing,
  ) {
    this.#exchange = exchange;
    this.#foresight = foresight;
    this.#refusing = refusing;
    this.#tolls = tolls;
    this.#describing = describing;
  }

  resolve(frame: Frame): Outcome<ExecuteInput> {
    const { portal: name, maxRows } = decodeExecute(frame);
    const portal = this.#foresight.portal(name);
    if (portal === "unsettled" || !this.#foresight.isReady()) return "unsettled";
    if (portal === "absent") return new Refused(missingPortal(nameOf(name), "portal"), undefined);
    if (!this.#foresight.standsFor(portal.judged.text, "extended")) return "unsettled";
    return { frame, name, maxRows, portal };
  }

  decide({ frame, name, maxRows, portal }: ExecuteInput): Outcome<ExecuteDecision> {
    const { acting, fencing } = this.#exchange;
    const outlived = acting?.refusal ?? fencing.refusal(portal.judged) ?? this.#foresight.outlived(portal);
    if (outlived === "unsettled") return outlived;
    const { judged, statement } = portal;
    if (outlived !== undefined) return new Refused(outlived, judged);
    const uncommitted = this.#exchange.uncommitted.refusalOf(statement === undefined ? [] : [statement]);
    if (uncommitted === "unsettled") return this.#exchange.wait();
    if (uncommitted !== undefined) return new Refused(uncommitted, judged, "rolls back");
    const source = statement && this.#foresight.source(statement, portal.counts, name);
    if (source === "unsettled") return source;
    if (source !== undefined && isRefusal(source)) return new Refused(source, judged);
    return { frame, name, maxRows, portal, source };
  }

  reserve({ portal, maxRows, source }: ExecuteDecision): Outcome<Reserved> {
    const { judged, statement, lookups } = portal;
    const pinned = portal.pinned ?? source?.pinned;
    if (source === undefined) return { pinned, repeat: undefined };
    // A portal that continues where it stopped makes no new lookup.
    const goesOn = source.counts.rows > 0;
    const question = goesOn || maxRows > 0 ? undefined : portal.question;
    const paid = this.#tolls.charge([
      { shape: source.shape, effect: statement?.effect, goesOn, pinned, lookups, question },
    ]);
    if (paid === "unsettled") return paid;
    return "repeat" in paid ? { pinned, repeat: paid.repeat } : new Refused(paid, judged);
  }

  forward(decided: ExecuteDecision, reserved: Reserved): void {
    const { name, portal, source } = decided;
    const { statement } = portal;
    this.#describing.ask(name, portal);
    this.#send(decided, reserved);
    this.#describing.hold(portal, source);
    if (statement === undefined) return;
    this.#exchange.foresee(statement, source?.shape);
    if (statement.effect?.kind === "copyIn") this.#exchange.ledger.barrier.raise("closed");
  }

  refuse(frame: Frame, { refusal, judged, rollsBack }: Refused): void {
    if (rollsBack && judged !== undefined) refuseCommit(this.#exchange, judged, refusal, "extended");
    else this.#refusing.execute(decodeExecute(frame).portal, refusal);
  }

  #send({ frame, name, maxRows, source }: ExecuteDecision, { pinned, repeat }: Reserved): void {
    const exchange = this.#exchange;
    const { role } = exchange.judging;
    const cuttable = source !== undefined && canBeCut(role, source.shape);
    const truncates = cuttable && role.limits.onExcess === "truncate";
    const isRead = source?.shape.kind === "read";
    const capped = truncates && isRead;
    const message = capped ? executeMessage(name, rowsToAsk(maxRows, 0, source.counts, role.limits)) : frame;
    exchange.sendStep(message, {
      kind: "execute",
      at: performance.now(),
      portalName: name,
      unrolled: undefined,
      asked: maxRows,
      truncates,
      pinned,
      repeat,
      run: undefined,
    });
    // What was written in this pipeline is not committed before the result has come to its end.
    const isHeld = source !== undefined && isHeldWrite(role, source.shape);
    const commitsNothing = isRead && !mayWrite(source.shape) && !exchange.pipelineWrites;
    if (cuttable || isHeld)
      exchange.ledger.barrier.raise(commitsNothing && !truncates ? "untilSync" : "closed");
  }
}
