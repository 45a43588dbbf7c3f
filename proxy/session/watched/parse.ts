import type { Change } from "../../protocol/object-names.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Frame } from "../../wire/frames.ts";
import { decodeParse, type Parse, withSql } from "../../wire/frontend-messages.ts";
import { bytesOf } from "../../wire/messages.ts";
import { poisonedParse } from "../../wire/poison.ts";
import type { Naming } from "../decide/naming.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import { type Prepared, preparedBy, refuseMoreNames } from "../statement/prepared.ts";
import type { Judgement } from "./judgement.ts";
import type { Unrun } from "./unrun.ts";
import type { WatchedState } from "./watched-state.ts";

interface ParseInput {
  readonly frame: Frame;
  readonly at: number;
  readonly parse: Parse;
  readonly text: Buffer;
  readonly scope: Scope;
}

interface ParseDecision {
  readonly frame: Frame;
  readonly at: number;
  readonly parse: Parse;
  readonly judged: Judged;
}

/** Parse messages of a watched session: the text is judged, and gets a name. */
export class WatchedParse implements RequestSteps<Frame, ParseInput, ParseDecision, Change<Prepared>> {
  readonly #state: WatchedState;
  readonly #naming: Naming;
  readonly #judgement: Judgement;
  readonly #unrun: Unrun;

  constructor(state: WatchedState, naming: Naming, judgement: Judgement, unrun: Unrun) {
    this.#state = state;
    this.#naming = naming;
    this.#judgement = judgement;
    this.#unrun = unrun;
  }

  resolve(frame: Frame): Outcome<ParseInput> {
    const at = performance.now();
    const parse = decodeParse(frame);
    const scope = this.#state.judging.scope();
    // It outlives the buffer in which it came by far.
    const text = Buffer.from(frame.buffer.subarray(parse.sqlStart, parse.sqlEnd));
    return scope === undefined ? "unsettled" : { frame, at, parse, text, scope };
  }

  decide({ frame, at, parse, text, scope }: ParseInput): Outcome<ParseDecision> {
    const judged = this.#judgement.of(text, "extended", scope);
    if (judged === undefined || !this.#state.leg.admits(frame)) return "unsettled";
    // SQL's EXECUTE runs it, FETCH reads from it once it is bound, and the planner calls its functions before that.
    const outside = this.#state.fencing.refusal(judged);
    return outside === undefined ? { frame, at, parse, judged } : new Refused(outside, judged);
  }

  reserve({ frame, parse, judged }: ParseDecision): Outcome<Change<Prepared>> {
    const { names, ledger } = this.#state;
    const crowded = parse.statement === "" ? undefined : refuseMoreNames(names);
    if (crowded !== undefined) return new Refused(crowded, judged);
    const prepared = preparedBy(judged, Buffer.from(bytesOf(frame)));
    return names.statements.propose(parse.statement, prepared, ledger.pipeline);
  }

  forward({ frame, at, parse, judged }: ParseDecision, change: Change<Prepared>): void {
    const { verdict } = judged;
    if (change.value?.statement?.touch?.session) this.#unrun.parsed(parse.statement);
    const message = verdict.kind === "rewrite" ? withSql(frame, parse, verdict.sql) : frame;
    this.#state.send(message, { kind: "parse", at, judged, change });
  }

  refuse(frame: Frame, { refusal, judged }: Refused): void {
    const at = performance.now();
    const { statement } = decodeParse(frame);
    const reader = judged && { reader: this.#state.readers.of(this.#naming.personOf(judged, "extended")) };
    const request = { kind: "parse", at, judged, ...reader, change: undefined, refusal } as const;
    this.#state.send(poisonedParse(statement), request);
  }
}
