import { errorResponse } from "../../wire/errors.ts";
import type { TransactionStatus } from "../../wire/messages.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import { type Refusal, refuseSession } from "../../wire/refusal.ts";
import { cancelBehind } from "../context/cancelling.ts";
import { SessionEnd } from "../context/parts.ts";
import type { Run } from "../statement/run.ts";
import type { ExecuteRequest, QueryRequest } from "./watched-requests.ts";
import type { WatchedState } from "./watched-state.ts";

/**
 * Ends what runs before its time: the server is asked to cancel it, and its error gets our words. A result that had
 * come to its end by then fails for the client all the same, and the open transaction is made to fail with it.
 */
export class Cutting {
  readonly #state: WatchedState;
  /** Told in place of the error that a cancel request brings. */
  #words: Refusal | undefined;
  /** The client has been told an error, and hears no more of the request up to its ReadyForQuery. */
  #isUnheard = false;

  constructor(state: WatchedState) {
    this.#state = state;
  }

  get words(): Refusal | undefined {
    return this.#words;
  }

  get isUnheard(): boolean {
    return this.#isUnheard;
  }

  cancel(refusal: Refusal): void {
    const { ledger, established, parts, wake } = this.#state;
    if (ledger.barrier.isCancelling) return;
    this.#words = refusal;
    // What has been answered already, and only waits for a Sync, is not to be taken for a statement that runs.
    this.#state.flush();
    cancelBehind(ledger.barrier, established, parts.log, wake);
  }

  /** A statement that was cut has come to its end before the cancel request did. True: its request goes on at the head. */
  tooLate({ statement, shape }: Run, cut: Refusal, request: QueryRequest | ExecuteRequest): boolean {
    const { ledger, toClient } = this.#state;
    const { second } = ledger;
    const statements = request.kind === "query" ? request.judged.verdict.statements : [statement];
    // No Sync has been sent behind it.
    const isUncommitted = shape.copies !== undefined && request.kind === "execute" && second === undefined;
    // What was written is committed, or will be: only the loss of the connection says that this is not known.
    if (!isUncommitted && !statements.every(({ kind }) => LEAVES_NOTHING.has(kind)))
      throw new SessionEnd(cut);
    if (request.kind === "execute" && second === undefined) {
      ledger.replaceHead({ ...request, refusal: cut });
      this.#state.pass(poisonedExecute);
      ledger.needsFlush();
      this.#state.flush();
      return true;
    }
    if (request.kind === "execute" && second?.kind !== "sync") throw new SessionEnd(cut);
    toClient.send(errorResponse(cut));
    this.#isUnheard = true;
    return false;
  }

  /** ReadyForQuery. True: the client must not hear it, as its transaction is made to fail first. */
  ready(status: TransactionStatus): boolean {
    const mustFail = this.#isUnheard && status === "T";
    this.#isUnheard = false;
    this.#words = undefined;
    if (!mustFail) return false;
    if (!this.#state.ledger.isSettled) throw new SessionEnd(UNDER_WAY);
    const at = performance.now();
    const reader = this.#state.readers.of(undefined);
    this.#state.send(poisonedExecute, { kind: "execute", at, portal: "", reader, hidden: true, quiet: true });
    this.#state.sync("told");
    return true;
  }

  failed(): void {
    this.#words = undefined;
  }
}

const LEAVES_NOTHING: ReadonlySet<string> = new Set(["read", "copyOut", "explain", "cursor", "session"]);

const UNDER_WAY = refuseSession("54000", "a result was cut off while later statements were on their way");
