import type { Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { decodeExecute } from "../../wire/frontend-messages.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import type { Naming } from "../decide/naming.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import type { Portal } from "../statement/prepared.ts";
import type { Judgement } from "./judgement.ts";
import type { Reader } from "./readers.ts";
import type { Renewal } from "./renewal.ts";
import type { WatchedState } from "./state.ts";

interface Resolved {
  readonly frame: Frame;
  readonly at: number;
  readonly name: string;
  /** Undefined where the name is nobody's: the server refuses it. */
  readonly portal: Portal | undefined;
}

interface Decided extends Resolved {
  /** Whose rows it gives. */
  readonly shape: Statement | undefined;
}

/** Execute messages of a watched session: a portal runs, and is read by somebody. */
export class WatchedExecute implements RequestSteps<Frame, Resolved, Decided, Reader> {
  readonly #state: WatchedState;
  readonly #naming: Naming;
  readonly #judgement: Judgement;
  readonly #renewal: Renewal;

  constructor(state: WatchedState, naming: Naming, judgement: Judgement, renewal: Renewal) {
    this.#state = state;
    this.#naming = naming;
    this.#judgement = judgement;
    this.#renewal = renewal;
  }

  resolve(frame: Frame): Outcome<Resolved> {
    const at = performance.now();
    const { portal: name } = decodeExecute(frame);
    const { names, ledger } = this.#state;
    const portal = names.portals.find(name, ledger.pipeline);
    // An earlier message may define it yet.
    if (portal === "unsettled" || (portal === "absent" && !ledger.isSettled)) return this.#state.wait();
    return { frame, at, name, portal: portal === "absent" ? undefined : portal };
  }

  decide({ frame, at, name, portal }: Resolved): Outcome<Decided> {
    if (portal === undefined) return { frame, at, name, portal, shape: undefined };
    const { statement, judged } = portal;
    const shape = statement && this.#state.shapeOf(statement);
    if (shape === "unsettled") return this.#state.wait();
    if (shape !== undefined && !this.#judgement.isCertain([shape], "extended")) return "unsettled";
    if (statement !== undefined && !this.#renewal.areBare([statement], "extended")) return "unsettled";
    if (!this.#naming.isKnown(judged, "extended")) return "unsettled";
    const outside = this.#state.fencing.refusal(judged);
    return outside === undefined ? { frame, at, name, portal, shape } : new Refused(outside, judged);
  }

  reserve({ portal, shape }: Decided): Outcome<Reader> {
    const reader = this.#readerOf(portal?.judged);
    const refusal = shape && this.#state.readers.refusal(reader, [shape]);
    return refusal === undefined ? reader : new Refused(refusal, portal?.judged);
  }

  forward({ frame, at, name, portal }: Decided, reader: Reader): void {
    if (portal?.statement !== undefined) this.#state.foresee([portal.statement]);
    this.#state.send(frame, { kind: "execute", at, portal: name, reader });
    if (portal?.statement?.effect?.kind === "copyIn") this.#state.ledger.barrier.raise("closed");
  }

  refuse(frame: Frame, { refusal, judged }: Refused): void {
    const at = performance.now();
    const { portal } = decodeExecute(frame);
    const reader = this.#readerOf(judged);
    this.#state.send(poisonedExecute, { kind: "execute", at, portal, reader, refusal });
  }

  #readerOf(judged: Judged | undefined): Reader {
    return this.#state.readers.of(judged && this.#naming.personOf(judged, "extended"));
  }
}
