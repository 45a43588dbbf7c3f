import { refusalOfWrite } from "../../meter/budget-refusal.ts";
import type { Grant } from "../../meter/meter.ts";
import type { Role } from "../../policy/policy.ts";
import type { Statement } from "../../sql/verdict.ts";
import { rowsWritten } from "../../wire/backend-messages.ts";
import { noticeResponse } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Run } from "../statement/run.ts";
import type { Exchange } from "./exchange.ts";

/**
 * Whether a write may turn out to be of too many rows: then nothing that would commit it reaches the server before its
 * tag is known. A simple query is run in the extended protocol for that, and a Sync waits.
 */
export function isHeldWrite(role: Role, { changes }: Statement): boolean {
  if (changes === undefined) return false;
  return role.limits.changes !== undefined || (changes === "people" && countsChanges(role));
}

/** Whether it may leave something behind, that must be taken back where its answer may not leave. */
export function mayWrite({ kind, acts }: Statement): boolean {
  return kind === "write" || acts === true;
}

function countsChanges({ budget }: Role): boolean {
  return budget.some(({ what }) => what === "changes");
}

/** The rows that writes have written, by their tags: held against the role's limit, and counted. */
export class WrittenRows {
  readonly #exchange: Exchange;
  #isAsking = false;
  /** Of the tag that waits. */
  #answer: Grant | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** A statement has completed; past a limit it is cut. False: the tag must be handed in again after a `wake`. */
  settle(frame: Frame, run: Run): boolean {
    const { shape } = run;
    if (shape.changes === undefined || run.cut !== undefined) return true;
    run.written ??= rowsWritten(frame);
    const { judging, ledger } = this.#exchange;
    const { role } = judging;
    // A write that was sent before the policy had this limit is already committed, and an error would say that it is
    // not.
    if (!isHeldWrite(role, shape) || ledger.barrier.level !== "closed") return true;
    const limit = role.limits.changes;
    if (run.written === undefined) run.cut = UNTOLD;
    else if (limit !== undefined && run.written > limit) run.cut = excess(role, limit, run.written);
    else if (shape.changes === "people") return this.#charge(run, run.written);
    return true;
  }

  #charge(run: Run, count: number): boolean {
    if (this.#isAsking) return false;
    if (!countsChanges(this.#exchange.judging.role)) return true;
    const { account, meter } = this.#exchange.counting;
    const grant = this.#answer ?? meter.amount("changes", count);
    this.#answer = undefined;
    if (grant instanceof Promise) {
      this.#wait(grant, run);
      return false;
    }
    if (grant.kind !== "all") run.cut = refusalOfWrite(grant, account, count);
    const warning = meter.takeWarning();
    if (warning !== undefined) this.#exchange.toClient.send(noticeResponse(warning));
    return true;
  }

  #wait(grant: Promise<Grant>, run: Run): void {
    this.#isAsking = true;
    this.#exchange.counting.awaits(grant, (answer, waited) => {
      this.#isAsking = false;
      run.waited += waited;
      this.#answer = answer;
      this.#exchange.wake();
    });
  }
}

function excess({ name }: Role, limit: number, written: number): Refusal {
  return refuse("54000", `this statement would write ${written} rows, more than ${limit}`, {
    detail: `Role "${name}" may write ${limit} rows by one statement. Nothing of it was written.`,
    hint: 'Add a WHERE condition, or write fewer rows at a time; the policy sets "changes:" of the role.',
    rule: `roles.${name}.changes`,
  });
}

/** A rule of the server's (CREATE RULE) can put another command in the statement's place. */
const UNTOLD = refuse("42501", "how many rows this statement writes is not known", {
  detail: "The server's answer does not say it. Nothing of it was written.",
  hint: "A role without a limit or budget of changes may run it.",
});

/**
 * The server completes a write before it sends the first row (PORTAL_ONE_RETURNING of tcop/pquery.c), but its tag comes
 * after the last row: a client that stops in between could commit rows that were never counted.
 */
export const UNFINISHED = refuse("42501", "the rows of a write's RETURNING must be fetched at once", {
  detail: "How many rows it writes is known after the last of them. Nothing of it was written.",
  hint: "Execute it without a maximum of rows (a fetch size, in drivers).",
});
