import type { Role } from "../../policy/policy.ts";
import type { Scope } from "../../sql/scope.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { decodeQuery, queryMessage } from "../../wire/frontend-messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { type Outcome, Refused, type RequestSteps } from "../relay/lifecycle.ts";
import type { Judged } from "../statement/decision.ts";
import { isUnproven } from "../statement/described.ts";
import { type PinnedPeople, pinnedIn } from "../statement/pinned.ts";
import { givesName, isRefusal, refuseMoreNames, type Source } from "../statement/prepared.ts";
import { mayRepeat, questionOf, type Repeat } from "../statement/repeats.ts";
import type { Exchange } from "./exchange.ts";
import type { Tolls } from "./execution-prices.ts";
import { unroll } from "./extended-rewrite.ts";
import type { Refusing } from "./forced-errors.ts";
import type { Foresight } from "./in-flight-names.ts";
import { canBeCut } from "./results.ts";
import { refuseCommit } from "./rolling-back.ts";
import { isHeldWrite, mayWrite } from "./written-rows.ts";

interface QueryInput {
  readonly frame: Frame;
  readonly text: Buffer;
  readonly scope: Scope;
}

interface QueryDecision {
  readonly frame: Frame;
  readonly judged: Judged;
  /** Whose rows each of its statements gives. */
  readonly sources: readonly Source[];
  /** Of its only statement, where that runs in the extended protocol. */
  readonly unrolled: Source | undefined;
}

/** The people that each statement's price covers, and the answer that the text's price covers. */
interface Reserved {
  readonly pinned: readonly (PinnedPeople | undefined)[];
  readonly repeat: Repeat | undefined;
}

/** Query messages of a guarded session: a text of one statement or several, answered by one ReadyForQuery. */
export class GuardedQuery implements RequestSteps<Frame, QueryInput, QueryDecision, Reserved> {
  readonly #exchange: Exchange;
  readonly #foresight: Foresight;
  readonly #refusing: Refusing;
  readonly #tolls: Tolls;

  constructor(exchange: Exchange, foresight: Foresight, refusing: Refusing, tolls: Tolls) {
    this.#exchange = exchange;
    this.#foresight = foresight;
    this.#refusing = refusing;
    this.#tolls = tolls;
  }

  resolve(frame: Frame): Outcome<QueryInput> {
    const { sqlStart, sqlEnd } = decodeQuery(frame);
    const text = frame.buffer.subarray(sqlStart, sqlEnd);
    const scope = this.#foresight.scopeFor(text, "simple");
    return scope === undefined ? "unsettled" : { frame, text, scope };
  }

