import { BYTES_OF_UNNAMED, PERSON } from "../../policy/prices.ts";
import type { FrameReader } from "../../wire/frames.ts";
import { readTrailingFields, trimDataRow } from "../../wire/rows.ts";
import { membersOf } from "../statement/row-price.ts";
import type { Run } from "../statement/run.ts";
import { Charges, type OnStop, type Shown } from "./charges.ts";
import { noteLongRow, ROW_TOO_LONG } from "./long-rows.ts";
import type { Reader } from "./readers.ts";
import type { WatchedState } from "./state.ts";

/** Type byte and length word. */
const HEADER = 5;

/** Rows on their way to the client: added columns are taken off, and what the rows show is noted and charged behind them. */
export class ShownRows {
  readonly #state: WatchedState;
  readonly #charges: Charges;
  readonly #identities: string[] = [];
  readonly #onStop: OnStop;
  /** That the reader is not suspended has been seen since the last read event. */
  #isChecked = false;
  #run: Run | undefined;
  #reader: Reader | undefined;

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

  /** False: it must wait until those before it are charged. */
  row(frame: FrameReader, run: Run): boolean {
    if (frame.piece === "middle" || frame.piece === "last") {
      if (run.cut === undefined) this.#state.toClient.forward(frame);
      return true;
    }
    if (run.cut !== undefined) return true;
    const { metering } = run.shape;
    if (metering === undefined) {
      this.#pass(frame, run);
      return true;
    }
    if (this.#reader === undefined || this.#run !== run)
      throw new Error("rows of a statement that has not begun");
    if (!this.#isChecked && this.#isSuspended(run, this.#reader)) return true;
    if (this.#charges.mustWait(this.#reader)) return false;
    const hasColumns = metering.subjects.length > 0 || metering.groups !== undefined;
    if (hasColumns && frame.piece === "first") {
      noteLongRow(run.judged);
      this.#onStop(run, ROW_TOO_LONG);
    } else if (hasColumns) this.#named(frame, run, this.#reader);
    else this.#unnamed(frame, run, this.#reader);
    return true;
  }

  #isSuspended(run: Run, reader: Reader): boolean {
    this.#isChecked = true;
    const refusal = this.#state.readers.suspended(reader);
    if (refusal !== undefined) this.#onStop(run, refusal);
    return refusal !== undefined;
  }

  /** A row that tells of nobody, and all that follow it in the same bytes. */
  #pass(frame: FrameReader, run: Run): void {
    const first = frame.buffer.readInt32BE(frame.start + 1) - 4;
    const before = frame.end;
    const rows = frame.widen();
    run.rows += rows;
    run.bytes += first + frame.end - before - (rows - 1) * HEADER;
    this.#state.toClient.forward(frame);
  }

  #unnamed(frame: FrameReader, run: Run, reader: Reader): void {
    const [rows, bytes] = [run.rows, run.bytes];
    this.#pass(frame, run);
    const people = peopleIn(run, run.rows - rows, run.bytes - bytes);
    if (people === 0) return;
    run.people.addUnknown(people);
    const shown = {
      namespaces: NOBODY,
      identities: NOBODY,
      units: people * PERSON,
      bytes: run.bytes - bytes,
    };
    this.#charges.shown(run, reader, shown);
  }

  #named(frame: FrameReader, run: Run, reader: Reader): void {
    const { metering } = run.shape;
    if (metering === undefined) return;
    const identities = this.#identities;
    identities.length = 0;
    const extra =
      metering.subjects.length + (metering.purpose ? 1 : 0) + (metering.groups?.namespaces.length ?? 0);
    readTrailingFields(frame, extra, identities);
    const end = trimDataRow(frame, extra);
    const bytes = end - frame.start - HEADER;
    run.rows++;
    run.bytes += bytes;
    this.#state.toClient.lend(frame.buffer, frame.start, end);
    if (metering.groups === undefined) this.#ofPeople(run, reader, bytes);
    else this.#ofGroup(run, reader, bytes);
  }

  #ofPeople(run: Run, reader: Reader, bytes: number): void {
    const { metering } = run.shape;
    if (metering === undefined) return;
    const identities = this.#identities;
    const hasPurpose = metering.purpose !== true || identities.pop() !== "f";
    const namespaces = namespacesOf(metering.subjects);
    for (const [i, identity] of identities.entries()) {
      const namespace = namespaces[i] ?? "";
      run.people.add(namespace, identity);
      if (!hasPurpose) run.people.lacksPurpose(namespace, identity);
    }
    const others = metering.unknown > 0 ? peopleIn(run, 1, bytes) : 0;
    run.people.addUnknown(others);
    this.#charges.shown(run, reader, { namespaces, identities, units: others * PERSON, bytes });
  }

  #ofGroup(run: Run, reader: Reader, bytes: number): void {
    const { metering } = run.shape;
    if (metering === undefined) return;
    const { identities, namespaces, count } = membersOf(metering, this.#identities);
    for (const [i, identity] of identities.entries()) run.people.add(namespaces[i] ?? "", identity);
    const others = count === undefined ? sizeInPeople(bytes) : 0;
    run.people.addUnknown(others);
    const shown: Shown = { namespaces, identities, units: others * PERSON, bytes };
    this.#charges.shown(run, reader, shown);
  }
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
  if (metering.price?.bySize === true) return Math.max(rows, sizeInPeople(bytes));
  return metering.unknown === 0 ? 0 : Math.min(rows * metering.unknown, Math.max(rows, sizeInPeople(bytes)));
}

function sizeInPeople(bytes: number): number {
  return Math.ceil(bytes / BYTES_OF_UNNAMED);
}
