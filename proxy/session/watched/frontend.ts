import { type Effect, extraFields, type Statement } from "../../sql/verdict.ts";
import { type Frame, MalformedMessage, ProtocolViolation } from "../../wire/frames.ts";
import {
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeEmpty,
  decodeExecute,
  decodeParse,
  decodeQuery,
  queryMessage,
  withResultFormats,
  withSql,
} from "../../wire/frontend-messages.ts";
import { bytesOf, Frontend, nameKey } from "../../wire/messages.ts";
import { poisonedBind, poisonedExecute, poisonedParse, poisonedQuery } from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { Naming } from "../decide/naming.ts";
import { isSource, type Lookup, type Portal, portalOf, preparedBy, sourceOf } from "../statement/prepared.ts";
import { functionCall } from "./function-calls.ts";
import { Judgement } from "./judgement.ts";
import type { Reader } from "./readers.ts";
import { Renewal } from "./renewal.ts";
import type { WatchedState } from "./state.ts";
import { Unrun } from "./unrun.ts";

/**
 * The client's messages on their way to the server of a watched session. Each is sent as it came, but for columns that
 * are added to a result, and each is noted in the ledger. A message that hangs on what the server has yet to say waits.
 */
export class WatchedFrontend {
  readonly #state: WatchedState;
  readonly #naming: Naming;
  readonly #judgement: Judgement;
  readonly #renewal: Renewal;
  readonly #unrun = new Unrun();

  constructor(state: WatchedState) {
    this.#state = state;
    this.#naming = new Naming(state);
    this.#judgement = new Judgement(state, this.#naming);
    this.#renewal = new Renewal(state, this.#judgement);
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: Frame): boolean {
    const { ledger } = this.#state;
    const { type } = frame;
    if (ledger.barrier.isCancelling) return false;
    if (SPOKEN[type] !== 1) throw new ProtocolViolation(`invalid frontend message type ${type}`);
    if (ledger.isUncertain && !PASSES_ANYWAY.has(type)) return false;
    if (frame.piece !== "whole") {
      this.#state.pass(frame);
      return true;
    }
    // What the server drops, it drops.
    const isDropped = ledger.intake === "skipping" || ledger.intake === "copyIn";
    if (isDropped && !PASSES_ANYWAY.has(type)) {
      this.#state.pass(frame);
      return true;
    }
    try {
      return this.#take(frame);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      // A text that could not be read has not been admitted yet.
      if (!this.#state.leg.admits(frame)) return false;
      this.#malformed(type, error.error);
      return true;
    }
  }

  /** The server would say so without looking at what the message is about. */
  #malformed(type: number, refusal: Refusal): void {
    const at = performance.now();
    if (type === Frontend.Query) this.#state.send(poisonedQuery, { kind: "functionCall", at, refusal });
    else {
      const nothing = { statement: undefined, portal: undefined };
      this.#state.send(poisonedExecute, { kind: "close", at, refusal, ...nothing });
    }
  }

  #take(frame: Frame): boolean {
    const { leg, certainty } = this.#state;
    const at = performance.now();
    if (this.#unrun.leaves(frame)) certainty.doubt();
    // A text is judged first: nobody else is to wait for that.
    if (!JUDGED_FIRST.has(frame.type) && !leg.admits(frame)) return false;
    switch (frame.type) {
      case Frontend.Query:
        return this.#query(frame, at);
      case Frontend.Parse:
        return this.#parse(frame, at);
      case Frontend.Bind:
        return this.#bind(frame, at);
      case Frontend.Execute:
        return this.#execute(frame, at);
      case Frontend.Close:
        this.#close(frame, at);
        return true;
      case Frontend.Describe:
        this.#state.send(frame, { kind: "describe", at, of: decodeDescribe(frame) });
        return true;
      case Frontend.Sync:
        this.#state.send(frame, { kind: "sync", at });
        return true;
      case Frontend.FunctionCall:
        return this.#functionCall(frame, at);
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        leg.endCopy(frame);
        return true;
      case Frontend.Flush:
        decodeEmpty(frame, "Flush");
        leg.flush(frame);
        return true;
      case Frontend.Terminate:
        this.#state.terminated = true;
        leg.terminate();
        return true;
    }
    this.#state.pass(frame);
    return true;
  }

