import { extraFields, type Statement } from "../../sql/verdict.ts";
import { type Frame, MalformedMessage, ProtocolViolation } from "../../wire/frames.ts";
import {
  type Bind,
  decodeBind,
  decodeClose,
  decodeDescribe,
  decodeEmpty,
  decodeExecute,
  decodeParse,
  executeMessage,
  withResultFormats,
  withSql,
} from "../../wire/frontend-messages.ts";
import { bytesOf, Frontend } from "../../wire/messages.ts";
import { refuse } from "../../wire/refusal.ts";
import { boundLookups } from "../statement/bound-lookups.ts";
import type { Judged } from "../statement/decision.ts";
import { refuseTypes } from "../statement/parameter-types.ts";
import { type PinnedPeople, pinnedByBind } from "../statement/pinned.ts";
import {
  isRefusal,
  missingPortal,
  missingStatement,
  nameOf,
  portalOf,
  preparedBy,
  refuseMoreNames,
  type Source,
} from "../statement/prepared.ts";
import { mayRepeat, questionOf, type Repeat } from "../statement/repeats.ts";
import { CopyIn } from "./copy-in.ts";
import { Describing } from "./describing.ts";
import type { Exchange } from "./exchange.ts";
import { Tolls } from "./execution-prices.ts";
import { rowsToAsk } from "./extended-rewrite.ts";
import { Refusing } from "./forced-errors.ts";
import { Foresight } from "./in-flight-names.ts";
import { canBeCut } from "./results.ts";
import { SimpleQueries } from "./simple-queries.ts";
import { isHeldWrite, mayWrite } from "./written-rows.ts";

/**
 * The client's messages on their way to the server of a guarded session: judged, rewritten or refused, and
 * each noted in the ledger. A message that cannot be decided yet waits, and all behind it.
 */
