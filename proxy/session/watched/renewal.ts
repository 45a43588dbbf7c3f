import type { Statement } from "../../sql/verdict.ts";
import { closeMessage } from "../../wire/frontend-messages.ts";
import { nameKey } from "../../wire/messages.ts";
import { type Judged, Kept } from "../statement/decision.ts";
import { type Prepared, parseAgain, preparedBy } from "../statement/prepared.ts";
import type { Judgement } from "./judgement.ts";
import { plainly, type WatchedState } from "./state.ts";

/** Prepares a statement again where the text that the server has is not what it must be now. */
export class Renewal {
  readonly #state: WatchedState;
  readonly #judgement: Judgement;

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
    if (judged.verdict === kept.verdict || isSameText(judged, kept)) {
      if (judged.verdict !== kept.verdict) {
        prepared.kept = new Kept(judged);
        prepared.statement = prepared.pick(judged.verdict.statements);
      }
      this.#judgement.holds(prepared);
      return prepared;
    }
    // SQL's PREPARE is always as the client wrote it.
    if (parse === undefined) return prepared;
    if (!ledger.isSettled) {
      wait(this.#state);
      return undefined;
    }
    return this.#prepareAgain(judged, key, parse);
  }

  /** What runs within other statements gets no columns: they would be its table's, or part of a plan. */
  areBare(statements: readonly Statement[]): boolean {
    const { names, ledger } = this.#state;
    for (const { touch } of statements) {
      if (touch?.runs === undefined) continue;
      const key = nameKey(touch.runs);
      const prepared = names.statements.find(key, ledger.pipeline);
      if (!ledger.isSettled) return wait(this.#state);
      if (typeof prepared !== "object" || prepared.parse === undefined) continue;
      const judged = prepared.kept.judged ?? this.#judgement.remembered(prepared.kept);
      if (judged?.verdict.kind === "rewrite") this.#prepareAgain(plainly(judged), key, prepared.parse);
    }
    return true;
  }

  #prepareAgain(judged: Judged, key: string, parse: Buffer): Prepared {
    const { names, ledger } = this.#state;
    const at = performance.now();
    const fresh = preparedBy(judged, parse);
    this.#state.send(closeMessage({ target: "statement", name: key }), {
      ...{ kind: "close", at, hidden: true, portal: undefined },
      statement: names.statements.propose(key, undefined, ledger.pipeline),
    });
    this.#state.send(parseAgain(parse, judged), {
      ...{ kind: "parse", at, hidden: true, judged },
      change: names.statements.propose(key, fresh, ledger.pipeline),
    });
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