  #query(frame: Frame, at: number): boolean {
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const judged = this.#judgement.of(frame.buffer.subarray(sqlStart, sqlEnd), "simple");
    if (judged === undefined || !this.#state.leg.admits(frame)) return false;
    const { statements } = judged.verdict;
    if (!this.#renewal.areBare(statements)) return false;
    const shapes = statements.map((statement) => this.#shapeOf(statement));
    if (shapes.includes("unsettled")) return this.#wait();
    const reader = this.#state.readers.of(this.#naming.personOf(judged, "simple"));
    const refusal = this.#state.fencing.refusal(judged) ?? this.#refusalOf(shapes, reader);
    if (refusal !== undefined) {
      this.#state.send(poisonedQuery, { kind: "query", at, judged, reader, refusal });
      return true;
    }
    this.#sent(statements);
    const message = judged.verdict.kind === "rewrite" ? queryMessage(judged.verdict.sql) : frame;
    this.#state.send(message, { kind: "query", at, judged, reader });
    return true;
  }

  #functionCall(frame: Frame, at: number): boolean {
    const scope = this.#state.judging.scope();
    if (scope === undefined) return false;
    const judged = functionCall(frame, scope);
    const { statements } = judged.verdict;
    if (!this.#judgement.isCertain(statements, "simple") || !this.#naming.isKnown(judged, "simple"))
      return false;
    const reader = this.#state.readers.of(this.#naming.personOf(judged, "simple"));
    const called = { reader, judged };
    const refusal = this.#state.fencing.refusal(judged) ?? this.#refusalOf(statements, reader);
    if (refusal !== undefined) {
      this.#state.send(poisonedQuery, { kind: "functionCall", at, called, refusal });
      return true;
    }
    this.#sent(statements);
    this.#state.send(frame, { kind: "functionCall", at, called });
    return true;
  }

  #parse(frame: Frame, at: number): boolean {
    const parse = decodeParse(frame);
    // It outlives the buffer in which it came by far.
    const judged = this.#judgement.of(
      Buffer.from(frame.buffer.subarray(parse.sqlStart, parse.sqlEnd)),
      "extended",
    );
    if (judged === undefined || !this.#state.leg.admits(frame)) return false;
    // SQL's EXECUTE runs it, FETCH reads from it once it is bound, and the planner calls its functions before that.
    const refusal = this.#state.fencing.refusal(judged);
    if (refusal !== undefined) {
      this.#state.send(poisonedParse(parse.statement), {
        kind: "parse",
        at,
        judged,
        change: undefined,
        refusal,
      });
      return true;
    }
    const { names, ledger } = this.#state;
    const prepared = preparedBy(judged, Buffer.from(bytesOf(frame)));
    const change = names.statements.propose(parse.statement, prepared, ledger.pipeline);
    const { verdict } = judged;
    const message = verdict.kind === "rewrite" ? withSql(frame, parse, verdict.sql) : frame;
    if (prepared.statement?.touch?.session) this.#unrun.parsed(parse.statement);
    this.#state.send(message, { kind: "parse", at, judged, change });
    return true;
  }

  #bind(frame: Frame, at: number): boolean {
    const bind = decodeBind(frame);
    const { names, ledger } = this.#state;
    let prepared = names.statements.find(bind.statement, ledger.pipeline);
    if (prepared === "unsettled") return this.#wait();
    if (prepared === "absent") {
      // An earlier message may define it yet; what nobody has defined the server refuses.
      if (!ledger.isSettled) return this.#wait();
      this.#state.send(frame, { kind: "bind", at, judged: undefined, change: undefined });
      return true;
    }
    const fresh = this.#renewal.renewed(prepared, bind.statement);
    if (fresh === undefined) return false;
    prepared = fresh;
    const { statement } = prepared;
    const judged = prepared.kept.judged ?? this.#judgement.remembered(prepared.kept);
    if (judged === undefined) return false;
    // The fence may have come after it was prepared.
    const refusal = this.#state.fencing.refusal(judged);
    if (refusal !== undefined) {
      this.#state.send(poisonedBind(bind.portal), { kind: "bind", at, judged, change: undefined, refusal });
      return true;
    }
    const shape = statement && this.#shapeOf(statement);
    if (shape === "unsettled") return this.#wait();
    const extra = shape === undefined ? 0 : extraFields(shape);
    if (statement?.touch?.session) this.#unrun.bound(bind.statement, bind.portal);
    const portal: Portal = portalOf(judged, statement, { description: prepared.description });
    this.#state.send(extra > 0 ? withResultFormats(frame, bind, extra) : frame, {
      ...{ kind: "bind", at, judged },
      change: names.portals.propose(bind.portal, portal, ledger.pipeline),
    });
    if (this.#judgement.readsByCode(prepared)) this.#state.certainty.doubt();
    return true;
  }

  #execute(frame: Frame, at: number): boolean {
    const { portal: name } = decodeExecute(frame);
    const { names, ledger } = this.#state;
    const portal = names.portals.find(name, ledger.pipeline);
    if (portal === "unsettled" || (portal === "absent" && !ledger.isSettled)) return this.#wait();
    const statement = portal === "absent" ? undefined : portal.statement;
    const shape = statement && this.#shapeOf(statement);
    if (shape === "unsettled") return this.#wait();
    if (shape !== undefined && !this.#judgement.isCertain([shape], "extended")) return false;
    if (statement !== undefined && !this.#renewal.areBare([statement])) return false;
    if (portal !== "absent" && !this.#naming.isKnown(portal.judged, "extended")) return false;
    const person = portal === "absent" ? undefined : this.#naming.personOf(portal.judged, "extended");
    const reader = this.#state.readers.of(person);
    const outside = portal === "absent" ? undefined : this.#state.fencing.refusal(portal.judged);
    const refusal = outside ?? (shape && this.#refusalOf([shape], reader));
    if (refusal !== undefined) {
      this.#state.send(poisonedExecute, { kind: "execute", at, portal: name, reader, refusal });
      return true;
    }
    if (statement !== undefined) this.#sent([statement]);
    this.#state.send(frame, { kind: "execute", at, portal: name, reader });
    return true;
  }

  #close(frame: Frame, at: number): void {
    const { target, name } = decodeClose(frame);
    const { names, ledger } = this.#state;
    this.#state.send(frame, {
      ...{ kind: "close", at },
      statement:
        target === "statement" ? names.statements.propose(name, undefined, ledger.pipeline) : undefined,
      portal: target === "portal" ? names.portals.propose(name, undefined, ledger.pipeline) : undefined,
    });
  }

  #sent(statements: readonly Statement[]): void {
    const { certainty } = this.#state;
    certainty.sent(statements);
    if (statements.some(({ effect }) => this.#fetchesTouching(effect))) certainty.doubt();
    if (statements.some(({ touch }) => touch?.defines)) this.#state.defined = true;
  }

  /** A cursor's query runs while its rows are fetched; one that nobody here has seen may be of any kind. */
  #fetchesTouching(effect: Effect | undefined): boolean {
    if (effect?.kind !== "fetch") return false;
    const { names, ledger } = this.#state;
    const portal = names.portals.find(nameKey(effect.portal), ledger.pipeline);
    return typeof portal !== "object" || portal.statement?.touch?.session !== false;
  }

  /** Whose rows the statement gives. One whose name nobody gave, or that stands for something else, is its own. */
  #shapeOf(statement: Statement): Statement | "unsettled" {
    const source = sourceOf(statement, { rows: 0, bytes: 0 }, this.#lookup);
    if (source === "unsettled") return source;
    return isSource(source) ? source.shape : statement;
  }

  readonly #lookup: Lookup = {
    statement: (key) => this.#certain(this.#state.names.statements.find(key, this.#state.ledger.pipeline)),
    portal: (key) => this.#certain(this.#state.names.portals.find(key, this.#state.ledger.pipeline)),
  };

  #certain<T extends object>(found: T | "absent" | "unsettled"): T | "absent" | "unsettled" {
    return found === "absent" && !this.#state.ledger.isSettled ? "unsettled" : found;
  }

  /** Why nothing of it may be shown: the reader is not named, suspended, or has used up a budget. */
  #refusalOf(shapes: readonly (Statement | "unsettled")[], reader: Reader): Refusal | undefined {
    const shows = shapes.some((shape) => shape !== "unsettled" && shape.metering !== undefined);
    return shows ? this.#state.readers.stopped(reader) : undefined;
  }

  #wait(): false {
    this.#state.flush();
    return false;
  }
}

/** By type: 1 for those that a client may send once it is logged in. */
const SPOKEN = new Uint8Array(256);
for (const type of Object.values(Frontend)) SPOKEN[type] = type === Frontend.Password ? 0 : 1;

const JUDGED_FIRST: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse, Frontend.Terminate]);

/** A server that drops what it gets up to the next Sync reads these all the same, or never answers them. */
const PASSES_ANYWAY: ReadonlySet<number> = new Set([
  ...[Frontend.Sync, Frontend.Flush, Frontend.Terminate],
  ...[Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail],
]);
