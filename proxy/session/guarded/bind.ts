import type { Change } from "../../protocol/object-names.ts";
import { extraFields, type Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { type Bind, decodeBind, withResultFormats } from "../../wire/frontend-messages.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import { boundLookups } from "../statement/bound-lookups.ts";
import type { Judged } from "../statement/decision.ts";
import { type PinnedPeople, pinnedByBind } from "../statement/pinned.ts";
import {
  isRefusal,
  missingStatement,
  nameOf,
  type Portal,
  type Prepared,
  portalOf,
  refuseMoreNames,
} from "../statement/prepared.ts";
import { mayRepeat, questionOf } from "../statement/repeats.ts";
import type { Acting } from "./acting.ts";
import type { Exchange } from "./exchange.ts";
import type { Tolls } from "./execution-prices.ts";
import type { Refusing } from "./forced-errors.ts";
import type { Foresight } from "./in-flight-names.ts";

interface BindInput {
  readonly frame: Frame;
  readonly bind: Bind;
  readonly prepared: Prepared;
}

interface BindDecision extends BindInput {
  readonly judged: Judged;
  /** Undefined for an empty text. */
  readonly statement: Statement | undefined;
  /** Fields that are added to each row. */
  readonly extra: number;
}

/** Bind messages of a guarded session: a prepared statement gets its parameters, and the portal a name. */
export class GuardedBind implements RequestSteps<Frame, BindInput, BindDecision, Change<Portal>> {
  readonly #exchange: Exchange;
  readonly #foresight: Foresight;
  readonly #refusing: Refusing;
  readonly #tolls: Tolls;

  constructor(exchange: Exchange, foresight: Foresight, refusing: Refusing, tolls: Tolls) {
    this.#exchange = exchange;
    this.#foresight = foresight;
    this.#refusing = refusing;
    this.#tolls = tolls;
  }

  resolve(frame: Frame): Outcome<BindInput> {
    const bind = decodeBind(frame);
    const prepared = this.#foresight.prepared(bind.statement);
    if (prepared === "unsettled") return prepared;
    if (prepared === "absent") return new Refused(missingStatement(nameOf(bind.statement)), undefined);
    if (!this.#foresight.standsFor(prepared.kept.text, "extended")) return "unsettled";
    return { frame, bind, prepared };
  }

  decide({ frame, bind, prepared: known }: BindInput): Outcome<BindDecision> {
    const { acting } = this.#exchange;
    const prepared = acting?.refusal ?? this.#foresight.renew(known, bind.statement);
    if (prepared === "unsettled") return prepared;
    if (isRefusal(prepared)) return new Refused(prepared, onRecord(known, acting));
    const { statement } = prepared;
    const judged = onRecord(prepared, acting);
    if (judged === undefined) throw new Error("a statement judged just now without its scope");
    const source = statement && this.#foresight.source(statement);
    if (source === "unsettled") return source;
    const extra = source === undefined || isRefusal(source) ? 0 : extraFields(source.shape);
    return { frame, bind, prepared, judged, statement, extra };
  }

  reserve({ frame, bind, prepared, judged, statement }: BindDecision): Outcome<Change<Portal>> {
    const { names, ledger } = this.#exchange;
    const crowded = bind.portal === "" ? undefined : refuseMoreNames(names);
    if (crowded !== undefined) return new Refused(crowded, judged);
    const { parse, description } = prepared;
    const pins = statement?.metering?.price?.pins;
    const { places = [] } = judged.verdict.kind === "refuse" ? {} : judged.verdict;
    const pinned = pins && pinnedByBind(pins, { text: judged.text, places, parse }, frame, bind);
    const lookups = boundLookups(statement?.asks, frame, bind, parse);
    if (typeof lookups === "object") return new Refused(lookups, judged);
    const paid = this.#tolls.chargePlan(statement);
    if (paid === "unsettled") return paid;
    if (!("repeat" in paid)) return new Refused(paid, judged);
    const question = this.#questionOf(frame, bind, judged, statement, pinned);
    const portal = portalOf(judged, statement, { pinned, lookups, question, description });
    return names.portals.propose(bind.portal, portal, ledger.pipeline);
  }

  forward({ frame, bind, judged, extra }: BindDecision, change: Change<Portal>): void {
    this.#exchange.sendStep(extra > 0 ? withResultFormats(frame, bind, extra) : frame, {
      kind: "bind",
      at: performance.now(),
      statement: bind.statement,
      judged,
      change,
    });
    this.#exchange.acting?.prepared();
  }

  refuse(frame: Frame, { refusal, judged }: Refused): void {
    this.#refusing.bind(decodeBind(frame).portal, judged, refusal);
  }

  /** Undefined where to ask it again costs no less. */
  #questionOf(
    { buffer, end }: Frame,
    { parametersStart }: Bind,
    { text }: Judged,
    statement: Statement | undefined,
    pinned: PinnedPeople | undefined,
  ): string | undefined {
    if (statement === undefined || pinned !== undefined) return undefined;
    return mayRepeat(statement, this.#exchange.judging.role)
      ? questionOf(text, buffer.subarray(parametersStart, end))
      : undefined;
  }
}

function onRecord({ kept }: Prepared, acting: Acting | undefined): Judged | undefined {
  return kept.judged && { ...kept.judged, ...acting?.onRecord };
}
