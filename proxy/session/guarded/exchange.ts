import type { Statement } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { syncMessage } from "../../wire/frontend-messages.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { cancelBehind } from "../context/cancelling.ts";
import { Counting } from "../decide/counting.ts";
import { SessionState } from "../judged/session-state.ts";
import type { Judged } from "../statement/decision.ts";
import type { PinnedPeople } from "../statement/pinned.ts";
import type { Repeat } from "../statement/repeats.ts";
import { Acting } from "./acting.ts";
import type { Reply } from "./outstanding-replies.ts";

/**
 * What the two directions of a guarded session know of each other. While a result runs that may be cut off, the ledger's
 * barrier holds back what the client sends next: a CancelRequest that comes a moment late would hit that. The Sync of its
 * own pipeline may follow if nothing was written.
 */
export class Exchange extends SessionState<Reply> {
  readonly counting: Counting;
  /** Of an application whose people have roles of their own. */
  readonly acting: Acting | undefined;
  /** The pipeline that is being sent may have changed data. */
  pipelineWrites = false;
  /** A simple query runs in the extended protocol; its Sync is ours to send. */
  unrolling = false;
  /** What runs is being cancelled because it has run too long, or because its reader was suspended: the words for that. */
  cancelled: Refusal | undefined;

  constructor(...all: ConstructorParameters<typeof SessionState>) {
    super(...all);
    const { established, parts, judging, ledger, toClient, wake } = this;
    this.counting = new Counting(established, parts, judging);
    this.acting =
      judging.account.actsAs === undefined
        ? undefined
        : new Acting({ established, judging, parts, ledger, toClient, wake });
  }

  /** A message of the extended protocol, ours or the client's as it came. */
  sendStep(message: Buffer | Frame, reply: Reply): void {
    this.#put(message, reply);
  }

  /** A simple query. */
  sendQuery(
    message: Buffer | Frame,
    judged: Judged | undefined,
    refusal?: Refusal,
    pinned: readonly (PinnedPeople | undefined)[] = [],
    repeat?: Repeat,
  ): void {
    this.#put(message, {
      kind: "query",
      at: performance.now(),
      ...(refusal === undefined ? {} : { refusal }),
      pipeline: this.ledger.pipeline,
      judged,
      run: undefined,
      pinned,
      repeat,
      begun: false,
      failed: false,
      spoiled: false,
    });
    this.#endPipeline();
  }

  /** `hidden`: of our own asking. */
  sendSync(hidden?: "hidden"): void {
    const { pipeline } = this.ledger;
    const ours = hidden === undefined ? {} : { hidden: true };
    this.#put(syncMessage, { kind: "sync", at: performance.now(), ...ours, pipeline, spoiled: false });
    this.#endPipeline();
  }

  /** What the server answers not at all, or not in a reply of its own. */
  sendPlain(message: Buffer | Frame): void {
    this.leg.pass(message);
  }

  /** Makes the server tell what it has answered so far. */
  flush(): void {
    if (!this.ledger.mustFlush) return;
    this.leg.flush();
  }

  /** A message depends on answers that are still to come. */
  wait(): "unsettled" {
    this.flush();
    return "unsettled";
  }

  /** A message was sent, by `sendPlain`, whose answer is wanted at once. */
  flushAfter(): void {
    this.ledger.needsFlush();
    this.flush();
  }

  /** Stops what the server does now. Nothing of the client's passes until that has come to its end. */
  cancel(): void {
    const { barrier } = this.ledger;
    if (barrier.isCancelling) {
      barrier.raise("closed");
      return;
    }
    cancelBehind(barrier, this.established, this.parts.log, this.wake);
  }

  /** A statement is sent that will have this effect; `shape`: what it runs by whatever name. */
  foresee(statement: Statement, shape = statement): void {
    this.uncommitted.sent(this.judging.person, statement, shape);
    this.judging.path.sent(statement.effect, this.ledger.pipeline);
    this.acting?.sent();
    if (!READS.has(statement.kind) || statement.acts === true) this.pipelineWrites = true;
  }

  #put(message: Buffer | Frame, reply: Reply): void {
    this.leg.send(message, reply);
  }

  /** What follows is independent. */
  #endPipeline(): void {
    this.pipelineWrites = false;
  }
}

/** Kinds of statements after which an implicit transaction may commit or not: it makes no visible difference. */
const READS: ReadonlySet<Statement["kind"]> = new Set(["read", "copyOut", "explain"]);
