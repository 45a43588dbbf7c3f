import type { Effect, Statement } from "../../sql/verdict.ts";
import { withoutColumns } from "../../sql/watched-text.ts";
import type { Frame } from "../../wire/frames.ts";
import { syncMessage } from "../../wire/frontend-messages.ts";
import { nameKey } from "../../wire/messages.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { Certainty } from "../decide/certainty.ts";
import type { Protocol } from "../decide/naming.ts";
import { SessionState } from "../judged/session-state.ts";
import type { Judged } from "../statement/decision.ts";
import { hasSource } from "../statement/described.ts";
import { isSource, type Lookup, sourceOf } from "../statement/prepared.ts";
import { type Reader, Readers } from "./charged-readers.ts";
import { KeysGiven } from "./rows-before.ts";
import type { WatchedRequest } from "./watched-requests.ts";

/** As deep as `sourceOf` looks. */
const DEEPEST = 8;

/** What the two directions of a watched session know of each other. */
export class WatchedState extends SessionState<WatchedRequest> {
  readonly certainty = new Certainty(this.ledger, this.judging);
  readonly readers: Readers;
  readonly keysGiven = new KeysGiven();
  /** Relations were defined, and the catalog has not been looked at since. */
  defined = false;
  /** Names may mean other relations once the open transaction has ended, or is rolled back to a savepoint. */
  hasMoved = false;
  /** Tables among them, as statements name them. */
  readonly madeTables = new Set<string>();
  /** Some of them may have given a name another meaning. */
  remeant = false;
  /** The pieces that follow of a long message that is no row are the client's as well. */
  passesLong = false;

  constructor(...parts: ConstructorParameters<typeof SessionState>) {
    super(...parts);
    this.readers = new Readers(this.established, this.parts, this.judging);
  }

  send(message: Buffer | Frame, request: WatchedRequest): void {
    this.leg.send(message, request);
  }

  /** A Sync of the proxy's own; whether the client is told that the server is ready again. */
  sync(end: "hidden" | "told"): void {
    const at = performance.now();
    this.send(syncMessage, { kind: "sync", at, ...(end === "hidden" && { hidden: true }) });
  }

  /** What is answered not at all, or not by itself. */
  pass(message: Buffer | Frame): void {
    this.leg.pass(message);
  }

  /** Statements are sent that will have these effects; `shapes`: what they run by whatever name. */
  foresee(statements: readonly Statement[], { person }: Reader, shapes: readonly Statement[]): void {
    for (const [i, statement] of statements.entries())
      this.uncommitted.sent(person, statement, shapes[i] ?? statement);
    this.certainty.sent(statements);
    this.keysGiven.sent(statements);
    if (statements.some(({ effect }) => this.#fetchesTouching(effect))) this.certainty.doubt();
    for (const { touch } of statements) {
      this.hasMoved ||= touch?.moves === true;
      for (const made of touch?.makes ?? []) this.madeTables.add(made);
      if (touch?.defines !== true) continue;
      this.defined = true;
      this.remeant ||= touch.remeans === true;
    }
  }

  /** Why a text may not run that would commit what a suspended person wrote: by itself, by EXECUTE, or at the end of a pipeline. */
  uncommittable(statements: readonly Statement[], by: Protocol): Refusal | "unsettled" | undefined {
    const { uncommitted } = this;
    const isNamed = statements.some(({ effect }) => effect?.kind === "execute");
    const refusal = uncommitted.refusalOf(
      isNamed ? statements.map((each) => this.#executed(each)) : statements,
    );
    return refusal ?? (by === "simple" ? uncommitted.refusalOfSync : undefined);
  }

  /** What Parse has prepared may be a COMMIT, and SQL's EXECUTE runs that too. */
  #executed(statement: Statement, depth = 0): Statement {
    const { effect } = statement;
    if (effect?.kind !== "execute" || depth > DEEPEST) return statement;
    const prepared = this.names.statements.find(nameKey(effect.name), this.ledger.pipeline);
    const inner = typeof prepared === "object" ? prepared.statement : undefined;
    return inner === undefined ? statement : this.#executed(inner, depth + 1);
  }

  /** No transaction is open, and nothing has been sent that opens one. */
  transactionEnded(): void {
    this.keysGiven.ended();
    this.hasMoved = false;
  }

  /** Whose rows the statement gives. One whose name is unknown, or that means something else, is its own. */
  shapeOf(statement: Statement): Statement | "unsettled" {
    if (!hasSource(statement)) return withCopiesOf(statement, this.#lookup);
    const source = sourceOf(statement, { rows: 0, bytes: 0 }, this.#lookup);
    if (source === "unsettled") return source;
    return isSource(source) ? source.shape : statement;
  }

  /** What a message depends on has yet to be answered. */
  wait(): "unsettled" {
    this.flush();
    return "unsettled";
  }

  /** Makes the server tell what it has answered so far. */
  flush(): void {
    if (!this.ledger.mustFlush || this.ledger.intake === "copyIn") return;
    this.leg.flush();
  }

  /** A cursor's query runs while its rows are fetched; one that this session has not seen may be of any kind. */
  #fetchesTouching(effect: Effect | undefined): boolean {
    if (effect?.kind !== "fetch") return false;
    const portal = this.names.portals.find(nameKey(effect.portal), this.ledger.pipeline);
    return typeof portal !== "object" || portal.statement?.touch?.session !== false;
  }

  readonly #lookup: Lookup = {
    statement: (key) => this.#certain(this.names.statements.find(key, this.ledger.pipeline)),
    portal: (key) => this.#certain(this.names.portals.find(key, this.ledger.pipeline)),
  };

  #certain<T extends object>(found: T | "absent" | "unsettled"): T | "absent" | "unsettled" {
    return found === "absent" && !this.ledger.isSettled ? "unsettled" : found;
  }
}

/**
 * CREATE TABLE AS EXECUTE, and EXPLAIN ANALYZE EXECUTE: what is stored is what was prepared under the name. One that nobody
 * has seen being prepared may be of any kind.
 */
export function withCopiesOf(statement: Statement, lookup: Lookup): Statement | "unsettled" {
  const { copies, touch, command } = statement;
  if (copies === undefined || touch?.runs === undefined) return statement;
  const prepared = lookup.statement(nameKey(touch.runs));
  if (prepared === "unsettled") return prepared;
  const inner = typeof prepared === "object" && "kept" in prepared ? prepared.statement : undefined;
  if (inner === undefined) return statement;
  const makesTable = touch.makesTable === true;
  if (inner.copies !== undefined || (makesTable && inner.metering !== undefined)) {
    // A plan says no number.
    const { price, groups, gathers } = inner.metering ?? {};
    const isOfMany = price?.bySize === true || groups !== undefined || gathers === true;
    const isOfOne = makesTable && command !== "EXPLAIN" && !isOfMany && inner.copies === undefined;
    const more = { ...(isOfOne && { copies: 1 }), ...(inner.isForGood && { isForGood: true as const }) };
    return { ...statement, ...more };
  }
  const { copies: _, ...rest } = statement;
  return rest;
}

/** The same text, to be sent as the client wrote it. */
export function plainly(judged: Judged): Judged {
  const verdict = withoutColumns(judged.verdict);
  return verdict === judged.verdict ? judged : { ...judged, verdict };
}
