import { type Frame, MalformedMessage, ProtocolViolation } from "../../wire/frames.ts";
import { decodeClose, decodeDescribe, decodeEmpty, type Target } from "../../wire/frontend-messages.ts";
import { Frontend } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { waitsForCopy } from "../relay/during-copy.ts";
import { request } from "../relay/lifecycle.ts";
import { missingPortal, missingStatement, nameOf } from "../statement/prepared.ts";
import { GuardedBind } from "./bind.ts";
import { CopyIn } from "./copy-in.ts";
import { Describing } from "./describing.ts";
import type { Exchange } from "./exchange.ts";
import { GuardedExecute } from "./execute.ts";
import { Tolls } from "./execution-prices.ts";
import { Refusing } from "./forced-errors.ts";
import { Foresight } from "./in-flight-names.ts";
import { GuardedParse } from "./parse.ts";
import { GuardedQuery } from "./query.ts";
import { refuseCommitAtSync } from "./rolling-back.ts";

/**
 * The client's messages on their way to the server of a guarded session: judged, rewritten or refused, and
 * each noted in the ledger. A message that cannot be decided yet waits, and all behind it.
 */
export class GuardedFrontend {
  readonly #exchange: Exchange;
  readonly #foresight: Foresight;
  readonly #refusing: Refusing;
  readonly #copyIn: CopyIn;
  readonly #query: GuardedQuery;
  readonly #parse: GuardedParse;
  readonly #bind: GuardedBind;
  readonly #execute: GuardedExecute;
  readonly #describing: Describing;
  readonly #tolls: Tolls;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#foresight = new Foresight(exchange);
    this.#refusing = new Refusing(exchange);
    this.#copyIn = new CopyIn(exchange);
    this.#describing = new Describing(exchange);
    const tolls = new Tolls(exchange);
    const parts = [exchange, this.#foresight, this.#refusing] as const;
    this.#query = new GuardedQuery(...parts, tolls);
    this.#parse = new GuardedParse(...parts);
    this.#bind = new GuardedBind(...parts, tolls);
    this.#execute = new GuardedExecute(...parts, tolls, this.#describing);
    this.#tolls = tolls;
  }

