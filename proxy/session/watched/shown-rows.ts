import { BYTES_OF_UNNAMED, PERSON } from "../../policy/price-units.ts";
import type { Metering } from "../../sql/verdict.ts";
import type { FrameReader } from "../../wire/frames.ts";
import { readTrailingFields, trimDataRow } from "../../wire/rows.ts";
import { membersOf } from "../statement/row-price.ts";
import type { Run } from "../statement/run.ts";
import type { Reader } from "./charged-readers.ts";
import { Charges, type OnStop, type Shown } from "./charges.ts";
import { GATHERS } from "./copying.ts";
import { noteLongRow, ROW_TOO_LONG } from "./long-rows.ts";
import type { WatchedState } from "./watched-state.ts";

/** Type byte and length word. */
const HEADER = 5;

/** Rows on their way to the client: added columns are taken off, and what the rows show is noted and charged behind them. */
export class ShownRows {
  readonly #state: WatchedState;
  readonly #charges: Charges;
  readonly #identities: string[] = [];
  readonly #onStop: OnStop;
  /** That the reader is not stopped has been seen since the last read event. */
  #isChecked = false;
  #run: Run | undefined;
  #reader: Reader | undefined;
  /** They are being charged, and leave when that is done. */
  #many: Rows | undefined;
  /** The first piece of a long row has left. */
  #hasBegun = false;
  /** Its error or notice is being charged, and leaves when that is done. */
  #telling: Run | undefined;

  constructor(state: WatchedState, onStop: OnStop) {
    this.#state = state;
    this.#onStop = onStop;
    this.#charges = new Charges(state.readers, onStop, state.wake);
  }

  /** A statement begins to be answered. */
  begin(run: Run, reader: Reader): void {
    this.#run = run;
    this.#reader = reader;
  }

  flush(): void {
    this.#isChecked = false;
    this.#charges.flush();
  }

