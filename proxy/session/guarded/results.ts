import { refusalOf } from "../../meter/budget-refusal.ts";
import type { Batch, Grant, Meter, Reveal } from "../../meter/meter.ts";
import { type Limits, type Role, windowsOf } from "../../policy/policy.ts";
import { PERSON } from "../../policy/price-units.ts";
import type { OpenedValue } from "../../protocol/server-leg.ts";
import type { Metering } from "../../sql/verdict.ts";
import type { Frame } from "../../wire/frames.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import { fieldCount, readTrailingFields, trimDataRow } from "../../wire/rows.ts";
import {
  type GroupMembers,
  membersOf,
  sizeOf,
  unitsOfGroup,
  unitsOfUnnamed,
} from "../statement/row-price.ts";
import { isLimited, type Run } from "../statement/run.ts";
import type { Exchange } from "./exchange.ts";
import { unitsOfNumber } from "./execution-prices.ts";
import { revealsOf } from "./reveals.ts";

/** A batch is charged at the latest when it has so many rows. */
const BATCH_ROWS = 1_000;

/** Rows of one read event that wait for the meter, as places in the buffers in which they came. */
class PendingRows {
  readonly run: Run;
  readonly people: string[] = [];
  /** Of each row, where the statement says it. */
  readonly hasPurpose: boolean[] = [];
  readonly bytes: number[] = [];
  readonly reveals: Reveal[] = [];
  readonly namespaces: readonly string[];
  readonly unknownPerRow: number;
  readonly cost: number;
  /** Of each row, where rows have a price beside their people. */
  readonly units: number[] | undefined;
  readonly #buffers: Buffer[] = [];
  readonly #places: number[] = [];

  /** `group`: whose the one row is that it will have. */
  constructor(run: Run, group?: GroupMembers) {
    const { metering } = run.shape;
    const isPriced = metering?.price !== undefined;
    this.run = run;
    this.namespaces = group?.namespaces ?? metering?.subjects.map(({ namespace }) => namespace) ?? [];
    this.unknownPerRow = isPriced ? 0 : (metering?.unknown ?? 0);
    this.cost = metering?.cost ?? 1;
    this.units = isPriced && run.pinned === undefined ? [] : undefined;
    if (group !== undefined) this.people.push(...group.identities);
  }

  get rows(): number {
    return this.#buffers.length;
  }

  /** The cost of its rows depends on their content: on their size, or on how many of the people they name are new. */
  get isSized(): boolean {
    return this.namespaces.length > 1 || this.units?.some((each) => each > 0) === true;
  }

  /** `people` has got the row's identities before. `opened`: values that were turned back. */
  add(
    buffer: Buffer,
    start: number,
    end: number,
    units: number,
    opened: readonly OpenedValue[] | undefined,
  ): void {
    if (opened !== undefined && opened.length > 0) {
      const { namespaces } = this;
      const identities = this.people.slice(this.rows * namespaces.length);
      const { metering } = this.run.shape;
      this.reveals.push(...revealsOf(opened, this.rows, { namespaces, identities }, metering));
    }
    this.#buffers.push(buffer);
    this.#places.push(start, end);
    this.bytes.push(end - start - HEADER);
    const { run } = this;
    const paid = Math.min(run.prepaid, units * this.cost);
    run.prepaid -= paid;
    this.units?.push(units * this.cost - paid);
  }

  /** What the meter is asked. Where rows cost nothing but their people, it may know them already. */
  get batch(): Batch {
    const { rows, people, namespaces, unknownPerRow, cost, bytes, reveals } = this;
    const units = this.#unitsWith(owedBy(this.run));
    const isPriced = units?.some((each) => each > 0) === true;
    return {
      ...{ rows, people, namespaces, unknownPerRow, cost, bytes },
      ...(reveals.length > 0 && { reveals }),
      ...(isPriced && { units }),
    };
  }