export class GuardedFrontend {
  readonly #exchange: Exchange;
  readonly #foresight: Foresight;
  readonly #refusing: Refusing;
  readonly #copyIn: CopyIn;
  readonly #tolls: Tolls;
  readonly #simpleQueries: SimpleQueries;
  readonly #describing: Describing;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
    this.#foresight = new Foresight(exchange);
    this.#refusing = new Refusing(exchange);
    this.#copyIn = new CopyIn(exchange);
    this.#tolls = new Tolls(exchange);
    this.#describing = new Describing(exchange);
    this.#simpleQueries = new SimpleQueries(exchange, this.#foresight, this.#refusing, this.#tolls);
  }

  /** False: the message must be handed in again after a `wake`. */
  handle(frame: Frame): boolean {
    const { type } = frame;
    if (!this.#foresight.begin()) return false;
    const { ledger } = this.#exchange;
    if (ledger.intake === "copyIn") return this.#copyIn.handle(frame);
    if (ledger.isUncertain && !PASSES_ANYWAY.has(type)) return false;
    if (!SPOKEN.has(type) && !COPYING.has(type)) {
      throw new ProtocolViolation(`invalid frontend message type ${type}`);
    }
    // A text is judged first: nobody else is to wait for that.
    if (!TEXTS.has(type) && type !== Frontend.Terminate && !this.#exchange.leg.admits(frame)) return false;
    // Copy data waits as well: whether a COPY reads it shows when the server answers.
    if (!this.#mayPass(type)) return false;
    if (COPYING.has(type)) return this.#copyIn.handle(frame);
    // The server would drop it as well: what it got before has failed.
    if (this.#exchange.ledger.intake === "skipping" && type !== Frontend.Sync && type !== Frontend.Terminate)
      return true;
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
        return this.#simpleQueries.query(frame);
      case Frontend.Parse:
        return this.#parse(frame);
      case Frontend.Bind:
        return this.#bind(frame);
      case Frontend.Describe:
        return this.#describe(frame);
      case Frontend.Execute:
        return this.#execute(frame);
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

  #parse(frame: Frame): boolean {
    const parse = decodeParse(frame);
    const { sqlStart, sqlEnd, statement: name } = parse;
    // It outlives the buffer in which it came by far.
    const judged = this.#foresight.judge(Buffer.from(frame.buffer.subarray(sqlStart, sqlEnd)), "extended");
    if (judged === undefined || !this.#exchange.leg.admits(frame)) return false;
    const { verdict } = judged;
    if (verdict.kind === "refuse") return this.#refusing.parse(name, judged, verdict.refusal);
    // It outlives the buffer as well.
    const message = Buffer.from(bytesOf(frame));
    const { catalog, role } = judged.scope;
    const strange = parse.types > 0 ? refuseTypes(message, parse, catalog, role) : undefined;
    if (strange !== undefined) return this.#refusing.parse(name, judged, strange);
    const { names, ledger } = this.#exchange;
    const crowded = name === "" ? undefined : refuseMoreNames(names);
    if (crowded !== undefined) return this.#refusing.parse(name, judged, crowded);
    this.#exchange.sendStep(verdict.kind === "rewrite" ? withSql(frame, parse, verdict.sql) : frame, {
      kind: "parse",
      at: performance.now(),
      name,
      judged,
      change: names.statements.propose(name, preparedBy(judged, message), ledger.pipeline),
    });
    this.#exchange.acting?.prepared();
    return true;
  }

  #bind(frame: Frame): boolean {
    const bind = decodeBind(frame);
    const prepared = this.#foresight.prepared(bind.statement);
    if (prepared === "unsettled") return false;
    if (prepared === "absent") {
      return this.#refusing.bind(bind.portal, undefined, missingStatement(nameOf(bind.statement)));
    }
    if (!this.#foresight.standsFor(prepared.kept.text, "extended")) return false;
    const { acting, judging } = this.#exchange;
    const fresh = acting?.refusal ?? this.#foresight.renew(prepared, bind.statement);
    if (fresh === "unsettled") return false;
    if (isRefusal(fresh)) return this.#refusing.bind(bind.portal, prepared.kept.judged, fresh);
    const { statement } = fresh;
    const found = fresh.kept.judged;
    const judged = found && (acting === undefined ? found : { ...found, person: judging.person });
    if (judged === undefined) throw new Error("a statement judged just now without its scope");
    const source = statement && this.#foresight.source(statement);
    if (source === "unsettled") return false;
    const extra = source === undefined || isRefusal(source) ? 0 : extraFields(source.shape);
    const { names, ledger } = this.#exchange;
    const crowded = bind.portal === "" ? undefined : refuseMoreNames(names);
    if (crowded !== undefined) return this.#refusing.bind(bind.portal, judged, crowded);
    const pins = statement?.metering?.price?.pins;
    const { places = [] } = judged.verdict.kind === "refuse" ? {} : judged.verdict;
    const named = { text: judged.text, places, parse: fresh.parse };
    const pinned = pins && pinnedByBind(pins, named, frame, bind);
    const lookups = boundLookups(statement?.asks, frame, bind, fresh.parse);
    if (typeof lookups === "object") return this.#refusing.bind(bind.portal, judged, lookups);
    const paid = this.#tolls.chargePlan(statement);
    if (paid === "unsettled") return false;
    if (!("repeat" in paid)) return this.#refusing.bind(bind.portal, judged, paid);
    this.#exchange.sendStep(extra > 0 ? withResultFormats(frame, bind, extra) : frame, {
      kind: "bind",
      at: performance.now(),
      statement: bind.statement,
      judged,
      change: names.portals.propose(
        bind.portal,
        portalOf(judged, statement, {
          pinned,
          lookups,
          question: this.#questionOf(frame, bind, judged, statement, pinned),
          description: fresh.description,
        }),
        ledger.pipeline,
      ),
    });
    acting?.prepared();
    return true;
  }

  /** Undefined where to ask it again costs no less. */
  #questionOf(
    { buffer, end }: Frame,
    { parametersStart }: Bind,
    { text }: Judged,
    statement: Statement | undefined,
    pinned: PinnedPeople | undefined,
  ): string | undefined {
    if (statement === undefined || pinned !== undefined) return undefined;
    return mayRepeat(statement, this.#exchange.judging.role)
      ? questionOf(text, buffer.subarray(parametersStart, end))
      : undefined;
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
    this.#describing.asked(found);
    this.#exchange.sendStep(frame, { kind: "describe", at: performance.now(), of });
    return true;
  }

  #execute(frame: Frame): boolean {
    const { portal: name, maxRows } = decodeExecute(frame);
    const portal = this.#foresight.portal(name);
    if (portal === "unsettled" || !this.#foresight.isReady()) return false;
    if (portal === "absent") return this.#refusing.execute(name, missingPortal(nameOf(name), "portal"));
    if (!this.#foresight.standsFor(portal.judged.text, "extended")) return false;
    const { acting, fencing } = this.#exchange;
    const outlived = acting?.refusal ?? fencing.refusal(portal.judged) ?? this.#foresight.outlived(portal);
    if (outlived === "unsettled") return false;
    if (outlived !== undefined) return this.#refusing.execute(name, outlived);
    const { statement } = portal;
    const source = statement && this.#foresight.source(statement, portal.counts);
    if (source === "unsettled") return false;
    if (source !== undefined && isRefusal(source)) return this.#refusing.execute(name, source);
    const { lookups } = portal;
    const pinned = portal.pinned ?? source?.pinned;
    let repeat: Repeat | undefined;
    if (source !== undefined) {
      // A portal that goes on where it stopped looks nobody up anew.
      const goesOn = source.counts.rows > 0;
      const { shape } = source;
      const question = goesOn || maxRows > 0 ? undefined : portal.question;
      const paid = this.#tolls.charge([
        { shape, effect: statement?.effect, goesOn, pinned, lookups, question },
      ]);
      if (paid === "unsettled") return false;
      if (!("repeat" in paid)) return this.#refusing.execute(name, paid);
      repeat = paid.repeat;
    }
    this.#describing.ask(name, portal);
    this.#sendExecute(frame, { name, pinned, repeat }, maxRows, source);
    this.#describing.hold(portal, source);
    if (statement !== undefined) {
      this.#exchange.foresee(statement);
      if (statement.effect?.kind === "copyIn") this.#exchange.ledger.barrier.raise("closed");
    }
    return true;
  }

  #sendExecute(
    frame: Frame,
    { name: portalName, pinned, repeat }: Asked,
    asked: number,
    source: Source | undefined,
  ): void {
    const exchange = this.#exchange;
    const { role } = exchange.judging;
    const cuttable = source !== undefined && canBeCut(role, source.shape);
    const truncates = cuttable && role.limits.onExcess === "truncate";
    const isRead = source?.shape.kind === "read";
    const capped = truncates && isRead;
    const message = capped
      ? executeMessage(portalName, rowsToAsk(asked, 0, source.counts, role.limits))
      : frame;
    exchange.sendStep(message, {
      kind: "execute",
      at: performance.now(),
      portalName,
      unrolled: undefined,
      asked,
      truncates,
      pinned,
      repeat,
      run: undefined,
    });
    // What was written in this pipeline is not committed before the result has come to its end.
    const isHeld = source !== undefined && isHeldWrite(role, source.shape);
    const commitsNothing = isRead && !mayWrite(source.shape) && !exchange.pipelineWrites;
    if (cuttable || isHeld)
      exchange.ledger.barrier.raise(commitsNothing && !truncates ? "untilSync" : "closed");
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
    const judged = this.#foresight.judge(NO_TEXT, "simple");
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

/** A portal that is executed, and what was paid for it. */
interface Asked {
  readonly name: string;
  readonly pinned: PinnedPeople | undefined;
  readonly repeat: Repeat | undefined;
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

const TEXTS: ReadonlySet<number> = new Set([Frontend.Query, Frontend.Parse]);

/** A server that drops what it gets up to the next Sync reads these all the same, or never answers them. */
const PASSES_ANYWAY: ReadonlySet<number> = new Set([
  ...[Frontend.Sync, Frontend.Flush, Frontend.Terminate],
  ...[Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail],
]);

const COPYING: ReadonlySet<number> = new Set([Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail]);
