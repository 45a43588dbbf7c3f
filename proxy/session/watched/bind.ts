import type { Change } from "../../protocol/object-names.ts";
import { extraFields } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { type Bind, decodeBind, withResultFormats } from "../../wire/frontend-messages.ts";
import { poisonedBind } from "../../wire/poison.ts";
import type { Naming } from "../decide/naming.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import { pinnedByBind } from "../statement/pinned.ts";
import { type Portal, type Prepared, portalOf, refuseMoreNames } from "../statement/prepared.ts";
import type { Judgement } from "./judgement.ts";
import type { Renewal } from "./renewal.ts";
import type { Unrun } from "./unrun.ts";
import type { WatchedState } from "./watched-state.ts";

interface BindInput {
  readonly frame: Frame;
  readonly at: number;
  readonly bind: Bind;
  /** Undefined if no statement has the name: the server refuses it. */
  readonly prepared: Prepared | undefined;
}

interface BindDecision extends BindInput {
  readonly judged: Judged | undefined;
  /** Fields that are added to each row. */
  readonly extra: number;
}

/** Bind messages of a watched session: a prepared statement gets its parameters, and the portal a name. */
export class WatchedBind
  implements RequestSteps<Frame, BindInput, BindDecision, { change: Change<Portal> | undefined }>
{
  readonly #state: WatchedState;
  readonly #naming: Naming;
  readonly #judgement: Judgement;
  readonly #renewal: Renewal;
  readonly #unrun: Unrun;

  constructor(state: WatchedState, naming: Naming, judgement: Judgement, renewal: Renewal, unrun: Unrun) {
    this.#state = state;
    this.#naming = naming;
    this.#judgement = judgement;
    this.#renewal = renewal;
    this.#unrun = unrun;
  }

  resolve(frame: Frame): Outcome<BindInput> {
    const at = performance.now();
    const bind = decodeBind(frame);
    const { names, ledger } = this.#state;
    const prepared = names.statements.find(bind.statement, ledger.pipeline);
    // An earlier message may define it yet.
    if (prepared === "unsettled" || (prepared === "absent" && !ledger.isSettled)) return this.#state.wait();
    return { frame, at, bind, prepared: prepared === "absent" ? undefined : prepared };
  }

  decide({ frame, at, bind, prepared: known }: BindInput): Outcome<BindDecision> {
    if (known === undefined) return { frame, at, bind, prepared: known, judged: undefined, extra: 0 };
    const prepared = this.#renewal.renewed(known, bind.statement);
    const judged = prepared && (prepared.kept.judged ?? this.#judgement.remembered(prepared.kept));
    if (prepared === undefined || judged === undefined) return "unsettled";
    // The fence may have come after it was prepared.
    const outside = this.#state.fencing.refusal(judged);
    if (outside !== undefined) return this.#knowsReader(judged) ? new Refused(outside, judged) : "unsettled";
    const shape = prepared.statement && this.#state.shapeOf(prepared.statement);
    if (shape === "unsettled") return this.#state.wait();
    return { frame, at, bind, prepared, judged, extra: shape === undefined ? 0 : extraFields(shape) };
  }

  /** What is refused here is on record as that of whoever asks for it. */
  #knowsReader(judged: Judged): boolean {
    const { statements } = judged.verdict;
    return this.#judgement.isCertain(statements, "extended") && this.#naming.isKnown(judged, "extended");
  }

  reserve({ frame, bind, prepared, judged }: BindDecision): Outcome<{ change: Change<Portal> | undefined }> {
    if (prepared === undefined || judged === undefined) return NO_NAME;
    const { names, ledger } = this.#state;
    const crowded = bind.portal === "" ? undefined : refuseMoreNames(names);
    if (crowded !== undefined) return new Refused(crowded, judged);
    const { statement, description, parse } = prepared;
    const { places = [] } = judged.verdict.kind === "refuse" ? {} : judged.verdict;
    const row = statement?.row;
    const pinned = row && pinnedByBind([row], { text: judged.text, places, parse }, frame, bind);
    const portal = portalOf(judged, statement, { description, pinned });
    return { change: names.portals.propose(bind.portal, portal, ledger.pipeline) };
  }

  forward(
    { frame, at, bind, prepared, judged, extra }: BindDecision,
    { change }: { change: Change<Portal> | undefined },
  ): void {
    if (prepared?.statement?.touch?.session) this.#unrun.bound(bind.statement, bind.portal);
    const message = extra > 0 ? withResultFormats(frame, bind, extra) : frame;
    this.#state.send(message, { kind: "bind", at, judged, change });
    if (prepared !== undefined && this.#judgement.readsByCode(prepared)) this.#state.certainty.doubt();
  }

  refuse(frame: Frame, { refusal, judged }: Refused): void {
    const at = performance.now();
    const { portal } = decodeBind(frame);
    const reader = judged && { reader: this.#state.readers.of(this.#naming.personOf(judged, "extended")) };
    const request = { kind: "bind", at, judged, ...reader, change: undefined, refusal } as const;
    this.#state.send(poisonedBind(portal), request);
  }
}

const NO_NAME = { change: undefined };
