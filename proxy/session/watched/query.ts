import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { decodeQuery, queryMessage } from "../../wire/frontend-messages.ts";
import { poisonedQuery } from "../../wire/poison.ts";
import type { Naming } from "../decide/naming.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import { givesName, refuseMoreNames } from "../statement/prepared.ts";
import type { Reader } from "./charged-readers.ts";
import { isHeld, keptForGood, NOT_BY_ITSELF, sendUncommitted } from "./copying.ts";
import type { Judgement } from "./judgement.ts";
import type { Renewal } from "./renewal.ts";
import { refuseCommit } from "./rolling-back.ts";
import { rowInText } from "./rows-before.ts";
import type { WatchedState } from "./watched-state.ts";

interface QueryInput {
  readonly frame: Frame;
  readonly at: number;
  readonly text: Buffer;
  readonly scope: Scope;
}

interface QueryDecision {
  readonly frame: Frame;
  readonly at: number;
  readonly judged: Judged;
  /** Whose rows each of its statements gives. */
  readonly shapes: readonly Statement[];
}

/** Query messages of a watched session: a text runs as it was written, and is read by somebody. */
export class WatchedQuery implements RequestSteps<Frame, QueryInput, QueryDecision, Reader> {
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

  resolve(frame: Frame): Outcome<QueryInput> {
    const at = performance.now();
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const scope = this.#state.judging.scope();
    const text = frame.buffer.subarray(sqlStart, sqlEnd);
    return scope === undefined ? "unsettled" : { frame, at, text, scope };
  }

  decide({ frame, at, text, scope }: QueryInput): Outcome<QueryDecision> {
    const judged = this.#judgement.of(text, "simple", scope);
    if (judged === undefined || !this.#state.leg.admits(frame)) return "unsettled";
    const { statements } = judged.verdict;
    if (!this.#renewal.areCurrent(statements, "simple")) return "unsettled";
    if (!this.#renewal.areBare(statements, "simple")) return "unsettled";
    const reader = this.#readerOf(judged);
    const shapes: Statement[] = [];
    for (const statement of statements) {
      const shape = this.#state.shapeOf(statement);
      if (shape === "unsettled") return this.#state.wait();
      shapes.push(this.#state.readers.due(reader, shape, rowInText(judged, statement)));
    }
    const crowded = statements.some(givesName) ? refuseMoreNames(this.#state.names) : undefined;
    const outside = this.#state.fencing.refusal(judged) ?? crowded;
    return outside === undefined ? { frame, at, judged, shapes } : new Refused(outside, judged);
  }

  reserve({ judged, shapes }: QueryDecision): Outcome<Reader> {
    const reader = this.#readerOf(judged);
    const uncommitted = this.#state.uncommittable(judged.verdict.statements, "simple");
    if (uncommitted === "unsettled") return this.#state.wait();
    if (uncommitted !== undefined) return new Refused(uncommitted, judged, "rolls back");
    const refusal = this.#state.readers.refusal(reader, shapes);
    if (refusal !== undefined) return new Refused(refusal, judged);
    const kept = keptForGood(this.#state, reader, shapes);
    if (kept !== undefined) return new Refused(kept, judged);
    if (!isHeld(this.#state, reader, shapes)) return reader;
    if (shapes.length > 1) return new Refused(NOT_BY_ITSELF, judged);
    return this.#state.ledger.isSettled ? reader : this.#state.wait();
  }

  forward({ frame, at, judged, shapes }: QueryDecision, reader: Reader): void {
    const { verdict } = judged;
    this.#state.foresee(verdict.statements, reader, shapes);
    if (isHeld(this.#state, reader, shapes)) {
      sendUncommitted(this.#state, judged, reader, at);
      return;
    }
    const message = verdict.kind === "rewrite" ? queryMessage(verdict.sql) : frame;
    this.#state.send(message, { kind: "query", at, judged, reader });
    if (verdict.statements.some(({ effect }) => effect?.kind === "copyIn"))
      this.#state.ledger.barrier.raise("closed");
  }

  refuse(_frame: Frame, { refusal, judged, rollsBack }: Refused): void {
    if (judged === undefined) throw new Error("a text was refused that nobody had judged");
    const reader = this.#readerOf(judged);
    if (rollsBack) {
      refuseCommit(this.#state, { judged, reader, refusal, ofQuery: true });
      return;
    }
    this.#state.send(poisonedQuery, { kind: "query", at: performance.now(), judged, reader, refusal });
  }

  #readerOf(judged: Judged): Reader {
    return this.#state.readers.of(this.#naming.personOf(judged, "simple"));
  }
}
