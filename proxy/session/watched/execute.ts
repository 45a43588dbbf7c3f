import { quoteIdentifier } from "../../pg/quote.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import { BY_SIZE } from "../../sql/watched-text.ts";
import type { Frame } from "../../wire/frames.ts";
import { decodeExecute } from "../../wire/frontend-messages.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import type { Naming } from "../decide/naming.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import type { Portal } from "../statement/prepared.ts";
import type { Reader } from "./charged-readers.ts";
import { hold, isHeld, keptForGood } from "./copying.ts";
import type { Judgement } from "./judgement.ts";
import type { Renewal } from "./renewal.ts";
import { refuseCommit } from "./rolling-back.ts";
import { rowOf } from "./rows-before.ts";
import type { WatchedState } from "./watched-state.ts";

interface ExecuteInput {
  readonly frame: Frame;
  readonly at: number;
  readonly name: string;
  /** Undefined where no message and no SQL gave the name: a function or a DO may have, or the server refuses it. */
  readonly portal: Portal | undefined;
  readonly judged: Judged;
}

interface ExecuteDecision extends ExecuteInput {
  /** Whose rows it gives. */
  readonly shape: Statement | undefined;
}

/** Execute messages of a watched session: a portal runs, and is read by somebody. */
export class WatchedExecute implements RequestSteps<Frame, ExecuteInput, ExecuteDecision, Reader> {
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

  resolve(frame: Frame): Outcome<ExecuteInput> {
    const at = performance.now();
    const { portal: name } = decodeExecute(frame);
    const { names, ledger } = this.#state;
    const portal = names.portals.find(name, ledger.pipeline);
    // An earlier message may define it yet.
    if (portal === "unsettled" || (portal === "absent" && !ledger.isSettled)) return this.#state.wait();
    if (portal !== "absent") return { frame, at, name, portal, judged: portal.judged };
    const scope = this.#state.judging.scope();
    return scope === undefined
      ? "unsettled"
      : { frame, at, name, portal: undefined, judged: ofCursor(name, scope) };
  }

  decide({ frame, at, name, portal, ...input }: ExecuteInput): Outcome<ExecuteDecision> {
    if (portal !== undefined && !this.#renewal.isOfNow(portal)) return "unsettled";
    const judged = portal?.judged ?? input.judged;
    const statement = portal === undefined ? judged.verdict.statements[0] : portal.statement;
    if (statement !== undefined && !this.#renewal.areCurrent([statement], "extended")) return "unsettled";
    const shape = statement && this.#state.shapeOf(statement);
    if (shape === "unsettled") return this.#state.wait();
    if (shape !== undefined && !this.#judgement.isCertain([shape], "extended")) return "unsettled";
    if (statement !== undefined && !this.#renewal.areBare([statement], "extended")) return "unsettled";
    if (!this.#naming.isKnown(judged, "extended")) return "unsettled";
    const outside = this.#state.fencing.refusal(judged);
    if (outside !== undefined) return new Refused(outside, judged);
    const due = shape && this.#state.readers.due(this.#readerOf(judged), shape, rowOf(portal?.pinned));
    return { frame, at, name, portal, judged, shape: due };
  }

  reserve({ judged, shape, portal }: ExecuteDecision): Outcome<Reader> {
    const reader = this.#readerOf(judged);
    const uncommitted = this.#state.uncommittable(portal?.statement ? [portal.statement] : [], "extended");
    if (uncommitted === "unsettled") return this.#state.wait();
    if (uncommitted !== undefined) return new Refused(uncommitted, judged, "rolls back");
    const refusal =
      shape && (this.#state.readers.refusal(reader, [shape]) ?? keptForGood(this.#state, reader, [shape]));
    return refusal === undefined ? reader : new Refused(refusal, judged);
  }

  forward({ frame, at, name, portal, judged, shape }: ExecuteDecision, reader: Reader): void {
    const statement = portal === undefined ? judged.verdict.statements[0] : portal.statement;
    if (statement !== undefined) this.#state.foresee([statement], reader, [shape ?? statement]);
    this.#state.send(frame, {
      ...{ kind: "execute", at, portal: name, reader },
      ...(portal === undefined && { judged }),
    });
    if (statement?.effect?.kind === "copyIn") this.#state.ledger.barrier.raise("closed");
    if (shape !== undefined && isHeld(this.#state, reader, [shape])) hold(this.#state);
  }

  refuse(frame: Frame, { refusal, judged, rollsBack }: Refused): void {
    const at = performance.now();
    const { portal } = decodeExecute(frame);
    const reader = this.#readerOf(judged);
    if (rollsBack && judged !== undefined) {
      refuseCommit(this.#state, { judged, reader, refusal });
      return;
    }
    this.#state.send(poisonedExecute, { kind: "execute", at, portal, reader, refusal });
  }

  #readerOf(judged: Judged | undefined): Reader {
    return this.#state.readers.of(judged && this.#naming.personOf(judged, "extended"));
  }
}

/** What is read from a cursor that code has opened, as a FETCH of it would be: it is not known which people it shows. */
function ofCursor(name: string, scope: Scope): Judged {
  const statement: Statement = {
    ...{ command: "FETCH", kind: "cursor", reads: [], writes: [], masked: [], lookups: 0, limited: false },
    ...{ ...BY_SIZE, readsMore: true, touch: { session: true, defines: false, bareNames: [] } },
  };
  const text = Buffer.from(`FETCH ALL FROM ${quoteIdentifier(name)}`);
  return { text, verdict: { kind: "pass", statements: [statement] }, scope };
}
