import type { Change } from "../../protocol/object-names.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Frame } from "../../wire/frames.ts";
import { decodeParse, type Parse, withSql } from "../../wire/frontend-messages.ts";
import { bytesOf } from "../../wire/messages.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import { refuseTypes } from "../statement/parameter-types.ts";
import { type Prepared, preparedBy, refuseMoreNames } from "../statement/prepared.ts";
import type { Exchange } from "./exchange.ts";
import type { Refusing } from "./forced-errors.ts";
import type { Foresight } from "./in-flight-names.ts";

interface ParseInput {
  readonly frame: Frame;
  readonly parse: Parse;
  readonly text: Buffer;
  readonly scope: Scope;
}

interface ParseDecision {
  readonly frame: Frame;
  readonly parse: Parse;
  readonly judged: Judged;
  /** The client's message, which outlives the buffer in which it came by far. */
  readonly message: Buffer;
}

/** Parse messages of a guarded session: the text is judged, and gets a name. */
export class GuardedParse implements RequestSteps<Frame, ParseInput, ParseDecision, Change<Prepared>> {
  readonly #exchange: Exchange;
  readonly #foresight: Foresight;
  readonly #refusing: Refusing;

  constructor(exchange: Exchange, foresight: Foresight, refusing: Refusing) {
    this.#exchange = exchange;
    this.#foresight = foresight;
    this.#refusing = refusing;
  }

  resolve(frame: Frame): Outcome<ParseInput> {
    const parse = decodeParse(frame);
    // It outlives the buffer as well.
    const text = Buffer.from(frame.buffer.subarray(parse.sqlStart, parse.sqlEnd));
    const scope = this.#foresight.scopeFor(text, "extended");
    return scope === undefined ? "unsettled" : { frame, parse, text, scope };
  }

  decide({ frame, parse, text, scope }: ParseInput): Outcome<ParseDecision> {
    const judged = this.#foresight.decide(text, scope);
    if (judged === undefined || !this.#exchange.leg.admits(frame)) return "unsettled";
    if (judged.verdict.kind === "refuse") return new Refused(judged.verdict.refusal, judged);
    const message = Buffer.from(bytesOf(frame));
    const { catalog, role } = scope;
    const strange = parse.types > 0 ? refuseTypes(message, parse, catalog, role) : undefined;
    return strange === undefined ? { frame, parse, judged, message } : new Refused(strange, judged);
  }

  reserve({ parse: { statement: name }, judged, message }: ParseDecision): Outcome<Change<Prepared>> {
    const { names, ledger } = this.#exchange;
    const crowded = name === "" ? undefined : refuseMoreNames(names);
    if (crowded !== undefined) return new Refused(crowded, judged);
    return names.statements.propose(name, preparedBy(judged, message), ledger.pipeline);
  }

  forward({ frame, parse, judged }: ParseDecision, change: Change<Prepared>): void {
    const { verdict } = judged;
    this.#exchange.sendStep(verdict.kind === "rewrite" ? withSql(frame, parse, verdict.sql) : frame, {
      kind: "parse",
      at: performance.now(),
      name: parse.statement,
      judged,
      change,
    });
    this.#exchange.acting?.prepared();
  }

  refuse(frame: Frame, { refusal, judged }: Refused): void {
    this.#refusing.parse(decodeParse(frame).statement, judged, refusal);
  }
}
