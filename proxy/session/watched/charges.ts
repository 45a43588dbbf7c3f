import type { Batch, Grant } from "../../meter/meter.ts";
import { PERSON } from "../../policy/price-units.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Run } from "../statement/run.ts";
import type { Ahead, Reader, Readers } from "./charged-readers.ts";

/** People who were shown to one reader by one statement, and are not charged yet. */
class Unpaid {
  readonly people: string[] = [];
  readonly bytes: number[] = [];
  /** Of each row; none before the first one that has some. */
  #units: number[] | undefined;
  readonly run: Run;
  readonly reader: Reader;
  readonly namespaces: readonly string[];
  readonly of: Shown["of"];
  /** Whom they are at most: each sighting counts. */
  sightings = 0;

  constructor(run: Run, reader: Reader, { namespaces, of }: Shown) {
    this.run = run;
    this.reader = reader;
    this.of = of;
    this.namespaces = namespaces;
  }

  add({ identities, units, bytes }: Shown): void {
    if (units > 0) this.#units ??= this.bytes.map(() => 0);
    this.#units?.push(units);
    this.bytes.push(bytes);
    for (const identity of identities) this.people.push(identity);
  }

  get batch(): Batch {
    const { people, namespaces, bytes, run, of } = this;
    const { copiesCost, metering } = run.shape;
    const cost = (of === "copy" ? copiesCost : metering?.cost) ?? 1;
    const batch = { rows: bytes.length, people, namespaces, unknownPerRow: 0, cost, bytes };
    return this.#units === undefined ? batch : { ...batch, units: this.#units.map((each) => each * cost) };
  }
}

/** A budget stops what runs. */
export type OnStop = (run: Run, refusal: Refusal) => void;

/**
 * Charges what has left already: rows do not wait for the counters, up to so many people who are not charged yet
 * (`Reader.advances`), over all connections of this process. One request of each to the counters is under way at a time.
 */
export class Charges {
  readonly #readers: Readers;
  readonly #onStop: OnStop;
  readonly #wake: () => void;
  readonly #queue: Unpaid[] = [];
  #isAsking = false;

  constructor(readers: Readers, onStop: OnStop, wake: () => void) {
    this.#readers = readers;
    this.#onStop = onStop;
    this.#wake = wake;
  }

  /** Rows of this reader must wait: too many people are not charged yet. */
  mustWait({ advances }: Reader): boolean {
    const isFull = ({ advance, most }: Ahead) => advance.people >= most;
    if (!advances.some(isFull)) return false;
    this.flush();
    const full = advances.find(isFull);
    full?.advance.whenCharged(this.#wake);
    return full !== undefined;
  }

  /** All that was shown has been charged. Otherwise a `wake` comes. */
  get isSettled(): boolean {
    return !this.#isAsking && this.#queue.length === 0;
  }

  /** A row has left; `identities` are as many as `namespaces`, `units` is for those who have no name. */
  shown(run: Run, reader: Reader, shown: Shown): void {
    const { namespaces, identities, units } = shown;
    if (reader.account.windows.length === 0) return;
    let last = this.#queue.at(-1);
    const isOther = last?.run !== run || last.reader !== reader || last.of !== shown.of;
    if (last === undefined || isOther || !isSame(last.namespaces, namespaces)) {
      last = new Unpaid(run, reader, shown);
      this.#queue.push(last);
    }
    last.add(shown);
    const sightings = identities.length + units / PERSON;
    last.sightings += sightings;
    for (const { advance } of reader.advances) advance.shown(sightings);
  }

  /** Asks the counters about what waits. */
  flush(): void {
    while (!this.#isAsking) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      const grant = next.reader.meter.charge(next.batch);
      if (grant instanceof Promise) this.#await(next, grant);
      else this.#settle(next, grant);
    }
  }

  #await(unpaid: Unpaid, grant: Promise<Grant>): void {
    this.#isAsking = true;
    const asked = grant.catch((): Grant => ({ kind: "unreachable" }));
    void asked.then((answer) => {
      this.#isAsking = false;
      this.#settle(unpaid, answer);
      this.flush();
      this.#wake();
    });
  }

  #settle({ run, reader, of, sightings }: Unpaid, grant: Grant): void {
    // What cannot be counted is on record all the same, and an application does not wait for it.
    const refusal = grant.kind === "part" ? this.#refusal(reader, of, grant) : undefined;
    if (refusal !== undefined) this.#onStop(run, refusal);
    for (const { advance } of reader.advances) advance.charged(sightings);
  }

  #refusal(reader: Reader, of: Shown["of"], grant: Extract<Grant, { kind: "part" }>): Refusal | undefined {
    return of === "copy" ? this.#readers.noRoomFor(reader, grant) : this.#readers.usedUp(reader, grant);
  }
}

/** What a row has shown. */
export interface Shown {
  readonly namespaces: readonly string[];
  readonly identities: readonly string[];
  readonly units: number;
  readonly bytes: number;
  /** A copy is undone where there is no room for it. */
  readonly of?: "copy";
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a === b || (a.length === b.length && a.every((each, i) => each === b[i]));
}