  /** False: it must wait until those before it are charged, or those in it where they are many. */
  row(frame: FrameReader, run: Run): boolean {
    // What has begun to leave leaves whole, also where a budget stops meanwhile.
    if (frame.piece === "middle" || frame.piece === "last") {
      if (this.#hasBegun) this.#state.toClient.forward(frame);
      return true;
    }
    this.#hasBegun = false;
    if (this.#many !== undefined) return this.#paid(frame, run, this.#many);
    if (run.cut !== undefined) return true;
    const { metering } = run.shape;
    if (metering === undefined) {
      const { rows, bytes } = whole(frame);
      run.rows += rows;
      run.bytes += bytes;
      this.#forward(frame);
      return true;
    }
    if (this.#reader === undefined || this.#run !== run)
      throw new Error("rows of a statement that has not begun");
    if (this.#charges.mustWait(this.#reader)) {
      this.#isChecked = false;
      return false;
    }
    if (!this.#isChecked && this.#isStopped(run, this.#reader)) return true;
    const hasColumns = metering.subjects.length > 0 || metering.groups !== undefined;
    if (hasColumns && frame.piece === "first") {
      noteLongRow(run.judged);
      this.#onStop(run, ROW_TOO_LONG);
      return true;
    }
    return this.#release(
      frame,
      run,
      this.#reader,
      hasColumns ? this.#named(frame, run) : unnamed(frame, run),
    );
  }

  /**
   * An error or a notice shows so many people. False: it must wait, as rows do; one that shows many waits until they are
   * charged.
   */
  text(run: Run, people: number, bytes: number): boolean {
    return this.#told(run, { people, bytes, waits: people > (this.#reader?.ahead ?? 0) });
  }

  /** A statement has stored values of so many people. False: until they are charged. */
  stored(run: Run, people: number): boolean {
    return this.#told(run, { people, bytes: 0, waits: true, of: "copy" });
  }

  #told(run: Run, told: Told): boolean {
    const { people, waits } = told;
    if (this.#telling === run) return this.#isPaid(run, people);
    const reader = this.#reader;
    if (people === 0 || reader === undefined || this.#run !== run || run.cut !== undefined) return true;
    if (this.#charges.mustWait(reader)) {
      this.#isChecked = false;
      return false;
    }
    if (!this.#isChecked && this.#isStopped(run, reader)) return true;
    this.#quote(run, reader, told);
    if (!waits || this.#state.judging.observes) return true;
    this.#charges.flush();
    this.#telling = run;
    return this.#isPaid(run, people);
  }

  #isPaid(run: Run, people: number): boolean {
    if (!this.#charges.isSettled) return false;
    this.#telling = undefined;
    // Without room nobody is shown.
    if (run.cut !== undefined) run.people.addUnknown(-people);
    return true;
  }

  /** What it has stored shows an unknown number of people: where a budget stops, it does not stay. */
  uncountable(run: Run): void {
    const reader = this.#reader;
    if (reader === undefined || reader.account.windows.length === 0) return;
    if (this.#state.readers.stops(reader)) this.#onStop(run, GATHERS);
    else this.#quote(run, reader, { people: 1, bytes: 0 });
  }

  #quote(run: Run, reader: Reader, { people, bytes, of }: Omit<Told, "waits">): void {
    run.people.addUnknown(people);
    this.#charges.shown(run, reader, {
      ...{ namespaces: NOBODY, identities: NOBODY },
      ...{ units: people * PERSON, bytes, ...(of && { of }) },
    });
  }

  /** Another connection of the same person may have used up their budget. */
  #isStopped(run: Run, reader: Reader): boolean {
    this.#isChecked = true;
    const refusal = this.#state.readers.stopped(reader);
    if (refusal !== undefined) this.#onStop(run, refusal);
    return refusal !== undefined;
  }

  /** False: they show more people than may leave before the counters have said that there is room. */
  #release(frame: FrameReader, run: Run, reader: Reader, rows: Rows): boolean {
    const { shown, others } = rows;
    const people = shown.identities.length + others;
    const isMany = people > reader.ahead && !this.#state.judging.observes;
    if (people > 0) this.#charges.shown(run, reader, shown);
    if (isMany) {
      this.#charges.flush();
      if (!this.#charges.isSettled) {
        // The names lie in an array that the next row uses.
        const { identities, namespaces } = shown;
        const kept = { ...shown, identities: [...identities], namespaces: [...namespaces] };
        this.#many = { ...rows, shown: kept };
        return false;
      }
    }
    this.#give(frame, run, rows);
    return true;
  }

  #paid(frame: FrameReader, run: Run, rows: Rows): boolean {
    if (!this.#charges.isSettled) return false;
    this.#many = undefined;
    this.#give(frame, run, rows);
    return true;
  }

  #give(frame: FrameReader, run: Run, { shown, others, count, end }: Rows): void {
    if (run.cut !== undefined) return;
    run.rows += count;
    run.bytes += shown.bytes;
    const { identities, namespaces } = shown;
    for (let i = 0; i < identities.length; i++) run.people.add(namespaces[i] ?? "", identities[i] ?? "");
    run.people.addUnknown(others);
    if (identities.length > 0) this.#note(run);
    if (end === undefined) this.#forward(frame);
    else this.#state.toClient.lend(frame.buffer, frame.start, end);
  }

  /** The row that it names is paid for. */
  #note({ row, shape }: Run): void {
    if (row === undefined || shape.kind !== "read" || this.#reader === undefined) return;
    if (!this.#state.keysGiven.mayHave(row))
      this.#state.readers.showed(this.#reader, row, shape.metering?.cost ?? 1);
  }

  #forward(frame: FrameReader): void {
    this.#hasBegun = frame.piece === "first";
    this.#state.toClient.forward(frame);
  }

  /** Takes the added columns off. */
  #named(frame: FrameReader, run: Run): Rows {
    const { metering } = run.shape;
    if (metering === undefined) throw new Error("a row with columns of nobody");
    const identities = this.#identities;
    identities.length = 0;
    const extra =
      metering.subjects.length + (metering.purpose ? 1 : 0) + (metering.groups?.namespaces.length ?? 0);
    readTrailingFields(frame, extra, identities);
    const end = trimDataRow(frame, extra);
    const bytes = end - frame.start - HEADER;
    return metering.groups === undefined
      ? ofPeople(run, metering, identities, { bytes, end })
      : ofGroup(metering, identities, { bytes, end });
  }
}