  /** An answer that was expected costs nothing more; for another one the first row pays what is owed. */
  #unitsWith(owed: number): readonly number[] | undefined {
    if (this.run.answer?.isSame === true) return undefined;
    if (owed === 0 || this.units === undefined) return this.units;
    const [first = 0, ...more] = this.units;
    return [first + owed, ...more];
  }

  /** Gives the leading rows out. */
  release(rows: number, to: (buffer: Buffer, start: number, end: number) => void): void {
    for (const [row, buffer] of this.#buffers.entries()) {
      if (row === rows) break;
      const start = this.#places[2 * row] ?? 0;
      const end = this.#places[2 * row + 1] ?? start;
      to(buffer, start, end);
      this.run.rows++;
      this.run.bytes += this.bytes[row] ?? 0;
    }
    const width = this.namespaces.length;
    for (let i = 0; i < rows * width; i++) {
      const [namespace, identity] = [this.namespaces[i % width] ?? "", this.people[i] ?? ""];
      this.run.people.add(namespace, identity);
      if (this.hasPurpose[Math.floor(i / width)] === false) this.run.people.lacksPurpose(namespace, identity);
    }
    for (const reveal of this.reveals) if (reveal.row < rows) this.run.revealed(reveal);
    this.run.people.addUnknown(rows * this.unknownPerRow + this.#peopleInUnits(rows));
  }

  #peopleInUnits(rows: number): number {
    if (this.run.answer?.isSame === true) return 0;
    let units = 0;
    for (let row = 0; row < rows; row++) units += this.units?.[row] ?? 0;
    return Math.ceil(units / this.cost / PERSON);
  }
}

/** Type byte and length word. */
const HEADER = 5;

/**
 * What leaves of a result: appended fields are taken off, rows and bytes are held against the role's limits,
 * people against its budgets. Past any of them nothing more leaves.
 */
