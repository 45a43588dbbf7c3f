import type { Statement } from "../../sql/verdict.ts";
import { rowsWritten } from "../../wire/backend-messages.ts";
import type { Frame, FrameReader } from "../../wire/frames.ts";
import type { Trace } from "../record/audit-recorder.ts";
import { once, Repetitions } from "../record/coalescing.ts";
import type { Judged } from "../statement/decision.ts";
import { UNKNOWN_STATEMENT } from "../statement/run.ts";

/** A statement of a session that is not guarded, as its answer comes to its end. */
export interface Observed {
  readonly judged: Judged;
  /** Which of its text's statements it is. */
  readonly index: number;
  /** `performance.now()` at the client's message. */
  readonly at: number;
}

/** What went wrong, and the reference of our own words where they took the place of the server's. */
export interface ObservedError {
  readonly sqlstate: string;
  readonly reference?: string | undefined;
}

/** Counts what passes of an answer, and puts the statement on record at the answer's end. */
export class Observer {
  readonly #trace: Trace;
  readonly #now: () => number;
  readonly #repetitions: Repetitions;
  #rows = 0;
  #bytes = 0;
  #written: number | undefined;
  /** The statement is a COPY that the client feeds. */
  #copiesIn = false;

  constructor(trace: Trace, now: () => number) {
    this.#trace = trace;
    this.#now = now;
    this.#repetitions = new Repetitions(trace, now);
  }

  get hasRows(): boolean {
    return this.#rows > 0;
  }

  /** A row, and all rows that follow it in the same bytes. */
  row(frame: FrameReader): void {
    if (frame.piece === "middle" || frame.piece === "last") return;
    const first = frame.buffer.readInt32BE(frame.start + 1) - 4;
    const before = frame.end;
    const rows = frame.widen();
    this.#rows += rows;
    this.#bytes += first + frame.end - before - (rows - 1) * HEADER;
  }

  /** What a function has returned. */
  value({ buffer, start }: Frame): void {
    this.#rows++;
    this.#bytes += buffer.readInt32BE(start + 1) - 4;
  }

  copyIn(): void {
    this.#copiesIn = true;
  }

  /** The tags of reads are not read: there are many, and they are long to read. */
  completed(frame: Frame, { judged, index }: Observed): void {
    const statement = judged.verdict.statements[index];
    if (statement === undefined || statement.kind === "read") return;
    if (statement.command === "COPY" && !this.#copiesIn) return;
    this.#written = rowsWritten(frame);
  }

  /** An answer has come to its end. Gives the statement; undefined where it is not known which one it was. */
  ended(observed: Observed | undefined, error?: ObservedError): Statement | undefined {
    const [rows, bytes, written] = [this.#rows, this.#bytes, this.#written];
    this.#rows = this.#bytes = 0;
    this.#written = undefined;
    this.#copiesIn = false;
    if (observed === undefined) return undefined;
    const { judged, index, at } = observed;
    const statement = judged.verdict.statements[index] ?? UNKNOWN_STATEMENT;
    const duration = performance.now() - at;
    this.#trace.took(duration);
    const isDefinition = statement.effect?.kind === "definition";
    const execution = { judged, statement, shape: statement, rows, bytes, written, duration };
    if (error === undefined && !isDefinition && statement !== UNKNOWN_STATEMENT) {
      this.#repetitions.add(execution);
      return statement;
    }
    this.#repetitions.flush();
    this.#trace.observed(once(execution, this.#now()), error?.sqlstate, error?.reference);
    return statement;
  }

  flush(): void {
    this.#repetitions.flush();
  }
}

/** Type byte and length word. */
const HEADER = 5;
