import type { Statement } from "../../sql/verdict.ts";
import { countingScope } from "../../sql/watched-text.ts";
import { nameKey } from "../../wire/messages.ts";
import type { Protocol } from "../decide/naming.ts";
import { isReadable } from "../decide/readable.ts";
import { type Judged, Kept } from "../statement/decision.ts";
import { judgeAnew, type Portal, type Prepared, preparedBy } from "../statement/prepared.ts";
import { preparingAgain } from "../statement/preparing-again.ts";
import type { Judgement } from "./judgement.ts";
import { plainly, type WatchedState } from "./watched-state.ts";

/** Prepares a statement again where the text that the server has is not what it must be now. */
export class Renewal {
  readonly #state: WatchedState;
  readonly #judgement: Judgement;
  /** Prepared again before a simple query. If it is still the server's when that has been answered, it could not be. */
  #tried: Prepared | undefined;

  constructor(state: WatchedState, judgement: Judgement) {
    this.#state = state;
    this.#judgement = judgement;
  }

  /** The statement as its text must be now; what the server has is replaced first. Undefined: it has to wait. */
  renewed(prepared: Prepared, key: string): Prepared | undefined {
    const { ledger } = this.#state;
    const { kept, parse } = prepared;
    if (this.#judgement.stillHolds(prepared)) return prepared;
    const scope = this.#state.judging.scope();
    const judged = scope && this.#judgement.of(kept.text, "extended", scope);
    if (judged === undefined) return undefined;
    if (this.#adopts(prepared, judged)) return prepared;
    // SQL's PREPARE is always as the client wrote it.
    if (parse === undefined) return prepared;
    if (!ledger.isSettled) {
      wait(this.#state);
      return undefined;
    }
    return this.#prepareAgain(judged, key, parse);
  }

  /**
   * What SQL's EXECUTE runs is judged by what is known now, as what Bind binds is, and what FETCH reads by the policy of now.
   * False: it has to wait.
   */
  areCurrent(statements: readonly Statement[], by: Protocol): boolean {
    const { names, ledger, judging } = this.#state;
    for (const { effect } of statements) {
      if (effect?.kind === "fetch") {
        const portal = names.portals.find(nameKey(effect.portal), ledger.pipeline);
        if (typeof portal === "object" && !this.isOfNow(portal)) return false;
      }
      if (effect?.kind !== "execute") continue;
      const prepared = names.statements.find(nameKey(effect.name), ledger.pipeline);
      if (typeof prepared !== "object" || this.#judgement.stillHolds(prepared)) continue;
      const scope = judging.scope();
      const judged = scope && this.#judgement.of(prepared.kept.text, by, scope);
      if (judged === undefined) return false;
      this.#adopts(prepared, judged);
    }
    return true;
  }

  /** A portal or cursor counts people by the policy of now, whatever was in force when it was opened. False: it has to wait. */
  isOfNow(portal: Portal): boolean {
    const { judging, parts, established } = this.#state;
    const now = judging.scope();
    if (now === undefined) return false;
    const { judged } = portal;
    if (now.policy === judged.scope.policy || !isReadable(judged.text, established.parameters)) return true;
    const { policy, role } = now;
    const scope = parts.scopes.of({ ...judged.scope, policy, role });
    const anew = judging.judge(judged.text, judging.observes ? countingScope(scope) : scope);
    if (anew === undefined) return false;
    if (isSameText(anew, judged)) judgeAnew(portal, anew);
    // Its rows have the columns that were added then.
    else if (judged.verdict.kind !== "rewrite") judgeAnew(portal, plainly(anew));
    return true;
  }

  /** Whether the text that the server has is the one that it must be now. */
  #adopts(prepared: Prepared, judged: Judged): boolean {
    const { kept } = prepared;
    const isOther = judged.verdict !== kept.verdict;
    if (isOther && !isSameText(judged, kept)) return false;
    if (isOther) {
      prepared.kept = new Kept(judged);
      prepared.statement = prepared.pick(judged.verdict.statements);
    }
    this.#judgement.holds(prepared);
    return true;
  }

  /** What runs within other statements gets no columns: they would be its table's, or part of a plan. */
  areBare(statements: readonly Statement[], by: Protocol): boolean {
    const { names, ledger } = this.#state;
    for (const { touch } of statements) {
      if (touch?.runs === undefined) continue;
      const key = nameKey(touch.runs);
      const prepared = names.statements.find(key, ledger.pipeline);
      if (!ledger.isSettled) return wait(this.#state);
      if (typeof prepared !== "object" || prepared.parse === undefined) continue;
      const judged = prepared.kept.judged ?? this.#judgement.remembered(prepared.kept);
      if (judged?.verdict.kind !== "rewrite") continue;
      if (by === "extended" || ledger.intake === "pipeline") {
        this.#prepareAgain(plainly(judged), key, prepared.parse);
        continue;
      }
      if (this.#mayRunAsItIs(prepared)) continue;
      // A query behind steps that fail would be dropped with them, and its client would wait for ReadyForQuery.
      this.#prepareAgain(plainly(judged), key, prepared.parse, { quiet: true });
      this.#state.sync("hidden");
      return false;
    }
    return true;
  }

  /** In a failed block nothing runs; and where the plain text could not be prepared, one with more columns cannot either. */
  #mayRunAsItIs(prepared: Prepared): boolean {
    if (this.#state.ledger.transaction === "E") return true;
    const hasFailed = this.#tried === prepared;
    this.#tried = hasFailed ? undefined : prepared;
    return hasFailed;
  }

  /** What cannot be prepared fails the client's message, for which it is prepared, and leaves the statement as it was. */
  #prepareAgain(judged: Judged, key: string, own: Buffer, more: { readonly quiet?: true } = {}): Prepared {
    const { names, ledger } = this.#state;
    const fresh = preparedBy(judged, own);
    const { trial, close, parse, closeTrial } = preparingAgain(key, own, judged);
    const hidden = { at: performance.now(), hidden: true, ...more } as const;
    const nothing = { portal: undefined, statement: undefined } as const;
    this.#state.send(trial, { kind: "parse", ...hidden, judged, change: undefined });
    this.#state.send(close, {
      ...{ kind: "close", ...hidden, portal: undefined },
      statement: names.statements.propose(key, undefined, ledger.pipeline),
    });
    this.#state.send(parse, {
      ...{ kind: "parse", ...hidden, judged },
      change: names.statements.propose(key, fresh, ledger.pipeline),
    });
    this.#state.send(closeTrial, { kind: "close", ...hidden, ...nothing });
    return fresh;
  }
}

function wait(state: WatchedState): false {
  state.flush();
  return false;
}

function isSameText(a: Pick<Judged, "verdict">, b: Pick<Judged, "verdict">): boolean {
  const [one, other] = [a.verdict, b.verdict];
  if (one.kind !== "rewrite" || other.kind !== "rewrite") return one.kind === other.kind;
  return one.sql.equals(other.sql);
}
