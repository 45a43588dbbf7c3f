import type { Statement } from "../../sql/verdict.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { once, Repetitions } from "../record/coalescing.ts";
import type { Judged } from "../statement/decision.ts";
import { Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import type { WatchedRequest } from "./watched-requests.ts";
import type { WatchedState } from "./watched-state.ts";

/** What went wrong, and the reference of our own words where they took the place of the server's. */
interface Ending {
  readonly sqlstate: string;
  readonly reference?: string | undefined;
}

/** Puts on record what a watched session has been shown; no row waits for it. */
export class WatchedRecord {
  readonly #state: WatchedState;
  readonly #repetitions: Repetitions;
  /** The statement is a COPY that the client feeds. */
  #copiesIn = false;

  constructor(state: WatchedState) {
    this.#state = state;
    this.#repetitions = new Repetitions(state.trace, state.parts.now);
  }

  copyIn(): void {
    this.#copiesIn = true;
  }

  /** Whether the tag says how many rows it wrote. */
  writes({ statement }: Run): boolean {
    return statement.command !== "COPY" || this.#copiesIn;
  }

  /** Rows are about to leave, and more will follow. */
  underway(run: Run): void {
    this.#state.trace.shown(run);
  }

  /** An answer has come to its end. */
  ended(run: Run, ending?: Ending): void {
    const { trace, parts } = this.#state;
    const { judged, shape, rows, bytes, written, people } = run;
    this.#copiesIn = false;
    trace.lookForCanaries(run);
    const duration = performance.now() - run.startedAt;
    trace.took(duration);
    const isPlain =
      shape.effect?.kind !== "definition" && run.statement === shape && shape !== UNKNOWN_STATEMENT;
    const what = {
      judged,
      statement: run.statement,
      shape,
      rows,
      bytes,
      written,
      people,
      duration,
      cut: run.cut,
      person: run.person,
    };
    if (ending === undefined && run.cut === undefined && isPlain && run.recorded.known === 0) {
      this.#repetitions.add(what);
      return;
    }
    this.#repetitions.flush();
    trace.observed(once(what, parts.now()), ending?.sqlstate, ending?.reference);
  }

  /** A message has failed that ran nothing yet. `refusal`: in our words, as the policy refused it. */
  failedStep(request: WatchedRequest, sqlstate: string, refusal?: Refusal): void {
    const judged = judgedOf(request);
    if (judged === undefined) return;
    const { trace, parts } = this.#state;
    this.#repetitions.flush();
    const statement: Statement = judged.verdict.statements[0] ?? UNKNOWN_STATEMENT;
    if (refusal !== undefined && request.refusal !== undefined) {
      const run = new Run(judged, statement, statement, { rows: 0, bytes: 0 }, request.at);
      run.person = "reader" in request ? request.reader?.person : undefined;
      trace.refused(run, refusal);
      return;
    }
    const duration = performance.now() - request.at;
    const nothing = { rows: 0, bytes: 0, written: undefined, people: undefined };
    trace.observed(
      once({ judged, statement, shape: statement, ...nothing, duration }, parts.now()),
      sqlstate,
    );
  }

  flush(): void {
    this.#repetitions.flush();
  }
}

function judgedOf(request: WatchedRequest): Judged | undefined {
  return request.kind === "parse" || request.kind === "bind" ? request.judged : undefined;
}