/** A text, or the end of a statement, which shows so many people without names. */
interface Told {
  readonly people: number;
  readonly bytes: number;
  /** Until they are charged. */
  readonly waits: boolean;
  readonly of?: Shown["of"];
}

/** Rows that lie in the same bytes, and the people they show. */
interface Rows {
  readonly shown: Shown;
  /** People without names. */
  readonly others: number;
  readonly count: number;
  /** Where what the client gets ends; undefined: where it came to its end. */
  readonly end: number | undefined;
}

interface Trimmed {
  readonly bytes: number;
  readonly end: number;
}

function ofPeople(run: Run, metering: Metering, identities: string[], { bytes, end }: Trimmed): Rows {
  const hasPurpose = metering.purpose === undefined || identities.pop() !== "f";
  const namespaces = namespacesOf(metering.subjects);
  if (!hasPurpose && metering.purpose === true)
    for (const [i, identity] of identities.entries()) run.people.lacksPurpose(namespaces[i] ?? "", identity);
  const others = metering.unknown > 0 ? peopleIn(run, 1, bytes) : 0;
  const shown = { namespaces, identities, units: others * PERSON, bytes };
  return { shown, others, count: 1, end };
}

function ofGroup(metering: Metering, fields: readonly string[], { bytes, end }: Trimmed): Rows {
  const { identities, namespaces, count } = membersOf(metering, fields);
  const others = count === undefined ? sizeInPeople(bytes) : 0;
  const shown = { namespaces, identities, units: others * PERSON, bytes };
  return { shown, others, count: 1, end };
}

/** Rows that name no one: all that follow in the same bytes. */
function unnamed(frame: FrameReader, run: Run): Rows {
  const { rows, bytes } = whole(frame);
  const others = peopleIn(run, rows, bytes);
  const shown = { namespaces: NOBODY, identities: NOBODY, units: others * PERSON, bytes };
  return { shown, others, count: rows, end: undefined };
}

/** A row and all that follow it in the same bytes: they leave together. */
function whole(frame: FrameReader): { readonly rows: number; readonly bytes: number } {
  const first = frame.buffer.readInt32BE(frame.start + 1) - 4;
  const before = frame.end;
  const rows = frame.widen();
  return { rows, bytes: first + frame.end - before - (rows - 1) * HEADER };
}

const NOBODY: readonly string[] = [];

const known = new WeakMap<readonly { readonly namespace: string }[], readonly string[]>();

function namespacesOf(subjects: readonly { readonly namespace: string }[]): readonly string[] {
  let names = known.get(subjects);
  if (names === undefined) {
    names = subjects.map(({ namespace }) => namespace);
    known.set(subjects, names);
  }
  return names;
}

/** How many people rows stand for that do not name them. */
function peopleIn({ shape: { metering } }: Run, rows: number, bytes: number): number {
  if (metering === undefined) return 0;
  // A sum may have as many digits as there are people in it.
  if (metering.price?.bySize === true || metering.gathers === true)
    return Math.max(rows, sizeInPeople(bytes));
  return metering.unknown === 0 ? 0 : Math.min(rows * metering.unknown, Math.max(rows, sizeInPeople(bytes)));
}

function sizeInPeople(bytes: number): number {
  return Math.ceil(bytes / BYTES_OF_UNNAMED);
}