export class Results {
  readonly #exchange: Exchange;
  #waiting: PendingRows | undefined;
  #charging = false;
  /** Whether the pieces of a long row follow the first one. */
  #passing = false;
  /** Of the row at hand. */
  readonly #identities: string[] = [];
  /** The run that was stopped at a row that is not shown, until the position of that row has been paid for. */
  #stopped: Run | undefined;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** Whether a long row of this statement may pass, or be dropped, while it still arrives. `length`: by its length word. */
  mayStream(run: Run, length: number): boolean {
    if (run.extraFields === 0 && this.#meterFor(run) === undefined) return true;
    return run.cut !== undefined || run.truncated || this.#pastLimit(run, length - LENGTH_WORD) !== undefined;
  }

  /** A DataRow, or a row of COPY. False: it must wait until those before it are charged. */
  row(frame: Frame, run: Run): boolean {
    if (frame.piece === "middle" || frame.piece === "last") {
      if (this.#passing) this.#exchange.toClient.forward(frame);
      return true;
    }
    // What the meter has been asked about must not grow meanwhile.
    if (this.#charging) return false;
    const meter = this.#meterFor(run);
    // A row of groups has people of its own number, and so a batch of its own.
    const most = run.shape.metering?.groups?.tell === "people" ? 1 : BATCH_ROWS;
    if ((this.#waiting?.rows ?? 0) >= most && !this.release()) return false;
    this.#passing = false;
    run.answer?.row(frame);
    const length = frame.buffer.readInt32BE(frame.start + 1) - 4;
    if (run.cut !== undefined || run.truncated || !this.#fits(run, length)) return true;
    if (meter === undefined) this.#pass(frame, run, length);
    else this.#wait(frame, run);
    return true;
  }

  /** What belongs to a result and is no row: the header line of COPY, its trailer. */
  plain(frame: Frame, run: Run): boolean {
    if (!this.release()) return false;
    this.#passing = run.cut === undefined;
    if (this.#passing) this.#exchange.toClient.forward(frame);
    return true;
  }

  /** A result has come to its end, with this message. False: as of `release`. */
  conclude(frame: Frame, run: Run): boolean {
    if (this.#charging) return false;
    const meter = run.answer && this.#meterFor(run);
    if (run.answer === undefined || meter === undefined) return this.release();
    if (!run.isConcluded) {
      run.isConcluded = true;
      run.answer.end(frame);
    }
    if (!this.release() || !this.#payOwed(run, meter)) return false;
    // One that was held back for want of budget must not be cheap the next time.
    if (run.cut === undefined) run.answer.remember(meter);
    return true;
  }

  /** An answer without a row may be another one than was expected as well. */
  #payOwed(run: Run, meter: Meter): boolean {
    const units = owedBy(run);
    if (units === 0) return true;
    run.isSettled = true;
    return this.#await(new PendingRows(run), meter.price({ people: [], namespaces: [], units }));
  }

  /** Charges and releases what waits. False: the meter has yet to answer; `wake` is called when it has. */
  release(): boolean {
    if (!this.#releaseRows()) return false;
    return this.#waiting !== undefined || this.#payPlace();
  }

  #releaseRows(): boolean {
    const waiting = this.#waiting;
    if (this.#charging) return false;
    if (waiting === undefined || waiting.run.answer?.isOpen === true) return true;
    const meter = this.#meterFor(waiting.run);
    const grant = meter === undefined ? ALL : meter.charge(waiting.batch);
    waiting.run.isSettled = true;
    return this.#await(waiting, grant);
  }

  /**
   * Rows of people who are already counted are free, and another person's values can decide at which row the result stops. So
   * the number of rows before that point is information, and has a price.
   */
  #payPlace(): boolean {
    const run = this.#stopped;
    this.#stopped = undefined;
    const meter = run && this.#meterFor(run);
    if (run === undefined || meter === undefined) return true;
    if (run.shape.metering?.price === undefined || run.pinned !== undefined) return true;
    const units = unitsOfNumber(run.rows) + owedBy(run);
    run.isSettled = true;
    return this.#await(new PendingRows(run), meter.price({ people: [], namespaces: [], units }));
  }

  #await(waiting: PendingRows, grant: Grant | Promise<Grant>): boolean {
    if (!(grant instanceof Promise)) {
      this.#settle(waiting, grant);
      return true;
    }
    this.#charging = true;
    this.#exchange.counting.awaits(grant, (answer, waited) => {
      this.#charging = false;
      waiting.run.waited += waited;
      this.#settle(waiting, answer);
      this.#exchange.wake();
    });
    return false;
  }

  #pass(frame: Frame, run: Run, length: number): void {
    const { toClient } = this.#exchange;
    const extra = run.extraFields;
    this.#passing = true;
    run.rows++;
    if (extra > 0) {
      this.#identities.length = 0;
      readTrailingFields(frame, extra, this.#identities);
      const hasPurpose = run.shape.metering?.purpose !== true || this.#identities.pop() !== "f";
      for (const [i, identity] of this.#identities.entries()) {
        const namespace = run.shape.metering?.subjects[i]?.namespace ?? "";
        run.people.add(namespace, identity);
        if (!hasPurpose) run.people.lacksPurpose(namespace, identity);
      }
      const end = trimDataRow(frame, extra);
      run.bytes += end - frame.start - HEADER;
      toClient.lend(frame.buffer, frame.start, end);
    } else {
      run.bytes += length;
      toClient.forward(frame);
    }
    run.people.addUnknown(run.shape.metering?.unknown ?? 0);
    const namespaces = run.shape.metering?.subjects.map(({ namespace }) => namespace) ?? [];
    const { opened } = this.#exchange.leg;
    const named = { namespaces, identities: extra > 0 ? this.#identities : [] };
    for (const reveal of revealsOf(opened, 0, named, run.shape.metering)) run.revealed(reveal);
  }

  #wait(frame: Frame, run: Run): void {
    const { metering } = run.shape;
    if (metering?.groups !== undefined) {
      this.#waitForGroup(frame, run, metering);
      return;
    }
    if (this.#waiting?.run !== run) this.#waiting = new PendingRows(run);
    const extra = run.extraFields;
    if (extra > 0) readTrailingFields(frame, extra, this.#waiting.people);
    if (metering?.purpose === true) this.#waiting.hasPurpose.push(this.#waiting.people.pop() !== "f");
    const end = extra > 0 ? trimDataRow(frame, extra) : frame.end;
    const units = metering?.price === undefined ? 0 : unitsOfUnnamed(metering, sizeOfRow(frame, end, run));
    this.#waiting.add(frame.buffer, frame.start, end, units, this.#exchange.leg.opened);
  }

  #waitForGroup(frame: Frame, run: Run, metering: Metering): void {
    const fields: string[] = [];
    readTrailingFields(frame, run.extraFields, fields);
    const members = membersOf(metering, fields);
    const end = trimDataRow(frame, run.extraFields);
    // Only a row that names its people is in a batch alone.
    if (members.namespaces.length > 0 || this.#waiting?.run !== run)
      this.#waiting = new PendingRows(run, members);
    const units = unitsOfGroup(metering, members, sizeOfRow(frame, end, run));
    this.#waiting.add(frame.buffer, frame.start, end, units, this.#exchange.leg.opened);
  }

  #settle(waiting: PendingRows, grant: Grant): void {
    this.#waiting = undefined;
    const rows = grant.kind === "all" ? waiting.rows : grant.kind === "part" ? grant.rows : 0;
    waiting.release(rows, (buffer, start, end) => this.#exchange.toClient.lend(buffer, start, end));
    const { counting, toClient } = this.#exchange;
    // A cut for the rows' own limit may have been noted already; the budget stopped an earlier row.
    if (grant.kind !== "all") {
      waiting.run.cut = refusalOf(grant, counting.account, { isSized: waiting.isSized });
      if (grant.kind === "part" && waiting.rows > 0) this.#stopped = waiting.run;
      // The first row would have paid what is owed.
      if (rows === 0 && waiting.rows > 0) waiting.run.isSettled = false;
    }
    counting.warn(toClient);
  }

  /** Counts one more row against the limits; false when it is past them. */
  #fits(run: Run, length: number): boolean {
    const past = this.#pastLimit(run, length);
    if (past === undefined) {
      if (!run.shape.limited) return true;
      run.counts.rows++;
      run.counts.bytes += length;
      return true;
    }
    // Only complete answers are remembered, so this is a different one.
    run.answer?.breakOff();
    // The limit of rows always stops after the same number of rows.
    if (past !== "rows") this.#stopped = run;
    // COPY is truncated by its own LIMIT, which knows of rows alone.
    if (past === "row") run.cut = TOO_LONG;
    else if (run.truncates && (run.copy === undefined || past === "rows")) run.truncated = true;
    else run.cut = excess(this.#exchange.judging.role, past);
    return false;
  }

  /** The limit that one more row of this length is past. "row": it cannot be held in memory until it is counted. */
  #pastLimit(run: Run, length: number): "rows" | "bytes" | "row" | undefined {
    const { counts } = run;
    const { rows, bytes } = this.#exchange.judging.role.limits;
    if (run.shape.limited && rows !== undefined && counts.rows + 1 > rows) return "rows";
    if (run.shape.limited && bytes !== undefined && counts.bytes + length > bytes) return "bytes";
    const isHeld = run.extraFields > 0 || this.#meterFor(run) !== undefined;
    return isHeld && length > LONGEST_ROW ? "row" : undefined;
  }

  /** Undefined where nothing of the statement's rows is counted against a budget. */
  #meterFor(run: Run): Meter | undefined {
    const { judging, counting } = this.#exchange;
    return windowsOf(judging.role).length === 0 || !run.isLimited ? undefined : counting.meter;
  }
}

const ALL: Grant = { kind: "all" };

/** The length word counts itself (Postgres docs, "Message Formats"). */
const LENGTH_WORD = 4;
/**
 * A row that is counted is held until the meter has answered, and `repeat()` makes one of a gigabyte. It may be as long
 * as the longest message that a client may send by default.
 */
const LONGEST_ROW = 64 * 1024 * 1024;

const TOO_LONG = refuse("54000", `a row of this result is longer than ${LONGEST_ROW} bytes`, {
  detail: "A row whose people are counted is held in memory until they are.",
  hint: "Ask for fewer or shorter columns.",
});

/** What has to be paid because an answer is not the one that was expected. */
function owedBy({ answer, isSettled }: Run): number {
  return isSettled ? 0 : (answer?.owed ?? 0);
}

/** Of COPY all bytes are its text. */
function sizeOfRow(frame: Frame, end: number, { copy }: Run): number {
  const length = end - frame.start - HEADER;
  return copy === undefined ? sizeOf(length, fieldCount(frame)) : length;
}

/** Whether results of this statement can be cut off for this role. */
export function canBeCut(role: Role, shape: Parameters<typeof isLimited>[0]): boolean {
  const { rows, bytes } = role.limits;
  return (
    (shape.limited && (rows !== undefined || bytes !== undefined)) ||
    (windowsOf(role).length > 0 && isLimited(shape))
  );
}

/** The error for a result that exceeds a limit of the role. */
export function excess(role: Role, past: "rows" | "bytes"): Refusal {
  const limit = role.limits[past];
  return refuse("54000", `this statement returned more than ${limit} ${past}`, {
    detail: `Role "${role.name}" may have ${limit} ${past} from one statement.`,
    hint: hintFor(role.limits, past),
    rule: `roles.${role.name}.${past}`,
  });
}

function hintFor({ onExcess }: Limits, past: "rows" | "bytes"): string {
  const less = past === "rows" ? "Add a WHERE condition or a LIMIT" : "Ask for fewer rows or columns";
  const alone =
    onExcess === "truncate" ? ", or send the statement alone in its message so that it can be truncated" : "";
  return `${less}${alone}; the policy sets "${past}:" of the role.`;
}