  decide({ frame, text, scope }: QueryInput): Outcome<QueryDecision> {
    const judged = this.#foresight.decide(text, scope);
    if (judged === undefined || !this.#exchange.leg.admits(frame)) return "unsettled";
    const { verdict } = judged;
    if (verdict.kind === "refuse") return new Refused(verdict.refusal, judged);
    const { uncommitted: open } = this.#exchange;
    const uncommitted = open.refusalOf(verdict.statements) ?? open.refusalOfSync;
    if (uncommitted === "unsettled") return this.#exchange.wait();
    if (uncommitted !== undefined) return new Refused(uncommitted, judged, "rolls back");
    const crowded = verdict.statements.some(givesName) ? refuseMoreNames(this.#exchange.names) : undefined;
    if (crowded !== undefined) return new Refused(crowded, judged);
    const sources = this.#foresight.sources(judged);
    if (sources === "unsettled") return sources;
    if (isRefusal(sources)) return this.#unknownName(frame, judged, sources);
    if (this.#couldStayHalfDone(judged, sources)) return new Refused(HALF_DONE, judged);
    const [only] = sources;
    const isCopyOut = verdict.statements[0]?.effect?.kind === "copyOut";
    const unrolled = sources.length === 1 && only && !isCopyOut && this.#mustUnroll(only) ? only : undefined;
    // If what came before in this pipeline fails, the query must be skipped with it.
    if (unrolled !== undefined && !this.#foresight.isSettled()) return "unsettled";
    return { frame, judged, sources, unrolled };
  }

  reserve({ judged, sources, unrolled }: QueryDecision): Outcome<Reserved> {
    const { statements } = judged.verdict;
    const pinned = sources.map(
      (source, index) => source.pinned ?? pinnedIn(judged, statements[index] ?? source.shape),
    );
    const paid = this.#tolls.charge(
      sources.map(({ shape }, index) => ({
        shape,
        effect: statements[index]?.effect,
        goesOn: false,
        pinned: pinned[index],
        question: unrolled === undefined ? this.#questionOf(judged, pinned[index]) : undefined,
      })),
    );
    if (paid === "unsettled") return paid;
    return "repeat" in paid ? { pinned, repeat: paid.repeat } : new Refused(paid, judged);
  }

  forward({ frame, judged, sources, unrolled }: QueryDecision, { pinned, repeat }: Reserved): void {
    const exchange = this.#exchange;
    const { verdict } = judged;
    if (unrolled !== undefined) {
      for (const statement of verdict.statements) exchange.foresee(statement);
      unroll(exchange, judged, unrolled, pinned[0]);
      return;
    }
    const { role, path } = exchange.judging;
    for (const [i, statement] of verdict.statements.entries()) {
      path.sent(statement.effect, exchange.ledger.pipeline);
      exchange.uncommitted.sent(exchange.judging.person, statement, sources[i]?.shape ?? statement);
    }
    exchange.acting?.sent();
    const message = verdict.kind === "rewrite" ? queryMessage(verdict.sql) : frame;
    exchange.sendQuery(message, judged, undefined, pinned, repeat);
    const copiesIn = verdict.statements.some(({ effect }) => effect?.kind === "copyIn");
    if (copiesIn || sources.some(({ shape }) => canFail(role, shape) || isUnproven(shape)))
      exchange.ledger.barrier.raise("closed");
  }

  refuse(_frame: Frame, { refusal, judged, rollsBack }: Refused): void {
    if (rollsBack && judged !== undefined) refuseCommit(this.#exchange, judged, refusal, "simple");
    else this.#refusing.query(judged, refusal);
  }

  /** Undefined where to ask it again costs no less. */
  #questionOf({ text, verdict }: Judged, pinned: PinnedPeople | undefined): string | undefined {
    const [only, ...more] = verdict.statements;
    if (only === undefined || more.length > 0 || pinned !== undefined) return undefined;
    return mayRepeat(only, this.#exchange.judging.role) ? questionOf(text) : undefined;
  }

  /** In a failed block the server says so of any statement, before it looks for names. */
  #unknownName(frame: Frame, judged: Judged, refusal: Refusal): Outcome<QueryDecision> {
    const { transaction, isSettled } = this.#exchange.ledger;
    const fails = transaction === "E" && isSettled && judged.verdict.statements.length === 1;
    return fails ? { frame, judged, sources: [], unrolled: undefined } : new Refused(refusal, judged);
  }

  /**
   * Whether a part of the message could take effect although the client gets an error for it. The server may have gone
   * on by the time that a result is cut off, or that a write is found too large. An open block then fails; but what one
   * message wrote by itself would be committed, and what it wrote before its own savepoint could be kept.
   */
  #couldStayHalfDone({ verdict }: Judged, sources: readonly Source[]): boolean {
    const { judging, ledger } = this.#exchange;
    if (sources.length < 2 || !sources.some(({ shape }) => canFail(judging.role, shape))) return false;
    if (verdict.statements.some(({ effect }) => effect?.kind === "transaction" && effect.ends)) return true;
    if (!sources.some(({ shape }) => mayWrite(shape) || shape.kind === "copyIn")) return false;
    const inBlock = ledger.transaction !== "I" && ledger.isSettled;
    return (!inBlock && !opensBlock(verdict.statements)) || setsSavepointBehind(verdict.statements);
  }

  /** Where a cut must truncate, or must take back what the statement wrote. */
  #mustUnroll({ shape }: Source): boolean {
    const { role } = this.#exchange.judging;
    if (isHeldWrite(role, shape)) return true;
    // A statement whose rows have never been described may return other rows than expected.
    if (mayWrite(shape) && isUnproven(shape)) return true;
    if (!canBeCut(role, shape)) return false;
    return mayWrite(shape) || (role.limits.onExcess === "truncate" && shape.kind === "read");
  }
}

/** Drivers that open a block with their first statement write both into one message (psqlODBC). */
function opensBlock([first]: readonly Statement[]): boolean {
  return first?.command === "BEGIN" || first?.command === "START TRANSACTION";
}

/**
 * Whether a savepoint follows a write. One before the write undoes it, and a released one keeps nothing once the block
 * fails.
 */
function setsSavepointBehind(statements: readonly Statement[]): boolean {
  const written = statements.findIndex(({ kind }) => kind !== "transaction");
  return statements
    .slice(written)
    .some(({ kind, command }) => kind === "transaction" && command !== "RELEASE");
}

/** The statement may yet fail, when the server has run it. */
function canFail(role: Role, shape: Statement): boolean {
  return canBeCut(role, shape) || isHeldWrite(role, shape);
}

const HALF_DONE = refuse(
  "42501",
  "a result that may be cut off, or a write that may be too large, cannot be combined with a write or COMMIT in one message",
  {
    hint: "Send the statements one by one.",
  },
);
