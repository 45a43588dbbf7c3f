import type { Ledger } from "../../protocol/ledger.ts";
import type { Statement } from "../../sql/verdict.ts";
import type { TransactionStatus } from "../../wire/messages.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { SessionParts } from "../context/parts.ts";
import { mayStore } from "../decide/touching.ts";

type Conversation = Pick<Ledger, "isSettled" | "transaction" | "intake" | "pipeline">;

/**
 * For whom an application has written in the transaction that is open: of what a suspended person has written nothing is
 * committed, whoever is named at its end.
 */
export class Uncommitted {
  readonly #suspended: SessionParts["suspended"];
  readonly #ledger: Conversation;
  /** By what the server has answered. */
  readonly #wrote = new Set<string>();
  /** By what has been sent since all was answered last. */
  readonly #sent = new Set<string>();
  /** In which a block has begun, and not ended. */
  #pipelineOfBlock: number | undefined;

  constructor(suspended: SessionParts["suspended"], ledger: Conversation) {
    this.#suspended = suspended;
    this.#ledger = ledger;
  }

  /** A statement is about to be sent; `shape`: what it runs by whatever name. */
  sent(person: string | undefined, statement: Statement, shape: Statement): void {
    if (person !== undefined && mayStore(shape)) this.#sent.add(person);
    if (statement.kind !== "transaction") return;
    if (BEGINS.has(statement.command)) this.#pipelineOfBlock = this.#ledger.pipeline;
    else if (endsBlock(statement)) this.#pipelineOfBlock = undefined;
  }

  /** The server has run it, as far as it was asked to. */
  ran(person: string | undefined, statement: Statement, shape: Statement): void {
    if (endsBlock(statement)) this.#wrote.clear();
    else if (person !== undefined && mayStore(shape) && this.#wrote.size <= MOST) this.#wrote.add(person);
  }

  ready(status: TransactionStatus): void {
    if (status === "I") this.#wrote.clear();
    if (this.#ledger.isSettled) this.#sent.clear();
  }

  /** Why a text may not run that would commit the open transaction. "unsettled": that depends on answers to come. */
  refusalOf(statements: readonly Statement[]): Refusal | "unsettled" | undefined {
    return commits(statements) && this.#isSuspect ? this.#refusal : undefined;
  }

  /** The same for the end of a pipeline, which commits what is in no block. */
  get refusalOfSync(): Refusal | "unsettled" | undefined {
    const { intake, transaction, pipeline } = this.#ledger;
    const isCommit = intake === "pipeline" && transaction === "I" && this.#pipelineOfBlock !== pipeline;
    return isCommit && this.#isSuspect ? this.#refusal : undefined;
  }

  get #isSuspect(): boolean {
    if (this.#wrote.size > MOST) return true;
    return this.#firstOf(this.#wrote) !== undefined || this.#firstOf(this.#sent) !== undefined;
  }

  get #refusal(): Refusal | "unsettled" | undefined {
    if (!this.#ledger.isSettled) return "unsettled";
    // In a failed block there is nothing to commit.
    if (this.#ledger.transaction === "E") return undefined;
    if (this.#wrote.size > MOST) return CROWDED;
    const refusal = this.#firstOf(this.#wrote);
    return refusal && { ...refusal, message: `${refusal.message}: what they wrote was rolled back` };
  }

  #firstOf(people: ReadonlySet<string>): Refusal | undefined {
    for (const person of people) {
      const refusal = this.#suspended?.(person);
      if (refusal !== undefined) return refusal;
    }
    return undefined;
  }
}

/** So many people are remembered for one transaction. */
const MOST = 10_000;

const CROWDED = refuse(
  "54000",
  `more than ${MOST} people have written in one transaction: it was rolled back`,
  {
    hint: "Commit more often.",
  },
);

const BEGINS: ReadonlySet<string> = new Set(["BEGIN", "START TRANSACTION"]);
const COMMITS: ReadonlySet<string> = new Set(["COMMIT", "PREPARE TRANSACTION"]);

/** Whether a text may commit what was written before it. */
function commits(statements: readonly Statement[]): boolean {
  for (const statement of statements) {
    if (statement.unread === true || COMMITS.has(statement.command)) return true;
    if (endsBlock(statement)) return false;
  }
  return false;
}

/** Unlike ROLLBACK TO, which has the same tag as ROLLBACK. */
function endsBlock({ kind, command, effect }: Statement): boolean {
  if (kind !== "transaction") return false;
  return COMMITS.has(command) || (effect?.kind === "transaction" && effect.ends);
}
