import type { Frame } from "../../wire/frames.ts";
import { poisonedQuery } from "../../wire/poison.ts";
import type { Naming } from "../decide/naming.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import { calledFunction } from "../statement/called-function.ts";
import type { Judged } from "../statement/decision.ts";
import type { Reader } from "./charged-readers.ts";
import { GATHERS, isHeld } from "./copying.ts";
import type { Judgement } from "./judgement.ts";
import type { WatchedState } from "./watched-state.ts";

interface CallDecision {
  readonly frame: Frame;
  readonly at: number;
  readonly judged: Judged;
}

/** FunctionCall messages of a watched session: a function is a statement like any other. */
export class WatchedFunctionCall implements RequestSteps<Frame, CallDecision, CallDecision, Reader> {
  readonly #state: WatchedState;
  readonly #naming: Naming;
  readonly #judgement: Judgement;

  constructor(state: WatchedState, naming: Naming, judgement: Judgement) {
    this.#state = state;
    this.#naming = naming;
    this.#judgement = judgement;
  }

  resolve(frame: Frame): Outcome<CallDecision> {
    const at = performance.now();
    const scope = this.#state.judging.scope();
    return scope === undefined ? "unsettled" : { frame, at, judged: calledFunction(frame, scope) };
  }

  decide({ frame, at, judged }: CallDecision): Outcome<CallDecision> {
    if (!this.#judgement.isCertain(judged.verdict.statements, "simple")) return "unsettled";
    if (!this.#naming.isKnown(judged, "simple")) return "unsettled";
    const outside = this.#state.fencing.refusal(judged);
    return outside === undefined ? { frame, at, judged } : new Refused(outside, judged);
  }

  reserve({ judged }: CallDecision): Outcome<Reader> {
    const reader = this.#readerOf(judged);
    const { statements } = judged.verdict;
    const refusal = this.#state.readers.refusal(reader, statements);
    if (refusal !== undefined) return new Refused(refusal, judged);
    // It commits what it does before its answer comes.
    const keeps = isHeld(this.#state, reader, statements);
    return keeps ? new Refused(GATHERS, judged) : reader;
  }

  forward({ frame, at, judged }: CallDecision, reader: Reader): void {
    this.#state.foresee(judged.verdict.statements, reader, judged.verdict.statements);
    this.#state.send(frame, { kind: "functionCall", at, called: { reader, judged } });
  }

  refuse(_frame: Frame, { refusal, judged }: Refused): void {
    const called = judged && { reader: this.#readerOf(judged), judged };
    const at = performance.now();
    this.#state.send(poisonedQuery, { kind: "functionCall", at, ...(called && { called }), refusal });
  }

  #readerOf(judged: Judged): Reader {
    return this.#state.readers.of(this.#naming.personOf(judged, "simple"));
  }
}
