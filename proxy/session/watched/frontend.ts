import { type Frame, MalformedMessage, ProtocolViolation } from "../../wire/frames.ts";
import { copyFailMessage, decodeClose, decodeDescribe, decodeEmpty } from "../../wire/frontend-messages.ts";
import { Frontend } from "../../wire/messages.ts";
import { poisonedExecute, poisonedQuery } from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { Naming } from "../decide/naming.ts";
import { PROBE } from "../decide/probe.ts";
import { commitIn } from "../judged/committing.ts";
import { endCopy, mayBelongToCopy, PASSES_ANYWAY, waitsForCopy } from "../relay/during-copy.ts";
import { request } from "../relay/lifecycle.ts";
import { WatchedBind } from "./bind.ts";
import { WatchedExecute } from "./execute.ts";
import { WatchedFunctionCall } from "./function-call.ts";
import { Judgement } from "./judgement.ts";
import { WatchedParse } from "./parse.ts";
import { WatchedQuery } from "./query.ts";
import { Renewal } from "./renewal.ts";
import { Unrun } from "./unrun.ts";
import type { WatchedState } from "./watched-state.ts";

/**
 * The client's messages on their way to the server of a watched session. Each is sent as it came, but for columns that
 * are added to a result, and each is noted in the ledger. A message that depends on an answer of the server waits.
 */
export class WatchedFrontend {
  readonly #state: WatchedState;
  readonly #functionCall: WatchedFunctionCall;
  readonly #query: WatchedQuery;
  readonly #parse: WatchedParse;
  readonly #bind: WatchedBind;
  readonly #execute: WatchedExecute;
  readonly #unrun = new Unrun();

  constructor(state: WatchedState) {
    this.#state = state;
    const naming = new Naming(state);
    const judgement = new Judgement(state, naming);
    const renewal = new Renewal(state, judgement);
    this.#functionCall = new WatchedFunctionCall(state, naming, judgement);
    this.#query = new WatchedQuery(state, naming, judgement, renewal);
    this.#parse = new WatchedParse(state, naming, judgement, this.#unrun);
    this.#bind = new WatchedBind(state, naming, judgement, renewal, this.#unrun);
    this.#execute = new WatchedExecute(state, naming, judgement, renewal);
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: Frame): boolean {
    const { ledger } = this.#state;
    const { type } = frame;
    if (ledger.barrier.isCancelling) return false;
    if (SPOKEN[type] !== 1) throw new ProtocolViolation(`invalid frontend message type ${type}`);
    const isBegun = frame.piece === "middle" || frame.piece === "last";
    if (!isBegun && waitsForCopy(type, ledger, this.#state.leg)) return false;
    if (!isBegun && type !== Frontend.Terminate && mayBelongToCopy(type, ledger, this.#state.leg))
      return false;
    if (frame.piece !== "whole") {
      this.#state.pass(frame);
      return true;
    }
    // What the server drops, it drops.
    if (ledger.intake === "skipping" && !PASSES_ANYWAY.has(type)) {
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
    const { leg, certainty, ledger } = this.#state;
    const at = performance.now();
    if (STANDS_ALONE.has(frame.type) && ledger.isOpenedByProxy) {
      if (!ledger.isSettled) {
        this.#state.flush();
        return false;
      }
      this.#state.sync("hidden");
    }
    if (this.#unrun.leaves(frame)) certainty.doubt();
    // A text is judged first, so that no other session waits for that.
    if (!JUDGED_FIRST.has(frame.type) && !leg.admits(frame)) return false;
    switch (frame.type) {
      case Frontend.Query:
        return request(this.#query, frame);
      case Frontend.Parse:
        return request(this.#parse, frame);
      case Frontend.Bind:
        return request(this.#bind, frame);
      case Frontend.Execute:
        return request(this.#execute, frame);
      case Frontend.Close:
        this.#close(frame, at);
        return true;
      case Frontend.Describe:
        this.#state.send(frame, { kind: "describe", at, of: decodeDescribe(frame) });
        return true;
      case Frontend.Sync:
        return this.#sync(frame, at);
      case Frontend.FunctionCall:
        return request(this.#functionCall, frame);
      case Frontend.CopyDone:
        if (this.#isSuspendedCopy()) endCopy(copyFailMessage(SUSPENDED), ledger, leg);
        else endCopy(frame, ledger, leg);
        return true;
      case Frontend.CopyFail:
        endCopy(frame, ledger, leg);
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

  #sync(frame: Frame, at: number): boolean {
    const refusal = this.#state.uncommitted.refusalOfSync;
    const scope = refusal && this.#state.judging.scope();
    if (refusal === "unsettled") this.#state.wait();
    if (refusal !== undefined && (refusal === "unsettled" || scope === undefined)) return false;
    if (refusal !== undefined && scope !== undefined) {
      const reader = this.#state.readers.of(undefined);
      const commit = { portal: PROBE, judged: commitIn(scope), reader, refusal };
      this.#state.send(poisonedExecute, { kind: "execute", at, ...commit });
    }
    this.#state.send(frame, { kind: "sync", at });
    return true;
  }

  /** A COPY is read whose reader may not have it committed: it is made to fail. */
  #isSuspendedCopy(): boolean {
    const { ledger, readers } = this.#state;
    const { head } = ledger;
    if (ledger.intake !== "copyIn" || (head?.kind !== "query" && head?.kind !== "execute")) return false;
    const refusal = readers.suspended(head.reader);
    if (refusal !== undefined) ledger.replaceHead({ ...head, refusal });
    return refusal !== undefined;
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
}

/** The server's log has it, and the client other words. */
const SUSPENDED = "the person who reads is suspended";

/** By type: 1 for those that a client may send once it is logged in. */
const SPOKEN = new Uint8Array(256);
for (const type of Object.values(Frontend)) SPOKEN[type] = type === Frontend.Password ? 0 : 1;

const STANDS_ALONE: ReadonlySet<number> = new Set([Frontend.Query, Frontend.FunctionCall]);

const JUDGED_FIRST: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse, Frontend.Terminate]);
