import type { Cell } from "./exact-test.ts";

/** The leaked people and those they are compared with, by their places in one list. */
export interface Compared {
  /** By person: those of one stratum are alike (`--like`). */
  readonly stratum: readonly number[];
  readonly leaked: readonly boolean[];
}

/** By user: the places of the compared people whom they read, each once. */
export type Readings = ReadonlyMap<string, readonly number[]>;

/**
 * All who are alike, or of them those alone whom anybody read, told apart by how many users did: where the leaked people
 * were read more than others for a reason of their own (who calls often is known to more systems that can leak), nobody
 * may be blamed for having read them at all.
 */
export type Basis = "all" | "read";

/** So many readers and more are one cell. */
const MANY_READERS = 4;

/** Who read whom, while people are taken out whose leak is explained. */
export class Readers {
  readonly #compared: Compared;
  readonly #readings: Readings;
  /** By person: by how many users they were read. */
  readonly #counts: Uint32Array;
  /** By person: by how many of the users who were taken out they were read. */
  readonly #explained: Uint32Array;
  /** By stratum and number of readers, of people who are not explained: all, and leaked ones. */
  readonly #size: Uint32Array;
  readonly #leaked: Uint32Array;

  constructor(compared: Compared, readings: Readings) {
    this.#compared = compared;
    this.#readings = readings;
    this.#counts = new Uint32Array(compared.stratum.length);
    this.#explained = new Uint32Array(compared.stratum.length);
    for (const people of readings.values())
      for (const person of people) this.#counts[person] = at(this.#counts, person) + 1;
    const strata = compared.stratum.reduce((most, one) => Math.max(most, one), 0) + 1;
    this.#size = new Uint32Array(strata * (MANY_READERS + 1));
    this.#leaked = new Uint32Array(strata * (MANY_READERS + 1));
    for (let person = 0; person < compared.stratum.length; person++) this.#enter(person, 1);
  }

  get users(): readonly string[] {
    return [...this.#readings.keys()];
  }

  /** Takes out whom the user read: their leak is explained. */
  takeOut(user: string): void {
    for (const person of this.#readings.get(user) ?? []) {
      if (!this.#isExplained(person)) this.#enter(person, -1);
      this.#explained[person] = at(this.#explained, person) + 1;
    }
  }

  /** The contrary of `takeOut`. */
  putBack(user: string): void {
    for (const person of this.#readings.get(user) ?? []) {
      this.#explained[person] = at(this.#explained, person) - 1;
      if (!this.#isExplained(person)) this.#enter(person, 1);
    }
  }

  /** Whom these users read together, of those who are left, cell by cell. */
  cellsOf(users: readonly string[], basis: Basis): readonly Cell[] {
    const cells = new Map<number, { size: number; leaked: number; read: number; both: number }>();
    for (const person of this.#peopleOf(users).keys()) {
      const stratum = this.#compared.stratum[person] ?? 0;
      const key = basis === "all" ? stratum : this.#cell(person);
      let cell = cells.get(key);
      if (cell === undefined) {
        cell = { ...(basis === "all" ? this.#stratum(stratum) : this.#sizes(key)), read: 0, both: 0 };
        cells.set(key, cell);
      }
      cell.read += 1;
      cell.both += this.#compared.leaked[person] === true ? 1 : 0;
    }
    return [...cells.values()];
  }

  /** How many of the leaked and of all were read by anybody but these users. */
  readByOthers(users: readonly string[]): readonly Cell[] {
    const strata = this.#size.length / (MANY_READERS + 1);
    const cells = Array.from({ length: strata }, (_, stratum) => {
      const unread = this.#sizes(stratum * (MANY_READERS + 1));
      const { size, leaked } = this.#stratum(stratum);
      return { size, leaked, read: size - unread.size, both: leaked - unread.leaked };
    });
    for (const [person, theirs] of this.#peopleOf(users)) {
      const cell = cells[this.#compared.stratum[person] ?? 0];
      if (cell === undefined || at(this.#counts, person) > theirs) continue;
      cell.read -= 1;
      cell.both -= this.#compared.leaked[person] === true ? 1 : 0;
    }
    return cells;
  }

  /** Those who are left and were read by these users, and by how many of them. */
  #peopleOf(users: readonly string[]): ReadonlyMap<number, number> {
    const people = new Map<number, number>();
    for (const user of users)
      for (const person of this.#readings.get(user) ?? [])
        if (!this.#isExplained(person)) people.set(person, (people.get(person) ?? 0) + 1);
    return people;
  }

  #isExplained(person: number): boolean {
    return at(this.#explained, person) > 0;
  }

  #cell(person: number): number {
    const stratum = this.#compared.stratum[person] ?? 0;
    return stratum * (MANY_READERS + 1) + Math.min(at(this.#counts, person), MANY_READERS);
  }

  #sizes(cell: number): { readonly size: number; readonly leaked: number } {
    return { size: at(this.#size, cell), leaked: at(this.#leaked, cell) };
  }

  #stratum(stratum: number): { readonly size: number; readonly leaked: number } {
    let [size, leaked] = [0, 0];
    for (let cell = stratum * (MANY_READERS + 1); cell < (stratum + 1) * (MANY_READERS + 1); cell++) {
      size += at(this.#size, cell);
      leaked += at(this.#leaked, cell);
    }
    return { size, leaked };
  }

  #enter(person: number, change: 1 | -1): void {
    const cell = this.#cell(person);
    this.#size[cell] = at(this.#size, cell) + change;
    if (this.#compared.leaked[person] === true) this.#leaked[cell] = at(this.#leaked, cell) + change;
  }
}

function at(numbers: Uint32Array, index: number): number {
  return numbers[index] ?? 0;
}