  /** The message that is held waits for its price. */
  get isPricing(): boolean {
    return this.#tolls.isAsking;
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: Frame): boolean {
    const { type } = frame;
    if (!this.#foresight.begin()) return false;
    const { ledger } = this.#exchange;
    const isBegun = frame.piece === "middle" || frame.piece === "last";
    if (!isBegun && waitsForCopy(type, ledger, this.#exchange.leg)) return false;
    if (ledger.intake === "copyIn") return this.#copyIn.handle(frame);
    if (!SPOKEN.has(type) && !COPYING.has(type)) {
      throw new ProtocolViolation(`invalid frontend message type ${type}`);
    }
    // A text is judged first, so that no other session waits for that.
    if (!TEXTS.has(type) && type !== Frontend.Terminate && !this.#exchange.leg.admits(frame)) return false;
    // Copy data waits as well: whether a COPY reads it shows when the server answers.
    if (!this.#mayPass(type)) return false;
    if (COPYING.has(type)) return this.#copyIn.handle(frame);
    // The server would drop it as well: what it got before has failed.
    if (this.#exchange.ledger.intake === "skipping" && type !== Frontend.Sync && type !== Frontend.Terminate)
      return true;
    if (STANDS_ALONE.has(type) && ledger.isOpenedByProxy) {
      if (!this.#foresight.isSettled()) return false;
      this.#exchange.sendSync("hidden");
    }
    try {
      return this.#handle(frame);
    } catch (error) {
      if (!(error instanceof MalformedMessage)) throw error;
      // A text that could not be read has not been admitted yet.
      return this.#exchange.leg.admits(frame) && this.#refusing.malformed(type, error.error);
    }
  }

  #handle(frame: Frame): boolean {
    switch (frame.type) {
      case Frontend.Query:
        return request(this.#query, frame);
      case Frontend.Parse:
        return request(this.#parse, frame);
      case Frontend.Bind:
        return request(this.#bind, frame);
      case Frontend.Describe:
        return this.#describe(frame);
      case Frontend.Execute:
        return request(this.#execute, frame);
      case Frontend.Close:
        return this.#close(frame);
      case Frontend.Sync:
        return this.#sync(frame);
      case Frontend.Flush:
        return this.#flush(frame);
      case Frontend.FunctionCall:
        return this.#functionCall();
      case Frontend.Terminate:
        return this.#terminate();
      default:
        throw new ProtocolViolation(`invalid frontend message type ${frame.type}`);
    }
  }

  /** While a result runs that may be cut off, nothing may pass that the cancel request could hit. */
  #mayPass(type: number): boolean {
    const exchange = this.#exchange;
    const { barrier, isSettled } = exchange.ledger;
    if (barrier.passes(type, isSettled)) return true;
    exchange.flush();
    return false;
  }

  #describe(frame: Frame): boolean {
    const of = decodeDescribe(frame);
    const found =
      of.target === "statement" ? this.#foresight.prepared(of.name) : this.#foresight.portal(of.name);
    if (found === "unsettled") return false;
    if (found === "absent") {
      const name = nameOf(of.name);
      const missing = of.target === "statement" ? missingStatement(name) : missingPortal(name, "portal");
      return this.#refusing.describe(of, missing);
    }
    const now = "kept" in found ? this.#foresight.renew(found, of.name) : found;
    if (now === "unsettled") return false;
    if ("sqlstate" in now) return this.#describeInVain(frame, of, now);
    this.#describing.asked(now);
    this.#exchange.sendStep(frame, { kind: "describe", at: performance.now(), of });
    return true;
  }

  /** Its names mean nothing any more, or what they may not. The server tells of the parameters before it looks at them. */
  #describeInVain(frame: Frame, of: Target, refusal: Refusal): boolean {
    const unseen = { own: true, hidden: true } as const;
    this.#exchange.sendStep(frame, { kind: "describe", at: performance.now(), of, ...unseen });
    return this.#refusing.describe(of, refusal);
  }

  #close(frame: Frame): boolean {
    const { target, name } = decodeClose(frame);
    const { names, ledger } = this.#exchange;
    const { pipeline } = ledger;
    const at = performance.now();
    this.#exchange.sendStep(frame, {
      kind: "close",
      at,
      statement: target === "statement" ? names.statements.propose(name, undefined, pipeline) : undefined,
      portal: target === "portal" ? names.portals.propose(name, undefined, pipeline) : undefined,
    });
    return true;
  }

  #sync(frame: Frame): boolean {
    decodeEmpty(frame, "Sync");
    const refusal = this.#exchange.uncommitted.refusalOfSync;
    if (refusal !== undefined) {
      const scope = this.#exchange.judging.scope();
      if (refusal === "unsettled") this.#exchange.wait();
      if (refusal === "unsettled" || scope === undefined) return false;
      refuseCommitAtSync(this.#exchange, scope, refusal);
    }
    this.#exchange.sendSync();
    return true;
  }

  #flush(frame: Frame): boolean {
    decodeEmpty(frame, "Flush");
    this.#exchange.flush();
    return true;
  }

  /** The arguments and the result are in no text that could be judged: what goes on record has none. */
  #functionCall(): boolean {
    const scope = this.#foresight.scopeFor(NO_TEXT, "simple");
    const judged = scope && this.#foresight.decide(NO_TEXT, scope);
    if (judged === undefined) return false;
    const verdict = { kind: "refuse", statements: [], refusal: FUNCTION_CALL } as const;
    return this.#refusing.query({ ...judged, verdict }, FUNCTION_CALL);
  }

  #terminate(): boolean {
    this.#exchange.leg.terminate();
    this.#exchange.terminated = true;
    return true;
  }
}

const NO_TEXT = Buffer.alloc(0);

const FUNCTION_CALL = refuse("0A000", "the function call protocol is not served for this role", {
  hint: "Call the function in a SELECT.",
});

/** What a client may send once it is logged in; the rest ends the session, as in Postgres (SocketBackend). */
const SPOKEN: ReadonlySet<number> = new Set([
  Frontend.Query,
  Frontend.Parse,
  Frontend.Bind,
  Frontend.Describe,
  Frontend.Execute,
  Frontend.Close,
  Frontend.Sync,
  Frontend.Flush,
  Frontend.FunctionCall,
  Frontend.Terminate,
]);

const STANDS_ALONE: ReadonlySet<number> = new Set([Frontend.Query, Frontend.FunctionCall]);

const TEXTS: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse]);

const COPYING: ReadonlySet<number> = new Set([Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail]);
